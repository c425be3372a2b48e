"""Ranking metrics as functions of patient weights, over pairs precomputed once.

With C the matrix of who is ranked rightly against whom, a C-index under weights w is (w' C w) / (w' M w), M the matrix of who can
be compared with whom. A bootstrap replicate, a fold and a group are all rows of weights, so one matrix product serves them all.
Pairs are formed within a stratum only: risks of different folds come from different models and must not be compared.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.censoring import Censoring
from oncoweave.evaluate.concordance import inverse_weights

Statistic = Callable[[np.ndarray], np.ndarray]
"""From weights of the rows, ``Float[replicate, row]``, to the metric of each replicate; NaN where it is not defined."""

_BLOCK = 1 << 22
"""Entries of one pair matrix; larger strata are cut into blocks of cases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBlock:
    """Pairs of some cases with the rows of their stratum; float32 holds counts and halves exactly."""

    rows: np.ndarray | slice
    cases: np.ndarray
    case_weight: np.ndarray
    favour: np.ndarray
    comparable: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class PairStatistic:
    """The share of comparable pairs that scores order rightly, as a function of row weights."""

    blocks: tuple[PairBlock, ...]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Evaluate every row of weights; NaN where no pair can be compared."""
        right, total = np.zeros(len(weights)), np.zeros(len(weights))
        for block in self.blocks:
            local = weights[:, block.rows].astype(np.float32, copy=False)
            case = local[:, block.cases] * block.case_weight
            right += np.einsum("bc,bc->b", case, local @ block.favour)
            total += np.einsum("bc,bc->b", case, local @ block.comparable)
        return np.divide(right, total, out=np.full(len(weights), np.nan), where=total > 0)


def survival_pairs(time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray) -> PairStatistic:
    """Harrell's C within strata; see :func:`oncoweave.evaluate.concordance.harrell_c` for its conventions."""
    return _build(risk, strata, cases=event, weight=np.ones(len(time)), comparable=_outlives(time, event))


def uno_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray, censoring: dict[int, Censoring]
) -> PairStatistic:
    """Uno's C within strata, each with the censoring curve of its own training patients and its own horizon."""
    weight = np.zeros(len(time))
    for stratum, curve in censoring.items():
        rows = strata == stratum
        weight[rows] = inverse_weights(curve.at(time[rows]), power=2) * (time[rows] < curve.horizon())
    return _build(risk, strata, cases=event & (weight > 0), weight=weight, comparable=_outlives(time, event))


def horizon_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray, *, horizon: float, censoring: dict[int, Censoring]
) -> PairStatistic:
    """Cumulative/dynamic AUC at a horizon within strata; cases are weighted by 1/G of their stratum's training patients."""
    weight = np.zeros(len(time))
    for stratum, curve in censoring.items():
        rows = strata == stratum
        weight[rows] = inverse_weights(curve.at(time[rows]))
    cases = event & (time <= horizon) & (weight > 0)

    def comparable(case: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.tile(time[other] > horizon, (len(case), 1))

    return _build(risk, strata, cases=cases, weight=weight, comparable=comparable)


def ordered_pairs(y: np.ndarray, score: np.ndarray, strata: np.ndarray) -> PairStatistic:
    """AUROC (two classes) or ordinal concordance (more) within strata: a higher class should have the higher score."""
    return _build(
        score,
        strata,
        cases=y > y.min(initial=np.inf),
        weight=np.ones(len(y)),
        comparable=lambda case, other: y[case][:, None] > y[other],
    )


def _outlives(time: np.ndarray, event: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def comparable(case: np.ndarray, other: np.ndarray) -> np.ndarray:
        mine, theirs = time[case][:, None], time[other]
        return (theirs > mine) | ((theirs == mine) & ~event[other])

    return comparable


def _build(
    score: np.ndarray,
    strata: np.ndarray,
    *,
    cases: np.ndarray,
    weight: np.ndarray,
    comparable: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> PairStatistic:
    blocks = []
    for rows in rows_by_stratum(strata):
        stratum_cases = np.flatnonzero(cases[rows])
        step = max(1, _BLOCK // len(rows))
        for start in range(0, len(stratum_cases), step):
            inside = stratum_cases[start : start + step]
            case = rows[inside]
            allowed = comparable(case, rows)
            favour = (score[rows] < score[case][:, None]) + np.float32(0.5) * (score[rows] == score[case][:, None])
            block = PairBlock(
                rows=contiguous(rows),
                cases=inside,
                case_weight=weight[case],
                favour=np.ascontiguousarray((favour * allowed).T, dtype=np.float32),
                comparable=np.ascontiguousarray(allowed.T, dtype=np.float32),
            )
            blocks.append(block)
    return PairStatistic(blocks=tuple(blocks))


def rows_by_stratum(strata: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the row indices of each stratum."""
    order = np.argsort(strata, kind="stable")
    yield from (rows for rows in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1) if len(rows))


def contiguous(rows: np.ndarray) -> np.ndarray | slice:
    """Turn increasing neighbouring rows into a slice, which is read without a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
