"""Linear heads: the penalised linear model that fits each kind of endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.train.linear import (
    BlockPenalty,
    Ridge,
    RidgeCox,
    RidgeLogistic,
    fit_block_cox,
    fit_block_logistic,
    fit_block_regression,
    fit_ridge,
    fit_ridge_cox,
    fit_ridge_logistic,
)


@runtime_checkable
class Head(Protocol):
    """A fitted linear model on fused columns; ``predict`` follows the convention of late fusion, ``[n, c]``."""

    @property
    def num_outputs(self) -> int:
        """Columns of what it predicts."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return ``[n, c]``."""


@runtime_checkable
class Linear(Protocol):
    """What ``train.linear`` fits."""

    @property
    def coefficients(self) -> np.ndarray:
        """``[p]`` or ``[p, c]``."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return ``[n, c]``."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SingleHead:
    """One linear model: log-risk, the positive class's probability, class probabilities, or a value."""

    model: Linear
    num_outputs: int

    @property
    def coefficients(self) -> np.ndarray:
        """Those of the model."""
        return self.model.coefficients

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return ``[n, c]``; a model of two named classes gives both."""
        return _columns(self.model.predict(x), self.num_outputs)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class LabelHeads:
    """One logistic model a label; a label with one known class in training is predicted at its training rate."""

    models: tuple[Linear | None, ...]
    rates: tuple[float, ...]
    num_outputs: int

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probability of each label, ``[n, label]``."""
        columns = [
            np.full(len(x), rate) if model is None else model.predict(x)[:, 0]
            for model, rate in zip(self.models, self.rates, strict=True)
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Penalised:
    """Columns in blocks that are penalised apart."""

    groups: np.ndarray
    """``Text[p]``: the block of each column."""
    kind: BlockPenalty = "per_modality"


def fit_head(x: np.ndarray, target: Target, *, inner: np.ndarray, blocks: Penalised | None) -> tuple[Head, np.ndarray]:
    """Fit the linear model of the target's kind on ``x`` ``[n, p]``; its penalty is chosen on the inner folds ``[n]``.

    Also returns the predictions ``[n, c]`` that choosing the penalty leaves behind: each patient's by the inner model that left
    the patient out. Ordinal endpoints are fitted as classes. ``blocks`` None is one ridge penalty for all columns.
    """
    fit = _FIT[target.endpoint.kind]
    return fit(x, target, inner, blocks)


def _cox(x: np.ndarray, target: Target, inner: np.ndarray, blocks: Penalised | None) -> tuple[Head, np.ndarray]:
    if blocks is None:
        model = fit_ridge_cox(x, target.time, target.event, inner=inner)
    else:
        model = fit_block_cox(x, blocks.groups, target.time, target.event, kind=blocks.kind, inner=inner)
    return _single(model, num_outputs=1)


def _single(model: RidgeCox | RidgeLogistic | Ridge, *, num_outputs: int) -> tuple[SingleHead, np.ndarray]:
    """Part a fitted model from the predictions for its training patients, which are not stored with it."""
    assert model.out_of_fold is not None, "a head chooses its penalty on the inner folds"
    return SingleHead(model=replace(model, out_of_fold=None), num_outputs=num_outputs), _columns(model.out_of_fold, num_outputs)


def _columns(predicted: np.ndarray, num_outputs: int) -> np.ndarray:
    return np.hstack([1 - predicted, predicted]) if num_outputs == 2 else predicted


def _logistic(x: np.ndarray, y: np.ndarray, num_classes: int, inner: np.ndarray, blocks: Penalised | None) -> RidgeLogistic:
    if blocks is None:
        return fit_ridge_logistic(x, y, num_classes=num_classes, inner=inner)
    return fit_block_logistic(x, blocks.groups, y, num_classes=num_classes, kind=blocks.kind, inner=inner)


def _classes(x: np.ndarray, target: Target, inner: np.ndarray, blocks: Penalised | None) -> tuple[Head, np.ndarray]:
    is_binary = target.endpoint.kind == "binary"
    num_classes = 2 if is_binary else len(target.endpoint.classes)
    model = _logistic(x, target.values, num_classes, inner, blocks)
    return _single(model, num_outputs=1 if is_binary else num_classes)


def _labels(x: np.ndarray, target: Target, inner: np.ndarray, blocks: Penalised | None) -> tuple[Head, np.ndarray]:
    models: list[Linear | None] = []
    rates = []
    out_of_fold = np.full(target.values.shape, np.nan)
    for label, values in enumerate(target.values.T):
        known = ~np.isnan(values)
        if not known.any():
            msg = (
                f"endpoint {target.endpoint.name!r}: a label is unknown for every training patient; leave it out of the endpoint"
            )
            raise DataError(msg)
        rates.append(float(values[known].mean()))
        if 0 < rates[-1] < 1:
            head, out_of_fold[known, label : label + 1] = _single(
                _logistic(x[known], values[known], 2, inner[known], blocks), num_outputs=1
            )
            models.append(head)
        else:
            models.append(None)
            out_of_fold[known, label] = rates[-1]
    return LabelHeads(models=tuple(models), rates=tuple(rates), num_outputs=len(rates)), out_of_fold


def _value(x: np.ndarray, target: Target, inner: np.ndarray, blocks: Penalised | None) -> tuple[Head, np.ndarray]:
    if blocks is None:
        model = fit_ridge(x, target.values, inner=inner)
    else:
        model = fit_block_regression(x, blocks.groups, target.values, kind=blocks.kind, inner=inner)
    return _single(model, num_outputs=1)


_FIT: dict[str, Callable[[np.ndarray, Target, np.ndarray, Penalised | None], tuple[Head, np.ndarray]]] = {
    "binary": _classes,
    "multiclass": _classes,
    "multilabel": _labels,
    "ordinal": _classes,
    "regression": _value,
    "survival": _cox,
}
