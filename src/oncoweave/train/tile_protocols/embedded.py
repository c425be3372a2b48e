"""Embedded tiles, and scores of a protocol with intervals that resample slides.

A protocol gives every test tile a value (hit or miss, average precision, cosine); the score is their mean, within classes first
where it says ``balanced``. So scores of two encoders on the same tiles can be subtracted tile by tile, whatever the protocol.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.core.errors import DataError
from oncoweave.evaluate.intervals import Interval, bootstrap
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.weighted import mean_of, mean_recall

REPLICATES = 1000

Resampled = Literal["slides", "tiles", "episodes"]
"""What an interval draws; ``tiles`` where no slide is known: tiles of a slide count as independent, which makes it too narrow."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedded:
    """Embeddings of labelled tiles."""

    features: Float[np.ndarray, "tile dim"]
    label: Int64[np.ndarray, " tile"]
    """Number of the class."""
    group: Int64[np.ndarray, " tile"]
    """Number of the slide or patient; one of its own for each tile where none is known."""
    stain: Int64[np.ndarray, " tile"] | None = None
    """Cluster of stain, which stands for the slide in inner folds where no slide is known."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be told from."""
        if not len(self.features) == len(self.label) == len(self.group):
            counts = len(self.features), len(self.label), len(self.group)
            msg = f"embedded tiles: wanted a label and a group for every tile, got {counts} features, labels and groups"
            raise DataError(msg)
        strange = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
        if len(strange):
            msg = f"embedded tiles: {len(strange)} of {len(self.features)} have NaN or infinite values, the first is {strange[0]}"
            raise DataError(msg)

    @property
    def grouped(self) -> bool:
        """Whether some tiles are known to be of one slide."""
        return len(np.unique(self.group)) < len(self.group)

    @property
    def together(self) -> Int64[np.ndarray, " tile"] | None:
        """What inner folds keep together: slides, else clusters of stain, else nothing."""
        return self.group if self.grouped else self.stain

    def take(self, rows: np.ndarray) -> "Embedded":
        """Keep some tiles, by number or by a mask."""
        stain = None if self.stain is None else self.stain[rows]
        return Embedded(features=self.features[rows], label=self.label[rows], group=self.group[rows], stain=stain)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileScore:
    """One number that a protocol gives, with its interval."""

    setting: str
    """Such as ``k=20``; empty where there is nothing to set."""
    metric: str
    value: float
    low: float
    high: float
    resampled: Resampled
    chance: float
    """What guessing gives; NaN where that has no simple form."""
    per_tile: Float[np.ndarray, " tile"]
    """Value of each test tile; :attr:`value` is their mean."""
    balanced: bool
    """Whether the mean is taken within classes first, as in balanced accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileScores:
    """What a protocol says of one encoder."""

    protocol: str
    scores: tuple[TileScore, ...]
    note: str = ""
    """What was chosen or left out."""


def measured(
    per_tile: np.ndarray,
    test: Embedded,
    *,
    metric: str,
    rng: np.random.Generator,
    setting: str = "",
    chance: float = float("nan"),
    balanced: bool = True,
) -> TileScore:
    """Average one value a test tile; the interval is a percentile bootstrap of slides, of tiles where no slide is known."""
    per_tile = np.asarray(per_tile, dtype=np.float64)
    found = bootstrap(_mean(per_tile, test, balanced=balanced), test.group, replicates=REPLICATES, generator=rng)
    return TileScore(
        setting=setting,
        metric=metric,
        value=found.value,
        low=found.low,
        high=found.high,
        resampled="slides" if test.grouped else "tiles",
        chance=chance,
        per_tile=per_tile,
        balanced=balanced,
    )


def accuracy(predicted: Int64[np.ndarray, " tile"], test: Embedded, *, rng: np.random.Generator, setting: str = "") -> TileScore:
    """Balanced accuracy of predicted classes."""
    hits, chance = predicted == test.label, 1 / len(np.unique(test.label))
    return measured(hits, test, metric="balanced accuracy", rng=rng, setting=setting, chance=chance)


def difference(one: TileScore, other: TileScore, test: Embedded, *, rng: np.random.Generator) -> Interval:
    """Subtract another encoder's score on the same test tiles, resampling the slides of both alike."""
    per_tile = one.per_tile - other.per_tile
    return bootstrap(_mean(per_tile, test, balanced=one.balanced), test.group, replicates=REPLICATES, generator=rng)


def require_classes(train: Embedded, test: Embedded) -> None:
    """Check that a classifier can be fitted and tested.

    Raises:
        DataError: fewer than two classes to train on, a class of the test tiles is not among them, or widths differ.
    """
    known, asked = np.unique(train.label), np.unique(test.label)
    absent = np.setdiff1d(asked, known)
    if len(known) < 2 or len(absent):
        said = f"class {absent[0]} has test tiles and none to train on" if len(absent) else f"only class {known.tolist()}"
        msg = f"tile protocol: wanted training tiles of two classes or more and of every tested one, got {said}; add such tiles"
        raise DataError(msg)
    if train.features.shape[1] != test.features.shape[1]:
        msg = f"tile protocol: training embeddings are {train.features.shape[1]} wide, test embeddings {test.features.shape[1]}"
        raise DataError(msg)


def unit(x: Float[np.ndarray, "*tile dim"]) -> Float[np.ndarray, "*tile dim"]:
    """Bring rows to length one; a row of zeros stays."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.sqrt(np.finfo(float).tiny))


def standardised(
    x: Float[np.ndarray, "tile dim"], z: Float[np.ndarray, "*test dim"]
) -> tuple[Float[np.ndarray, "tile dim"], Float[np.ndarray, "*test dim"]]:
    """Centre and scale both as the columns of ``x`` are; constant columns say nothing and become zero."""
    mean, scale = column_scale(x)
    return (x - mean) / scale, (z - mean) / scale


def column_scale(x: Float[np.ndarray, "tile dim"]) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Mean and deviation of columns; the deviation of a constant one is infinite, so that dividing by it leaves nothing."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    return mean, np.where(deviation > 1e-8 * max(1.0, float(np.abs(x).max())), deviation, np.inf)


def _mean(per_tile: np.ndarray, test: Embedded, *, balanced: bool) -> Statistic:
    return mean_recall(test.label, per_tile) if balanced else mean_of(per_tile)
