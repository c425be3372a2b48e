"""Stacking: non-negative weights on out-of-fold evidence, shrunk to a common weight; a modality without skill is dropped."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from oncoweave.core.endpoint import Target
from oncoweave.core.ranges import Positive
from oncoweave.core.settings import ranged
from oncoweave.evaluate.likelihoods import GaussianLikelihood, Likelihood, SoftmaxLikelihood, cox_likelihood
from oncoweave.nn.availability import present_scores
from oncoweave.nn.evidence import EvidenceScale, evidence_scale

STAGE = "late"

_MIN_PAIRS = 20
"""Patients who have two modalities, below whom their correlation is taken as zero."""


@ranged
class Config:
    """How far weights may leave the common one."""

    prior_sd: Positive = 0.5
    """Standard deviation of a modality's weight about the common weight, before the outcome is seen; evidence that stands alone
    has weight 1."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Evidence of an absent modality is replaced by its regression on the evidence present.

    So modalities that tell the same stand in for each other, and one that tells something of its own is missed: its share stays
    at the average patient. Without correlations this is a plain weighted sum, with perfect ones a renormalised one.
    """

    scale: EvidenceScale
    weights: np.ndarray
    """``[m, k]``, non-negative; k is 1, or one a label. 0 drops a modality."""
    intercept: np.ndarray
    """``[c]``, on the scale of evidence."""
    covariance: np.ndarray
    """``[m, m]``: of the evidence of the training patients."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Combine ``[n, m, c]`` to ``[n, c]``; NaN is an absent modality."""
        present_scores(scores, self.scale.base.shape)
        evidence = complete(self.scale.evidence(scores), self.covariance)
        return self.scale.scores(self.intercept + (evidence * self.weights).sum(axis=1))


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Fit the weights on out-of-fold scores ``[n, m, c]`` of the training patients.

    First each modality is calibrated by itself: the slope b of the outcome on its evidence, shrunk by (1 - t se^2 / b^2) and cut
    at 0 (the positive part of James & Stein 1961), with t = max(1, 2 log m), beyond which the largest of m slopes without skill
    seldom comes (Donoho & Johnstone 1994). Then non-negative weights on the calibrated evidence maximise likelihood and prior
    together, the prior being normal about a weight common to all (Breiman 1996 for non-negative stacking). Where no modality has
    skill, all get the same small weight.
    """
    present_scores(scores)
    scores, target = scores[target.known], target.take(target.known)
    scale = evidence_scale(scores, target)
    evidence = scale.evidence(scores)
    covariance = _covariance(evidence)
    completed = complete(evidence, covariance)
    problems = [
        _Problem(
            likelihood=likelihood, evidence=_contrast(evidence[rows], columns), completed=_contrast(completed[rows], columns)
        )
        for likelihood, rows, columns in _outcomes(target)
    ]
    solved = [problem.solve(config.prior_sd) for problem in problems]
    intercept = np.concatenate([offset for _, offset in solved])
    if target.endpoint.kind != "multilabel" and len(intercept) < scores.shape[2]:
        intercept = np.array([-0.5, 0.5]) * intercept  # two named classes, fitted on their difference
    return Fitted(scale=scale, weights=np.stack([w for w, _ in solved], axis=1), intercept=intercept, covariance=covariance)


def complete(evidence: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Fill the evidence ``[n, m, c]`` of absent modalities with its expectation given those present (a joint normal about 0)."""
    absent = np.isnan(evidence).all(axis=2)
    result = np.where(absent[:, :, None], 0.0, evidence)
    for pattern in np.unique(absent, axis=0):
        if not pattern.any():
            continue
        rows = (absent == pattern).all(axis=1)
        has = ~pattern
        slopes = np.linalg.solve(covariance[np.ix_(has, has)], covariance[np.ix_(has, pattern)])
        result[np.ix_(rows, pattern)] = np.einsum("nhc,ha->nac", result[np.ix_(rows, has)], slopes)
    return result


def _covariance(evidence: np.ndarray) -> np.ndarray:
    """Covariance over patients who have both modalities, correlations shrunk by a twentieth and made positive definite."""
    num = evidence.shape[1]
    spread = np.array(
        [np.sqrt(np.nanmean(evidence[:, m] ** 2)) if (~np.isnan(evidence[:, m])).any() else 0.0 for m in range(num)]
    )
    spread = np.where(spread > 0, spread, 1.0)
    correlation = np.eye(num)
    for a in range(num):
        for b in range(a):
            both = evidence[:, a] * evidence[:, b]
            if (~np.isnan(both)).all(axis=1).sum() >= _MIN_PAIRS:
                correlation[a, b] = correlation[b, a] = 0.95 * np.nanmean(both) / (spread[a] * spread[b])
    values, vectors = np.linalg.eigh(correlation)
    positive = (vectors * np.maximum(values, 0.02)) @ vectors.T
    return positive * np.outer(spread, spread)


