"""Groups of risk: cut-offs that are taken from training patients, and never from those they divide.

A patient is in a higher group where his risk is above the cut-off.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.curves import logrank
from oncoweave.evaluate.inputs import finite, outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class MaximalLogRank:
    """The cut-off with the largest log-rank statistic, and what that statistic is worth after so many looks."""

    cutoff: float
    statistic: float
    """Standardised log-rank statistic, the root of its chi squared."""
    p_naive: float
    """As if the cut-off had been given beforehand. It is not a p value of anything; it is kept to show the difference."""
    p_corrected: float
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


def maximal_logrank(time: np.ndarray, event: np.ndarray, risk: np.ndarray, *, margin: float = 0.1) -> MaximalLogRank:
    """Search training patients for the cut-off that separates their survival most.

    Warning: the best of many cut-offs looks good by construction. Curves and p values of the same patients are worthless without
    the correction (Lausen and Schumacher 1992, after Miller and Siegmund 1982, a large-sample bound), and the cut-off itself is
    unstable; prefer the median unless a cut-off is the question, and show the groups on other patients.

    Args:
        time: ``[n]`` follow-up of training patients.
        event: ``[n]`` whether the event happened.
        risk: ``[n]`` their risks.
        margin: least share of patients on either side.

    Raises:
        DataError: unusable outcomes, no event, a margin outside (0, 0.5), or no cut-off that leaves the margin.
    """
    time, event = outcome(time, event)
    risk = finite("risk", risk, len(time))
    candidates = np.unique(risk)
    below = np.searchsorted(np.sort(risk), candidates, side="right") / len(risk)
    candidates = candidates[(below >= margin) & (below <= 1 - margin)]
    if not event.any() or not 0 < margin < 0.5 or not len(candidates):
        msg = (
            f"maximally selected log-rank: wanted events and cut-offs with {margin} of the patients on either side, got"
            f" {int(event.sum())} event(s) and {len(candidates)} cut-off(s) among {len(time)} patients"
        )
        raise DataError(msg)
    values = np.array([np.sqrt(logrank(time, event, risk > cutoff).statistic) for cutoff in candidates])
    best = int(values.argmax())
    b = float(values[best])
    density = float(stats.norm.pdf(b))
    bound = 4 * density / b + density * (b - 1 / b) * 2 * np.log((1 - margin) / margin) if b > 1 else 1.0
    return MaximalLogRank(
        cutoff=float(candidates[best]),
        statistic=b,
        p_naive=float(2 * stats.norm.sf(b)),
        p_corrected=float(min(1.0, bound)),
        candidates=len(candidates),
        n=len(time),
        events=int(event.sum()),
    )
