"""One set of training rows, and what is fitted on them once and used by several models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from oncoweave.core import shelf
from oncoweave.data.splits import inner_splits
from oncoweave.train.dataset import Dataset

if TYPE_CHECKING:
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
    _parts: "list[Fold] | None" = None
    memo: dict[object, object] = field(default_factory=dict)
    """Models that several others are made of, by name; lives as long as the fold."""

    def rng(self, *purpose: object) -> np.random.Generator:
        """Make the generator for one purpose; equal purposes get equal streams, whatever else was drawn."""
        words = [self.seed, *(ord(letter) for part in purpose for letter in f"{part}|")]
        return np.random.default_rng(words)

    def preparation(self, modality: str) -> Preparation:
        """Fit a modality's preparation on the training rows, once."""
        if modality not in self._preparations:
            module = shelf.load("modalities", self.train.kinds[modality])
            self._preparations[modality] = module.fit(self.train.samples[modality])
        return self._preparations[modality]

    @property
    def inner(self) -> np.ndarray:
        """``Int[n]``: the inner fold of each training row, grouped and stratified as the outer split is."""
        if self._inner is None:
            self._inner = inner_splits(
                self.train.outcome, self.train.site, folds=self.inner_folds, group_by_site=self.group_by_site, seed=self.seed
            )
        return self._inner

    @property
    def parts(self) -> "list[Fold]":
        """The inner folds, each as the training rows that leave it out."""
        if self._parts is None:
            self._parts = [
                Fold(
                    train=self.train.take(self.inner != k),
                    seed=self.seed + 7919 * (int(k) + 1),
                    inner_folds=self.inner_folds,
                    group_by_site=self.group_by_site,
                    scratch=self.scratch,
                )
                for k in np.unique(self.inner)
            ]
        return self._parts
