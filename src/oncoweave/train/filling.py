"""Policies of blocks before models of any stage: fitted on training rows, they stand in for modalities that patients lack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.nn.fitted import BlockPolicy, DonorPolicy
from oncoweave.nn.stand_ins import with_rows
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fitted, Fold, LaysBack, Preparation, Trained
from oncoweave.train.frozen import ROOM, Features


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy of the missingness shelf that acts on blocks, and its settings."""

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class StandIn:
    """In the place of a patient's sample."""

    columns: np.ndarray
    """``[feature]``: a row of the modality's block."""
    tokens: Tokens | None
    """Of this patient alone; None where no network reads them, or where there is nobody to take them from."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Completed:
    """A preparation that takes stand-ins among the samples."""

    inner: Preparation

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return self.inner.columns

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.inner.dim

    @property
    def num_tokens(self) -> int | None:
        """Tokens of every patient; None where they differ."""
        return self.inner.num_tokens

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of each column of the block."""
        return self.inner.feature_names

    def collate(self, samples: Sequence[object | None]) -> Tokens:
        """Make a batch of tokens, a stand-in's where there is one."""
        given = {i: s.tokens for i, s in enumerate(samples) if isinstance(s, StandIn) and s.tokens is not None}
        return with_rows(self.inner.collate(_real(samples)), given)

    def block(self, samples: Sequence[object | None]) -> np.ndarray:
        """Make a row of columns a patient, a stand-in's where there is one."""
        block = self.inner.block(_real(samples))
        for row, sample in enumerate(samples):
            if isinstance(sample, StandIn):
                block[row] = sample.columns
        return block


