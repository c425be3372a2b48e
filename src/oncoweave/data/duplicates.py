"""Rows that say the same twice: repeated samples, and vectors, texts or files that two patients share."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from oncoweave.data.audit import shared_files
from oncoweave.data.cohort import Cohort
from oncoweave.data.columns import MEASURED_AT
from oncoweave.data.findings import Finding, Level, rows_text
from oncoweave.data.near_copies import near_pairs

_IDS = ["patient_id", "sample_id"]
_BY_CHANCE = 1e-3
_COLUMNS = 200
_MEASURED = 0.5
"""Share of a column's known values that differ, from which on it counts as a measurement."""
_FEW = 5
"""Rows of fewer numbers may well be equal by chance."""


def check_duplicates(cohort: Cohort) -> list[Finding]:
    """Look for samples that stand twice, and for slides, vectors, texts or files that two patients share."""
    findings = []
    for name, table in cohort.tables.items():
        where = f"modality {name!r}"
        repeated = table.duplicated([c for c in (*_IDS, "slide_id") if c in table])
        findings += _finding("error", where, repeated, "repeat a sample that is already there")
        for what, level, key in _contents(table, cohort.modalities[name].kind):
            shared = key.notna() & (table.groupby(key)["patient_id"].transform("nunique") > 1)
            findings += _finding(level, where, shared, f"of different patients hold the same {what}")
    for name, repeated in repeated_vectors(_embeddings(cohort)).items():
        elsewhere = repeated & ~_shared_inside(cohort.tables[name])
        findings += _finding(
            "error", f"modality {name!r}", elsewhere, "hold a vector that another modality of the same encoder holds too"
        )
    files = shared_files(cohort)
    owners = pd.DataFrame({"patient": files.index, "file": files.to_numpy()}).groupby("file")["patient"].nunique()
    if count := int((owners > 1).sum()):
        message = f"{count} file(s) of equal content belong to more than one patient"
        findings.append(Finding(level="error", area="duplicates", where="files", message=message, count=count))
    return findings


def repeated_vectors(groups: Iterable[Mapping[str, pd.DataFrame]]) -> dict[str, pd.Series]:
    """Mark the rows whose vector stands more than once in a group of tables made by one encoder.

    Two images never have the same vector, unless both show nothing: such a row is the encoding of an empty image.
    """
    marked: dict[str, pd.Series] = {}
    for tables in groups:
        keys = {name: vector_key(table) for name, table in tables.items()}
        pooled = pd.concat(list(keys.values())) if keys else pd.Series(dtype="uint64")
        repeated = set(pooled[pooled.duplicated(keep=False)])
        marked |= {name: key.isin(repeated) for name, key in keys.items()}
    return marked


def vector_key(table: pd.DataFrame) -> pd.Series:
    """Hash each row's numbers, whatever the columns are called."""
    values = np.ascontiguousarray(
        table.drop(columns=[c for c in (*_IDS, MEASURED_AT) if c in table]).to_numpy(dtype=np.float64, na_value=np.nan)
    )
    return pd.Series([hash(row.tobytes()) for row in values], index=table.index, dtype="int64")


def alike_patients(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """List the patients whose rows hold the same values, where that is no chance: equal rows, and near-copies of measurements.

    Equal rows: taken one by one, a row's values have the probability of the product of their shares in the table; that anybody
    else of the table holds them all must be expected less than once in a thousand tables, and rows must not differ in one value
    only as often as in none, as they do where columns go together. What is missing is a value like any other, and a row of fewer
    than two values tells nothing. Near-copies are sought among columns of measurements, most of whose values differ, over those
    that both patients have (see :func:`oncoweave.data.near_copies.near_pairs`).
    """
    values = table.drop(columns=[c for c in (*_IDS, MEASURED_AT) if c in table])
    owner = table["patient_id"].to_numpy(dtype=object)
    groups = _equal_groups(values, owner)
    numbers = values.select_dtypes("number")
    measured = [c for c in numbers if numbers[c].nunique() > _MEASURED * numbers[c].notna().sum()]
    for left, right in sorted(near_pairs(numbers[measured].to_numpy(dtype=float, na_value=np.nan), owner)):
        if not any({owner[left], owner[right]} <= set(group) for group in groups):
            groups.append((str(owner[left]), str(owner[right])))
    return groups


def _equal_groups(values: pd.DataFrame, owner: np.ndarray) -> list[tuple[str, ...]]:
    columns = values.columns[:: max(1, len(values.columns) // _COLUMNS)]
    codes = np.column_stack([pd.factorize(values[c])[0] for c in columns]) if len(columns) else np.empty((len(values), 0), int)
    values = values.astype({c: "string" for c in values.columns if values[c].dtype == object})
    key = pd.util.hash_pandas_object(values, index=False).to_numpy()
    patients = pd.Series(owner).groupby(key).unique()
    groups, rows = [], list[int]()
    for code, members in patients[patients.map(len) > 1].items():
        row = int((key == code).argmax())
        if values.iloc[row].notna().sum() >= 2 and _expected(codes, row) < _BY_CHANCE:
            groups.append(tuple(map(str, members)))
            rows.append(row)
    equal = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    return groups if equal > _differ_once(codes, rows) else []


def _differ_once(codes: np.ndarray, rows: Sequence[int]) -> int:
    """Count the rows that differ in one value only from one of those given."""
    return sum(int(((codes != codes[row]).sum(axis=1) == 1).sum()) for row in rows)


def _expected(codes: np.ndarray, row: int) -> float:
    """Rows that hold the values of one, were columns independent; of many columns some hundred tell enough."""
    shares = np.maximum(1, (codes == codes[row]).sum(axis=0) - 1) / len(codes)
    return float(len(codes) * np.exp(np.log(shares).sum()))


def _embeddings(cohort: Cohort) -> list[dict[str, pd.DataFrame]]:
    groups: dict[str, dict[str, pd.DataFrame]] = {}
    for name, spec in cohort.modalities.items():
        if spec.kind == "embedding" and len(cohort.tables[name].columns) > len(_IDS) + _FEW:
            groups.setdefault(spec.notes.get("encoder", name), {})[name] = cohort.tables[name]
    return list(groups.values())


def _shared_inside(table: pd.DataFrame) -> pd.Series:
    return table.groupby(vector_key(table))["patient_id"].transform("nunique") > 1


def _contents(table: pd.DataFrame, kind: str) -> Iterable[tuple[str, Level, pd.Series]]:
    """What two patients must not share: slide ids, texts, measured vectors."""
    if "slide_id" in table:
        yield "slide id", "error", table["slide_id"]
    if "text" in table:
        yield "text", "warning", table["text"].map(lambda t: " ".join(t.split()) if isinstance(t, str) else None)
    if kind in ("expression", "embedding") and len(table.columns) > len(_IDS) + _FEW:
        yield "values", "error", vector_key(table)


def _finding(level: Level, where: str, wrong: pd.Series, what: str) -> list[Finding]:
    rows = np.flatnonzero(wrong.to_numpy(dtype=bool)).tolist()
    if not rows:
        return []
    message = f"{len(rows)} row(s) {what} ({rows_text(rows)})"
    return [Finding(level=level, area="duplicates", where=where, message=message, count=len(rows))]
