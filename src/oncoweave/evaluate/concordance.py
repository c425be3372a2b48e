"""Concordance of predictions with survival times: Harrell's, Uno's and Antolini's C-index.

Conventions of scikit-survival: a pair is comparable if the patient with the shorter time had the event; at equal times, if one
had the event and the other was censored. A higher risk should mean a shorter time; equal risks count half.
"""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.inputs import finite, outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """Of each patient with an event: how many others he can be compared with, have a lower risk, have an equal risk."""

    case_index: np.ndarray
    comparable: np.ndarray
    lower: np.ndarray
    equal: np.ndarray


def count_pairs(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> PairCounts:
    """Count the comparable pairs of every event in O(n log n) time and memory O(n).

    Raises:
        DataError: a NaN risk, or outcomes that cannot be used.
    """
    time, event = outcome(time, event)
    risk = finite("risk", risk, len(time))
    num_cases = int(event.sum())
    rank = np.unique(risk, return_inverse=True)[1]
    # Walk from late to early times. At one time the censored come first, then questions of the events, then the events: what
    # stands before a question is exactly what its event can be compared with.
    case_index = np.flatnonzero(event)
    everyone = np.arange(len(time))
    owner = np.concatenate([everyone, case_index, case_index])
    step = np.concatenate([np.where(event, 2, 0), np.ones(2 * num_cases, dtype=int)])
    key = np.concatenate([2 * rank, 2 * rank[case_index] - 1, 2 * rank[case_index] + 1])
    is_point = np.arange(len(owner)) < len(time)
    order = np.lexsort((step, -time[owner]))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    before = np.concatenate([[0], np.cumsum(is_point[order])])
    smaller = _smaller_points_before(key[order], is_point[order])
    below = smaller[place[len(time) : len(time) + num_cases]]
    not_above = smaller[place[len(time) + num_cases :]]
    comparable = before[place[len(time) : len(time) + num_cases]]
    return PairCounts(case_index=case_index, comparable=comparable, lower=below, equal=not_above - below)


def harrell_c(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C-index (Harrell et al., JAMA 1982): the share of comparable pairs that the risks order rightly.

    Raises:
        DataError: a NaN risk, or outcomes that cannot be used.
        NoComparablePairsError: no patient with an event has anyone to be compared with.
    """
    pairs = count_pairs(time, event, risk)
    total = int(pairs.comparable.sum())
    _refuse_no_pairs(total, len(np.asarray(time)), len(pairs.case_index))
    return float((pairs.lower.sum() + 0.5 * pairs.equal.sum()) / total)


def uno_c(
    train_time: np.ndarray,
    train_event: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    tau: float | None = None,
) -> float:
    """Uno's C-index (Uno et al., Statistics in Medicine 2011, eq. 6): comparable pairs weighted by 1/G(t)^2 of the earlier time.

    G is the censoring curve of the training patients. Only events before ``tau`` count; by default ``tau`` is the last training
    time with G above 0.1, beyond which a few patients would carry the estimate.

    Raises:
        DataError: a NaN risk, or outcomes that cannot be used.
        NoComparablePairsError: no event before ``tau`` has anyone to be compared with.
    """
    censoring = fit_censoring(train_time, train_event)
    tau = censoring.horizon() if tau is None else tau
    pairs = count_pairs(time, event, risk)
    case_time = np.asarray(time, dtype=np.float64)[pairs.case_index]
    weight = inverse_weights(censoring.at(case_time), power=2) * (case_time < tau)
    total = float((weight * pairs.comparable).sum())
    _refuse_no_pairs(total, len(np.asarray(time)), int((case_time < tau).sum()))
    return float((weight * (pairs.lower + 0.5 * pairs.equal)).sum() / total)


def antolini_c(time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, times: np.ndarray) -> float:
    """Antolini's time-dependent C (Antolini et al., Statistics in Medicine 2005): predicted curves compared at each event's time.

    A comparable pair is right where the patient with the event was given the lower survival at his own event time; equal
    survivals count half. Under proportional hazards it is Harrell's C. Memory O(n), time O(events * n).

    Args:
        time: ``[n]`` follow-up.
        event: ``[n]`` whether the event happened.
        survival: ``[n, time]`` predicted S(t), read as right-continuous steps at ``times`` that start from 1.
        times: increasing, in the unit of ``time``.

    Raises:
        DataError: predictions of another shape or outside [0, 1], times that do not increase, or outcomes that cannot be used.
        NoComparablePairsError: no patient with an event has anyone to be compared with.
    """
    time, event = outcome(time, event)
    survival, times = check_curves(survival, times, len(time))
    column = np.searchsorted(times, time, side="right") - 1
    right, total = 0.0, 0
    for case in np.flatnonzero(event):
        other = (time > time[case]) | ((time == time[case]) & ~event)
        total += int(other.sum())
        if column[case] < 0:
            right += 0.5 * other.sum()
            continue
        at = survival[:, column[case]]
        right += float((at[other] > at[case]).sum() + 0.5 * (at[other] == at[case]).sum())
    _refuse_no_pairs(total, len(time), int(event.sum()))
    return right / total


def check_curves(survival: np.ndarray, times: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted survival ``Float[n, time]`` and its increasing times.

    Raises:
        DataError: another shape, NaN, a value outside [0, 1], or times that do not increase.
    """
    survival, times = np.asarray(survival, dtype=np.float64), finite("times", times)
    if survival.shape != (length, len(times)) or not ((survival >= 0) & (survival <= 1)).all() or (np.diff(times) <= 0).any():
        msg = (
            f"predicted survival: wanted [{length}, {len(times)}] probabilities at increasing times, got shape {survival.shape},"
            f" values outside [0, 1] or NaN, or times {times[:5].tolist()} ... that do not increase"
        )
        raise DataError(msg)
    return survival, times


def inverse_weights(censoring_survival: np.ndarray, power: int = 1) -> np.ndarray:
    """Weights 1/G^power; a patient whose G is zero stands for nobody and gets weight zero."""
    safe = np.where(censoring_survival > 0, censoring_survival, 1.0)
    return np.where(censoring_survival > 0, safe ** (-float(power)), 0.0)


def _smaller_points_before(key: np.ndarray, is_point: np.ndarray) -> np.ndarray:
    """For every place, count the points before it whose key is smaller.

    Halving: within a block of places the left half is compared with the right half in key order, then each half on its own.
    Points and questions never share a key, so the order among equal keys does not matter.
    """
    size = 1 << max(1, int(len(key) - 1).bit_length())
    padded = np.concatenate([key, np.full(size - len(key), key.max(initial=0) + 1)])
    point = np.concatenate([is_point, np.zeros(size - len(key), dtype=bool)])
    counts = np.zeros(size, dtype=np.int64)
    order = np.argsort(padded, kind="stable").reshape(1, size)
    half = size // 2
    while half:
        left = (order % (2 * half)) < half
        seen = np.cumsum(left & point[order], axis=1)
        counts[order[~left]] += seen[~left]
        order = np.stack([order[left].reshape(-1, half), order[~left].reshape(-1, half)], axis=1).reshape(-1, half)
        half //= 2
    return counts[: len(key)]


def _refuse_no_pairs(total: float, num_patients: int, num_events: int) -> None:
    if not total > 0:
        msg = (
            f"no comparable pairs among {num_patients} patients with {num_events} usable event(s): a C-index needs an event"
            " followed by someone still at risk"
        )
        raise NoComparablePairsError(msg)
