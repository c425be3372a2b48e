"""Ranking metrics as functions of patient weights, over pairs precomputed once.

With C the matrix of who is ranked rightly against whom, a C-index under weights w is (w' C w) / (w' M w), M the matrix of who can
be compared with whom. A bootstrap replicate, a fold and a group are all rows of weights, so one matrix product serves them all.
In an order of its own (by time, by falling class) a case can be compared with everyone from some place on: w' M w is a sum of
running totals, and of C only the part from that place on is held.
Pairs are formed within a stratum only: risks of different folds come from different models and must not be compared.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.censoring import Censoring
from oncoweave.evaluate.concordance import inverse_weights
from oncoweave.evaluate.inputs import check_rows, finite, labels, outcome

Statistic = Callable[[np.ndarray], np.ndarray]
"""From weights of the rows, ``Float[replicate, row]``, to the metric of each replicate; NaN where it is not defined."""

_CASES = 128
"""Cases of one block: few enough to leave out most rows that come before them, many enough for a matrix product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBlock:
    """Pairs of some cases with the rows of their stratum from place ``start`` on; places count in the order of the stratum."""

    cases: np.ndarray
    case_weight: np.ndarray
    first: np.ndarray
    """Place from which on each case can be compared."""
    start: int
    favour: np.ndarray
    """``Float32[row, case]`` one where the case is ranked rightly, a half at equal scores; float32 holds both exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """Rows that may be compared with each other, in an order in which each case precedes those it can be compared with."""

    rows: np.ndarray
    blocks: tuple[PairBlock, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairStatistic:
    """The share of comparable pairs that scores order rightly, as a function of row weights."""

    strata: tuple[Stratum, ...]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Evaluate every row of weights; NaN where no pair can be compared."""
        check_rows(weights, sum(len(stratum.rows) for stratum in self.strata))
        right, total = np.zeros(len(weights)), np.zeros(len(weights))
        for stratum in self.strata:
            local = np.take(weights, stratum.rows, axis=1).astype(np.float32, copy=False)
            beyond = np.zeros((len(weights), len(stratum.rows) + 1), dtype=np.float32)
            np.cumsum(local[:, ::-1], axis=1, out=beyond[:, 1:])
            for block in stratum.blocks:
                case = local[:, block.cases] * block.case_weight
                right += np.einsum("bc,bc->b", case, local[:, block.start :] @ block.favour)
                total += np.einsum("bc,bc->b", case, beyond[:, len(stratum.rows) - block.first])
        return np.divide(right, total, out=np.full(len(weights), np.nan), where=total > 0)

    def disjoint_pairs(self, patients: np.ndarray) -> int:
        """Count pairs to be compared of which no two share a patient, as many as are easily found.

        ``patients`` says whose each row is. Strata that test a patient again (another repeat) are left out. Pairs without a
        patient in common are independent.
        """
        found, seen = 0, np.empty(0, dtype=patients.dtype)
        for stratum in self.strata:
            members = patients[stratum.rows]
            if not np.isin(members, seen).any():
                seen = np.concatenate([seen, members])
                found += _disjoint(stratum)
        return found

    def minus(self, other: "PairStatistic") -> "PairStatistic":
        """Difference to the ranking of the same rows by another model, in one product: the pairs are the same.

        Raises:
            DataError: the two are not of the same rows, outcomes and strata.
        """
        mine, theirs = [b for s in self.strata for b in s.blocks], [b for s in other.strata for b in s.blocks]
        same = len(mine) == len(theirs) and [s.rows.tolist() for s in self.strata] == [s.rows.tolist() for s in other.strata]
        if not same or not all(_same_pairs(a, b) for a, b in zip(mine, theirs, strict=True)):
            msg = "difference of two rankings: wanted the same rows, outcomes and strata, got pairs that differ"
            raise DataError(msg)
        left = iter([replace(a, favour=a.favour - b.favour) for a, b in zip(mine, theirs, strict=True)])
        return PairStatistic(strata=tuple(replace(s, blocks=tuple(next(left) for _ in s.blocks)) for s in self.strata))


def survival_pairs(time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray) -> PairStatistic:
    """Harrell's C within strata; see :func:`oncoweave.evaluate.concordance.harrell_c` for its conventions."""
    time, event = outcome(time, event)
    return _build(risk, strata, cases=event, weight=np.ones(len(time)), key=_until(time, event), reach=time)


