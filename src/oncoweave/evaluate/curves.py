"""Survival of groups: Kaplan-Meier curves, the log-rank test, and the Breslow baseline of a Cox model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import check_rows, finite, outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class KaplanMeier:
    """A Kaplan-Meier curve: a right-continuous step function that starts at time 0 with everyone alive.

    ``times`` holds 0 and every distinct follow-up time; ``at_risk`` counts who is still followed just before each.
    """

    times: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Read the survival at some times (zero or more); after the last time it keeps its last value."""
        return self.survival[np.searchsorted(self.times, times, side="right") - 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRank:
    """A log-rank test of equal hazards."""

    statistic: float
    degrees: int
    p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineHazard:
    """Cumulative baseline hazard of a Cox model whose log-risks are given, at the distinct event times."""

    times: np.ndarray
    cumulative_hazard: np.ndarray


def kaplan_meier(time: np.ndarray, event: np.ndarray, *, level: float = 0.95) -> KaplanMeier:
    """Kaplan-Meier curve with a log-log interval (Kalbfleisch and Prentice; Greenwood's variance).

    The interval is closed at [1, 1] before the first event and, where nobody survives, has 0 as its lower end and the upper end
    of the step before.

    Raises:
        DataError: outcomes that cannot be used.
    """
    time, event = outcome(time, event)
    times, row_time = np.unique(np.concatenate([[0.0], time]), return_inverse=True)
    row_time = row_time[1:]
    deaths = np.bincount(row_time, weights=event, minlength=len(times))
    leaving = np.bincount(row_time, minlength=len(times))
    at_risk = len(time) - np.concatenate([[0], np.cumsum(leaving)[:-1]])
    survival = np.cumprod(1.0 - deaths / np.maximum(at_risk, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(deaths / (at_risk * (at_risk - deaths)))
        spread = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance) / np.abs(np.log(survival))
        low, high = survival ** np.exp(spread), survival ** np.exp(-spread)
    untouched, extinct = survival == 1.0, survival == 0.0
    low[untouched], high[untouched] = 1.0, 1.0
    if extinct.any():
        first = int(extinct.argmax())
        low[first:], high[first:] = 0.0, high[first - 1] if first else 1.0
    return KaplanMeier(times=times, survival=survival, low=low, high=high, at_risk=at_risk)


def weighted_kaplan_meier(time: np.ndarray, event: np.ndarray, times: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Kaplan-Meier survival at increasing times as a function of row weights: ``Float[replicate, row]`` to ``[replicate, time]``.

    NaN where under the weights nobody is followed to a time and not everyone has died before it. Rows are sorted once; weights
    count as copies of patients.

    Raises:
        DataError: outcomes that cannot be used.
    """
    time, event = outcome(time, event)
    times = np.atleast_1d(np.asarray(times, dtype=np.float64))
    order = np.argsort(time, kind="stable")
    ordered, counts = time[order], (event & (time <= times[-1]))[order].astype(np.float64)
    deaths_at = np.unique(ordered[counts > 0])
    starts = np.searchsorted(ordered, deaths_at, side="left")
    read, reach = np.searchsorted(deaths_at, times, side="right"), np.searchsorted(ordered, times, side="left")

    def survival(weights: np.ndarray) -> np.ndarray:
        check_rows(weights, len(order))
        local = np.take(weights, order, axis=1).astype(np.float64)
        remaining = np.zeros((len(local), len(order) + 1))
        np.cumsum(local[:, ::-1], axis=1, out=remaining[:, 1:])
        remaining = remaining[:, ::-1]
        steps = np.ones((len(local), len(starts) + 1))
        if len(starts):
            deaths, at_risk = np.add.reduceat(local * counts, starts, axis=1), remaining[:, starts]
            steps[:, 1:] -= np.divide(deaths, at_risk, out=np.zeros_like(deaths), where=at_risk > 0)
        values = np.cumprod(steps, axis=1)[:, read]
        return np.where((remaining[:, reach] > 0) | ((values <= 0) & (remaining[:, :1] > 0)), values, np.nan)

    return survival


def numbers_at_risk(time: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Count who is still followed, without an event, just before each of some times: what stands below a Kaplan-Meier plot."""
    return len(time) - np.searchsorted(np.sort(finite("time", time)), np.asarray(times, dtype=np.float64), side="left")


def logrank(time: np.ndarray, event: np.ndarray, group: np.ndarray) -> LogRank:
    """Log-rank test between two or more groups (Mantel 1966; hypergeometric variance, so ties are exact).

    Raises:
        DataError: outcomes that cannot be used, fewer than two groups, or no event at all.
    """
    time, event = outcome(time, event)
    names, code = np.unique(np.asarray(group), return_inverse=True)
    if len(code) != len(time) or len(names) < 2 or not event.any():
        msg = (
            f"log-rank: wanted events and two groups or more, got {int(event.sum())} event(s) and {len(names)} group(s) in"
            f" {len(code)} labels of {len(time)} patients"
        )
        raise DataError(msg)
    times = np.unique(time[event])
    member = np.eye(len(names))[code]
    # Number at risk of each group at each event time: those whose time is not before it.
    order = np.argsort(time, kind="stable")
    later = np.concatenate([np.cumsum(member[order][::-1], axis=0)[::-1], np.zeros((1, len(names)))])
    at_risk = later[np.searchsorted(time[order], times, side="left")]
    total = at_risk.sum(axis=1)
    died_at = np.searchsorted(times, time[event])
    deaths = np.bincount(died_at, minlength=len(times))
    observed = member[event].sum(axis=0)
    share = at_risk / total[:, None]
    expected = (deaths[:, None] * share).sum(axis=0)
    factor = np.where(total > 1, deaths * (total - deaths) / np.maximum(total - 1, 1), 0.0)
    covariance = np.diag((factor[:, None] * share).sum(axis=0)) - np.einsum("t,tg,th->gh", factor, share, share)
    excess = (observed - expected)[:-1]
    statistic = float(excess @ np.linalg.pinv(covariance[:-1, :-1]) @ excess)
    degrees = len(names) - 1
    return LogRank(statistic=statistic, degrees=degrees, p=float(stats.chi2.sf(statistic, degrees)))


def breslow_baseline(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> BaselineHazard:
    """Breslow's baseline hazard for given log-risks: at each event time, deaths divided by the sum of exp(risk) at risk.

    Raises:
        DataError: a NaN risk, unusable outcomes, no event, or log-risks so large that the baseline leaves the range of numbers
            (centre them).
    """
    time, event = outcome(time, event)
    risk = finite("risk", risk, len(time))
    if not event.any():
        msg = f"baseline hazard: wanted at least one event, got none among {len(time)} patients"
        raise DataError(msg)
    times = np.unique(time[event])
    order = np.argsort(time, kind="stable")
    # Log-sum-exp from the latest patient backwards keeps large risks exact.
    log_at_risk = np.logaddexp.accumulate(risk[order][::-1])[::-1][np.searchsorted(time[order], times, side="left")]
    deaths = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    with np.errstate(over="ignore", under="ignore"):
        hazard = np.cumsum(np.exp(np.log(deaths) - log_at_risk))
    if not np.isfinite(hazard).all() or hazard[0] <= 0:
        msg = f"baseline hazard: log-risks between {risk.min():.3g} and {risk.max():.3g} leave the range of numbers; centre them"
        raise DataError(msg)
    return BaselineHazard(times=times, cumulative_hazard=hazard)


def baselines_of_columns(
    time: np.ndarray, event: np.ndarray, risks: np.ndarray
) -> tuple[np.ndarray, list[BaselineHazard | None]]:
    """Means of several models' log-risks, ``[m]``, and the Breslow baselines of their distance from them.

    Models may have seen different patients; the mean is 0 where they had none, and the baseline None where these had no event.

    A Breslow baseline stays level after its last event. Where a model's patients were followed for less time than others (a test
    that is new, a hospital that joined late) that says nothing of survival. So beyond the time that any of them was followed its
    baseline goes on in proportion to that of all patients under the mean of their log-risks.

    Args:
        time: ``[n]``
        event: ``[n]``
        risks: ``[n, m]`` log-risks; NaN where a model says nothing.

    Raises:
        DataError: as of :func:`breslow_baseline`.
    """
    has = ~np.isnan(risks)
    origin = np.array([risk[rows].mean() if rows.any() else 0.0 for risk, rows in zip(risks.T, has.T, strict=True)])
    risks = risks - origin
    mean = np.where(has, risks, 0.0).sum(axis=1) / np.maximum(has.sum(axis=1), 1)
    together = breslow_baseline(time, event, mean)
    own: list[BaselineHazard | None] = []
    for risk, rows in zip(risks.T, has.T, strict=True):
        seen = event[rows].any()
        own.append(continued(breslow_baseline(time[rows], event[rows], risk[rows]), time[rows].max(), together) if seen else None)
    return origin, own


def continued(baseline: BaselineHazard, last: float, other: BaselineHazard) -> BaselineHazard:
    """Continue a baseline hazard beyond the time ``last`` in proportion to another, which had events by then."""
    beyond = other.times > last
    if not beyond.any():
        return baseline
    seen = other.cumulative_hazard[np.searchsorted(other.times, last, side="right") - 1]
    later = baseline.cumulative_hazard[-1] * other.cumulative_hazard[beyond] / seen
    return BaselineHazard(
        times=np.concatenate([baseline.times, other.times[beyond]]),
        cumulative_hazard=np.concatenate([baseline.cumulative_hazard, later]),
    )


def survival_at(baseline: BaselineHazard, risk: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    """Predicted survival ``Float[n, horizon]``: exp(-H0(t) exp(risk)), H0 a right-continuous step function, at first zero.

    Raises:
        DataError: a NaN risk.
    """
    risk = finite("risk", risk)
    return _survival(baseline, risk[:, None], np.atleast_1d(np.asarray(horizons, dtype=np.float64))[None, :])


def survival_at_own(baseline: BaselineHazard, risk: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Predicted survival ``Float[n]`` of each patient at his own time; see :func:`survival_at`.

    Raises:
        DataError: a NaN risk or time.
    """
    risk = finite("risk", risk)
    return _survival(baseline, risk, finite("time", time, len(risk)))


def _survival(baseline: BaselineHazard, risk: np.ndarray, times: np.ndarray) -> np.ndarray:
    hazard = np.concatenate([[0.0], baseline.cumulative_hazard])[np.searchsorted(baseline.times, times, side="right")]
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(-np.exp(np.log(hazard) + risk))
