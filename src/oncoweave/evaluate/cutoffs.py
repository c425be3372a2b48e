"""Groups of risk: cut-offs that are taken from training patients, and never from those they divide.

A patient is in a higher group where his risk is above the cut-off.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import finite, outcome

_CHUNK = 1 << 21
"""Entries of one matrix of permuted scores."""

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class MaximalLogRank:
    """The cut-off with the largest log-rank statistic, and what that statistic is worth after so many looks."""

    cutoff: float
    statistic: float
    """Log-rank statistic: events less those expected above the cut-off, their size over their standard error in permutations."""
    p_naive: float
    """As if the cut-off had been given beforehand. It is not a p value of anything; it is kept to show the difference."""
    p_corrected: float
    """By permutation of the whole search."""
    candidates: int
    n: int
    events: int


def quantile_cutoffs(train_risk: np.ndarray, *, groups: int = 2) -> np.ndarray:
    """Cut-offs ``Float[group - 1]`` that divide training patients into groups of equal size: the median, or tertiles.

    Raises:
        DataError: a NaN risk, or risks so tied that two cut-offs coincide or a group of training patients is empty.
    """
    risk = finite("training risk", train_risk)
    cutoffs = np.quantile(risk, np.arange(1, groups) / groups) if len(risk) else np.empty(0)
    sizes = np.bincount(risk_groups(risk, cutoffs), minlength=groups)
    if not len(risk) or (sizes == 0).any():
        msg = f"cut-offs: wanted {groups} groups of training patients, got sizes {sizes.tolist()}; their risks are tied"
        raise DataError(msg)
    return cutoffs


def risk_groups(risk: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    """Number the group of each patient, 0 the lowest risk."""
    return np.searchsorted(np.asarray(cutoffs, dtype=np.float64), finite("risk", risk), side="left")


def maximal_logrank(
    time: np.ndarray,
    event: np.ndarray,
    risk: np.ndarray,
    *,
    generator: np.random.Generator,
    margin: float = 0.1,
    permutations: int = 10_000,
) -> MaximalLogRank:
    """Search training patients for the cut-off that separates their survival most.

    Warning: the best of many cut-offs looks good by construction. Curves and p values of the same patients are worthless without
    the correction, and the cut-off itself is unstable; prefer the median unless a cut-off is the question, and show the groups on
    other patients.

    The statistic is the maximally selected log-rank of Lausen and Schumacher (1992). Its p is that of permutations, in which the
    risks are dealt to the patients anew and the cut-off is searched again (Hothorn and Lausen 2003): it holds its size however
    few the patients are, where the bound for large samples rejects 7 to 8 % of 30 to 50 patients whose risk knows nothing.
    Neither survival nor censoring must have to do with the risk under what is tested. One is added to both counts, so that p is
    never below 1 / (permutations + 1).

    Args:
        time: ``[n]`` follow-up of training patients.
        event: ``[n]`` whether the event happened.
        risk: ``[n]`` their risks.
        generator: draws the permutations.
        margin: least share of patients on either side.
        permutations: how many.

    Raises:
        DataError: unusable outcomes, no event that tells patients apart, a margin outside (0, 0.5), or no cut-off that leaves the
            margin.
    """
    time, event = outcome(time, event)
    risk = finite("risk", risk, len(time))
    candidates = np.unique(risk)
    below = np.searchsorted(np.sort(risk), candidates, side="right")
    inside = (below / len(risk) >= margin) & (below / len(risk) <= 1 - margin)
    candidates, below = candidates[inside], below[inside]
    excess = _excess(time, event)
    if not excess.any() or not 0 < margin < 0.5 or not len(candidates):
        msg = (
            f"maximally selected log-rank: wanted events at which others are left and cut-offs with {margin} of the patients on"
            f" either side, got {int(event.sum())} event(s) and {len(candidates)} cut-off(s) among {len(time)} patients"
        )
        raise DataError(msg)
    spread = np.sqrt(below * (1 - below / len(risk)) * excess.var(ddof=1))
    values = np.abs(np.cumsum(excess[np.argsort(risk, kind="stable")])[below - 1]) / spread
    best = int(values.argmax())
    as_large, step = 0, max(1, _CHUNK // len(risk))
    for start in range(0, permutations, step):
        dealt = generator.permuted(np.tile(excess, (min(step, permutations - start), 1)), axis=1)
        found = (np.abs(np.cumsum(dealt, axis=1)[:, below - 1]) / spread).max(axis=1)
        as_large += int((found >= values[best] - _ROUNDING).sum())
    return MaximalLogRank(
        cutoff=float(candidates[best]),
        statistic=float(values[best]),
        p_naive=float(2 * stats.norm.sf(values[best])),
        p_corrected=(1 + as_large) / (1 + permutations),
        candidates=len(candidates),
        n=len(time),
        events=int(event.sum()),
    )


def _excess(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Log-rank scores: event less the cumulative hazard up to the end of follow-up (Nelson and Aalen), with a sum of 0."""
    times, deaths = np.unique(time[event], return_counts=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), times, side="left")
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    scores = event - hazard[np.searchsorted(times, time, side="right")]
    return np.where(np.abs(scores) > _ROUNDING, scores, 0.0)
