"""Batches of whole slides, as bags of tile features, of which each is a pure function of seed, data and step.

In an epoch every slide is visited once, in an order drawn for that epoch. A batch takes slides until it holds as many as were
asked for, or the next one would exceed the budget of tiles; a slide larger than the budget makes a batch of its own and shows a
part of itself, as many neighbouring tiles as the budget has. Bags are read when their batch is near, so that a laboratory's
slides need not fit into memory. Tiles are standardised by statistics of the bags themselves, in which each slide counts once.
"""

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from oncoweave.core.encoder_card import TileSource
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.bags import Bag, BagAttrs, BagHead, read_bag, read_head, require_one_encoder
from oncoweave.data.columns import Scaling
from oncoweave.modalities.slide import tile_pitch
from oncoweave.nn.coordinates import SlideView, draw_view, nearest_tiles
from oncoweave.nn.grid import cells
from oncoweave.nn.tokens import Tokens, pad
from oncoweave.train.read_ahead import ReadAhead
from oncoweave.train.stream import seeded

_SHOWN = 5
"""Refusals that the card lists."""
_ANYWHERE = 2**31
"""Cells a side before a view is moved into the grid: a section may lie anywhere on its glass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BagData:
    """How bags become batches."""

    budget: int = 100_000
    """Tiles that one process takes a step, at most."""
    measured: int = 512
    """Bags, spread over all, whose tiles say how features are standardised."""
    memory: int = 2**30
    """Bytes of features that are held in memory from the first reading on, if all fit; otherwise none are."""
    readers: int = 2
    """Threads that read while the network works; 0 for none."""
    ahead: int = 2
    """Batches prepared in advance."""

    def open(
        self, paths: Sequence[Path], *, views: SlideView, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> "BagStream":
        """Open cohort folders, folders of ``.h5`` bags and single bags; ``batch`` is the number of slides of all processes."""
        return BagStream(open_bags(paths), self, views=views, batch=batch, seed=seed, rank=rank, world=world)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BagIndex:
    """Bags that can be compared, without their features."""

    paths: tuple[Path, ...]
    num_tiles: Int64[np.ndarray, " slide"]
    dim: int
    encoder: str | None
    fingerprint: str
    """Hash of what the bags say of themselves; equal for equal bags, wherever they lie."""
    refused: tuple[str, ...] = ()
    """Why bags were passed over."""
    source: TileSource | None = None
    """Where the tiles come from, for the card of an encoder that learns on them."""

    def __len__(self) -> int:
        """Count the slides."""
        return len(self.paths)

    def take(self, rows: np.ndarray) -> "BagIndex":
        """Keep some slides, such as those of training patients."""
        chosen = [self.paths[i] for i in rows]
        mark = _hash([self.fingerprint, [int(i) for i in rows]])
        return BagIndex(
            paths=tuple(chosen), num_tiles=self.num_tiles[rows], dim=self.dim, encoder=self.encoder, fingerprint=mark,
            refused=self.refused, source=self.source,
        )  # fmt: skip


def open_bags(paths: Sequence[Path | str]) -> BagIndex:
    """List the bags of cohort folders (all their modalities of kind slide), of folders at all depths, and single ``.h5`` files.

    A bag that cannot be read is passed over and listed in ``refused``.

    Raises:
        DataError: a path does not exist, no bag can be read, or bags come from different encoders.
    """
    files = sorted(set(chain.from_iterable(_bags_of(Path(path)) for path in paths)))
    heads: dict[Path, BagHead] = {}
    refused = []
    for file in files:
        try:
            heads[file] = read_head(file)
        except DataError as error:
            refused.append(str(error))
    if not heads:
        said = f" ({refused[0]})" if refused else ""
        msg = f"no bag in {', '.join(map(str, paths))}{said}; make them with: oncoweave slides embed"
        raise DataError(msg)
    dim = require_one_encoder({head.attrs.slide_id: head for head in heads.values()})
    for file, head in heads.items():  # two files may call themselves the same slide
        if head.dim != dim:
            msg = f"{file}: tiles of width {head.dim}, the other bags' of {dim}; embed all slides with one encoder"
            raise DataError(msg)
    marks = [[h.attrs.slide_id, h.num_tiles, h.dim, h.attrs.fingerprint or h.attrs.encoder_fingerprint] for h in heads.values()]
    return BagIndex(
        paths=tuple(heads),
        num_tiles=np.array([h.num_tiles for h in heads.values()], dtype=np.int64),
        dim=dim,
        encoder=next((h.attrs.encoder for h in heads.values() if h.attrs.encoder), None),
        fingerprint=_hash(sorted(marks, key=str)),
        refused=tuple(refused),
        source=_source([head.attrs for head in heads.values()]),
    )


def fit_tile_scaling(index: BagIndex, *, measured: int) -> Scaling:
    """Learn centre and scale of each feature on ``measured`` bags spread evenly over all; each slide counts once.

    The scale is the root mean square distance from the common centre, within and between slides; 1 where a feature is constant.

    Raises:
        DataError: a bag cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(index) - 1, min(measured, len(index))).round().astype(int))
    mean, square = np.zeros(index.dim), np.zeros(index.dim)
    for number in chosen:
        features = read_bag(index.paths[number]).features
        mean += features.mean(axis=0, dtype=np.float64) / len(chosen)
        square += np.einsum("td,td->d", features, features, dtype=np.float64, casting="unsafe") / len(features) / len(chosen)
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    varies = spread > 1e-6 * np.maximum(1.0, np.abs(mean))  # the difference of squares keeps half of the digits
    return Scaling(centre=mean, scale=np.where(varies, spread, 1.0))


