"""Columns of a modality table as numbers: reading a patient's rows, lining patients up, scaling with training statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from oncoweave.core.errors import DataError, NothingToLearnError
from oncoweave.data.cohort import ModalitySpec, Record

T = TypeVar("T")

MEASURED_AT = "days_from_index"
"""Column of a modality table that says how many days after the index date (diagnosis, surgery) a row was measured."""
ID_COLUMNS = ("patient_id", "sample_id", MEASURED_AT)
"""Columns of a modality table that say whose row it is, and of when; the others hold what was measured."""


def place(record: Record, *, row: int = 0) -> str:
    """Say which row this is and of which table, for a message; the patient is named only where the rows are not numbered."""
    name = record.modality.name
    table = f"table {name!r}" if record.root is None else str(record.root / "modalities" / f"{name}.parquet")
    first = record.rows.index[row]
    whose = f"row {first + 1}" if isinstance(first, int | np.integer) else f"patient {record.patient_id!r}"
    return f"modality {name!r}, {whose} ({table})"


def file_of(record: Record, path: object) -> Path:
    """Find a file that a row names, from the cohort's folder where there is one."""
    return Path(record.root or "") / str(path)


@runtime_checkable
class Placed(Protocol):
    """A patient's sample that knows where it was read, or nothing (empty) where it was drawn."""

    @property
    def patient_id(self) -> str:
        """The patient."""

    @property
    def place(self) -> str:
        """Modality, row and table."""


def whose(sample: Placed) -> str:
    """Say which sample it is, for a message: by its place, and by the patient only where that is not known."""
    return sample.place or f"patient {sample.patient_id!r}"


def make_record(patient_id: str, rows: Sequence[dict[str, object]], *, modality: ModalitySpec, root: Path) -> Record:
    """Build the record of one patient from rows without identifiers; samples are numbered from 1."""
    frame = pd.DataFrame(list(rows))
    ids = pd.DataFrame({"patient_id": patient_id, "sample_id": [f"{patient_id}-{i + 1}" for i in range(len(frame))]})
    return Record(patient_id=patient_id, modality=modality, rows=pd.concat([ids, frame], axis=1), root=root)


def join_records(records: Sequence[Record]) -> pd.DataFrame:
    """Stack patients' rows into one modality table; a column that is empty for a patient takes its type from the others."""
    return pd.DataFrame([row for record in records for row in record.rows.to_dict("records")])


def read_numbers(record: Record) -> tuple[tuple[str, ...], Float[np.ndarray, "sample column"]]:
    """Read a patient's rows as numbers; NaN where nothing was measured.

    Raises:
        DataError: a value is not a number or is infinite, or the table has no columns of values; names patient, table and column.
    """
    frame = record.rows.drop(columns=[c for c in ID_COLUMNS if c in record.rows.columns])
    if not len(frame.columns):
        msg = f"{place(record)}: no columns of values, only {list(record.rows.columns)}"
        raise DataError(msg)
    try:
        values = frame.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place(record)}: {_first_that_is_no_number(frame)}") from error
    if np.isinf(values).any():
        column = frame.columns[np.isinf(values).any(axis=0)][0]
        msg = f"{place(record)}: column {column!r} holds an infinite value; write what was measured, or leave it empty"
        raise DataError(msg)
    return tuple(map(str, frame.columns)), values


def _first_that_is_no_number(frame: pd.DataFrame) -> str:
    for name in frame.columns:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = frame.loc[numbers.isna() & frame[name].notna(), name]
        if len(wrong):
            return f"column {name!r} holds {wrong.iloc[0]!r}, wanted a number or nothing; correct it or drop the column"
    return "the columns do not convert to numbers"


def mean_of_known(values: Float[np.ndarray, "sample column"]) -> Float[np.ndarray, " column"]:
    """Average down the rows over what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)


def union(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """List every column that any patient has, in order of first appearance."""
    return tuple(dict.fromkeys(name for columns in dict.fromkeys(names) for name in columns))


def line_up(
    rows: Sequence[tuple[tuple[str, ...], Float[np.ndarray, " _"]] | None], columns: tuple[str, ...]
) -> Float[np.ndarray, "patient column"]:
    """Stack patients' named values into one matrix with the given columns; NaN where a patient or a column is absent."""
    out = np.full((len(rows), len(columns)), np.nan)
    target = pd.Index(columns)
    found: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}
    for row_index, row in enumerate(rows):
        if row is None:
            continue
        names, values = row
        if names not in found:
            source = pd.Index(names).get_indexer(target)
            found[names] = (np.flatnonzero(source >= 0), source[source >= 0])
        to_index, from_index = found[names]
        out[row_index, to_index] = values[from_index]
    return out


