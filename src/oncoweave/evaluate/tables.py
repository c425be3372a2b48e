"""The prediction table: one row per patient, model, repeat and fold, with the outcome beside the prediction.

Columns of every kind: ``patient_id, site, model, repeat, fold, pattern``. By endpoint kind: survival ``time, event, risk,
high_risk`` and ``survival@<horizon>``; binary ``y, p``; multiclass and ordinal ``y`` (class name) and ``p@<class>``;
multilabel ``y@<label>`` (NaN = not known) and ``p@<label>``; regression ``y, yhat``. Optional: ``stratum`` and ``person``, see
``pooling``; and what a model that was locked with out-of-fold scores of its training patients says besides: binary
``called@<point>`` (above the cut-off of an operating point, such as ``called@specificity0.9``), with classes
``in_set@<class>`` (the conformal prediction set), regression ``yhat_low, yhat_high`` (the conformal interval), survival
``own_survival`` (predicted S at the patient's own time), ``novelty_p, novel`` (how strange the patient is to the training
patients, and the modalities in which that shows), and ``decided_by`` (of a decision list: the line that decided, in words).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, unknown_name
from oncoweave.evaluate.pooling import PERSON, STRATUM

KEYS = ("patient_id", "site", "model", "repeat", "fold", "pattern")
HORIZON = "survival@"
CALLED, IN_SET, INTERVAL = "called@", "in_set@", ("yhat_low", "yhat_high")
OWN_SURVIVAL = "own_survival"
NOVELTY_P, NOVEL = "novelty_p", "novel"
DECIDED_BY = "decided_by"


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictionTable:
    """Checked predictions of one endpoint, sorted by model, repeat, fold and patient.

    A model may lack ``survival@`` columns or ``high_risk`` for all of its rows (NaN), never for some. ``horizons`` are in the
    endpoint's unit of time.
    """

    endpoint: Endpoint
    frame: pd.DataFrame
    horizons: tuple[float, ...] = ()

    @property
    def models(self) -> list[str]:
        """Names of the models, in alphabetical order."""
        return self.frame["model"].unique().tolist()

    def of(self, model: str) -> pd.DataFrame:
        """Rows of one model."""
        rows = self.frame[self.frame["model"] == model]
        if rows.empty:
            raise unknown_name("model in the prediction table", model, self.models)
        return rows.reset_index(drop=True)


def horizon_column(horizon: float) -> str:
    """Name the column of predicted survival at a horizon: ``survival@36``."""
    return f"{HORIZON}{horizon:g}"


def class_names(endpoint: Endpoint) -> tuple[str, ...]:
    """Names of the classes of a prediction set; those of a binary endpoint without names are 0 and 1."""
    return endpoint.classes if endpoint.kind != "binary" or len(endpoint.classes) == 2 else ("0", "1")


def wanted_columns(endpoint: Endpoint) -> tuple[str, ...]:
    """List the columns that a prediction table of the endpoint must have."""
    classes = endpoint.classes if endpoint.classes else endpoint.columns
    own: dict[str, tuple[str, ...]] = {
        "survival": ("time", "event", "risk", "high_risk"),
        "binary": ("y", "p"),
        "multiclass": ("y", *(f"p@{c}" for c in classes)),
        "ordinal": ("y", *(f"p@{c}" for c in classes)),
        "multilabel": (*(f"y@{c}" for c in classes), *(f"p@{c}" for c in classes)),
        "regression": ("y", "yhat"),
    }
    return KEYS + own[endpoint.kind]


def check_predictions(frame: pd.DataFrame, endpoint: Endpoint) -> PredictionTable:
    """Check a prediction table against the schema of its endpoint and sort it.

    Raises:
        DataError: a column is missing or holds something else than the schema says, a prediction is NaN, a patient is tested
            twice in a repeat, or a patient's outcome or site differs between rows. The message names the column and the row of
            the table as it came, counted from 1.
    """
    missing = [c for c in wanted_columns(endpoint) if c not in frame.columns]
    if missing or frame.empty:
        reason = f"lacks the column(s) {missing}; it has {list(frame.columns)}" if missing else "has no rows"
        msg = f"predictions of the {endpoint.kind} endpoint {endpoint.name!r}: the table {reason}"
        raise DataError(msg)
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        msg = (
            f"predictions of the {endpoint.kind} endpoint {endpoint.name!r}: wanted each column once, got {twice} more than once"
        )
        raise DataError(msg)
    frame = frame.reset_index(drop=True).sort_values(["model", "repeat", "fold", "patient_id"], kind="stable")
    horizons = _horizons(frame) if endpoint.kind == "survival" else ()
    _check_keys(frame)
    {
        "survival": _check_survival,
        "binary": _check_binary,
        "multiclass": _check_classes,
        "ordinal": _check_classes,
        "multilabel": _check_labels,
        "regression": _check_regression,
    }[endpoint.kind](frame, endpoint)
    _check_certainty(frame)
    fixed = ("time", "event", "y", "site", "pattern", STRATUM, PERSON)
    _check_constant(frame, [c for c in frame.columns if c in fixed or str(c).startswith("y@")])
    return PredictionTable(endpoint=endpoint, frame=frame.reset_index(drop=True), horizons=horizons)


def _horizons(frame: pd.DataFrame) -> tuple[float, ...]:
    horizons = []
    for column in frame.columns:
        if str(column).startswith(HORIZON):
            try:
                horizons.append(float(str(column).removeprefix(HORIZON)))
            except ValueError as error:
                msg = f"column {column!r}: wanted a time after {HORIZON!r}, such as {HORIZON}36"
                raise DataError(msg) from error
    return tuple(sorted(horizons))


def _check_keys(frame: pd.DataFrame) -> None:
    for column in ("patient_id", "model", "repeat", "fold", "pattern", *(c for c in (STRATUM, PERSON) if c in frame.columns)):
        _refuse(frame, column, frame[column].isna().to_numpy(), "a value in every row")
    for column in ("repeat", "fold"):
        _numbers(frame, column, lambda v: (v >= 0) & (v == np.floor(v)), "a whole number from 0")
    twice = frame.duplicated(["model", "repeat", "patient_id"], keep=False).to_numpy()
    _refuse(frame, "fold", twice, "one fold a patient, model and repeat (number Monte Carlo splits as repeats)")


def _check_survival(frame: pd.DataFrame, endpoint: Endpoint) -> None:
    _numbers(frame, "time", lambda v: v >= 0, "a time of zero or more")
    _numbers(frame, "event", lambda v: np.isin(v, (0, 1)), "0 or 1")
    _numbers(frame, "risk", np.isfinite, "a finite log-risk")
    optional = ["high_risk", *(c for c in frame.columns if str(c).startswith(HORIZON))]
    _all_or_none(frame, optional)
    _numbers(frame[frame["high_risk"].notna()], "high_risk", lambda v: np.isin(v, (0, 1)), "True or False")
    for column in optional[1:]:
        _numbers(frame[frame[column].notna()], column, lambda v: (v >= 0) & (v <= 1), "a probability")
    ordered = [horizon_column(h) for h in _horizons(frame)]
    if set(ordered) != set(optional[1:]):
        msg = f"columns {sorted(set(optional[1:]) - set(ordered))}: write a horizon in its shortest form, such as {ordered[0]!r}"
        raise DataError(msg)
    for earlier, later in pairwise(ordered):
        rises = (frame[later].astype(float) > frame[earlier].astype(float) + 1e-6).to_numpy()
        _refuse(frame, later, rises, f"a survival not above that of {earlier!r}")


def _check_certainty(frame: pd.DataFrame) -> None:
    """Check the optional columns; cut-offs may lack in a fold, and novelty where a patient cannot be judged."""
    whole = [c for c in frame.columns if c in (OWN_SURVIVAL, *INTERVAL) or str(c).startswith(IN_SET)]
    _all_or_none(frame, whole)
    for column in (c for c in frame.columns if str(c).startswith((CALLED, IN_SET))):
        _numbers(frame[frame[column].notna()], column, lambda v: np.isin(v, (0, 1)), "True or False")
    for column in (c for c in frame.columns if c in (OWN_SURVIVAL, NOVELTY_P)):
        _numbers(frame[frame[column].notna()], column, lambda v: (v >= 0) & (v <= 1), "a probability")


def _all_or_none(frame: pd.DataFrame, columns: list[str]) -> None:
    for column in columns:
        absent = frame[column].isna().to_numpy()
        share = frame["model"].map(frame[column].isna().groupby(frame["model"]).mean()).to_numpy(dtype=float)
        _refuse(frame, column, absent & (share < 1), "a value in all rows of a model or in none")


def _check_binary(frame: pd.DataFrame, endpoint: Endpoint) -> None:
    _numbers(frame, "y", lambda v: np.isin(v, (0, 1)), "0 or 1")
    _numbers(frame, "p", lambda v: (v >= 0) & (v <= 1), "a probability")


def _check_classes(frame: pd.DataFrame, endpoint: Endpoint) -> None:
    _refuse(frame, "y", ~frame["y"].isin(endpoint.classes).to_numpy(), f"one of the classes {list(endpoint.classes)}")
    columns = [f"p@{c}" for c in endpoint.classes]
    for column in columns:
        _numbers(frame, column, lambda v: (v >= 0) & (v <= 1), "a probability")
    total = frame[columns].to_numpy(dtype=float).sum(axis=1)
    worst = total[np.abs(total - 1).argmax()]
    _refuse(frame, columns[0], np.abs(total - 1) > 1e-3, f"class probabilities that sum to 1 (the worst sum is {worst:.4g})")


def _check_labels(frame: pd.DataFrame, endpoint: Endpoint) -> None:
    for label in endpoint.classes or endpoint.columns:
        _numbers(frame[frame[f"y@{label}"].notna()], f"y@{label}", lambda v: np.isin(v, (0, 1)), "0, 1 or nothing")
        _numbers(frame, f"p@{label}", lambda v: (v >= 0) & (v <= 1), "a probability")


def _check_regression(frame: pd.DataFrame, endpoint: Endpoint) -> None:
    for column in ("y", "yhat"):
        _numbers(frame, column, np.isfinite, "a finite number")


def _check_constant(frame: pd.DataFrame, columns: list[str]) -> None:
    """Refuse patients whose outcome, site or pattern is not the same in all of their rows."""
    order = np.argsort(frame["patient_id"].astype(str).to_numpy(), kind="stable")
    patient = frame["patient_id"].astype(str).to_numpy()[order]
    same_patient = patient[1:] == patient[:-1]
    for column in columns:
        code = pd.factorize(frame[column])[0][order]
        differs = same_patient & (code[1:] != code[:-1])
        if differs.any():
            first = int(differs.argmax())
            values = frame[column].to_numpy()[order][first : first + 2].tolist()
            rows = sorted((frame.index.to_numpy()[order][first : first + 2] + 1).tolist())
            msg = (
                f"column {column!r}: wanted one value a patient, got {values[0]!r} and {values[1]!r} for the patient of rows"
                f" {rows[0]} and {rows[1]}"
            )
            raise DataError(msg)


def _numbers(frame: pd.DataFrame, column: str, accept: Callable[[np.ndarray], np.ndarray], wanted: str) -> None:
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not pd.api.types.is_numeric_dtype(frame[column]):
        text = frame[column].map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
        _refuse(frame, column, text & ~np.isnan(values), f"{wanted}, as a number and not as text")
    _refuse(frame, column, ~accept(values) | np.isnan(values), wanted)


def _refuse(frame: pd.DataFrame, column: str, bad: np.ndarray, wanted: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        row = frame.iloc[first]
        value = row[column].item() if isinstance(row[column], np.generic) else row[column]
        msg = (
            f"column {column!r}: wanted {wanted}, got {value!r} in row {frame.index[first] + 1}, model {row['model']!r},"
            f" repeat {row['repeat']}, fold {row['fold']} ({int(bad.sum())} such row(s))"
        )
        raise DataError(msg)
