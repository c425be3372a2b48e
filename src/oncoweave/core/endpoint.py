"""What a study predicts: the endpoint, and its values for a set of patients."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.core.units import TimeUnit

EndpointKind = Literal["binary", "multiclass", "multilabel", "ordinal", "regression", "survival"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An outcome to predict, and the columns of the patient table that hold it.

    Columns by kind: survival ``(time, event)`` with event 1 = happened and 0 = censored; multilabel one column a label, each
    0, 1 or missing; the others one column. Binary columns hold 0 or 1; multiclass and ordinal columns hold one of ``classes``
    (ordinal classes are listed from low to high); regression holds a number.
    """

    name: str
    kind: EndpointKind
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """Multiclass and ordinal: the class names in order. Binary: ``(negative, positive)`` names. Multilabel: the label names."""
    time_unit: TimeUnit | None = None
    """Survival only: the unit of the time column."""

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot describe its kind."""
        wanted = {"survival": 2, "multilabel": len(self.columns)}.get(self.kind, 1)
        if len(self.columns) != wanted or not self.columns:
            msg = f"endpoint {self.name!r} of kind {self.kind} needs {wanted or 'some'} column(s), got {list(self.columns)}"
            raise DataError(msg)
        if self.kind == "survival" and self.time_unit is None:
            msg = f"endpoint {self.name!r}: a survival endpoint needs a time unit (days, weeks, months or years)"
            raise DataError(msg)
        if self.kind in ("multiclass", "ordinal") and len(self.classes) < 2:
            msg = f"endpoint {self.name!r} of kind {self.kind} needs at least two classes, got {list(self.classes)}"
            raise DataError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Values of an endpoint for n patients, row by row.

    ``values`` is float: survival ``[n, 2]`` (time, event); multilabel ``[n, label]``; the others ``[n]`` (class index, or the
    number). NaN marks what is not known.
    """

    endpoint: Endpoint
    values: np.ndarray

    def __len__(self) -> int:
        """Count the patients."""
        return len(self.values)

    @property
    def known(self) -> np.ndarray:
        """``Bool[n]``: patients whose outcome can be used (for multilabel: at least one label known)."""
        if self.values.ndim == 1:
            return ~np.isnan(self.values)
        finite = ~np.isnan(self.values)
        return finite.all(axis=1) if self.endpoint.kind == "survival" else finite.any(axis=1)

    @property
    def time(self) -> np.ndarray:
        """Survival: follow-up times, in the endpoint's unit."""
        return self.values[:, 0]

    @property
    def event(self) -> np.ndarray:
        """Survival: ``Bool[n]``, True where the event happened."""
        return self.values[:, 1] > 0.5

    def take(self, index: np.ndarray) -> "Target":
        """Keep some rows."""
        return Target(endpoint=self.endpoint, values=self.values[index])


def read_target(endpoint: Endpoint, patients: pd.DataFrame) -> Target:
    """Read an endpoint's values from a patient table indexed by patient.

    Raises:
        DataError: a column is missing, holds something that is not a value of the endpoint, or a time is negative.
    """
    missing = [c for c in endpoint.columns if c not in patients.columns]
    if missing:
        msg = f"endpoint {endpoint.name!r}: column(s) {missing} not in the patient table; it has {list(patients.columns)}"
        raise DataError(msg)
    if endpoint.kind in ("multiclass", "ordinal"):
        return Target(endpoint=endpoint, values=_class_index(endpoint, patients[endpoint.columns[0]]))
    columns = [_numbers(endpoint, patients[c]) for c in endpoint.columns]
    if endpoint.kind == "survival":
        _refuse(endpoint, columns[0] < 0, columns[0], "a follow-up time of zero or more")
    zero_one = {"binary": columns, "multilabel": columns, "survival": columns[1:]}.get(endpoint.kind, [])
    for values in zero_one:
        _refuse(endpoint, ~(np.isnan(values) | np.isin(values, (0, 1))), values, "0 or 1")
    values = np.stack(columns, axis=1) if endpoint.kind in ("survival", "multilabel") else columns[0]
    return Target(endpoint=endpoint, values=values)


def _class_index(endpoint: Endpoint, column: pd.Series) -> np.ndarray:
    order = {name: float(i) for i, name in enumerate(endpoint.classes)}
    values = column.map(lambda v: np.nan if pd.isna(v) else order.get(str(v), -1.0)).to_numpy(dtype=float)
    _refuse(endpoint, values == -1, column.to_numpy(), f"one of {list(endpoint.classes)}")
    return values


def _numbers(endpoint: Endpoint, column: pd.Series) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    bad = np.isnan(values) & column.notna().to_numpy()
    _refuse(endpoint, bad, column.to_numpy(), f"a number in column {column.name!r}")
    return values


def _refuse(endpoint: Endpoint, bad: np.ndarray, values: np.ndarray, wanted: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        came = np.asarray(values, dtype=object)[first]
        msg = (
            f"endpoint {endpoint.name!r}: wanted {wanted}, got {came!r} in row {first + 1} of the patient table"
            f" ({int(bad.sum())} such row(s)); correct the table or its declaration"
        )
        raise DataError(msg)