def _real(samples: Sequence[object | None]) -> list[object | None]:
    return [None if isinstance(sample, StandIn) else sample for sample in samples]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Filling:
    """A policy fitted on training rows, and what it takes to fill in for others."""

    preparations: dict[str, Preparation]
    policy: BlockPolicy
    read: tuple[str, ...]
    """Modalities whose tokens a network reads."""
    given: dict[str, Features]
    """By modality read, where whole samples are handed on: the tokens of the training rows that the policy was fitted on."""

    def fill(self, data: Dataset) -> Dataset:
        """Put stand-ins where patients lack a modality and have another; what is there stays as it is."""
        blocks = {m: p.block(data.samples[m]) for m, p in self.preparations.items()}
        lacks = {m: np.isnan(block).all(axis=1) for m, block in blocks.items()}
        rows = np.flatnonzero(~np.all(list(lacks.values()), axis=0))
        if not len(rows):
            return data
        some, samples = {m: block[rows] for m, block in blocks.items()}, dict(data.samples)
        filled = self.policy.transform(some)
        donors = self.policy.donors(some) if self.given and isinstance(self.policy, DonorPolicy) else {}
        for modality in self.preparations:
            held = list(samples[modality])
            for place in np.flatnonzero(lacks[modality][rows]):
                columns = filled[modality][place]
                donor = int(donors[modality][place]) if donors else None
                held[rows[place]] = StandIn(columns=columns, tokens=self._tokens(modality, columns, donor))
            samples[modality] = tuple(held)
        return replace(data, samples=samples)

    def _tokens(self, modality: str, columns: np.ndarray, donor: int | None) -> Tokens | None:
        if modality not in self.read or donor == -1:
            return None
        if donor is not None:
            return self.given[modality].of(np.array([donor]))
        preparation = self.preparations[modality]
        assert isinstance(preparation, LaysBack), "a study whose networks read what cannot be laid back was refused"
        return preparation.lay_back(columns[None])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedFilled:
    """A model of patients in whom a policy stands in for what they lack."""

    modalities: tuple[str, ...]
    filling: Filling
    fitted: Fitted

    @property
    def preparations(self) -> dict[str, Preparation]:
        """What each modality goes through before the policy sees it."""
        return self.filling.preparations

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN for patients who have none of the modalities."""
        return self.fitted.predict(self.filling.fill(data))


def fit_filled(
    fold: Fold, modalities: Sequence[str], policy: Policy | None, fit: Callable[[Fold], Trained], *, read: Sequence[str] = ()
) -> Trained:
    """Fit a model on a fold in which a policy, fitted on the training rows, stands in for what they lack.

    Training rows that lack a modality are filled in like any other patient. As with scaling, the policy saw the features of a row
    that an inner fold leaves out, but not its outcome.

    Args:
        fold: the training rows.
        modalities: those by which, and in which, the policy fills in.
        policy: None fits on the fold as it is.
        fit: fits the model.
        read: modalities whose tokens the model reads, because it is a network.
    """
    if policy is None:
        return fit(fold)
    filling, filled = filled_fold(fold, modalities, policy, read=read)
    trained = fit(filled)
    fitted = FittedFilled(modalities=trained.fitted.modalities, filling=filling, fitted=trained.fitted)
    return Trained(fitted=fitted, out_of_fold=trained.out_of_fold)


def filled_fold(fold: Fold, modalities: Sequence[str], policy: Policy, *, read: Sequence[str]) -> tuple[Filling, Fold]:
    """Fit a policy on a fold, once, and fill in the fold by it."""
    key = ("filled", policy.name, repr(sorted(policy.settings.items())), tuple(modalities), tuple(read))
    if key not in fold.memo:
        made = _fit_filling(fold, modalities, policy, tuple(read))
        completed: dict[str, Preparation] = {m: Completed(inner=p) for m, p in made.preparations.items()}
        fold.memo[key], fold.memo[key, "fold"] = (
            made,
            fold.of_train(made.fill(fold.train), completed, name=f"filled-{sha256(repr(key).encode()).hexdigest()[:16]}"),
        )
    filling, filled = fold.memo[key], fold.memo[key, "fold"]
    assert isinstance(filling, Filling), f"the fold's memory holds a {type(filling).__name__} under {key}"
    assert isinstance(filled, Fold), f"the fold's memory holds a {type(filled).__name__} beside {key}"
    return filling, filled


def _fit_filling(fold: Fold, modalities: Sequence[str], policy: Policy, read: tuple[str, ...]) -> Filling:
    module = shelf.load("missingness", policy.name)
    preparations = {m: fold.preparation(m) for m in modalities}
    blocks = {m: p.block(fold.train.samples[m]) for m, p in preparations.items()}
    rows = np.flatnonzero(np.any([~np.isnan(b).all(axis=1) for b in blocks.values()], axis=0) & fold.train.outcome.known)
    fitted: BlockPolicy = module.fit(
        {m: b[rows] for m, b in blocks.items()}, shelf.configure("missingness", policy.name, policy.settings)
    )
    train = fold.train.take(rows)
    given = {m: _tokens_of(m, preparations[m], train.samples[m]) for m in read} if isinstance(fitted, DonorPolicy) else {}
    return Filling(preparations=preparations, policy=fitted, read=read, given=given)


def _tokens_of(modality: str, preparation: Preparation, samples: Sequence[object | None]) -> Features:
    """Lay the tokens of training rows one after the other, to be handed on to others and stored with the model.

    Raises:
        ConfigError: they are more than a model can hold.
    """
    parts, numbers = [], 0
    for sample in samples:
        tokens = preparation.collate([sample])
        size = 0 if sample is None else tokens.keep.shape[1]
        parts.append((tokens, size))
        numbers += size * preparation.dim
        if numbers > ROOM:
            msg = (
                f"missing: retrieval hands on whole samples, which are stored with the model; those of {modality!r} are more than"
                f" {ROOM} numbers. Pool them into a vector a patient (kind 'embedding'), or use missing: learned, latent or mask"
            )
            raise ConfigError(msg)
    sizes = np.array([size for _, size in parts], dtype=int)
    places = [t.positions[0, :size].numpy() for t, size in parts if t.positions is not None]
    return Features(
        values=np.concatenate([t.values[0, :size].numpy() for t, size in parts]),
        keep=np.concatenate([t.keep[0, :size].numpy() for t, size in parts]),
        positions=np.concatenate(places) if len(places) == len(parts) else None,
        first=np.cumsum(sizes) - sizes,
        sizes=sizes,
    )