def gather(
    samples: Sequence[T | None], named: Callable[[T], tuple[tuple[str, ...], np.ndarray]], kind: str
) -> tuple[list[T], tuple[str, ...], Float[np.ndarray, "patient column"]]:
    """Lay the training patients who have a modality side by side: their samples, every column any of them has, and the values.

    ``named`` gives a sample's column names and values.

    Raises:
        DataError: nobody has the modality.
    """
    at_least_one(samples, kind)
    present = [s for s in samples if s is not None]
    rows = [named(s) for s in present]
    columns = union([names for names, _ in rows])
    return present, columns, line_up(rows, columns)


FARTHEST = 10.0
"""Training standard deviations from the mean; one absurd value must not outweigh everything else known of a patient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Least and greatest known value of each column on training patients; NaN for a column nobody has."""

    low: Float[np.ndarray, " column"]
    high: Float[np.ndarray, " column"]

    def far_outside(self, values: Float[np.ndarray, "patient column"]) -> np.ndarray:
        """``Int[column]``: patients whose value lies outside the training range by more than its width."""
        width = np.maximum(self.high - self.low, 1e-6 * np.abs(self.high))  # rounding of a constant column is not far
        return ((values < self.low - width) | (values > self.high + width)).sum(axis=0)


def fit_span(values: Float[np.ndarray, "patient column"]) -> Span:
    """Learn the least and the greatest known value of each column."""
    known = ~np.isnan(values)
    low = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    nobody = ~known.any(axis=0)
    return Span(low=np.where(nobody, np.nan, low), high=np.where(nobody, np.nan, high))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """Centre and scale of each column, learned on training patients."""

    centre: Float[np.ndarray, " column"]
    scale: Float[np.ndarray, " column"]
    """Standard deviation; 1 where a column does not vary, so that it becomes 0 and not NaN."""
    span: Span | None = None
    """None in models stored before ranges were."""

    def far_outside(self, values: Float[np.ndarray, "patient column"]) -> np.ndarray:
        """``Int[column]``: patients whose value is far outside the training range; where none is stored, beyond ``FARTHEST``."""
        if self.span is not None:
            return self.span.far_outside(values)
        return (np.abs(values - self.centre) > FARTHEST * self.scale).sum(axis=0)

    def __call__(self, values: Float[np.ndarray, "patient column"]) -> Float[np.ndarray, "patient column"]:
        """Standardise; NaN stays NaN, and what lies beyond ``FARTHEST`` counts as that."""
        return np.clip((values - self.centre) / self.scale, -FARTHEST, FARTHEST)


def fit_scaling(values: Float[np.ndarray, "patient column"]) -> Scaling:
    """Learn mean and population standard deviation of each column over what is known; a column nobody has gets 0 and 1."""
    centre = np.nan_to_num(mean_of_known(values))
    spread = np.sqrt(np.nan_to_num(mean_of_known((values - centre) ** 2)))
    varies = spread > 1e-9 * np.maximum(1.0, np.abs(centre))  # rounding of a constant column must not be blown up to unit size
    return Scaling(centre=centre, scale=np.where(varies, spread, 1.0), span=fit_span(values))


def by_column(columns: Sequence[str], counts: np.ndarray) -> dict[str, int]:
    """Name the columns of counts, without those that count nothing."""
    return {column: int(count) for column, count in zip(columns, counts, strict=True) if count}


def varying(values: Float[np.ndarray, "patient column"]) -> np.ndarray:
    """``Bool[column]``: columns in which at least two known values differ."""
    known = ~np.isnan(values)
    low = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    return high > low


def blank_absent(block: Float[np.ndarray, "patient feature"], present: np.ndarray) -> Float[np.ndarray, "patient feature"]:
    """Set the rows of absent patients to NaN, and check that all others are finite."""
    out = np.array(block, dtype=float)
    out[~present] = np.nan
    finite = np.isfinite(out[present])
    if not finite.all():
        msg = f"{int((~finite).sum())} value(s) of a block are not finite for patients who have the modality"
        raise ValueError(msg)
    return out


def at_least_one(samples: Sequence[object | None], kind: str) -> None:
    """Refuse to fit a modality that no training patient has."""
    if all(s is None for s in samples):
        msg = f"no training patient of {len(samples)} has a sample of kind {kind!r}; leave the modality out or change the split"
        raise NothingToLearnError(msg)
