"""One set of training rows, and what is fitted on them once and used by several models."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.splits import inner_splits, outcome_strata
from oncoweave.train.dataset import Dataset
from oncoweave.train.learnable import enough, has_modality, judges, why_not

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
class LaysBack(Protocol):
    """A preparation whose columns can be laid back as tokens: that of a table of values."""

    def lay_back(self, block: np.ndarray) -> "Tokens":
        """Make the tokens of ``Float[patient, feature]``, all kept."""


@runtime_checkable
class Varying(Protocol):
    """A preparation whose tokens a training step may vary."""

    @property
    def vary(self) -> float:
        """How much; 0 not at all."""

    def varied(self, tokens: "Tokens", generator: "Generator") -> "Tokens":
        """Vary a batch."""


@runtime_checkable
class Wrapped(Protocol):
    """A preparation around another, which was fitted on the samples."""

    @property
    def inner(self) -> Preparation:
        """The other."""


def real_preparation(preparation: Preparation) -> Preparation:
    """Take the one that was fitted on samples out of what is around it."""
    return preparation.inner if isinstance(preparation, Wrapped) else preparation


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
    inside: bool = False
    """Whether it leaves out an inner fold of another: no out-of-fold scores of its modalities are wanted."""
    _preparations: dict[str, Preparation] = field(default_factory=dict)
    _absent: dict[str, str] = field(default_factory=dict)
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

    def absent(self, modality: str) -> str:
        """Say why these rows cannot teach a modality, which then counts as absent for everybody; empty where they can."""
        if modality not in self._absent:
            labels = None if self.inside else self.inner_with(modality)
            self._absent[modality] = why_not(self.train, modality, labels)
        return self._absent[modality]

    def learnable(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Those of some modalities that these rows can teach."""
        return tuple(m for m in modalities if not self.absent(m))

    @property
    def inner(self) -> np.ndarray:
        """``Int[n]``: the inner fold of each training row, grouped and stratified as the outer split is."""
        if self._inner is None:
            together, grouped = self.train.kept_together(by_site=self.group_by_site)
            self._inner = inner_splits(
                self.train.outcome, together, folds=self.inner_folds, group_by_site=grouped, seed=self.seed
            )
        return self._inner

    def inner_of(self, rows: np.ndarray) -> np.ndarray:
        """``Int[rows]``: inner folds of some training rows (``Bool[n]``), such as those who have a modality.

        These are the inner folds of all rows, unless leaving one of them out would leave nobody, or nobody who differs in outcome
        (a modality that only one hospital measured): then the rows are split by themselves.
        """
        labels, target = self.inner[rows], self.train.outcome.take(np.flatnonzero(rows))
        if not len(labels) or _all_teach(labels, target):
            return labels
        for by_site in dict.fromkeys((self.group_by_site, False)):
            together, grouped = self.train.kept_together(by_site=by_site)
            with suppress(InfeasibleSplitError):
                labels = inner_splits(target, together[rows], folds=self.inner_folds, group_by_site=grouped, seed=self.seed)
                if _all_teach(labels, target):
                    return labels
        # a handful of patients: what is chosen on them is judged on the outer fold all the same
        return _dealt(target)

    def inner_with(self, modality: str) -> np.ndarray:
        """``Int[n]``: inner fold of each training row; -1 for rows without a modality, where those with it are split apart."""
        has = has_modality(self.train, modality)
        if not has.any() or _all_teach(self.inner[has], self.train.outcome.take(np.flatnonzero(has))):
            return self.inner
        labels = np.full(len(self.train), -1)
        labels[has] = self.inner_of(has)
        return labels

    def of_train(self, train: Dataset, preparations: dict[str, Preparation], *, name: str) -> "Fold":
        """Make the same fold of other samples of the same rows, for which preparations are fitted already.

        Its networks leave their checkpoints in a folder of that name, apart from those of the fold itself.
        """
        return Fold(
            train=train,
            seed=self.seed,
            inner_folds=self.inner_folds,
            group_by_site=self.group_by_site,
            scratch=None if self.scratch is None else self.scratch / name,
            inside=self.inside,
            _preparations=preparations,
            _inner=self.inner,
        )

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
            inside=True,
        )
        if key is not None:
            self.memo[key] = part
        return part


def judging_folds(labels: np.ndarray, target: Target) -> np.ndarray:
    """Join inner folds ``Int[n]`` until each can judge the network that leaves it out; those that can stay as they are.

    A Cox loss on rows without an event is 0 whatever the network says, and its first epoch would be taken for its best. A fold
    that cannot judge joins the smallest other one. Where not even two halves can, rows are dealt in turn by outcome.
    """
    labels = labels.copy()
    while silent := [k for k in np.unique(labels) if not judges(target.take(labels == k))]:
        others, sizes = np.unique(labels[labels != silent[0]], return_counts=True)
        if len(others) < 2:
            return _dealt(target)
        labels[labels == silent[0]] = others[sizes.argmin()]
    return labels


def _all_teach(labels: np.ndarray, target: Target) -> bool:
    """Whether the rows that leave out any one of several inner folds differ in outcome."""
    folds = np.unique(labels)
    return len(folds) > 1 and all(enough(target.take(labels != k)) for k in folds)


def _dealt(target: Target) -> np.ndarray:
    """Deal rows to two folds in turn, those of one outcome after those of another; of labels, the most even one decides."""
    strata = outcome_strata(target)
    if strata.ndim == 2:
        num = strata.shape[1] // 2
        positive, known = strata[:, :num].sum(axis=0), strata[:, num:].sum(axis=0)
        label = int(np.minimum(positive, known - positive).argmax())
        strata = strata[:, label] + 2 * strata[:, num + label]
    labels = np.empty(len(strata), dtype=int)
    labels[np.argsort(strata, kind="stable")] = np.arange(len(strata)) % 2
    return labels
