"""Batches of augmented tiles, of which each is a pure function of seed, data and step.

In an epoch every tile is visited once, and the tiles of a slide lie evenly over the epoch, so that a batch holds many slides.
Processes take every ``world``-th tile of a batch, so that their number changes nothing but who reads what. A tile that cannot be
read, or is out of focus, is replaced by another drawn from the same seed; how many were is in the log, why in ``faults.json``.
Both count a tile when its batch is given: batches prepared in advance may never be.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from oncoweave.core.errors import ConfigError, DataError, SlideError
from oncoweave.nn.augment import Views, draw
from oncoweave.train.read_ahead import ReadAhead
from oncoweave.train.stream import seeded
from oncoweave.train.tile_sources import TileIndex, TileSource, open_tiles
from oncoweave.wsi.tiling import TileRecipe

_TRIES = 20
_SHOWN = 5
"""Reasons and refusals that are named."""

Drawn = tuple[dict[str, Tensor], tuple[str, ...]]
"""Views of one tile, and why those tried before it could not be taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileData:
    """How tiles are cut, read and watched."""

    side: int
    """Side, in pixels, at which whole tiles are watched and probed."""
    recipe: TileRecipe = field(default_factory=TileRecipe)
    """How slides are cut."""
    readers: int = 2
    """Threads that read and augment while the network works; 0 for none."""
    ahead: int = 2
    """Batches prepared in advance."""

    def open(self, paths: Sequence[Path], *, views: Views, batch: int, seed: int, rank: int = 0, world: int = 1) -> "TileStream":
        """Open slides, cohorts, folders of tiles or shards."""
        source = open_tiles(paths, recipe=self.recipe)
        return TileStream(source, self, views=views, batch=batch, seed=seed, rank=rank, world=world)


class Order:
    """Which tile stands at each position of the endless sequence of epochs."""

    def __init__(self, index: TileIndex, *, seed: int) -> None:
        self._group = index.group
        self._entropy = (seed, int(index.fingerprint[:16], 16))
        self._epochs: dict[int, Int64[np.ndarray, " tile"]] = {}

    def epoch(self, number: int) -> Int64[np.ndarray, " tile"]:
        """Order all tiles: those of a slide are shuffled and dealt over equal stretches of the epoch, one to each."""
        if number not in self._epochs:
            if len(self._epochs) > 1:
                del self._epochs[min(self._epochs)]
            self._epochs[number] = spread(self._group, np.random.default_rng([*self._entropy, number]))
        return self._epochs[number]

    def at(self, positions: Int64[np.ndarray, " tile"]) -> Int64[np.ndarray, " tile"]:
        """Tiles at some positions, counted from the start of the first epoch."""
        epochs, offsets = np.divmod(positions, len(self._group))
        return np.array([self.epoch(int(e))[o] for e, o in zip(epochs, offsets, strict=True)], dtype=np.int64)

    def instead(self, position: int, attempt: int) -> int:
        """Choose the tile that takes the place of one that cannot be read."""
        rng = np.random.default_rng([*self._entropy, position, attempt])
        return int(rng.integers(len(self._group)))

    def generator(self, position: int) -> torch.Generator:
        """Make the generator of the views at a position."""
        return seeded(*self._entropy, position)


def spread(group: Int64[np.ndarray, " tile"], rng: np.random.Generator) -> Int64[np.ndarray, " tile"]:
    """Order tiles so that those of each group lie evenly: the i-th of n at a random place from i/n to (i + 1)/n of the whole."""
    shuffled = rng.permutation(len(group))
    by_group = shuffled[np.argsort(group[shuffled], kind="stable")]
    counts = np.bincount(group)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = (rank + rng.random(len(group))) / np.repeat(counts, counts)
    return by_group[np.argsort(place, kind="stable")]


