"""Linear models that choose blocks or columns: group lasso, lasso with penalty factors, and lasso block by block.

Every model minimises ``- log-likelihood + sum_b penalty_b * norm(beta_b)``, the log-likelihood being the total over patients, by
accelerated proximal gradient steps (Beck & Teboulle, SIAM J Imaging Sci 2:183, 2009; restarted where the objective rises).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.evaluate.likelihoods import Likelihood
from oncoweave.train.ridge import Design, InnerFolds, design, inner_folds, maximise, score_path

Norm = Literal["group", "columns"]
"""group: the Euclidean norm of a block's coefficients, which drops blocks. columns: the sum of sizes, which drops columns."""

SparseKind = Literal["group_lasso", "ipf_lasso", "priority_lasso"]

_STEPS = 25
_WEAKEST = 0.01
"""Last penalty of a path, relative to the first, at which every coefficient is zero."""
_PATIENCE = 3
_ITERATIONS = 500


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sparse:
    """A fitted model."""

    beta: np.ndarray
    """``[p (+ 1 for the intercept, last), c]``."""
    names: tuple[str, ...]
    """Of the blocks, in the order in which they were handed in."""
    penalties: np.ndarray
    """``[block]``."""
    out_of_fold: np.ndarray
    """``[n, c]``: linear predictor of each patient by the inner model that left the patient out."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Problem:
    """Columns in blocks, and how their coefficients are penalised."""

    x: np.ndarray
    member: np.ndarray
    """``Int[p]``."""
    weights: np.ndarray
    """``[block]``: penalty factors."""
    norm: Norm

    def shrink(self, beta: np.ndarray, amount: float) -> np.ndarray:
        """Proximal step of the penalty: soft thresholds, of blocks or of single coefficients ``[p, c]``."""
        limit = amount * self.weights
        if self.norm == "columns":
            return np.sign(beta) * np.maximum(np.abs(beta) - limit[self.member][:, None], 0.0)
        length = np.sqrt(self.per_block((beta**2).sum(axis=1)))
        kept = np.maximum(1.0 - np.divide(limit, length, out=np.full_like(limit, np.inf), where=length > 0), 0.0)
        return beta * kept[self.member][:, None]

    def per_block(self, values: np.ndarray) -> np.ndarray:
        """Add up a value a column."""
        return np.bincount(self.member, weights=values, minlength=len(self.weights))

    def size(self, beta: np.ndarray) -> float:
        """The penalty of coefficients ``[p, c]``."""
        if self.norm == "columns":
            return float((self.weights[self.member][:, None] * np.abs(beta)).sum())
        return float(self.weights @ np.sqrt(self.per_block((beta**2).sum(axis=1))))

    def largest(self, gradient: np.ndarray) -> float:
        """The least penalty at which coefficients of zero are optimal, given the gradient ``[p, c]`` there."""
        if self.norm == "columns":
            return float((np.abs(gradient).max(axis=1) / self.weights[self.member]).max())
        return float((np.sqrt(self.per_block((gradient**2).sum(axis=1))) / self.weights).max())


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Offset:
    """A likelihood whose linear predictor has a part that is given."""

    likelihood: Likelihood
    offset: np.ndarray
    """``[n, c]``."""

    @property
    def num_columns(self) -> int:
        """Predictor columns."""
        return self.likelihood.num_columns

    @property
    def has_intercept(self) -> bool:
        """As the likelihood's."""
        return self.likelihood.has_intercept

    def value(self, eta: np.ndarray) -> float:
        """Total log-likelihood."""
        return self.likelihood.value(self.offset + eta)

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        """Derivative by the predictors."""
        return self.likelihood.gradient(self.offset + eta)

    def curvature(self, eta: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Negative Hessian times a direction."""
        return self.likelihood.curvature(self.offset + eta, direction)

    def take(self, rows: np.ndarray) -> "Offset":
        """Keep some patients."""
        return Offset(likelihood=self.likelihood.take(rows), offset=self.offset[rows])


def fit_sparse(likelihood: Likelihood, x: np.ndarray, groups: np.ndarray, labels: np.ndarray, *, kind: SparseKind) -> Sparse:
    """Fit on centred columns ``[n, p]`` in named blocks; the penalty is chosen on the inner folds ``labels`` ``[n]``.

    group_lasso: whole blocks stay or go (Yuan & Lin, J R Stat Soc B 68:49, 2006); a block's factor is the root of its total
        variance, which for standardised columns is the root of their number.
    ipf_lasso: columns stay or go, harder in blocks whose columns a ridge finds small: factors are one over the mean size of its
        coefficients (IPF-lasso, Boulesteix et al. 2017, in the two steps of Schulze 2017), found anew in every inner fold.
    priority_lasso: blocks in their order, each a lasso on what the earlier ones leave, which are told to it by cross-validated
        linear predictors (Klau et al., BMC Bioinformatics 19:322, 2018).

    Lassos see columns of unit variance; the group lasso sees them as they are scaled.
    """
    names, member = _blocks(groups)
    if kind == "group_lasso":
        return _group_lasso(likelihood, x, member, labels, names)
    deviation = x.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, np.inf)
    standard = x / deviation
    fit = _ipf_lasso if kind == "ipf_lasso" else _priority_lasso
    found = fit(likelihood, standard, member, labels, names)
    beta = found.beta.copy()
    beta[: x.shape[1]] /= deviation[:, None]
    return Sparse(beta=beta, names=found.names, penalties=found.penalties, out_of_fold=found.out_of_fold)


def _blocks(groups: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    names = tuple(dict.fromkeys(np.asarray(groups).astype(str).tolist()))
    place = {name: b for b, name in enumerate(names)}
    return names, np.array([place[str(g)] for g in groups])


def _group_lasso(likelihood: Likelihood, x: np.ndarray, member: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Sparse:
    total = np.bincount(member, weights=x.var(axis=0), minlength=len(names))
    weights = np.sqrt(np.where(total > 0, total, 1.0))
    # a rotation within a block changes no norm: a block of more columns than patients becomes as many as patients
    parts: list[Design] = [design(x[:, member == b], np.ones(int((member == b).sum()))) for b in range(len(names))]
    rotated = np.hstack([part.rotated for part in parts])
    places = np.repeat(np.arange(len(names)), [part.rotated.shape[1] for part in parts])
    problem = _Problem(x=rotated, member=places, weights=weights, norm="group")
    path = _cross_validate(inner_folds(likelihood, labels), problem, lambda _: weights)
    theta = path.theta
    beta = np.zeros((x.shape[1] + likelihood.has_intercept, likelihood.num_columns))
    for b, part in enumerate(parts):
        beta[: x.shape[1]][member == b] = part.coefficients(theta[: rotated.shape[1]][places == b])
    if likelihood.has_intercept:
        beta[-1] = theta[-1]
    return Sparse(beta=beta, names=names, penalties=path.penalty * weights, out_of_fold=path.out_of_fold)


def _ipf_lasso(likelihood: Likelihood, x: np.ndarray, member: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Sparse:
    folds = inner_folds(likelihood, labels)
    rotation = design(x, np.ones(x.shape[1]))
    penalty = score_path(folds, rotation.rotated).best

    def factors(fold: int | None) -> np.ndarray:
        rows = np.arange(len(x)) if fold is None else folds.rows[fold]
        part = design(x[rows], np.ones(x.shape[1]))
        theta = maximise(likelihood if fold is None else folds.parts[fold], part.rotated, penalty=penalty, tolerance=1e-6)
        size = np.abs(part.coefficients(theta[: part.rotated.shape[1]])).mean(axis=1)
        mean = np.bincount(member, weights=size) / np.bincount(member)
        logs = -np.log(np.maximum(mean, 1e-6 * max(float(mean.max()), np.finfo(float).tiny)))
        return np.exp(logs - logs.mean())

    weights = factors(None)
    path = _cross_validate(folds, _Problem(x=x, member=member, weights=weights, norm="columns"), factors)
    return Sparse(beta=path.theta, names=names, penalties=path.penalty * weights, out_of_fold=path.out_of_fold)


def _priority_lasso(
    likelihood: Likelihood, x: np.ndarray, member: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> Sparse:
    beta = np.zeros((x.shape[1] + likelihood.has_intercept, likelihood.num_columns))
    told, penalties = np.zeros((len(x), likelihood.num_columns)), []

    def alike(_: int | None) -> np.ndarray:
        return np.ones(1)

    for b in range(len(names)):
        columns = member == b
        problem = _Problem(x=x[:, columns], member=np.zeros(int(columns.sum()), dtype=int), weights=alike(None), norm="columns")
        path = _cross_validate(inner_folds(Offset(likelihood=likelihood, offset=told), labels), problem, alike)
        beta[: x.shape[1]][columns] = path.theta[: problem.x.shape[1]]
        if likelihood.has_intercept:
            beta[-1] += path.theta[-1]
        told = told + path.out_of_fold
        penalties.append(path.penalty)
    return Sparse(beta=beta, names=names, penalties=np.array(penalties), out_of_fold=told)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Chosen:
    penalty: float
    theta: np.ndarray
    out_of_fold: np.ndarray


def _cross_validate(folds: InnerFolds, problem: _Problem, weights: Callable[[int | None], np.ndarray]) -> _Chosen:
    """Choose the penalty of the highest cross-validated log-likelihood; ``weights(fold)`` are those without a fold."""
    start = _null(folds.whole, problem)
    eta = _predictor(folds.whole, problem.x, start)
    strongest = max(problem.largest(problem.x.T @ folds.whole.gradient(eta)), np.finfo(float).tiny)
    parts = [
        _Problem(x=problem.x[rows], member=problem.member, weights=weights(fold), norm=problem.norm)
        for fold, rows in enumerate(folds.rows)
    ]
    starts: Sequence[np.ndarray] = [_null(part, p) for part, p in zip(folds.parts, parts, strict=True)]
    best, best_total, since = strongest, -np.inf, 0
    out_of_fold = np.zeros((len(problem.x), folds.whole.num_columns))
    for penalty in strongest * np.geomspace(1.0, _WEAKEST, _STEPS):
        starts = [
            solve(likelihood, p, penalty=penalty, start=s, tolerance=1e-4)
            for likelihood, p, s in zip(folds.parts, parts, starts, strict=True)
        ]
        total, predictors = _held_out(folds, problem.x, starts)
        if total > best_total:
            best, best_total, since, out_of_fold = float(penalty), total, 0, predictors
        elif (since := since + 1) >= _PATIENCE:
            break
    theta = start
    for penalty in np.geomspace(strongest, best, 5):
        theta = solve(folds.whole, problem, penalty=float(penalty), start=theta)
    return _Chosen(penalty=best, theta=theta, out_of_fold=out_of_fold)


def _held_out(folds: InnerFolds, x: np.ndarray, thetas: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """Cross-validated log-likelihood (see ``ridge.cross_validate``); each patient's predictor by the fold that left him out."""
    total, out_of_fold = 0.0, np.full((len(x), folds.whole.num_columns), np.nan)
    for rows, part, theta in zip(folds.rows, folds.parts, thetas, strict=True):
        eta = _predictor(folds.whole, x, theta)
        total += folds.whole.value(eta) - part.value(eta[rows])
        left_out = np.setdiff1d(np.arange(len(x)), rows)
        out_of_fold[left_out] = eta[left_out]
    return total, out_of_fold


def _predictor(likelihood: Likelihood, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return x @ theta[: x.shape[1]] + (theta[-1] if likelihood.has_intercept else 0.0)


def _null(likelihood: Likelihood, problem: _Problem) -> np.ndarray:
    """Coefficients of zero with the best intercept."""
    theta = np.zeros((problem.x.shape[1] + likelihood.has_intercept, likelihood.num_columns))
    if likelihood.has_intercept:
        theta[-1] = maximise(likelihood, np.zeros((len(problem.x), 1)), penalty=1.0)[-1]
    return theta


def solve(likelihood: Likelihood, problem: _Problem, *, penalty: float, start: np.ndarray, tolerance: float = 1e-7) -> np.ndarray:
    """Minimise at one penalty; returns ``[p (+ 1 for the intercept), c]``.

    Stops when a step moves no linear predictor by more than ``tolerance``.
    """
    width, columns = problem.x.shape[1], problem.x
    if likelihood.has_intercept:
        columns = np.hstack([columns, np.ones((len(columns), 1))])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        eta = columns @ theta
        return -likelihood.value(eta), eta

    theta, ahead, momentum = start, start, 1.0
    bound = _steepness(likelihood, columns, start)
    value, eta = loss(theta)
    objective = value + penalty * problem.size(theta[:width])
    for _ in range(_ITERATIONS):
        at, at_eta = loss(ahead)
        slope = -(columns.T @ likelihood.gradient(at_eta))
        while True:
            proposed = ahead - slope / bound
            proposed[:width] = problem.shrink(proposed[:width], penalty / bound)
            move = proposed - ahead
            value, proposed_eta = loss(proposed)
            if value <= at + float((slope * move).sum()) + bound / 2 * float((move**2).sum()) + 1e-12 * abs(at):
                break
            bound *= 2
        new = value + penalty * problem.size(proposed[:width])
        if new > objective and momentum > 1.0:
            ahead, momentum = theta, 1.0  # too much momentum: from here without it
            continue
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = proposed + (momentum - 1) / following * (proposed - theta)
        moved = float(np.abs(proposed_eta - eta).max())
        theta, eta, objective, momentum = proposed, proposed_eta, new, following
        if moved < tolerance:
            break
    return theta


def _steepness(likelihood: Likelihood, columns: np.ndarray, theta: np.ndarray) -> float:
    """Largest curvature of the loss at a start, by a few power iterations; backtracking raises it where it does not hold."""
    eta = columns @ theta
    direction = columns.T @ likelihood.gradient(eta)
    direction = direction if np.abs(direction).max() > 1e-9 else np.ones_like(direction)
    size = 1.0
    for _ in range(8):
        direction = direction / np.linalg.norm(direction)
        direction = columns.T @ likelihood.curvature(eta, columns @ direction)
        size = float(np.linalg.norm(direction))
        if size < 1e-9:
            return 1.0
    return size
