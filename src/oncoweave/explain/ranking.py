"""Cohort means of attention: the share of each modality, and columns of a record in the order of what they receive.

Attention is neither a sign nor an attribution (see ``explain.rollout``): the first column is looked at most, and need not be the
one that decides. Every rank comes with how often it holds when patients are drawn again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.evaluate.intervals import Interval, draw_weights, percentile_interval


def mean_interval(values: Float[np.ndarray, " patient"], *, generator: np.random.Generator, replicates: int = 1000) -> Interval:
    """Average over patients, with an interval from resampling them; those who have no value (NaN) are left out.

    Raises:
        DataError: nobody has one.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        raise DataError("no patient has a value; there is nothing to average")
    drawn = draw_weights(len(known), replicates=replicates, generator=generator) @ known / len(known)
    return percentile_interval(float(known.mean()), drawn)


def mean_shares(
    shares: Float[np.ndarray, "patient modality"],
    names: Sequence[str],
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
) -> dict[str, Interval]:
    """Average the modalities' shares of attention over patients, with an interval from resampling patients.

    A patient who lacks a modality gives it 0; patients without any (NaN) are left out. Neither sign nor attribution.

    Raises:
        DataError: names and columns differ in number, or nobody has a modality.
    """
    _check_names(shares, names)
    known = shares[~np.isnan(shares).any(axis=1)]
    if not len(known):
        raise DataError("no patient has any of the modalities; there is no attention to average")
    drawn = draw_weights(len(known), replicates=replicates, generator=generator) @ known / len(known)
    return {name: percentile_interval(float(known[:, m].mean()), drawn[:, m]) for m, name in enumerate(names)}


def columns_of(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Name the column of a record that each token belongs to: itself, or that of the category whose level it is."""
    return tuple(name if name in columns else next((c for c in columns if name.startswith(f"{c}=")), name) for name in names)


def merge_levels(
    received: Float[np.ndarray, "patient token"], names: Sequence[str], columns: Sequence[str]
) -> tuple[Float[np.ndarray, "patient column"], tuple[str, ...]]:
    """Add up what the levels of a category (``smoking=never``) receive, so that each column of the record counts once.

    Args:
        received: NaN where not measured.
        names: of the tokens.
        columns: of the record; a token that is named after none of them keeps its name.
    """
    owner = columns_of(names, columns)
    merged = tuple(dict.fromkeys(owner))
    parts = []
    for column in merged:
        own = received[:, np.array([o == column for o in owner])]
        parts.append(np.where(np.isnan(own).all(axis=1), np.nan, np.nansum(own, axis=1)))
    return np.stack(parts, axis=1), merged


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedColumn:
    """One column of a record by the attention it receives, or by what its deletion does."""

    name: str
    value: Interval
    """Mean over the patients in whom it was measured; what of is said by the function that ranked."""
    rank: int
    rank_low: int
    rank_high: int
    """Range of the rank in 95 % of the resamples."""
    stability: float
    """Share of the resamples in which the column has this very rank."""
    patients: int
    """Those in whom it was measured."""


def rank_columns(
    received: Float[np.ndarray, "patient column"],
    names: Sequence[str],
    *,
    generator: np.random.Generator,
    tokens: Sequence[int] | None = None,
    replicates: int = 1000,
) -> tuple[RankedColumn, ...]:
    """Rank columns by mean attention, most first, with intervals and the ranks' stability over resamples of patients.

    Each patient's attention is divided by what an even spread over the tokens measured gives the column (1 is a column looked at
    like any other), so that none is ranked high because those who have it have little else, or because it is a category of many
    levels. Neither sign nor attribution: whether a high value speaks for or against the outcome, and whether it is used, is not
    said.

    Args:
        received: summed over a column's tokens; NaN where not measured.
        names: of the columns.
        generator: of the bootstrap.
        tokens: of each column; one each when not given.
        replicates: of the bootstrap.

    Raises:
        DataError: names and columns differ in number, or a column was measured in nobody.
    """
    _check_names(received, names)
    measured = ~np.isnan(received)
    total = np.nansum(received, axis=1, keepdims=True)
    counts = measured * np.array([1] * len(names) if tokens is None else tokens)
    even = total * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    relative = np.divide(received, even, out=np.full(received.shape, np.nan), where=measured & (total > 0))
    return rank_means(relative, names, generator=generator, replicates=replicates)


def relative_to_measured(
    unmeasured: Float[np.ndarray, "patient column"], received: Float[np.ndarray, "patient column"], tokens: Sequence[int]
) -> Float[np.ndarray, "patient column"]:
    """Divide what columns that were not measured receive by what a measured one receives in the patient, on average.

    1 is attended like a value that was measured. Neither sign nor attribution, and of "not measured", not of a value.

    Args:
        unmeasured: NaN where measured, or where there is no token for it.
        received: of measured columns, as :func:`rank_columns` has it.
        tokens: of each column.
    """
    counts = (~np.isnan(received) * np.array(tokens)).sum(axis=1, keepdims=True)
    even = np.nansum(received, axis=1, keepdims=True) / np.maximum(counts, 1) * np.array(tokens)
    return np.divide(unmeasured, even, out=np.full(received.shape, np.nan), where=even > 0)


def rank_means(
    values: Float[np.ndarray, "patient column"],
    names: Sequence[str],
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
) -> tuple[RankedColumn, ...]:
    """Rank columns by their mean over the patients who have one, largest first: sizes of what deletion does, say.

    Intervals and the ranks' stability come from resampling patients. NaN is a value that a patient does not have.

    Raises:
        DataError: names and columns differ in number, or nobody has a column.
    """
    _check_names(values, names)
    usable = ~np.isnan(values)
    if empty := [name for name, any_ in zip(names, usable.any(axis=0), strict=True) if not any_]:
        msg = f"column {empty[0]!r} was measured in no patient who has attention on the record; leave it out"
        raise DataError(msg)
    weights = np.vstack([np.ones((1, len(values))), draw_weights(len(values), replicates=replicates, generator=generator)])
    counts = weights @ usable
    means = np.divide(weights @ np.nan_to_num(values), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    ranks = _ranks(means)
    return tuple(
        RankedColumn(
            name=names[c],
            value=percentile_interval(float(means[0, c]), means[1:, c]),
            rank=int(ranks[0, c]),
            rank_low=int(np.quantile(ranks[1:, c], 0.025, method="lower")),
            rank_high=int(np.quantile(ranks[1:, c], 0.975, method="higher")),
            stability=float((ranks[1:, c] == ranks[0, c]).mean()),
            patients=int(usable[:, c].sum()),
        )
        for c in np.argsort(ranks[0], kind="stable")
    )


def _check_names(values: Float[np.ndarray, "patient column"], names: Sequence[str]) -> None:
    if values.shape[1] != len(names):
        msg = f"wanted one name a column, got {len(names)} names of {values.shape[1]} columns"
        raise DataError(msg)


def _ranks(means: Float[np.ndarray, "replicate column"]) -> np.ndarray:
    """Rank 1 is the largest; a column that a resample does not have comes last."""
    order = np.argsort(-np.where(np.isnan(means), -np.inf, means), axis=1, kind="stable")
    return order.argsort(axis=1) + 1
