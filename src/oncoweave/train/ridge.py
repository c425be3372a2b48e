"""Ridge-penalised likelihoods by Newton steps whose linear systems are solved by conjugate gradients.

One solver serves Cox, logistic, softmax and Gaussian likelihoods. Every function maximises

    log-likelihood(x @ beta + intercept) - 1/2 * sum_j penalty_j * beta_j ** 2,

a total over patients, not a mean. With more columns than patients the columns are first replaced by a square root of their
Gram matrix (a rotation of the row space, which leaves the ridge solution unchanged), so that the cost follows the number of
patients; see van de Wiel et al., J Comput Graph Stat 30:835, 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from oncoweave.evaluate.likelihoods import Likelihood

_JITTER = 1e-10
"""Relative weight of the identity added to a Gram matrix before its Cholesky factor; centred columns make it singular."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Design:
    """Columns rotated so that every rotated coefficient carries the same penalty."""

    rotated: np.ndarray
    """``[n, r]``, r at most the number of patients."""
    columns: np.ndarray
    """``[n, p]``: the columns over the root of their penalty factors."""
    factors: np.ndarray
    is_gram: bool

    def coefficients(self, theta: np.ndarray) -> np.ndarray:
        """Coefficients ``[p, c]`` of the original columns."""
        scaled = self.columns.T @ solve_triangular(self.rotated, theta, lower=True, trans="T") if self.is_gram else theta
        return scaled / np.sqrt(self.factors)[:, None]


def design(x: np.ndarray, factors: np.ndarray) -> Design:
    """Rotate columns ``[n, p]`` whose penalties are multiplied by ``factors`` ``[p]``."""
    columns = x / np.sqrt(factors)
    if x.shape[1] <= x.shape[0]:
        return Design(rotated=columns, columns=columns, factors=factors, is_gram=False)
    return Design(rotated=gram_root(columns @ columns.T), columns=columns, factors=factors, is_gram=True)


def gram_root(gram: np.ndarray) -> np.ndarray:
    """Lower-triangular root of a Gram matrix ``[n, n]``."""
    jitter = _JITTER * max(float(np.trace(gram)) / len(gram), np.finfo(float).tiny)
    return np.linalg.cholesky(gram + jitter * np.eye(len(gram)))


def maximise(
    likelihood: Likelihood, z: np.ndarray, *, penalty: float, start: np.ndarray | None = None, tolerance: float = 1e-12
) -> np.ndarray:
    """Maximise a penalised likelihood; returns ``[r (+ 1 for the intercept, last, unpenalised), c]``.

    Stops when a full Newton step promises less than ``tolerance`` of log-likelihood.
    """
    columns = np.hstack([z, np.ones((len(z), 1))]) if likelihood.has_intercept else z
    weights = np.full((columns.shape[1], 1), penalty)
    if likelihood.has_intercept:
        weights[-1] = 0.0
    theta = np.zeros((columns.shape[1], likelihood.num_columns)) if start is None else start
    objective = likelihood.value(columns @ theta) - 0.5 * float((weights * theta**2).sum())
    for _ in range(100):
        eta = columns @ theta
        gradient = columns.T @ likelihood.gradient(eta) - weights * theta
        step = _newton_step(likelihood, columns, weights=weights, eta=eta, gradient=gradient)
        gain = float((gradient * step).sum())
        if gain <= 2 * tolerance:
            return theta
        size = 1.0
        while size > 1e-8:
            proposed = theta + size * step
            value = likelihood.value(columns @ proposed) - 0.5 * float((weights * proposed**2).sum())
            if value >= objective + 1e-4 * size * gain:
                break
            size /= 2
        else:
            return theta  # no step improves on it in floating point
        theta, objective = proposed, value
    return theta


