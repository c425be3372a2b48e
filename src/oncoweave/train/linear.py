"""Penalised linear models: Cox, logistic (two or more classes) and regression; ridge, or with a penalty a block of columns.

Penalty convention: every model maximises ``log-likelihood - penalty / 2 * sum_j factor_j * beta_j ** 2``, where the
log-likelihood is the total over patients (for regression, minus half the sum of squared errors). So ``penalty`` equals
scikit-survival's ``alpha`` of ``CoxPHSurvivalAnalysis``, scikit-learn's ``1 / C`` of ``LogisticRegression`` and ``alpha`` of
``Ridge``; lifelines' ``penalizer`` is ``penalty / n`` on columns of unit standard deviation. Columns are centred on the training
mean and not scaled: hand in columns on comparable scales. The intercept is not penalised.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, softmax

from oncoweave.core.errors import DataError
from oncoweave.evaluate.curves import BaselineHazard, breslow_baseline, survival_at
from oncoweave.evaluate.likelihoods import GaussianLikelihood, Likelihood, SoftmaxLikelihood, cox_likelihood
from oncoweave.evaluate.partial_likelihood import Ties
from oncoweave.train.block_ridge import choose_block_penalties, fit_blocks, split_blocks
from oncoweave.train.ridge import (
    design,
    inner_folds,
    maximise,
    score_path,
)
from oncoweave.train.sparse import SparseKind, fit_sparse

_FOLDS = 5

BlockPenalty = Literal["per_modality"] | SparseKind
"""per_modality: a ridge penalty a block (``train.block_ridge``). The others choose blocks or columns (``train.sparse``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalty:
    """How strongly a fitted model was shrunk."""

    values: tuple[float, ...]
    """One, or one a block; infinite where a block was dropped."""
    blocks: tuple[str, ...] = ()
    """Names of the blocks; empty for a common penalty."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class RidgeCox:
    """A fitted Cox model; its log-risk is 0 for the average training patient."""

    coefficients: np.ndarray
    """``[p]``."""
    centre: np.ndarray
    """``[p]``: training means of the columns."""
    penalty: Penalty
    baseline: BaselineHazard
    out_of_fold: np.ndarray | None = None
    """``[n, 1]``: log-risk of the training patients, each by the inner fold that left the patient out; None where the penalty was
    given."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Log-risk, ``[n, 1]``."""
        return (_matrix(x, len(self.centre)) - self.centre) @ self.coefficients[:, None]

    def survival(self, x: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Predict ``S(t)``, ``[n, t]``."""
        return survival_at(self.baseline, self.predict(x)[:, 0], times)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class RidgeLogistic:
    """A fitted logistic (two classes, one column of coefficients) or multinomial model."""

    coefficients: np.ndarray
    """``[p, c]``."""
    intercept: np.ndarray
    """``[c]``, at the training means."""
    centre: np.ndarray
    penalty: Penalty
    out_of_fold: np.ndarray | None = None
    """``[n, c]``: probabilities of the training patients, each by the inner fold that left the patient out; None where the
    penalty was given."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities: ``[n, 1]`` of the second of two classes, else ``[n, class]``."""
        return _probabilities((_matrix(x, len(self.centre)) - self.centre) @ self.coefficients + self.intercept)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Ridge:
    """A fitted linear regression."""

    coefficients: np.ndarray
    """``[p]``."""
    intercept: float
    centre: np.ndarray
    penalty: Penalty
    out_of_fold: np.ndarray | None = None
    """``[n, 1]``: values of the training patients, each by the inner fold that left the patient out; None where the penalty was
    given."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Values, ``[n, 1]``."""
        return (_matrix(x, len(self.centre)) - self.centre) @ self.coefficients[:, None] + self.intercept


def fit_ridge_cox(
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    *,
    penalty: float | None = None,
    ties: Ties = "efron",
    penalty_factors: np.ndarray | None = None,
    inner: np.ndarray | None = None,
) -> RidgeCox:
    """Fit a ridge-penalised Cox model.

    Args:
        x: ``[n, p]``, finite; p may exceed n.
        time: ``[n]`` in any unit, which the baseline hazard keeps.
        event: ``[n]``, True where the event happened.
        penalty: see the module; None chooses it on the inner folds by cross-validated partial likelihood.
        ties: how tied events share their denominator.
        penalty_factors: ``[p]``, positive; multiply the penalty column by column.
        inner: ``Int[n]``, inner fold of each patient; by default five folds balanced by event and time.

    Raises:
        DataError: nothing happened to anybody, or the arrays cannot be used.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    _refuse_no_events(event)
    likelihood = cox_likelihood(time, event, ties=ties)
    labels = _labels(np.lexsort((time, event))) if inner is None else inner
    return _cox(x, time, event, _fit(likelihood, x, penalty=penalty, factors=penalty_factors, labels=labels))


def fit_block_cox(
    x: np.ndarray,
    groups: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    *,
    kind: BlockPenalty = "per_modality",
    ties: Ties = "efron",
    inner: np.ndarray | None = None,
) -> RidgeCox:
    """Fit a Cox model in which each block of columns has its own penalty, chosen on the inner folds.

    ``groups`` ``[p]`` names the block of each column. A block that does not help out of fold is shrunk away or dropped.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    _refuse_no_events(event)
    likelihood = cox_likelihood(time, event, ties=ties)
    labels = _labels(np.lexsort((time, event))) if inner is None else inner
    return _cox(x, time, event, _fit_blockwise(likelihood, x, groups, labels=labels, kind=kind))


def fit_ridge_logistic(
    x: np.ndarray,
    y: np.ndarray,
    *,
    num_classes: int = 2,
    penalty: float | None = None,
    penalty_factors: np.ndarray | None = None,
    inner: np.ndarray | None = None,
) -> RidgeLogistic:
    """Fit a ridge-penalised logistic (two classes) or multinomial model; ``y`` ``[n]`` holds class indices.

    Arguments as for :func:`fit_ridge_cox`. With more than two classes the coefficients of a column sum to zero over classes.
    """
    likelihood, order = _softmax(y, num_classes)
    labels = _labels(order) if inner is None else inner
    return _logistic(_fit(likelihood, x, penalty=penalty, factors=penalty_factors, labels=labels))


def fit_block_logistic(
    x: np.ndarray,
    groups: np.ndarray,
    y: np.ndarray,
    *,
    num_classes: int = 2,
    kind: BlockPenalty = "per_modality",
    inner: np.ndarray | None = None,
) -> RidgeLogistic:
    """Fit a logistic or multinomial model with a penalty a block; see :func:`fit_block_cox`."""
    likelihood, order = _softmax(y, num_classes)
    labels = _labels(order) if inner is None else inner
    return _logistic(_fit_blockwise(likelihood, x, groups, labels=labels, kind=kind))


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    *,
    penalty: float | None = None,
    penalty_factors: np.ndarray | None = None,
    inner: np.ndarray | None = None,
) -> Ridge:
    """Fit a ridge regression on ``y`` ``[n]``; arguments as for :func:`fit_ridge_cox`."""
    y = np.asarray(y, dtype=float)
    labels = _labels(np.argsort(y, kind="stable")) if inner is None else inner
    return _ridge(_fit(GaussianLikelihood(values=y), x, penalty=penalty, factors=penalty_factors, labels=labels), scale=1.0)


def fit_block_regression(
    x: np.ndarray, groups: np.ndarray, y: np.ndarray, *, kind: BlockPenalty = "per_modality", inner: np.ndarray | None = None
) -> Ridge:
    """Fit a regression with a penalty a block; see :func:`fit_block_cox`."""
    y = np.asarray(y, dtype=float)
    labels = _labels(np.argsort(y, kind="stable")) if inner is None else inner
    # the search compares log-likelihoods, which are on the scale of the outcome's variance
    scale = float(y.std()) or 1.0
    solved = _fit_blockwise(GaussianLikelihood(values=y / scale), x, groups, labels=labels, kind=kind)
    return _ridge(solved, scale=scale)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Solution:
    beta: np.ndarray
    """``[p (+ 1 for the intercept, last), c]``."""
    centre: np.ndarray
    penalty: Penalty
    out_of_fold: np.ndarray | None
    """``[n, c]``: linear predictors."""


def _fit(
    likelihood: Likelihood, x: np.ndarray, *, penalty: float | None, factors: np.ndarray | None, labels: np.ndarray
) -> _Solution:
    x = _matrix(x)
    factors = np.ones(x.shape[1]) if factors is None else np.asarray(factors, dtype=float)
    if factors.shape != (x.shape[1],) or not (factors > 0).all() or not np.isfinite(factors).all():
        msg = f"wanted {x.shape[1]} positive finite penalty factors, one a column, got shape {factors.shape}: {factors}"
        raise DataError(msg)
    centre = x.mean(axis=0)
    rotation = design(x - centre, factors)
    out_of_fold = None
    if penalty is None:
        path = score_path(inner_folds(likelihood, labels), rotation.rotated)
        penalty, out_of_fold = path.best, path.out_of_fold
    theta = maximise(likelihood, rotation.rotated, penalty=penalty)
    beta = rotation.coefficients(theta[: rotation.rotated.shape[1]])
    beta = np.vstack([beta, theta[-1:]]) if likelihood.has_intercept else beta
    return _Solution(beta=beta, centre=centre, penalty=Penalty(values=(float(penalty),)), out_of_fold=out_of_fold)


def _fit_blockwise(
    likelihood: Likelihood, x: np.ndarray, groups: np.ndarray, *, labels: np.ndarray, kind: BlockPenalty
) -> _Solution:
    x = _matrix(x)
    if len(groups) != x.shape[1]:
        msg = f"wanted a block name for each of {x.shape[1]} columns, got {len(groups)}"
        raise DataError(msg)
    centre = x.mean(axis=0)
    if kind != "per_modality":
        sparse = fit_sparse(likelihood, x - centre, groups, labels, kind=kind)
        chosen = Penalty(values=tuple(float(v) for v in sparse.penalties), blocks=sparse.names)
        return _Solution(beta=sparse.beta, centre=centre, penalty=chosen, out_of_fold=sparse.out_of_fold)
    blocks = split_blocks(x - centre, groups)
    penalties, out_of_fold = choose_block_penalties(likelihood, blocks, labels)
    chosen = Penalty(values=tuple(float(v) for v in penalties), blocks=blocks.names)
    return _Solution(beta=fit_blocks(likelihood, blocks, penalties), centre=centre, penalty=chosen, out_of_fold=out_of_fold)


def _cox(x: np.ndarray, time: np.ndarray, event: np.ndarray, solved: _Solution) -> RidgeCox:
    beta, centre = solved.beta[:, 0], solved.centre
    baseline = breslow_baseline(time, event, (x - centre) @ beta)
    return RidgeCox(coefficients=beta, centre=centre, penalty=solved.penalty, baseline=baseline, out_of_fold=solved.out_of_fold)


def _logistic(solved: _Solution) -> RidgeLogistic:
    return RidgeLogistic(
        coefficients=solved.beta[:-1],
        intercept=solved.beta[-1],
        centre=solved.centre,
        penalty=solved.penalty,
        out_of_fold=None if solved.out_of_fold is None else _probabilities(solved.out_of_fold),
    )


def _ridge(solved: _Solution, *, scale: float) -> Ridge:
    beta = scale * solved.beta[:, 0]
    return Ridge(
        coefficients=beta[:-1],
        intercept=float(beta[-1]),
        centre=solved.centre,
        penalty=solved.penalty,
        out_of_fold=None if solved.out_of_fold is None else scale * solved.out_of_fold,
    )


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _softmax(y: np.ndarray, num_classes: int) -> tuple[SoftmaxLikelihood, np.ndarray]:
    y = np.asarray(y)
    if not np.isin(y, np.arange(num_classes)).all():
        strange = y[~np.isin(y, np.arange(num_classes))][0]
        msg = f"wanted class indices 0 to {num_classes - 1}, got {strange:g}; drop unknown outcomes first"
        raise DataError(msg)
    present = np.unique(y)
    if len(present) < 2:
        msg = f"wanted patients of at least two classes, got {len(y)} patients all of class {present.tolist()}"
        raise DataError(msg)
    return SoftmaxLikelihood(one_hot=np.eye(num_classes)[y.astype(int)]), np.argsort(y, kind="stable")


def _labels(order: np.ndarray) -> np.ndarray:
    """Deal patients to folds in turn along an order, so that every fold spans it."""
    labels = np.empty(len(order), dtype=int)
    labels[order] = np.arange(len(order)) % _FOLDS
    return labels


def _refuse_no_events(event: np.ndarray) -> None:
    if not event.any():
        msg = f"wanted at least one event, got none among {len(event)} patients; a Cox model has nothing to learn from"
        raise DataError(msg)


def _matrix(x: np.ndarray, width: int | None = None) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or (width is not None and x.shape[1] != width):
        msg = f"wanted columns [n, {width or 'p'}], got an array of shape {x.shape}"
        raise DataError(msg)
    bad = ~np.isfinite(x)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        msg = f"wanted finite columns, got {x[row, column]} in row {row}, column {column} ({int(bad.sum())} such); impute first"
        raise DataError(msg)
    return x