def _outcomes(target: Target) -> list[tuple[Likelihood, np.ndarray, slice]]:
    """Likelihoods to be stacked, with the patients and score columns of each: one, or one a label."""
    kind, everyone, every_column = target.endpoint.kind, np.ones(len(target), dtype=bool), slice(None)
    if kind == "survival":
        return [(cox_likelihood(target.time, target.event), everyone, every_column)]
    if kind == "regression":
        values = (target.values - target.values.mean()) / (target.values.std() or 1.0)
        return [(GaussianLikelihood(values=values), everyone, every_column)]
    if kind == "multilabel":
        known = ~np.isnan(target.values)
        return [(_classes(target.values[k, i], 2), k, slice(i, i + 1)) for i, k in enumerate(known.T)]
    num_classes = 2 if kind == "binary" else len(target.endpoint.classes)
    return [(_classes(target.values, num_classes), everyone, every_column)]


def _classes(values: np.ndarray, num_classes: int) -> SoftmaxLikelihood:
    return SoftmaxLikelihood(one_hot=np.eye(num_classes)[values.astype(int)])


def _contrast(evidence: np.ndarray, columns: slice) -> np.ndarray:
    """Choose columns; two named classes become the difference that the logistic likelihood takes."""
    chosen = evidence[:, :, columns]
    return np.diff(chosen, axis=2) if chosen.shape[2] == 2 else chosen


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Problem:
    """Weights of m modalities for one likelihood."""

    likelihood: Likelihood
    evidence: np.ndarray
    """``[n, m, c]``, NaN where absent."""
    completed: np.ndarray

    def solve(self, prior_sd: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weights ``[m]`` and intercept ``[c]``."""
        num = self.evidence.shape[1]
        candidates = int((~np.isnan(self.evidence)).any(axis=(0, 2)).sum())
        threshold = max(1.0, 2.0 * float(np.log(max(candidates, 1))))
        slopes = np.array([self._slope(m, threshold) for m in range(num)])
        useful = slopes > 0
        if not useful.any():
            return np.full(num, 1.0 / num), np.zeros(self.likelihood.num_columns)
        calibrated = (self.completed * slopes[:, None])[:, useful]
        count = int(useful.sum())
        start = np.concatenate([np.full(count, 1.0 / count), np.zeros(self.likelihood.num_columns)])
        free = (None, None) if self.likelihood.has_intercept else (0.0, 0.0)
        bounds = [(0.0, None)] * count + [free] * self.likelihood.num_columns

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            weights, offset = parameters[:count], parameters[count:]
            eta = (calibrated * weights[:, None]).sum(axis=1) + offset
            residual, apart = self.likelihood.gradient(eta), weights - weights.mean()
            gradient = np.concatenate([np.einsum("nmc,nc->m", calibrated, residual) - apart / prior_sd**2, residual.sum(axis=0)])
            return -self.likelihood.value(eta) + 0.5 * float((apart**2).sum()) / prior_sd**2, -gradient

        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12})
        weights = np.zeros(num)
        weights[useful] = found.x[:count] * slopes[useful]
        return weights, found.x[count:]

    def _slope(self, m: int, threshold: float) -> float:
        """Slope of the outcome on one modality's evidence alone, shrunk by its variance times the threshold and cut at 0."""
        rows = np.flatnonzero(~np.isnan(self.evidence[:, m]).any(axis=1))
        spread = float(np.sqrt(np.mean(self.evidence[rows, m] ** 2))) if len(rows) else 0.0
        if spread == 0:
            return 0.0
        part, alone = self.likelihood.take(rows), self.evidence[rows, m] / spread
        columns = part.num_columns
        features = [alone] + [np.tile(unit, (len(rows), 1)) for unit in np.eye(columns)] * part.has_intercept
        # a faint pull to zero keeps separated outcomes, and the one redundant class intercept, finite
        pull, theta = 1e-2 * np.eye(len(features)), np.zeros(len(features))
        for _ in range(50):
            eta = np.tensordot(theta, features, axes=1)
            residual = part.gradient(eta)
            gradient = np.array([float((f * residual).sum()) for f in features]) - pull @ theta
            curved = [part.curvature(eta, f) for f in features]
            information = np.array([[float((f * c).sum()) for c in curved] for f in features]) + pull
            step = np.linalg.solve(information, gradient)
            theta = theta + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-8:
                break
        slope, variance = theta[0], np.linalg.inv(information)[0, 0]
        return float(max(slope - threshold * variance / slope, 0.0) / spread) if slope > 0 else 0.0
