"""One set of training rows, and what is fitted on them once and used by several models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.splits import inner_splits
from oncoweave.train.dataset import Dataset

if TYPE_CHECKING:
    from torch import Generator

    from oncoweave.nn.tokens import Tokens


@runtime_checkable
class Preparation(Protocol):
    """What a modality's ``fit`` returns; see the modalities shelf."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""

    @property
    def dim(self) -> int:
        """Width of a token."""

    @property
    def num_tokens(self) -> int | None:
        """Tokens of every patient; None where they differ."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each column of the block."""

    def collate(self, samples: Sequence[object | None]) -> "Tokens":
        """Make a batch of tokens."""

    def block(self, samples: Sequence[object | None]) -> np.ndarray:
        """Make a row of columns a patient, all NaN where the modality is absent."""


@runtime_checkable
class Varying(Protocol):
    """A preparation whose tokens a training step may vary."""

    @property
    def vary(self) -> float:
        """How much; 0 not at all."""

    def varied(self, tokens: "Tokens", generator: "Generator") -> "Tokens":
        """Vary a batch."""


@runtime_checkable
class Fitted(Protocol):
    """What a learner leaves behind: a frozen dataclass that ``core.state`` can store."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it predicts from."""

    @property
    def preparations(self) -> "dict[str, Preparation]":
        """What each modality goes through before the model sees it."""

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN rows for patients who lack every modality of the model."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Trained:
    """A fitted model, with scores of its training rows by models that were not trained on those rows.

    Cut-offs, baseline hazards and recalibration come from these scores, so that a model that overfits cannot flatter itself.
    """

    fitted: Fitted
    out_of_fold: np.ndarray
    """``[n, c]``; NaN for rows that lack every modality of the model, or that no model left out."""


@dataclass(kw_only=True, eq=False)
class Fold:
    """Training rows with the seed of everything random that is fitted on them."""

    train: Dataset
    seed: int
    inner_folds: int
    group_by_site: bool
    scratch: Path | None = None
    """Folder where networks that are being trained leave their checkpoints; None leaves none."""
    _preparations: dict[str, Preparation] = field(default_factory=dict)
    _inner: np.ndarray | None = None
    memo: dict[object, object] = field(default_factory=dict)
    """Inner folds, and models that several others are made of, by name; lives as long as the fold."""
    seconds: dict[object, float] = field(default_factory=dict)
    """How long each of those models took."""
    reused: float = 0.0
    """Seconds of those models that were taken from memory instead of being fitted again."""

    def rng(self, *purpose: object) -> np.random.Generator:
        """Make the generator for one purpose; equal purposes get equal streams, whatever else was drawn."""
        words = [self.seed, *(ord(letter) for part in purpose for letter in f"{part}|")]
        return np.random.default_rng(words)

    def preparation(self, modality: str) -> Preparation:
        """Fit a modality's preparation on the training rows, once."""
        if modality not in self._preparations:
            self._preparations[modality] = self.train.prepare(modality)
        return self._preparations[modality]

    @property
    def inner(self) -> np.ndarray:
        """``Int[n]``: the inner fold of each training row, grouped and stratified as the outer split is."""
        if self._inner is None:
            self._inner = inner_splits(
                self.train.outcome, self.train.site, folds=self.inner_folds, group_by_site=self.group_by_site, seed=self.seed
            )
        return self._inner

    def inner_of(self, rows: np.ndarray) -> np.ndarray:
        """``Int[rows]``: inner folds of some training rows (``Bool[n]``), such as those who have a modality.

        These are the inner folds of all rows, unless leaving one of them out would leave nobody (a modality that only one
        hospital measured): then the rows are split by themselves.
        """
        labels = self.inner[rows]
        if len(np.unique(labels)) > 1 or not len(labels):
            return labels
        target, site = self.train.outcome.take(np.flatnonzero(rows)), self.train.site[rows]
        try:
            return inner_splits(target, site, folds=self.inner_folds, group_by_site=self.group_by_site, seed=self.seed)
        except InfeasibleSplitError:
            return (
                np.arange(len(labels)) % 2
            )  # a handful of patients: what is chosen on them is judged on the outer fold all the same

    def without(self, inner: np.ndarray, k: int) -> "Fold":
        """Make the training rows that leave out inner fold ``k`` of the labels ``inner`` ``[n]``; once for its own."""
        key = ("part", k) if inner is self.inner else None
        if key is not None and key in self.memo:
            held = self.memo[key]
            assert isinstance(held, Fold), f"the fold's memory holds a {type(held).__name__} under {key}"
            return held
        part = Fold(
            train=self.train.take(inner != k),
            seed=self.seed + 7919 * (k + 1),
            inner_folds=self.inner_folds,
            group_by_site=self.group_by_site,
            scratch=self.scratch,
        )
        if key is not None:
            self.memo[key] = part
        return part