def uno_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray, censoring: dict[int, Censoring]
) -> PairStatistic:
    """Uno's C within strata, each with the censoring curve of its own training patients and its own horizon."""
    time, event = outcome(time, event)
    weight = np.zeros(len(time))
    for stratum, curve in censoring.items():
        rows = strata == stratum
        weight[rows] = inverse_weights(curve.at(time[rows]), power=2) * (time[rows] < curve.horizon())
    return _build(risk, strata, cases=event & (weight > 0), weight=weight, key=_until(time, event), reach=time)


def horizon_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, strata: np.ndarray, *, horizon: float, censoring: dict[int, Censoring]
) -> PairStatistic:
    """Cumulative/dynamic AUC at a horizon within strata; cases are weighted by 1/G of their stratum's training patients.

    Raises:
        DataError: a horizon to which no training patient of a stratum is followed.
    """
    time, event = outcome(time, event)
    weight = np.zeros(len(time))
    for stratum, curve in censoring.items():
        rows = strata == stratum
        curve.require(np.array([horizon]), "AUC")
        weight[rows] = inverse_weights(curve.at(time[rows]))
    cases = event & (time <= horizon) & (weight > 0)
    return _build(risk, strata, cases=cases, weight=weight, key=time, reach=np.full(len(time), horizon))


def ordered_pairs(y: np.ndarray, score: np.ndarray, strata: np.ndarray) -> PairStatistic:
    """AUROC (two classes) or ordinal concordance (more) within strata: a higher class should have the higher score."""
    falling = -finite("y", y)
    return _build(score, strata, cases=falling < falling.max(initial=-np.inf), weight=np.ones(len(y)), key=falling, reach=falling)


def _disjoint(stratum: Stratum) -> int:
    """Pair rows off by two rules and take the better: none shares a row, but a few more pairs may be possible."""
    cases = np.concatenate([np.empty(0, dtype=np.intp), *(b.cases for b in stratum.blocks)])
    first = np.concatenate([np.empty(0, dtype=np.intp), *(b.first for b in stratum.blocks)])
    num = len(stratum.rows)

    def ends_meet(pairs: int) -> bool:
        return bool((first[:pairs] <= np.arange(num - pairs, num)).all() and (cases[:pairs] < num - pairs).all())

    outer = bisect_left(range(1, min(len(cases), num // 2) + 1), 1, key=lambda pairs: not ends_meet(pairs))
    free, inner, reach = deque[int](), 0, dict(zip(cases.tolist(), first.tolist(), strict=True))
    for place in range(num - 1, -1, -1):
        if place in reach and free and free[0] >= reach[place]:
            free.popleft()
            inner += 1
        else:
            free.append(place)
    return max(outer, inner)


def _same_pairs(one: PairBlock, other: PairBlock) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("cases", "case_weight", "first"))


def _until(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Rank follow-up so that, at one time, the censored come after the events, who can be compared with them."""
    return np.where(event, time, np.nextafter(time, np.inf))


def _build(
    score: np.ndarray, strata: np.ndarray, *, cases: np.ndarray, weight: np.ndarray, key: np.ndarray, reach: np.ndarray
) -> PairStatistic:
    """Hold the pairs of each case with the rows of its stratum whose ``key`` is beyond the case's ``reach``.

    Raises:
        DataError: a score that is NaN or infinite, or another number of scores or strata than of outcomes.
    """
    score, strata, built = finite("score", score, len(key)), labels("strata", strata, len(key)), []
    for members in rows_by_stratum(strata):
        rows = members[np.argsort(key[members], kind="stable")]
        first = np.searchsorted(key[rows], reach[rows], side="right")
        inside = np.flatnonzero(cases[rows] & (first < len(rows)))
        inside = inside[np.argsort(first[inside], kind="stable")]
        blocks = [_block(score[rows], inside[at : at + _CASES], first, weight[rows]) for at in range(0, len(inside), _CASES)]
        built.append(Stratum(rows=rows, blocks=tuple(blocks)))
    return PairStatistic(strata=tuple(built))


def _block(score: np.ndarray, cases: np.ndarray, first: np.ndarray, weight: np.ndarray) -> PairBlock:
    start = int(first[cases[0]])
    other, mine = score[start:, None], score[cases]
    allowed = np.arange(start, len(score))[:, None] >= first[cases]
    favour = ((other < mine) + np.float32(0.5) * (other == mine)) * allowed
    return PairBlock(
        cases=cases,
        case_weight=weight[cases],
        first=first[cases],
        start=start,
        favour=np.ascontiguousarray(favour, dtype=np.float32),
    )


def rows_by_stratum(strata: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the row indices of each stratum."""
    order = np.argsort(strata, kind="stable")
    yield from (rows for rows in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1) if len(rows))


def contiguous(rows: np.ndarray) -> np.ndarray | slice:
    """Turn increasing neighbouring rows into a slice, which is read without a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
