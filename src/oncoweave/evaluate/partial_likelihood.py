"""Cox partial likelihood of given log-risks, with its derivatives.

Convention: a log-risk is high where the event comes early; patients censored at an event's time are still at risk at it. Ties
are handled after Efron (J Am Stat Assoc 72:557, 1977) or Breslow (Biometrics 30:89, 1974).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.errors import DataError

Ties = Literal["efron", "breslow"]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class PartialLikelihood:
    """Risk sets of n patients, sorted once and used for many log-risks.

    ``log_risk`` and ``direction`` are ``Float[n]``. Values are totals over events, not means.
    """

    order: np.ndarray
    """``Int[n]``: latest time first; at one time the censored before the events."""
    events: np.ndarray
    """``Int[e]``: where the events stand in that order."""
    first: np.ndarray
    """``Int[k]``: index into ``events`` of the first of each group of tied events."""
    group: np.ndarray
    """``Int[e]``: the group of each event."""
    fraction: np.ndarray
    """``Float[e]``: share of the tied events' own risk in the denominator: 1 (Breslow), or 1, (d-1)/d .. 1/d (Efron)."""
    reach: np.ndarray
    """``Int[n]``: the first group at or before each patient's time, in that order."""

    def value(self, log_risk: np.ndarray) -> float:
        """Log partial likelihood; in the log domain throughout, so that no finite log-risk overflows."""
        eta = self._sorted(log_risk)
        if not len(self.events):
            return 0.0
        before = np.concatenate([[-np.inf], np.logaddexp.accumulate(eta)])[self.events[self.first]]
        tied = np.logaddexp.reduceat(eta[self.events], self.first)
        denominator = np.logaddexp(before[self.group], np.log(self.fraction) + tied[self.group])
        return float(eta[self.events].sum() - denominator.sum())

    def gradient(self, log_risk: np.ndarray) -> np.ndarray:
        """Derivative by each log-risk: the martingale residuals (event minus expected events)."""
        weight, inverse = self._weights(self._sorted(log_risk))
        residual = -self._spread(weight, inverse, np.ones_like(inverse))
        residual[self.events] += 1.0
        return self._unsorted(residual)

    def curvature(self, log_risk: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Product of the negative Hessian (by the log-risks) with a direction, without forming the matrix."""
        weight, inverse = self._weights(self._sorted(log_risk))
        along = direction[self.order]
        mean = self._gather(weight * along) * inverse
        product = along * self._spread(weight, inverse, np.ones_like(inverse)) - self._spread(weight, inverse, mean)
        return self._unsorted(product)

    def _sorted(self, log_risk: np.ndarray) -> np.ndarray:
        if log_risk.shape != self.order.shape or not np.isfinite(log_risk).all():
            bad = int((~np.isfinite(log_risk)).sum())
            msg = f"wanted {len(self.order)} finite log-risks, got shape {log_risk.shape} with {bad} NaN or infinite value(s)"
            raise DataError(msg)
        return log_risk[self.order]

    def _unsorted(self, values: np.ndarray) -> np.ndarray:
        result = np.empty_like(values)
        result[self.order] = values
        return result

    def _weights(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hazard of each patient and one over each event's denominator, both relative to the largest hazard."""
        weight = np.exp(eta - eta.max(initial=-np.inf)) if len(eta) else eta
        return weight, 1.0 / np.maximum(self._gather(weight), np.finfo(float).tiny)

    def _gather(self, weight: np.ndarray) -> np.ndarray:
        """Sum over each event's risk set, the tied events counted by their fraction."""
        if not len(self.events):
            return np.empty(0)
        before = np.concatenate([[0.0], np.cumsum(weight)])[self.events[self.first]]
        tied = np.add.reduceat(weight[self.events], self.first)
        return before[self.group] + self.fraction * tied[self.group]

    def _spread(self, weight: np.ndarray, inverse: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Transpose of :meth:`_gather` applied to ``inverse * factor``, times the weight: expected events when factor is 1."""
        result = np.zeros_like(weight)
        if len(self.events):
            share = inverse * factor
            total = np.append(np.cumsum(np.add.reduceat(share, self.first)[::-1])[::-1], 0.0)
            result = weight * total[self.reach]
            own = np.add.reduceat((1.0 - self.fraction) * share, self.first)
            result[self.events] -= weight[self.events] * own[self.group]
        return result


def partial_likelihood(time: np.ndarray, event: np.ndarray, *, ties: Ties = "efron") -> PartialLikelihood:
    """Sort patients into risk sets.

    Args:
        time: ``Float[n]``, in any one unit.
        event: ``Bool[n]``, True where the event happened.
        ties: how events at one time share their denominator.

    Raises:
        DataError: a time is missing, or the lengths differ.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    if time.shape != event.shape or time.ndim != 1 or not np.isfinite(time).all():
        msg = f"wanted finite times and events of one length, got shapes {time.shape} and {event.shape}; drop unknown ones"
        raise DataError(msg)
    order = np.lexsort((event, -time))
    events = np.flatnonzero(event[order])
    times = time[order]
    event_times = times[events]
    starts = np.append(True, event_times[1:] != event_times[:-1]) if len(events) else np.zeros(0, dtype=bool)
    first, group = np.flatnonzero(starts), np.cumsum(starts) - 1
    size = np.bincount(group, minlength=len(first))
    rank = np.arange(len(events)) - first[group]
    fraction = np.ones(len(events)) if ties == "breslow" else 1.0 - rank / size[group]
    reach = np.searchsorted(-event_times[first], -times, side="left")
    return PartialLikelihood(order=order, events=events, first=first, group=group, fraction=fraction, reach=reach)
