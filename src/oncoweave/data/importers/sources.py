"""Tables of a source: CSV, TSV, parquet, npz arrays and parts of a MuData file, with patient ids left as text."""

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError, missing_extra, unknown_name
from oncoweave.data.importers.ids import FIRST_ROW
from oncoweave.data.tables import read_table

MISSING_MARKS = (
    *("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "'--"),
    *("[Not Available]", "[Not Applicable]", "[Not Evaluated]", "[Unknown]", "[Discrepancy]"),
)
"""Cells that mean "nothing is known" in the tables of cBioPortal, the GDC and spreadsheets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableOfPatients:
    """Name of a table whose rows are now indexed by patient, and the line of its file in which each patient stands."""

    name: str
    lines: Mapping[str, int]

    def __str__(self) -> str:
        """Give the name, for a message."""
        return self.name


_CODE = r"0\d+"
_TRUTH = {"true": True, "false": False}


def read_source(path: Path, *, missing: Sequence[str] = MISSING_MARKS, numeric: str | None = None) -> pd.DataFrame:
    """Read a table. CSV and TSV cells come as text (None where missing), parquet, npz and MuData with their own types.

    ``path`` may end in ``.h5mu::part``, a modality of a MuData file or its ``obs``. ``numeric`` names the id column of a table
    that otherwise holds numbers, which are then parsed straight to the nearest float. A row's label, with ``FIRST_ROW`` added, is
    the line of the file in which it starts, whatever comments and blank lines stand above it.

    Raises:
        DataError: no such file, an unknown kind of file, or one that is damaged.
    """
    name = path.name.partition("::")[0]
    file = path.with_name(name)
    if not file.is_file():
        siblings = [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else []
        msg = f"no file {file}"
        raise DataError(f"{msg}; {unknown_name('table', name, siblings)}" if siblings else msg)
    suffix = Path(name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".tsv", ".txt", ".maf"):
        return _read_text(file, missing=missing, numeric=numeric)
    if suffix == ".parquet":
        frame = read_table(file)
        return frame.reset_index(drop=frame.index.name is None)
    if suffix == ".npz":
        return _read_npz(file)
    if suffix == ".h5mu":
        return _read_part(file, path.name.partition("::")[2])
    msg = f"{file}: a table must be .csv, .tsv, .txt, .maf, .parquet, .npz or .h5mu::part, optionally .gz"
    raise DataError(msg)


def open_mudata(file: Path) -> Any:  # noqa: ANN401
    """Read a MuData file without copying columns between its parts.

    Raises:
        DataError: the file is missing or damaged.
        MissingExtraError: mudata is not installed.
    """
    try:
        import mudata
    except ImportError as error:
        raise missing_extra("mudata", "omics") from error
    try:
        with mudata.set_options(pull_on_update=False):
            return mudata.read_h5mu(file)
    except (OSError, KeyError, ValueError) as error:
        msg = f"{file}: not a readable MuData file ({error})"
        raise DataError(msg) from error


def pick(table: pd.DataFrame, columns: Sequence[str], *, where: str) -> pd.DataFrame:
    """Select columns; one that is not there fails with the nearest name."""
    for column in columns:
        if column not in table.columns:
            msg = f"{where}: {unknown_name('column', column, map(str, table.columns))}"
            raise DataError(msg)
    return table[list(columns)]


def typed(column: pd.Series, *, categorical: bool = False) -> pd.Series:
    """Give a column read as text its type: true/false to bool, numbers to float, anything else text.

    Codes with a leading zero (``0012``) stay text. A ``categorical`` column stays text, without the ``.0`` that missing values
    gave to whole numbers.
    """
    if categorical:
        return column.map(_category).astype(object)
    if column.dtype != object:
        return column
    known = column.dropna()
    if known.empty:
        return pd.Series(np.nan, index=column.index, name=column.name)
    if not known.map(lambda v: isinstance(v, str)).all():
        return column
    if known.str.lower().isin(_TRUTH).all():
        return column.str.lower().map(_TRUTH).astype("boolean" if column.isna().any() else bool)
    if known.str.fullmatch(_CODE).any() or not known.map(_is_number).all():
        return column
    return column.map(lambda v: math.nan if v is None or v != v else float(v)).astype(float)


def numbers(table: pd.DataFrame, *, where: object) -> pd.DataFrame:
    """Read all columns as numbers, keeping the types of those that already are.

    Raises:
        DataError: a value is neither a number nor missing, or is infinite; names column and line.
    """
    parsed = {}
    for name in table.columns:
        column = table[name]
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            column = pd.to_numeric(column.where(column.notna(), np.nan), errors="coerce").astype(float)
            wrong = column.isna() & table[name].notna()
            if wrong.any():
                msg = (
                    f"{where}: column {name!r} must hold numbers, {int(wrong.sum())} value(s) are not, first in"
                    f" {first_place(wrong, where)}; correct them, exclude the column, or add the value to missing_values"
                )
                raise DataError(msg)
        parsed[name] = column
    frame = pd.DataFrame(parsed, index=table.index)
    refuse_infinite(frame, where=where)
    return frame


def numbers_of_samples(table: pd.DataFrame, samples: Sequence[str], *, where: object) -> pd.DataFrame:
    """Read columns that are named after samples as numbers; messages give a column's place, since its name is a patient's.

    Raises:
        DataError: as :func:`numbers`.
    """
    places = [int(place) + 1 for place in table.columns.get_indexer(pd.Index(samples))]
    return numbers(table[list(samples)].set_axis(places, axis=1), where=where).set_axis(list(samples), axis=1)


def refuse_infinite(table: pd.DataFrame, *, where: object) -> None:
    """Refuse infinite values, naming column and line."""
    for name in table.select_dtypes("number").columns:
        infinite = pd.Series(np.isinf(table[name].to_numpy(dtype=float, na_value=np.nan)), index=table.index)
        if infinite.any():
            msg = (
                f"{where}: column {name!r} holds {int(infinite.sum())} infinite value(s), first in"
                f" {first_place(infinite, where)}; write what was measured, or leave the cell empty"
            )
            raise DataError(msg)


def first_place(wrong: pd.Series, where: object = "") -> str:
    """Say where the first wrong value stands: a line of the file, or a row of the table where the line is not known."""
    first = int(wrong.to_numpy().argmax())
    label = wrong.index[first]
    if isinstance(where, TableOfPatients):
        return f"line {where.lines[label]}"
    return f"line {label + FIRST_ROW}" if isinstance(label, int | np.integer) else f"row {first + 1}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _category(value: object) -> object:
    if value is None or value is pd.NA or value != value:
        return None
    text = str(value)
    return text.removesuffix(".0") if _is_number(text) else text


def _read_text(file: Path, *, missing: Sequence[str], numeric: str | None) -> pd.DataFrame:
    try:
        skipped, header = _header(file)
        sep = max("\t,;", key=header.count)
        _refuse_repeated(header, sep, where=f"{file}: line {skipped + 1}")
        frame = pd.read_csv(
            file,
            sep=sep,
            dtype={numeric: str} if numeric else str,
            keep_default_na=False,
            na_values=list(missing),
            encoding="utf-8-sig",
            skiprows=skipped,
            float_precision="round_trip",
            low_memory=False,
        )
    except UnicodeDecodeError as error:
        msg = f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); save the table as UTF-8"
        raise DataError(msg) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        msg = f"{file}: not a readable table ({error})"
        raise DataError(msg) from error
    objects = frame.select_dtypes(object).columns
    frame[objects] = frame[objects].where(frame[objects].notna(), None)
    lines = _starts(file, skipped)
    if len(lines) == len(frame) + 1:  # else a stray quotation mark hides where rows start: then as if every row were one line
        return frame.set_axis(pd.Index(lines[1:]) - FIRST_ROW, axis=0)
    return frame.set_axis(frame.index + skipped, axis=0)


def _header(file: Path) -> tuple[int, str]:
    """Find the header line and how many lines to skip above it.

    ``#`` lines are comments above tab-separated tables (cBioPortal, MAF); above others only where they hold no separator, since
    there a header may begin with ``#``.
    """
    tabbed = Path(file.name.removesuffix(".gz")).suffix.lower() in (".tsv", ".txt", ".maf")
    with _open_text(file) as stream:
        for skipped, line in enumerate(stream):
            if not line.startswith("#") or not (tabbed or not any(s in line for s in ",;\t")):
                return skipped, line
    return 0, ""


def _refuse_repeated(header: str, sep: str, *, where: str) -> None:
    names = [name.strip() for name in next(csv.reader([header], delimiter=sep), [])]
    repeated = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if repeated:
        msg = f"{where}: {names.count(repeated[0])} columns are named {repeated[0]!r}; give each a name of its own"
        raise DataError(msg)


def _starts(file: Path, skipped: int) -> list[int]:
    """List the lines in which the header and each row start; a quoted cell may go over several, and blank lines are no rows.

    Raises:
        DataError: a line holds a NUL character, at which a reader of tables would end its cell.
    """
    starts, quoted = [], False
    with _open_text(file) as stream:
        for number, line in enumerate(stream, start=1):
            if number <= skipped:
                continue
            if "\0" in line:
                msg = f"{file}: line {number} holds a NUL character, and the rest of its cell would be lost; take it out"
                raise DataError(msg)
            if not quoted and line.strip(" \r\n"):
                starts.append(number)
            quoted ^= line.count('"') % 2 == 1
    return starts


def _open_text(file: Path) -> TextIOWrapper:
    return gzip.open(file, "rt", encoding="utf-8-sig") if file.suffix == ".gz" else file.open(encoding="utf-8-sig")


def _read_npz(file: Path) -> pd.DataFrame:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError) as error:
        msg = f"{file}: not a readable .npz of plain arrays ({error}); nothing pickled is read"
        raise DataError(msg) from error
    ids, values = found.get("patient_id"), found.get("x")
    if ids is None or values is None or values.ndim != 2 or len(ids) != len(values):
        shapes = {name: array.shape for name, array in found.items()}
        msg = f"{file}: wanted arrays patient_id [n] and x [n, d], got {shapes}"
        raise DataError(msg)
    width = len(str(values.shape[1] - 1))
    frame = pd.DataFrame(values, columns=[f"x{i:0{width}d}" for i in range(values.shape[1])])
    frame.insert(0, "patient_id", pd.Series(ids.astype(str), dtype=object))
    return frame


def _read_part(file: Path, part: str) -> pd.DataFrame:
    data = open_mudata(file)
    if part == "obs":
        return data.obs.rename_axis("patient_id").reset_index()
    if part not in data.mod:
        msg = f"{file}: {unknown_name('part', part, [*data.mod, 'obs'])}; write it as {file.name}::part"
        raise DataError(msg)
    chosen = data.mod[part]
    frame = chosen.to_df()
    beside = chosen.obs.loc[:, ~chosen.obs.columns.isin(frame.columns)]
    return pd.concat([beside, frame], axis=1).rename_axis("patient_id").reset_index()
