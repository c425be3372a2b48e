"""How good survival predictions are: ranking, error over time, and the curves they are compared with.

Everything that weights by censoring takes the censoring curve of the training patients (``fit_censoring``). Times are in the
endpoint's unit; a higher risk should mean a shorter time.
"""

from dataclasses import dataclass

import numpy as np

from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.censoring import Censoring, fit_censoring
from oncoweave.evaluate.concordance import antolini_c, harrell_c, inverse_weights, uno_c
from oncoweave.evaluate.cox import HazardRatio, hazard_ratio
from oncoweave.evaluate.curves import BaselineHazard, KaplanMeier, LogRank, breslow_baseline, kaplan_meier, logrank, survival_at
from oncoweave.evaluate.inputs import finite, outcome

__all__ = [
    "BaselineHazard",
    "Censoring",
    "HazardRatio",
    "KaplanMeier",
    "LogRank",
    "TimeDependentAuc",
    "antolini_c",
    "breslow_baseline",
    "brier_score",
    "brier_terms",
    "cumulative_dynamic_auc",
    "fit_censoring",
    "harrell_c",
    "hazard_ratio",
    "integrate",
    "integrated_brier_score",
    "kaplan_meier",
    "logrank",
    "prediction_accuracy",
    "survival_at",
    "uno_c",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeDependentAuc:
    """AUC at each horizon, and its mean weighted by how many patients reach the event between horizons."""

    horizons: np.ndarray
    values: np.ndarray
    mean: float


def cumulative_dynamic_auc(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, *, horizons: np.ndarray, censoring: Censoring
) -> TimeDependentAuc:
    """Cumulative/dynamic AUC (Uno et al. 2007; Hung and Chiang 2010): events up to t against those still event-free after t.

    Cases are weighted by 1/G of their time; equal risks count half. The mean weights horizons by the Kaplan-Meier drop between
    them (Lambert and Chevret 2016), as scikit-survival does.

    Raises:
        DataError: a NaN risk, outcomes that cannot be used, or a horizon to which no training patient is followed.
        NoComparablePairsError: at a horizon nobody had the event, or nobody is followed beyond it.
    """
    time, event = outcome(time, event)
    risk = finite("risk", risk, len(time))
    horizons = np.atleast_1d(np.asarray(horizons, dtype=np.float64))
    censoring.require(horizons, "AUC")
    weight = inverse_weights(censoring.at(time))
    values = np.empty(len(horizons))
    for index, horizon in enumerate(horizons):
        case, control = event & (time <= horizon) & (weight > 0), time > horizon
        if not case.any() or not control.any():
            msg = (
                f"AUC at {horizon:g}: {int(case.sum())} case(s) and {int(control.sum())} patient(s) followed beyond it;"
                " choose another horizon"
            )
            raise NoComparablePairsError(msg)
        ordered = np.sort(risk[control])
        favour = np.searchsorted(ordered, risk[case], side="left") + np.searchsorted(ordered, risk[case], side="right")
        values[index] = (weight[case] * favour).sum() / (2 * weight[case].sum() * len(ordered))
    survival = kaplan_meier(time, event).at(horizons)
    mean = float((values * -np.diff(survival, prepend=1.0)).sum() / (1.0 - survival[-1]))
    return TimeDependentAuc(horizons=horizons, values=values, mean=mean)


def brier_terms(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizons: np.ndarray, censoring: Censoring
) -> np.ndarray:
    """What each patient adds to the Brier score at each horizon, ``Float[n, horizon]`` (Graf et al. 1999, eq. 7).

    ``survival`` is the predicted S(t), ``Float[n, horizon]``. A patient who had the event by t adds S(t)^2 / G(his time), one
    followed beyond t adds (1 - S(t))^2 / G(t), one censored before t adds nothing. The mean over patients is the score.

    Raises:
        DataError: predictions of another shape, NaN or outside [0, 1], or a horizon to which no training patient is followed.
    """
    time, event = outcome(time, event)
    horizons = np.atleast_1d(np.asarray(horizons, dtype=np.float64))
    survival = np.asarray(survival, dtype=np.float64)
    if survival.shape != (len(time), len(horizons)) or not ((survival >= 0) & (survival <= 1)).all():
        wanted = f"[{len(time)}, {len(horizons)}] probabilities"
        msg = f"predicted survival: wanted {wanted}, got shape {survival.shape} with values outside [0, 1] or NaN"
        raise DataError(msg)
    censoring.require(horizons, "Brier score")
    followed = censoring.at(horizons)
    happened = (time[:, None] <= horizons) & event[:, None]
    beyond = time[:, None] > horizons
    case_weight = inverse_weights(censoring.at(time))[:, None]
    return happened * survival**2 * case_weight + beyond * (1 - survival) ** 2 / followed


def brier_score(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizons: np.ndarray, censoring: Censoring
) -> np.ndarray:
    """Brier score at each horizon, weighted by the inverse probability of censoring; see :func:`brier_terms`."""
    return brier_terms(time, event, survival, horizons=horizons, censoring=censoring).mean(axis=0)


def prediction_accuracy(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizons: np.ndarray, censoring: Censoring
) -> np.ndarray:
    """Index of prediction accuracy (scaled Brier score) at each horizon (Kattan and Gerds 2018).

    One minus the Brier score over that of giving everybody the Kaplan-Meier curve of the training patients: 0 is knowing nothing,
    1 perfect, below 0 harmful. NaN where that curve is itself without error.

    Raises:
        DataError: see :func:`brier_terms`.
    """
    horizons = np.atleast_1d(np.asarray(horizons, dtype=np.float64))
    null = np.broadcast_to(censoring.marginal_at(horizons), (len(time), len(horizons)))
    score = brier_score(time, event, survival, horizons=horizons, censoring=censoring)
    base = brier_score(time, event, null, horizons=horizons, censoring=censoring)
    return 1.0 - np.divide(score, base, out=np.full(len(horizons), np.nan), where=base > 0)


def integrated_brier_score(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, *, horizons: np.ndarray, censoring: Censoring
) -> float:
    """Brier score averaged over time between the first and the last horizon (trapezoidal rule).

    Raises:
        DataError: fewer than two horizons; else see :func:`brier_terms`.
    """
    terms = brier_terms(time, event, survival, horizons=horizons, censoring=censoring)
    return float(integrate(terms, np.asarray(horizons, dtype=np.float64)).mean())


def integrate(values: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    """Average values ``Float[n, horizon]`` over time by the trapezoidal rule.

    Raises:
        DataError: fewer than two horizons, or not in increasing order.
    """
    if len(horizons) < 2 or not (np.diff(horizons) > 0).all():
        msg = f"integration over time: wanted two increasing horizons or more, got {horizons.tolist()}"
        raise DataError(msg)
    between = (values[:, 1:] + values[:, :-1]) / 2
    return between @ np.diff(horizons) / (horizons[-1] - horizons[0])
