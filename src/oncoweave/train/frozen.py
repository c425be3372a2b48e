"""Encoders that start from a file, and what frozen ones make of each patient: computed once, as training does not change it.

A frozen part is in evaluation mode, so that its output depends on the patient alone. Only what stands above it is run again in
each epoch. Tokens drawn anew or varied in each step (``LoopConfig.max_tokens``, ``Varying``) leave nothing to keep.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from oncoweave.modalities import slide
from oncoweave.model import Model
from oncoweave.nn.tokens import Tokens
from oncoweave.train.batches import parts_of
from oncoweave.train.finetune import Start, load_start, meet_scale
from oncoweave.train.fold import Fold, Varying, real_preparation
from oncoweave.train.loop import LoopConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROOM = 2**27
"""Numbers of one modality that are kept in memory (half a gigabyte); more lie in a file of the fold's scratch folder."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Features:
    """Tokens of every patient, one after the other."""

    values: Float[np.ndarray, "token dim"]
    """In memory, or mapped from a file."""
    keep: Bool[np.ndarray, " token"]
    positions: Float[np.ndarray, "token axis"] | None
    first: Int[np.ndarray, " patient"]
    """Where each patient's tokens begin."""
    sizes: Int[np.ndarray, " patient"]
    """How many they are; 0 for who has none."""

    def of(self, index: np.ndarray) -> Tokens:
        """Make a batch of some patients, padded to the longest."""
        sizes = self.sizes[index]
        longest = max(1, int(sizes.max(initial=0)))
        place = np.minimum(self.first[index][:, None] + np.arange(longest), max(len(self.keep) - 1, 0))
        real = torch.from_numpy(np.arange(longest) < sizes[:, None])
        kept = torch.from_numpy(self.keep[place]) & real
        values = torch.where(real.unsqueeze(-1), torch.from_numpy(np.asarray(self.values[place])), 0.0)
        positions = None if self.positions is None else torch.from_numpy(self.positions[place])
        return Tokens(values=values, keep=kept, positions=positions)


def start_encoders(model: Model, fold: Fold, starts: Mapping[str, Start]) -> dict[str, tuple[Start, nn.Module]]:
    """Fill encoders with the weights they start from, by modality or by kind, and freeze what is to stay, which is returned."""
    frozen = {}
    for name, start in starts.items():
        for modality in (m for m in model.config.modalities if name in (m, fold.train.kinds[m])):
            part = load_start(model.encoders[modality], start.path)
            tiles = real_preparation(fold.preparation(modality))
            if isinstance(tiles, slide.Preparation):
                scaling = tiles.tile_scaling
                meet_scale(part, start.path, centre=scaling.centre, scale=scaling.scale, source=tiles.source)
            if start.frozen:
                model.freeze(part)
                frozen[modality] = (start, part)
    return frozen


def features_of(
    model: Model, fold: Fold, frozen: Mapping[str, tuple[Start, nn.Module]], counts: Mapping[str, np.ndarray], loop: LoopConfig
) -> dict[str, Features]:
    """Compute what frozen encoders make of a fold's training rows, once a fold; from now on the model takes it for their tokens.

    Left as they are: modalities of which each training step draws other tokens, and encoders that cannot be cut above the frozen
    part (see :class:`oncoweave.model.TwoPart`).

    Args:
        model: network whose encoders are filled and frozen.
        fold: training rows.
        frozen: start and frozen part of each frozen encoder.
        counts: ``Int[n]`` by modality, kept tokens of each row.
        loop: how it will be trained.
    """
    from lightning_fabric import Fabric

    fabric, found = Fabric(accelerator="auto", devices=1, precision=loop.precision), {}
    for modality, (start, part) in frozen.items():
        preparation = real_preparation(fold.preparation(modality))
        thinned = preparation.num_tokens is None and loop.max_tokens is not None
        if thinned or (isinstance(preparation, Varying) and preparation.vary):
            continue
        lower = model.take_features(modality, part)
        if lower is None:
            continue
        model.encoders[modality].to(fabric.device)
        key = ("features", modality, f"{start} {model.config.modalities[modality]} {loop.precision}")
        if key not in fold.memo:
            fold.memo[key] = _compute(lower, fold, modality, parts_of(counts[modality][:, None], loop.tokens), fabric)
        held = fold.memo[key]
        assert isinstance(held, Features), f"the fold's memory holds a {type(held).__name__} under {key}"
        found[modality] = held
    return found


def _compute(
    lower: Callable[[Tokens], Tokens], fold: Fold, modality: str, parts: Sequence[np.ndarray], fabric: "Fabric"
) -> Features:
    preparation, samples = fold.preparation(modality), fold.train.samples[modality]
    varies, store = preparation.num_tokens is None, _Store(fold.scratch)
    first, sizes = np.zeros((2, len(samples)), dtype=int)
    for rows in parts:
        with torch.no_grad(), fabric.autocast():
            made = lower(preparation.collate([samples[i] for i in rows]).to(fabric.device)).to("cpu")
        for place, row in enumerate(rows.tolist()):
            kept = made.keep[place].nonzero()
            # tokens of a table have their places, those at the end of a bag are padding
            size = (int(kept[-1]) + 1 if len(kept) else 0) if varies else made.keep.shape[1]
            first[row], sizes[row] = store.add(made, place, size), size
    return store.features(first, sizes)


class _Store:
    """Tokens that are laid down one patient after the other, in a file once they are many."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.file: IO[bytes] | None = None
        self.values: list[np.ndarray] = []
        self.keep: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        self.size = self.dim = 0

    def add(self, tokens: Tokens, row: int, size: int) -> int:
        """Lay down the first tokens of a row; returns where they begin."""
        begin, self.dim = self.size, tokens.values.shape[2]
        self.size += size
        self.values.append(tokens.values[row, :size].float().numpy().copy())
        self.keep.append(tokens.keep[row, :size].numpy().copy())
        if tokens.positions is not None:
            self.positions.append(tokens.positions[row, :size].numpy().copy())
        if self.size * self.dim > ROOM:
            self._to_file()
        return begin

    def _to_file(self) -> None:
        if self.file is None:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  (has no name, and goes with its last reader)
        for values in self.values:
            values.tofile(self.file)
        self.values.clear()

    def features(self, first: np.ndarray, sizes: np.ndarray) -> Features:
        """Give it all back."""
        if self.file is None:
            values = np.concatenate(self.values)
        else:
            self.file.flush()
            values = np.memmap(self.file, dtype=np.float32, mode="r", shape=(self.size, self.dim))
            self.file.close()  # the map stays
        positions = np.concatenate(self.positions) if self.positions else None
        return Features(values=values, keep=np.concatenate(self.keep), positions=positions, first=first, sizes=sizes)
