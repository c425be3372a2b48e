"""The distribution of censoring: how long patients were followed, whatever happened to them."""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import outcome

FLOOR = 0.1
"""Estimates weighted by 1/G stop where fewer than this share of the training patients would still be followed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Censoring:
    """Kaplan-Meier curve G(t) of being still followed, from training patients.

    At a time where events and censorings coincide, the events come first. G is a right-continuous step function: the value at a
    time includes the censorings of that time; before the first of ``times`` it is 1.
    """

    times: np.ndarray
    survival: np.ndarray
    marginal: np.ndarray
    """Kaplan-Meier survival of the same patients at ``times``: what a model that knows nothing predicts for everybody."""

    def marginal_at(self, times: np.ndarray) -> np.ndarray:
        """Read the survival of the training patients at some times; after the last training time it keeps its last value."""
        return np.concatenate([[1.0], self.marginal])[np.searchsorted(self.times, times, side="right")]

    def at(self, times: np.ndarray) -> np.ndarray:
        """Read G at some times; after the last training time it keeps its last value."""
        index = np.searchsorted(self.times, times, side="right")
        return np.concatenate([[1.0], self.survival])[index]

    def knows(self, times: np.ndarray) -> np.ndarray:
        """``Bool[time]``: at which times G is known and above zero, so that it can weigh; past the last training time it is not.

        G keeps its last value there, above zero where the last training patient had the event, which nobody has seen.
        """
        times = np.asarray(times, dtype=np.float64)
        return (times <= self.times[-1]) & (self.at(times) > 0)

    def require(self, times: np.ndarray, name: str) -> None:
        """Refuse times at which G is not known.

        Raises:
            DataError: names the first of them and the last training time.
        """
        unknown = np.asarray(times, dtype=np.float64)[~self.knows(times)]
        if len(unknown):
            msg = (
                f"{name} at {unknown[0]:g}: no training patient is followed that long (the last to {self.times[-1]:g});"
                " choose an earlier horizon"
            )
            raise DataError(msg)

    def horizon(self, floor: float = FLOOR) -> float:
        """Last training time with G above ``floor``: where estimates weighted by 1/G should stop.

        Raises:
            DataError: G is not above the floor even at the first time.
        """
        usable = self.times[self.survival > floor]
        if not len(usable):
            first = self.survival[0]
            msg = f"censoring: G is {first:.3g} at the first training time, wanted above {floor}; follow-up is too short"
            raise DataError(msg)
        return float(usable[-1])


def fit_censoring(time: np.ndarray, event: np.ndarray) -> Censoring:
    """Estimate G from training patients.

    Raises:
        DataError: see :func:`oncoweave.evaluate.inputs.outcome`.
    """
    time, event = outcome(time, event)
    times, row_time = np.unique(time, return_inverse=True)
    events = np.bincount(row_time, weights=event, minlength=len(times))
    leaving = np.bincount(row_time, minlength=len(times))
    at_risk = len(time) - np.concatenate([[0], np.cumsum(leaving)[:-1]])
    lost = leaving - events
    return Censoring(
        times=times,
        survival=np.cumprod(1.0 - lost / np.maximum(at_risk - events, 1.0)),
        marginal=np.cumprod(1.0 - events / at_risk),
    )
