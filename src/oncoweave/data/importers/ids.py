"""Patient identifiers: text as it stands in the source, matched exactly, and refused where a near miss would lose patients."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.importers.report import ImportReport

FIRST_ROW = 2
"""What a row's label lacks to the line of its file in which it starts: a row labelled 0 stands below a header in line 1."""


def check_ids(ids: pd.Series, *, where: str) -> None:
    """Refuse identifiers that are missing, that carry stray spaces, or that differ from another by case only.

    Raises:
        DataError: names the table and the line, with what to do.
    """
    missing = ids.isna() | (ids.astype(str).str.strip() == "")
    if missing.any():
        msg = (
            f"{where}: {int(missing.sum())} row(s) have no patient id (empty, or a mark of missing_values such as NA or nan),"
            f" first in line {_line(missing)}; give one or delete the row"
        )
        raise DataError(msg)
    spaced = ids != ids.str.strip()
    if spaced.any():
        msg = (
            f"{where}: {int(spaced.sum())} patient id(s) have stray spaces, first in line {_line(spaced)};"
            " remove the spaces in the source"
        )
        raise DataError(msg)
    unique = pd.Series(ids.unique())
    folded = unique.str.casefold()
    clash = folded.duplicated(keep=False)
    if clash.any():
        pair = unique[folded == folded[clash].iloc[0]].tolist()
        lines = _line(ids == pair[0]), _line(ids == pair[1])
        msg = (
            f"{where}: the patient ids in lines {lines[0]} and {lines[1]} differ by case only ({int(clash.sum())} such);"
            " write them one way"
        )
        raise DataError(msg)


def keep_known(table: pd.DataFrame, known: Iterable[str], *, column: str, where: str, report: ImportReport) -> pd.DataFrame:
    """Keep the rows of patients in the patient table, and count the others.

    Raises:
        DataError: an unknown id is a known one but for case, spaces or leading zeros, so that dropping it would lose a patient.
    """
    known = set(known)
    strange = ~table[column].isin(known)
    near = {_folded(k): k for k in known}
    for stranger in table.loc[strange, column].unique():
        match = near.get(_folded(stranger))
        if match is not None and match not in set(table[column]):
            line = _line(table[column] == stranger)
            msg = (
                f"{where}: the patient id in line {line} is not in the patient table, but one is there that differs by case,"
                " spaces or leading zeros only: write them one way"
            )
            raise DataError(msg)
    report.note("left out", int(strange.sum()), "rows", where=where, reason="patient is not in the patient table")
    return table[~strange]


def as_text(ids: pd.Series, *, prefix: str | None = None) -> pd.Series:
    """Read identifiers as text: whole numbers lose their decimals, and a prefix is removed."""
    if pd.api.types.is_float_dtype(ids) and (ids.dropna() % 1 == 0).all():
        ids = ids.astype("Int64")
    text = ids.astype(object).where(ids.notna(), None).map(lambda v: v if v is None else str(v))
    return text.str.removeprefix(prefix) if prefix else text


def _folded(name: str) -> str:
    return name.strip().casefold().lstrip("0")


def _line(wrong: pd.Series) -> int:
    first = int(wrong.to_numpy().argmax())
    label = wrong.index[first]
    return int(label if isinstance(label, int | np.integer) else first) + FIRST_ROW