def pack_epoch(num_tiles: Int64[np.ndarray, " slide"], order: np.ndarray, *, slides: int, budget: int) -> list[np.ndarray]:
    """Cut an order of slides into batches of at most ``slides`` slides and ``budget`` tiles; a larger slide stands alone."""
    packs: list[np.ndarray] = []
    start, total = 0, 0
    for place, tiles in enumerate(np.minimum(num_tiles[order], budget)):
        if place - start == slides or total + tiles > budget:
            packs.append(order[start:place])
            start, total = place, 0
        total += int(tiles)
    return [*packs, order[start:]]


Shown = tuple[Float[Tensor, "_ dim"], Float[Tensor, "_ 3"], bool]
"""Features and positions of a slide's view, and whether the slide was larger than the budget."""


class BagStream:
    """Batches of views of slides, one slide a row, of ragged lengths."""

    def __init__(
        self, index: BagIndex, data: BagData, *, views: SlideView, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch % world or data.budget < 2:
            wanted = f"wanted a number of slides a step that {world} process(es) can share alike, and a budget of 2 tiles or more"
            msg = f"{wanted}; got {batch} slides and a budget of {data.budget}"
            raise ConfigError(msg)
        self.index, self.data, self.views = index, data, views
        self.dim = index.dim
        self.fingerprint = index.fingerprint
        self.scaling = fit_tile_scaling(index, measured=data.measured)
        self._slides, self._rank, self._world = batch // world, rank, world
        self._entropy = (seed, int(index.fingerprint[:16], 16))
        self._held: dict[int, Bag] | None = {} if 4 * index.dim * int(index.num_tiles.sum()) <= data.memory else None
        self._starts, self._packs = [0], dict[int, list[np.ndarray]]()
        self._ahead = ReadAhead(self._jobs, self._show, readers=data.readers, ahead=data.ahead, name="bags")
        self._notes: dict[int, dict[str, float]] = {}
        self._unread: Counter[str] = Counter()

    def batch(self, step: int) -> Tokens:
        """Give the batch of a step; a slide that cannot be read, or whose coordinates cannot be, is left out and counted.

        Raises:
            DataError: that is so for all of its slides.
        """
        shown = self._ahead.results(step)
        views = [s for s in shown if not isinstance(s, str)]
        faults = [s for s in shown if isinstance(s, str)]
        self._unread.update(faults)
        if not views:
            msg = f"none of the {len(shown)} slide(s) of step {step} can be read, first: {faults[0]}"
            raise DataError(msg)
        self._notes = {
            step: {
                "slides": float(len(views)),
                "tiles": float(sum(len(v[0]) for v in views)),
                "shortened": float(sum(v[2] for v in views)),
                "unread": float(len(faults)),
            }
        }
        return _collate(views, self.index.dim)

    def notes(self, step: int) -> dict[str, float]:
        """Count slides and tiles of the batch last given, slides shortened to the budget, and slides that could not be read."""
        return self._notes[step]

    def sample(self, count: int) -> Tokens:
        """Give slides spread evenly over all, whole (or as much as the budget holds), neither cropped nor mirrored."""
        chosen = np.unique(np.linspace(0, len(self.index) - 1, min(count, len(self.index))).round().astype(int))
        still = SlideView(crop=1.0, flip=0.0, grid=self.views.grid)
        views = [self._view(self._read(int(n)), still, seeded(*self._entropy, int(n))) for n in chosen]
        return _collate(views, self.index.dim)

    def describe(self) -> dict[str, object]:
        """Count slides, tiles, steps of the first epoch, refusals and unreadable slides; say whose tiles they are."""
        centre, scale = (tuple(x.tolist()) for x in (self.scaling.centre, self.scaling.scale))
        source = None if self.index.source is None else asdict(replace(self.index.source, centre=centre, scale=scale))
        return {
            "tiles_of": source,
            "slides": len(self.index),
            "tiles": int(self.index.num_tiles.sum()),
            "steps_of_first_epoch": -(-len(self._epoch(0)) // self._world),
            "encoder": self.index.encoder,
            "fingerprint": self.fingerprint,
            "refused": len(self.index.refused),
            "unread_since_start": sum(self._unread.values()),
        }

    def faults(self) -> dict[str, object]:
        """Name the first refusals, and the most frequent reasons not to read; slides are named, so this stays in the run."""
        return {"refused": list(self.index.refused[:_SHOWN]), "unread": dict(self._unread.most_common(_SHOWN))}

    def close(self) -> None:
        """Stop the threads."""
        self._ahead.close()

    def slides_of(self, step: int) -> Int64[np.ndarray, " slide"]:
        """Numbers of the slides that this process sees at a step."""
        return np.array([number for _, number in self._jobs(step)], dtype=np.int64)

    def _epoch(self, number: int) -> list[np.ndarray]:
        """Batches of an epoch; the number of those before it follows from theirs."""
        while len(self._starts) < number + 2 or number not in self._packs:
            epoch = min(number, len(self._starts) - 1)
            order = np.random.default_rng([*self._entropy, epoch]).permutation(len(self.index))
            packs = pack_epoch(self.index.num_tiles, order, slides=self._slides, budget=self.data.budget)
            if epoch == len(self._starts) - 1:
                self._starts.append(self._starts[-1] + len(packs))
            self._packs = {k: p for k, p in self._packs.items() if abs(k - epoch) <= 1} | {epoch: packs}
        return self._packs[number]

    def _jobs(self, step: int) -> list[tuple[int, int]]:
        """Epoch and number of each slide of a step."""
        place = step * self._world + self._rank
        while self._starts[-1] <= place:
            self._epoch(len(self._starts) - 1)
        epoch = bisect_right(self._starts, place) - 1
        return [(epoch, int(n)) for n in self._epoch(epoch)[place - self._starts[epoch]]]

    def _show(self, epoch: int, number: int) -> Shown | str:
        """Read a slide and draw its view, or say why not."""
        try:
            return self._view(self._read(number), self.views, seeded(*self._entropy, epoch, number))
        except ValueError as error:  # DataError is one
            return f"{self.index.paths[number].name}: {error}"

    def _read(self, number: int) -> Bag:
        if self._held is None:
            return read_bag(self.index.paths[number])
        if number not in self._held:
            self._held[number] = read_bag(self.index.paths[number])
        return self._held[number]

    def _view(self, bag: Bag, view: SlideView, generator: torch.Generator) -> Shown:
        """Standardise a bag's tiles and show them; what is too many is cut before the view is drawn."""
        found = cells(torch.from_numpy(bag.coords / tile_pitch(bag)), grid=_ANYWHERE)
        shown = torch.arange(len(bag))
        if len(bag) > self.data.budget:
            place = torch.rand(1, generator=generator, dtype=torch.float64)
            shown = nearest_tiles(found, count=self.data.budget, place=place)
        moved, kept = draw_view(found[shown], view, generator)
        features = bag.features[shown[kept].numpy()].astype(np.float32)
        values = (features - self.scaling.centre.astype(np.float32)) / self.scaling.scale.astype(np.float32)
        positions = torch.nn.functional.pad(moved, (0, 1)).float()
        return torch.from_numpy(values), positions, len(shown) < len(bag)


def _collate(views: Sequence[Shown], dim: int) -> Tokens:
    tokens = pad([values for values, _, _ in views], dim)
    return Tokens(values=tokens.values, keep=tokens.keep, positions=pad([places for _, places, _ in views], 3).values)


def _bags_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        msg = f"{path}: no such file or folder"
        raise DataError(msg)
    if not (path / "manifest.json").is_file():
        return [f for f in path.rglob("*.h5") if not any(p.startswith(".") for p in f.relative_to(path).parts)]
    from oncoweave.data.store import read_cohort

    cohort = read_cohort(path)
    tables = [cohort.tables[n] for n, spec in cohort.modalities.items() if spec.kind == "slide" and "path" in cohort.tables[n]]
    return [path / bag for table in tables for bag in table["path"].dropna()]


def _source(attrs: Sequence[BagAttrs]) -> TileSource | None:
    """Tile encoder and resolution that all bags state; None where one does not name its encoder."""
    named = {(a.encoder, a.encoder_fingerprint) for a in attrs}
    resolutions = {a.mpp for a in attrs}
    encoder, fingerprint = next(iter(named))
    if len(named) > 1 or encoder is None:
        return None
    return TileSource(encoder=encoder, fingerprint=fingerprint, mpp=resolutions.pop() if len(resolutions) == 1 else None)


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
