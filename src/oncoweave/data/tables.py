"""Tables to parquet and back without loss: dtypes, missing values, categories and order.

Parquet alone forgets three things that matter here, so they are written beside the columns (schema metadata key ``oncoweave``):
which mark of "missing" a text column used, and the full ordered list of a categorical column's categories.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from oncoweave.core.errors import DataError

_KEY = b"oncoweave"
_MARKS: dict[str, Any] = {"none": None, "nan": np.nan, "na": pd.NA}


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame to parquet, then read it back and compare; row labels are not written.

    A text column that marks missing values in several ways comes back with one of them.

    Raises:
        DataError: a column name is not text or stands twice, or a column does not survive (such as one that mixes types).
    """
    import pyarrow as pa
    from pyarrow import parquet

    _check_names(path, frame)
    frame, facts = _with_one_mark(frame.reset_index(drop=True))
    frame.attrs = {}
    plain = frame.assign(**{name: _decoded(frame[name]) for name in facts if "categories" in facts[name]})
    try:
        table = pa.Table.from_pandas(plain, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:  # all that arrow raises of a column
        msg = f"{path.name}: a column cannot be stored in parquet ({error}); give it one type"
        raise DataError(msg) from error
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(facts).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
    _compare(path, frame, read_table(path))


def read_table(path: Path) -> pd.DataFrame:
    """Read what :func:`write_table` wrote, or any other parquet table.

    Raises:
        DataError: the file is not parquet, or is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path}: not a readable parquet table ({error})"
        raise DataError(msg) from error
    frame = table.to_pandas()
    for name, fact in json.loads((table.schema.metadata or {}).get(_KEY, b"{}")).items():
        if "categories" in fact:
            categories = pd.Index(np.array(fact["categories"], dtype=fact["dtype"]))
            frame[name] = pd.Categorical(frame[name], categories=categories, ordered=fact["ordered"])
        elif "string" in fact:
            frame[name] = frame[name].astype(pd.StringDtype(fact["string"]))
        else:
            frame[name] = frame[name].where(frame[name].notna(), _MARKS[fact["missing"]])
    return frame


def _check_names(path: Path, frame: pd.DataFrame) -> None:
    odd = [c for c in frame.columns if not isinstance(c, str)]
    if odd:
        msg = f"{path.name}: column names must be text, got {odd[0]!r} ({len(odd)} such)"
        raise DataError(msg)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        msg = f"{path.name}: {len(twice)} column name(s) stand twice, first {twice[0]!r}"
        raise DataError(msg)


def _with_one_mark(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    facts: dict[str, dict[str, Any]] = {}
    replaced: dict[str, pd.Series] = {}
    for name, dtype in frame.dtypes.items():
        column = frame[name]
        if isinstance(dtype, pd.CategoricalDtype):
            kind = dtype.categories.to_numpy().dtype
            if kind.kind in "OUiufb":
                facts[str(name)] = {"categories": dtype.categories.tolist(), "ordered": bool(dtype.ordered), "dtype": kind.str}
        elif isinstance(dtype, pd.StringDtype):
            facts[str(name)] = {"string": dtype.storage}
        elif is_object_dtype(dtype) and column.isna().any():
            marks = column[column.isna()]
            mark = "none" if marks.map(lambda v: v is None).all() else "na" if marks.map(lambda v: v is pd.NA).all() else "nan"
            facts[str(name)] = {"missing": mark}
            replaced[str(name)] = column.where(column.notna(), _MARKS[mark])
    return frame.assign(**replaced), facts


def _decoded(column: pd.Series) -> pd.Series:
    """The values behind a categorical column, in a type that parquet keeps even where all are missing."""
    kind = column.cat.categories.dtype
    return column.astype({"i": "Int64", "u": "UInt64", "b": "boolean", "f": kind}.get(kind.kind, object))


def _compare(path: Path, wanted: pd.DataFrame, came: pd.DataFrame) -> None:
    for name, dtype in wanted.dtypes.items():
        if came[name].dtype != dtype or not came[name].equals(wanted[name]):
            types = sorted({type(v).__name__ for v in wanted[name].dropna()}) if is_object_dtype(dtype) else [str(dtype)]
            msg = (
                f"{path.name}: column {name!r} (dtype {dtype}, holding {', '.join(types)}) would come back from parquet as"
                f" {came[name].dtype}; convert it to one plain type, such as text, float or Int64"
            )
            raise DataError(msg)
