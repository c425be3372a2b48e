"""Encoders that start from weights of a local file instead of random ones."""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.encoder_card import TileSource, card_beside
from oncoweave.core.errors import ConfigError
from oncoweave.train.encoder_parts import unlike, unstated
from oncoweave.train.weights import read_weights

_SHOWN = 6
"""Names listed of each kind of misfit."""
_UNCHECKED = """\
********************************************************************************
*** {file}: {what}
*** TO HOLD THE STUDY'S TILES AGAINST. Made in another way than those that these
*** weights learnt on, they pass too, and what is fine-tuned may be worth little.
********************************************************************************
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where an encoder's weights come from, and whether they are trained further."""

    path: Path
    sha256: str
    """Of the file, so that a run is not resumed from other weights."""
    frozen: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of the encoder's ``Config`` that the weights were trained with; see :func:`start_settings`."""


@runtime_checkable
class Rescalable(Protocol):
    """A network whose first layer can take up a change of its input's scale."""

    def rescale_input(self, *, factor: Float[Tensor, " dim"], shift: Float[Tensor, " dim"]) -> None:
        """Read ``x`` as ``x * factor + shift`` was read before."""


def start_settings(path: Path, encoder: str) -> dict[str, object]:
    """List the fields of an encoder's ``Config`` that weights were trained with, where they differ from the variant's.

    They stand on the card beside the weights, or in other files there that the encoder reads. Weights without either that are no
    ``.safetensors`` count as released by a paper's authors, whose numerics the encoder's file states as ``UPSTREAM_SETTINGS``.

    Raises:
        ConfigError: there is no such file, or its card speaks of another encoder.
    """
    card = card_beside(path)
    module = shelf.load("encoders", encoder)
    if card is None and hasattr(module, "settings_beside"):
        found: dict[str, object] = module.settings_beside(path)
        return found
    if card is None:
        return {} if path.suffix == ".safetensors" else dict(getattr(module, "UPSTREAM_SETTINGS", {}))
    stem, _, key = encoder.partition("/")
    name = f"{stem}/{key or next(iter(module.VARIANTS))}"
    if card.encoder != name:
        msg = f"{path}: these are weights of {card.encoder}, and the study names {name}; name the encoder they belong to"
        raise ConfigError(msg)
    return dict(card.settings)


def meet_scale(
    part: nn.Module, path: Path, *, centre: Float[np.ndarray, " dim"], scale: Float[np.ndarray, " dim"], source: TileSource
) -> None:
    """Let pretrained weights read tiles that a study has standardised as ``(x - centre) / scale``.

    They were trained on tiles of the scale that their card states, or on raw ones. Both are affine, so the first layer takes up
    the difference, and nothing else changes. What the tiles cannot be checked by is said on standard error, once.

    Args:
        part: what the weights fill.
        path: file of the weights.
        centre: mean of each feature over the study's training tiles.
        scale: standard deviation of each.
        source: where the tiles of the study's bags come from.

    Raises:
        ConfigError: the weights were trained on tiles of another encoder or resolution.
    """
    if not isinstance(part, Rescalable):
        return
    card = card_beside(path)
    tiles = None if card is None else card.tiles
    if tiles is not None and (fault := unlike(tiles, source, what="the cohort's bags")):
        msg = f"{path}: these weights were {fault}; embed the slides with the tile encoder they were trained with"
        raise ConfigError(msg)
    _say_unchecked(path.name, tiles, source)
    learnt_centre = np.array(tiles.centre) if tiles is not None and tiles.centre else np.zeros_like(centre)
    learnt_scale = np.array(tiles.scale) if tiles is not None and tiles.scale else np.ones_like(scale)
    part.rescale_input(
        factor=torch.from_numpy(scale / learnt_scale).float(),
        shift=torch.from_numpy((centre - learnt_centre) / learnt_scale).float(),
    )


@functools.cache  # a study meets its weights in every fold
def _say_unchecked(file: str, tiles: TileSource | None, source: TileSource) -> None:
    lacking = (
        ["CARD STATES THE TILES THEY LEARNT ON"] if tiles is None else list(dict.fromkeys(unstated(tiles) + unstated(source)))
    )
    if lacking:
        sys.stderr.write(_UNCHECKED.format(file=file, what=f"NO {' AND NO '.join(lacking)}"))


@runtime_checkable
class Renaming(Protocol):
    """A network that knows its weights under other projects' names."""

    def rename(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give weights the names they have here; those it does not know stay as they are."""


def load_start(encoder: nn.Module, path: Path) -> nn.Module:
    """Fill an encoder, or one of its parts, with the weights of a file; returns the part that they fill.

    The file may hold the encoder itself or what pretraining publishes: the network without its last projection. Names and shapes
    have to fit one of them exactly.

    Raises:
        ConfigError: there is no such file, or its weights fit neither; lists what is missing, unexpected and of another shape.
    """
    weights = read_weights(path)
    if all(key.startswith("model.") for key in weights):
        weights = {key.removeprefix("model."): value for key, value in weights.items()}
    if isinstance(encoder, Renaming):
        weights = encoder.rename(weights)
    parts = {"": encoder, **dict(encoder.named_children())}
    name, part = max(parts.items(), key=lambda item: len(item[1].state_dict().keys() & weights.keys()))
    faults = _faults(part.state_dict(), weights)
    if faults:
        place = f"part {name!r} of the encoder" if name else "the encoder"
        msg = f"{path}: weights do not fit {place}, which comes nearest; {'; '.join(faults)}; choose the variant they belong to"
        raise ConfigError(msg)
    part.load_state_dict(weights)
    return part


def _faults(wanted: dict[str, Tensor], came: dict[str, Tensor]) -> list[str]:
    missing, unexpected = sorted(wanted.keys() - came.keys()), sorted(came.keys() - wanted.keys())
    other = [
        f"{key} {tuple(came[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & came.keys())
        if came[key].shape != wanted[key].shape
    ]
    listed = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return [f"{len(names)} {word}: {', '.join(names[:_SHOWN])}" for word, names in listed if names]
