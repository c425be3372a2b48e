"""Log-likelihoods of outcomes given linear predictors, with their derivatives: Cox, logistic and softmax, Gaussian."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import log_softmax, softmax

from oncoweave.evaluate.partial_likelihood import PartialLikelihood, Ties, partial_likelihood


@runtime_checkable
class Likelihood(Protocol):
    """Log-likelihood of n outcomes given linear predictors ``[n, c]``."""

    @property
    def num_columns(self) -> int:
        """Predictor columns c."""

    @property
    def has_intercept(self) -> bool:
        """Whether an unpenalised intercept belongs to the model."""

    def value(self, eta: np.ndarray) -> float:
        """Total log-likelihood."""

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """Derivative by the predictors, ``[n, c]``."""

    def curvature(self, eta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Negative Hessian times a direction ``[n, c]``."""

    def take(self, rows: np.ndarray) -> "Likelihood":
        """Keep some patients."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class CoxLikelihood:
    """Partial likelihood; a shift of the predictor changes nothing, hence no intercept."""

    time: np.ndarray
    event: np.ndarray
    ties: Ties
    risk_sets: PartialLikelihood
    num_columns: int = 1
    has_intercept: bool = False

    def value(self, eta: np.ndarray) -> float:
        """Log partial likelihood."""
        return self.risk_sets.value(eta[:, 0])

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """Martingale residuals."""
        return self.risk_sets.gradient(eta[:, 0])[:, None]

    def curvature(self, eta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Negative Hessian times a direction."""
        return self.risk_sets.curvature(eta[:, 0], direction[:, 0])[:, None]

    def take(self, rows: np.ndarray) -> "CoxLikelihood":
        """Keep some patients."""
        return cox_likelihood(self.time[rows], self.event[rows], ties=self.ties)


def cox_likelihood(time: np.ndarray, event: np.ndarray, *, ties: Ties = "efron") -> CoxLikelihood:
    """Prepare a Cox likelihood."""
    return CoxLikelihood(time=time, event=event, ties=ties, risk_sets=partial_likelihood(time, event, ties=ties))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SoftmaxLikelihood:
    """Multinomial likelihood; with two classes and one predictor column, the logistic one."""

    one_hot: np.ndarray
    """``[n, class]``."""
    has_intercept: bool = True

    @property
    def num_columns(self) -> int:
        """Predictor columns: one for two classes (that of the second), else one a class."""
        return 1 if self.one_hot.shape[1] == 2 else self.one_hot.shape[1]

    def _logits(self, eta: np.ndarray) -> np.ndarray:
        return np.hstack([np.zeros_like(eta), eta]) if self.num_columns == 1 else eta

    def value(self, eta: np.ndarray) -> float:
        """Sum of log probabilities of the observed classes."""
        return float((log_softmax(self._logits(eta), axis=1) * self.one_hot).sum())

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """Observed minus predicted probability."""
        return (self.one_hot - softmax(self._logits(eta), axis=1))[:, -self.num_columns :]

    def curvature(self, eta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Negative Hessian times a direction."""
        p = softmax(self._logits(eta), axis=1)[:, -self.num_columns :]
        return p * direction - p * (p * direction).sum(axis=1, keepdims=True)

    def take(self, rows: np.ndarray) -> "SoftmaxLikelihood":
        """Keep some patients."""
        return SoftmaxLikelihood(one_hot=self.one_hot[rows])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class GaussianLikelihood:
    """Minus half the sum of squared errors."""

    values: np.ndarray
    num_columns: int = 1
    has_intercept: bool = True

    def value(self, eta: np.ndarray) -> float:
        """Minus half the sum of squares."""
        return float(-0.5 * ((self.values - eta[:, 0]) ** 2).sum())

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """Residuals."""
        return (self.values - eta[:, 0])[:, None]

    def curvature(self, eta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian is minus the identity."""
        return direction

    def take(self, rows: np.ndarray) -> "GaussianLikelihood":
        """Keep some patients."""
        return GaussianLikelihood(values=self.values[rows])