def _newton_step(
    likelihood: Likelihood, columns: np.ndarray, *, weights: np.ndarray, eta: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    """Solve (columns' H columns + weights) step = gradient to a precision that tightens as the gradient vanishes."""
    step = np.zeros_like(gradient)
    residual, direction = gradient, gradient
    squared = float((residual**2).sum())
    goal = squared * min(1e-2, squared**0.5)
    for _ in range(4 * gradient.size):
        if squared <= goal:
            break
        product = columns.T @ likelihood.curvature(eta, columns @ direction) + weights * direction
        curvature = float((direction * product).sum())
        if curvature <= 0:
            break  # a direction the outcome says nothing about and no penalty holds
        step = step + squared / curvature * direction
        residual = residual - squared / curvature * product
        previous, squared = squared, float((residual**2).sum())
        direction = residual + squared / previous * direction
    return step


def penalty_path(likelihood: Likelihood, z: np.ndarray, *, num: int = 12) -> np.ndarray:
    """Penalties from one that flattens every coefficient to one that barely binds, geometrically spaced.

    The largest is ten times the trace of the information at zero; the smallest is a hundred-thousandth of that.
    """
    eta = np.zeros((len(z), likelihood.num_columns))
    weight = float(np.abs(likelihood.gradient(eta)).sum()) / 2
    scale = max(weight * float((z**2).sum()) / len(z), np.finfo(float).tiny)
    return scale * np.geomspace(10.0, 1e-4, num)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class InnerFolds:
    """A likelihood and its inner folds, for cross-validated log-likelihoods."""

    whole: Likelihood
    rows: tuple[np.ndarray, ...]
    """For each fold the patients that are fitted."""
    parts: tuple[Likelihood, ...]


def inner_folds(likelihood: Likelihood, labels: np.ndarray) -> InnerFolds:
    """Prepare the folds named by ``labels`` ``[n]``."""
    rows = tuple(np.flatnonzero(labels != k) for k in np.unique(labels))
    return InnerFolds(whole=likelihood, rows=rows, parts=tuple(likelihood.take(r) for r in rows))


def cross_validate(
    folds: InnerFolds, z: np.ndarray, *, penalty: float, starts: Sequence[np.ndarray | None], tolerance: float = 1e-4
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Cross-validated log-likelihood of each fold (Verweij & van Houwelingen, Stat Med 12:2305, 1993), and the fold solutions.

    A fold contributes the log-likelihood of all patients minus that of its fitted ones, so that a fold with few events counts for
    what it holds. The third result, ``[n, c]``, is each patient's linear predictor by the solution that left the patient out.
    """
    contributions, solutions = [], []
    out_of_fold = np.full((len(z), folds.whole.num_columns), np.nan)
    for rows, part, start in zip(folds.rows, folds.parts, starts, strict=True):
        theta = maximise(part, z[rows], penalty=penalty, start=start, tolerance=tolerance)
        eta = z @ theta[: z.shape[1]] + (theta[-1] if part.has_intercept else 0.0)
        contributions.append(folds.whole.value(eta) - part.value(eta[rows]))
        solutions.append(theta)
        left_out = np.ones(len(z), dtype=bool)
        left_out[rows] = False
        out_of_fold[left_out] = eta[left_out]
    return np.array(contributions), solutions, out_of_fold


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class PathScores:
    """Cross-validated log-likelihoods along a path of penalties."""

    penalties: np.ndarray
    """``[step]``, from strong to weak."""
    contributions: np.ndarray
    """``[step, fold]``."""
    out_of_fold: np.ndarray
    """``[n, c]``: at the best penalty, each patient's linear predictor by the fold that left the patient out."""

    @property
    def best(self) -> float:
        """The penalty of the highest total."""
        return float(self.penalties[self.contributions.sum(axis=1).argmax()])

    @property
    def fair_total(self) -> float:
        """Total in which each fold is judged at the penalty that the other folds choose, so that choosing does not flatter it."""
        others = self.contributions.sum(axis=1, keepdims=True) - self.contributions
        chosen = others.argmax(axis=0)
        return float(self.contributions[chosen, np.arange(self.contributions.shape[1])].sum())


def score_path(folds: InnerFolds, z: np.ndarray, *, num: int = 12, patience: int = 3) -> PathScores:
    """Cross-validate a path of penalties with warm starts.

    The path ends early when ``patience`` penalties in a row did not improve: the weak end costs most and has overfitted by then.
    """
    path = penalty_path(folds.whole, z, num=num)
    scores: list[np.ndarray] = []
    starts: list[np.ndarray | None] = [None] * len(folds.rows)
    for penalty in path:
        contributions, solutions, predictors = cross_validate(folds, z, penalty=float(penalty), starts=starts)
        starts = list(solutions)
        scores.append(contributions)
        best = int(np.argmax([c.sum() for c in scores]))
        if best == len(scores) - 1:
            out_of_fold = predictors
        elif len(scores) - 1 - best >= patience:
            break
    return PathScores(penalties=path[: len(scores)], contributions=np.stack(scores), out_of_fold=out_of_fold)
