"""Is a prediction worth acting on? Net benefit and decision curves, binary and censored, and the number needed to test.

To treat at a threshold probability t is to say that one true positive is worth t / (1 - t) false ones (Vickers and Elkin 2006).
Net benefit is true positives a patient minus false ones at that rate; treating nobody has 0. A patient is treated where his
predicted probability is at or above t. The difference between two models, with its interval, is
:func:`oncoweave.evaluate.compare.paired_bootstrap` of two of the statistics below.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.curves import weighted_kaplan_meier
from oncoweave.evaluate.discrimination import Score, as_positive
from oncoweave.evaluate.inputs import finite, outcome
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.weighted import ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionCurve:
    """Net benefit at each threshold of the model and of treating everybody; treating nobody has 0 everywhere.

    NaN where nobody of those treated is followed to the horizon.
    """

    thresholds: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray
    n: int
    events: int


def decision_curve(y: np.ndarray, probability: np.ndarray, *, thresholds: np.ndarray) -> DecisionCurve:
    """Decision curve of predicted probabilities of a 0/1 outcome (Vickers and Elkin 2006).

    Raises:
        DataError: a label that is not 0 or 1, NaN, a probability outside [0, 1], or a threshold outside [0, 1).
    """
    everybody = np.ones(len(y))
    return _curve(
        thresholds,
        lambda t: net_benefit(y, probability, threshold=t),
        lambda t: net_benefit(y, everybody, threshold=t),
        size=(len(y), int(as_positive(y).sum())),
    )


def survival_decision_curve(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, *, horizon: float, thresholds: np.ndarray
) -> DecisionCurve:
    """Decision curve of predicted probabilities of the event by a horizon (Vickers et al. 2008); see :func:`survival_benefit`.

    Raises:
        DataError: unusable outcomes, NaN, a probability outside [0, 1], or a threshold outside [0, 1).
    """
    time, event = outcome(time, event)
    everybody = np.ones(len(time))
    return _curve(
        thresholds,
        lambda t: survival_benefit(time, event, probability, horizon=horizon, threshold=t),
        lambda t: survival_benefit(time, event, everybody, horizon=horizon, threshold=t),
        size=(len(time), int((event & (time <= horizon)).sum())),
    )


def net_benefit(y: np.ndarray, probability: np.ndarray, *, threshold: float) -> Statistic:
    """Net benefit at one threshold as a function of row weights; a probability of 1 for everybody is to treat all.

    Raises:
        DataError: a label that is not 0 or 1, NaN, a probability outside [0, 1], or a threshold outside [0, 1).
    """
    positive = as_positive(y)
    worth = np.where(positive, 1.0, -_odds(threshold)) * _treated(probability, threshold, len(positive))
    return lambda weights: ratio(weights @ worth, weights.sum(axis=1, dtype=np.float64))


def survival_benefit(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, *, horizon: float, threshold: float
) -> Statistic:
    """Net benefit at one threshold of probabilities of the event by a horizon, as a function of row weights.

    The share of true positives is that of the treated times one minus their Kaplan-Meier survival at the horizon, so that
    censored patients count as long as they were followed. 0 where nobody is treated; NaN where nobody of the treated is followed.

    Raises:
        DataError: unusable outcomes, NaN, a probability outside [0, 1], or a threshold outside [0, 1).
    """
    time, event = outcome(time, event)
    treated = np.flatnonzero(_treated(probability, threshold, len(time)))
    odds = _odds(threshold)
    if not len(treated):
        return lambda weights: ratio(np.zeros(len(weights)), weights.sum(axis=1, dtype=np.float64))
    curve = weighted_kaplan_meier(time[treated], event[treated], np.array([horizon]))

    def statistic(weights: np.ndarray) -> np.ndarray:
        inside = weights[:, treated]
        share = ratio(inside.sum(axis=1, dtype=np.float64), weights.sum(axis=1, dtype=np.float64))
        survival = np.where(share == 0, 0.0, curve(inside)[:, 0])
        return share * (1 - survival) - share * survival * odds

    return statistic


def number_needed_to_test(gain: float) -> Score:
    """How many patients must be tested for one more net true positive: one over a gain in net benefit (Baker et al. 2009).

    ``gain`` is the net benefit of the model that needs the test minus that of the best choice without it. NaN where the test
    gains nothing.
    """
    if not gain > 0:
        return Score(float("nan"), f"the gain in net benefit is {gain:.3g}; no number of tests gives a net true positive")
    return Score(1.0 / gain)


def _curve(
    thresholds: np.ndarray, model: Callable[[float], Statistic], everybody: Callable[[float], Statistic], *, size: tuple[int, int]
) -> DecisionCurve:
    thresholds = finite("thresholds", thresholds)
    once = np.ones((1, size[0]), dtype=np.float32)
    values = np.array([[float(make(t)(once)[0]) for make in (model, everybody)] for t in thresholds.tolist()]).reshape(-1, 2)
    return DecisionCurve(thresholds=thresholds, model=values[:, 0], treat_all=values[:, 1], n=size[0], events=size[1])


def _odds(threshold: float) -> float:
    if not 0 <= threshold < 1:
        msg = f"threshold probability: wanted 0 or more and below 1, got {threshold}"
        raise DataError(msg)
    return threshold / (1 - threshold)


def _treated(probability: np.ndarray, threshold: float, length: int) -> np.ndarray:
    probability = finite("probability", probability, length)
    if length and not (probability.min() >= 0 and probability.max() <= 1):
        msg = f"probability: wanted values between 0 and 1, got {probability.min():.4g} to {probability.max():.4g}"
        raise DataError(msg)
    return probability >= threshold