class TileStream:
    """Batches of views, view by view: ``[view * tile, 3, side, side]`` for each name of crop."""

    def __init__(
        self, source: TileSource, data: TileData, *, views: Views, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch % world:
            msg = f"a batch of {batch} tiles cannot be shared by {world} processes alike; make it a multiple of them"
            raise ConfigError(msg)
        self.source, self.data, self.views = source, data, views
        self.fingerprint = source.index.fingerprint
        self.order = Order(source.index, seed=seed)
        self._batch, self._rank, self._world = batch, rank, world
        self._ahead = ReadAhead(self._places, self._draw, readers=data.readers, ahead=data.ahead, name="tiles")
        self._redrawn: dict[int, int] = {}
        self._reasons: Counter[str] = Counter()
        self._unwatched: Counter[str] = Counter()

    def batch(self, step: int) -> dict[str, Float[Tensor, "image 3 _ _"]]:
        """Give the batch of a step.

        Raises:
            DataError: 20 tiles in a row could not be read.
        """
        drawn = self._ahead.results(step)
        reasons = [reason for _, tried in drawn for reason in tried]
        self._redrawn = {step: len(reasons)}
        self._reasons.update(reasons)
        return {
            crop.name: torch.stack([views[crop.name] for views, _ in drawn], dim=1).flatten(0, 1) for crop in self.views.crops
        }

    def notes(self, step: int) -> dict[str, float]:
        """Count the tiles of this process that were drawn again."""
        return {"redrawn": float(self._redrawn[step])}

    def sample(self, count: int) -> dict[str, Float[Tensor, "image 3 side side"]]:
        """Give whole tiles spread over the slides, at the side at which they are watched."""
        chosen = self.order.epoch(0)[np.linspace(0, len(self.source.index) - 1, min(count, len(self.source.index))).astype(int)]
        read = [self._read(int(number), position=i) for i, number in enumerate(chosen)]
        self._unwatched = Counter(reason for _, tried in read for reason in tried)
        images = [resized(tile, self.data.side) for tile, _ in read]
        return {"image": torch.stack(images).float() / 255}

    def describe(self) -> dict[str, object]:
        """Count tiles, slides, refusals and tiles drawn again."""
        index = self.source.index
        return {
            "tiles": len(index),
            "groups": len(index.groups),
            "num_classes": len(index.classes),  # the names of folders may be those of patients
            "fingerprint": self.fingerprint,
            "refused": len(index.refused),
            "redrawn_since_start": sum(self._reasons.values()),
        }

    def faults(self) -> dict[str, object]:
        """Name the first refusals, and the most frequent reasons to draw again, in training and for the sample that is watched.

        Slides are named, so this stays in the run.
        """
        return {
            "refused": [f"{r.what}: {r.reason}" for r in self.source.index.refused[:_SHOWN]],
            "redrawn_since_start": sum(self._reasons.values()),
            "redrawn": dict(self._reasons.most_common(_SHOWN)),
            "redrawn_of_watched": dict(self._unwatched.most_common(_SHOWN)),
        }

    def close(self) -> None:
        """Stop the threads and close the files."""
        self._ahead.close()
        self.source.close()

    def _places(self, step: int) -> list[tuple[int, int]]:
        """Positions of this process in a batch, and the tiles there."""
        positions = np.arange(step * self._batch + self._rank, (step + 1) * self._batch, self._world)
        return [(int(p), int(number)) for p, number in zip(positions, self.order.at(positions), strict=True)]

    def _draw(self, position: int, number: int) -> Drawn:
        tile, tried = self._read(number, position=position)
        return draw(torch.from_numpy(tile.copy()), self.views, generator=self.order.generator(position)), tried

    def _read(self, number: int, *, position: int) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
        """Read a tile, or another in its place; also returns why those before it could not be read."""
        tried: list[str] = []
        for attempt in range(_TRIES):
            try:
                return self.source.read(number), tuple(tried)
            except (DataError, SlideError) as error:
                tried.append(str(error))
                number = self.order.instead(position, attempt)
        msg = f"{_TRIES} tiles in a row could not be read, last: {tried[-1]}; look at the slides with: oncoweave slides preview"
        raise DataError(msg)


def resized(tile: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[Tensor, "3 side side"]:
    """Bring a whole tile to a side in pixels, antialiased."""
    image = torch.from_numpy(tile.copy()).permute(2, 0, 1)
    if image.shape[1:] == (side, side):
        return image.contiguous()
    return F.interpolate(image[None], size=(side, side), mode="bicubic", antialias=True, align_corners=False)[0].contiguous()
