"""Small Cox models of evaluation: the hazard ratio of two groups, and recalibration curves.

Efron's approximation for ties. These are fitted on prediction tables (a few columns); the models that predict live elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import finite, outcome
from oncoweave.evaluate.partial_likelihood import PartialLikelihood, partial_likelihood


@dataclass(frozen=True, kw_only=True, slots=True)
class CoxFit:
    """Coefficients ``Float[feature]`` and their covariance."""

    coefficients: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class HazardRatio:
    """Hazard of one group over another, with a Wald interval and p value."""

    value: float
    low: float
    high: float
    p: float


def hazard_ratio(time: np.ndarray, event: np.ndarray, high_risk: np.ndarray, *, level: float = 0.95) -> HazardRatio:
    """Hazard ratio of the patients with ``high_risk`` over the others: a Cox model with one 0/1 column.

    Raises:
        DataError: unusable outcomes, or a group without an event (the ratio would be zero or infinite).
    """
    time, event = outcome(time, event)
    group = finite("high_risk", high_risk, len(time)) > 0.5
    for name, members in (("high", group), ("low", ~group)):
        if not (event & members).any():
            size = int(members.sum())
            msg = f"hazard ratio: the {name}-risk group has no event among {size} patient(s), so the ratio is not finite"
            raise DataError(msg)
    fit = fit_cox(time, event, group[:, None].astype(float))
    beta, error = float(fit.coefficients[0]), float(np.sqrt(fit.covariance[0, 0]))
    z = stats.norm.ppf(0.5 + level / 2)
    with np.errstate(over="ignore"):  # groups that are nearly separated have no upper end
        low, value, high = np.exp(beta + z * error * np.array([-1, 0, 1]))
    p = float(2 * stats.norm.sf(abs(beta) / error)) if error > 0 else float("nan")
    return HazardRatio(value=float(value), low=float(low), high=float(high), p=p)


def fit_cox(time: np.ndarray, event: np.ndarray, features: np.ndarray, *, steps: int = 50) -> CoxFit:
    """Fit a Cox model by Newton's method with step halving.

    Raises:
        DataError: unusable outcomes, no event, a feature that does not vary, or no convergence (separated data).
    """
    time, event = outcome(time, event)
    if not event.any() or not (np.ptp(features, axis=0) > 0).all():
        ranges = np.ptp(features, axis=0)
        msg = f"Cox model: wanted events and features that vary, got {int(event.sum())} event(s) and ranges {ranges}"
        raise DataError(msg)
    scale = features.std(axis=0)
    x = (features - features.mean(axis=0)) / scale
    beta = np.zeros(x.shape[1])
    risk_sets = partial_likelihood(time, event, ties="efron")
    loss, gradient, hessian = _derivatives(risk_sets, x, beta)
    for _ in range(steps):
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        length = 1.0
        worst = loss + 1e-12 * abs(loss)
        while (trial := _derivatives(risk_sets, x, beta - length * step))[0] > worst and length > 1e-6:
            length /= 2
        beta = beta - length * step
        loss, gradient, hessian = trial
        if np.abs(step * length).max() < 1e-9:
            covariance = np.linalg.pinv(hessian) / np.outer(scale, scale)
            return CoxFit(coefficients=beta / scale, covariance=covariance)
    msg = f"Cox model: no convergence in {steps} steps (coefficients {beta / scale}); a feature separates the events completely"
    raise DataError(msg)


def _derivatives(risk_sets: PartialLikelihood, x: np.ndarray, beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Negative log partial likelihood, its gradient and Hessian by the coefficients."""
    score = x @ beta
    hessian = x.T @ np.stack([risk_sets.curvature(score, column) for column in x.T], axis=1)
    return -risk_sets.value(score), -x.T @ risk_sets.gradient(score), hessian
