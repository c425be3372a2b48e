"""MuData: one ``.h5mu`` file of AnnData objects, in and out.

Out: each modality becomes an AnnData with a row a sample, named by its patient (``patient#2`` for a second sample). Numbers stand
in ``X``, other columns in ``obs``; the bags of slides are averaged into ``obsm["mean_of_tiles"]`` and referred to by path. The
patient table stands in the common ``obs``. ``uns["oncoweave"]`` holds what AnnData would change or lose, so that the same cohort
can be read back. In: such a file comes back as it was; any other MuData becomes a cohort without outcomes.
"""

import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, missing_extra
from oncoweave.core.files import publish
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.importers.ids import check_ids
from oncoweave.data.importers.report import ImportReport, report_absent
from oncoweave.data.importers.sources import open_mudata
from oncoweave.data.store import PATH_COLUMNS
from oncoweave.data.tables import read_table, write_table

if TYPE_CHECKING:
    from anndata import AnnData

_KEY = "oncoweave"
_VERSION = 1
_KINDS = {
    "expression": ("rna", "mrna", "expression", "gex", "prot", "protein", "methylation", "mirna"),
    "variants": ("variants", "mut", "mutations", "dna", "cnv", "cna"),
    "record": ("clinical", "record", "lab", "labs", "blood"),
}
_EXACT = 2**53
"""Whole numbers up to here are exact as float64."""


def read(source: Path) -> tuple[Cohort, ImportReport]:
    """Read a MuData file.

    Raises:
        DataError: the file is damaged, or was written by another version of this layout.
    """
    report = ImportReport(source=source.name, format="mudata")
    data = open_mudata(source)
    cohort = _read_ours(data) if _KEY in data.uns else _read_other(data, source.stem, report)
    report_absent(cohort, report)
    return cohort, report


def write_mudata(cohort: Cohort, path: Path) -> Path:
    """Write a cohort as one ``.h5mu`` file, atomically. Files that tables name are referred to by absolute path.

    Raises:
        MissingExtraError: mudata is not installed.
    """
    try:
        import mudata
    except ImportError as error:
        raise missing_extra("mudata", "omics") from error
    parts: dict[str, AnnData] = {}
    ours: dict[str, Any] = {"version": _VERSION, "name": cohort.name}
    ours["endpoints"] = json.dumps([asdict(e) for e in cohort.endpoints.values()])
    ours["modalities"] = json.dumps([asdict(m) for m in cohort.modalities.values()])
    ours["patients"] = _pack(cohort.patients.rename_axis("patient_id").reset_index())
    ours["tables"] = {}
    for name, table in cohort.tables.items():
        parts[name], ours["tables"][name] = _to_anndata(_with_absolute_paths(table, cohort.root))
    _make_names_differ(parts)
    with mudata.set_options(pull_on_update=False):
        data = mudata.MuData(parts)
        of_obs = cohort.patients.reindex([n.partition("#")[0] for n in data.obs_names])
        for column in of_obs.columns:
            data.obs[str(column)] = _plain(of_obs[column]).to_numpy()
        data.uns[_KEY] = ours
        with publish(path) as partial:
            data.write(partial)
    return path


def _to_anndata(table: pd.DataFrame) -> tuple["AnnData", dict[str, Any]]:
    from anndata import AnnData

    numeric = [c for c in table.columns if _is_exact(table[c])]
    small = all(table[c].dtype in (np.float16, np.float32) for c in numeric)
    values = table[numeric].to_numpy(dtype=np.float32 if small and numeric else np.float64, na_value=np.nan)
    count = table.groupby("patient_id", sort=False).cumcount()
    names = [p if n == 0 else f"{p}#{n + 1}" for p, n in zip(table["patient_id"], count, strict=True)]
    rest = table.drop(columns=numeric)
    obs = pd.DataFrame({c: _plain(rest[c]) for c in rest.columns}).set_axis(names, axis=0)
    part = AnnData(X=values, obs=obs, var=pd.DataFrame(index=pd.Index(numeric, dtype=object)))
    if "slide_id" in table and "path" in table:
        part.obsm["mean_of_tiles"] = _mean_of_tiles(table["path"])
    kept = {
        "columns": json.dumps(table.columns.tolist()),
        "dtypes": json.dumps({c: str(table[c].dtype) for c in numeric}),
        "rest": _pack(rest),
        "names": np.array(names, dtype=str),
    }
    return part, kept


def _make_names_differ(parts: dict[str, "AnnData"]) -> None:
    """Put the modality before the name of a column that two modalities have: MuData wants names that differ."""
    count = Counter(name for part in parts.values() for name in part.var_names)
    for modality, part in parts.items():
        part.var_names = pd.Index([f"{modality}:{n}" if count[n] > 1 else n for n in part.var_names], dtype=object)


def _read_ours(data: Any) -> Cohort:  # noqa: ANN401
    ours = data.uns[_KEY]
    if int(ours["version"]) != _VERSION:
        msg = f"the MuData file was written by version {ours['version']} of this layout, and version {_VERSION} is read here"
        raise DataError(msg)
    specs = [ModalitySpec(**m) for m in json.loads(ours["modalities"])]
    endpoints = [
        Endpoint(**{**e, "columns": tuple(e["columns"]), "classes": tuple(e["classes"])}) for e in json.loads(ours["endpoints"])
    ]
    return Cohort(
        name=str(ours["name"]),
        patients=_unpack(ours["patients"]).set_index("patient_id"),
        tables={m.name: _from_anndata(data.mod[m.name], ours["tables"][m.name]) for m in specs},
        modalities={m.name: m for m in specs},
        endpoints={e.name: e for e in endpoints},
    )


def _from_anndata(part: "AnnData", kept: dict[str, Any]) -> pd.DataFrame:
    rest = _unpack(kept["rest"]).set_axis(pd.Index([str(n) for n in kept["names"]]), axis=0)
    added = ~part.obs_names.isin(rest.index)
    if added.any():
        first = int(added.argmax()) + 1
        msg = f"{int(added.sum())} row(s) were added to the MuData file, first row {first}; remove uns[{_KEY!r}] from it"
        raise DataError(msg)
    rest = rest.loc[part.obs_names]
    dtypes: dict[str, str] = json.loads(kept["dtypes"])
    numbers = pd.DataFrame({c: _as(part.X[:, i], dtype) for i, (c, dtype) in enumerate(dtypes.items())}).set_axis(
        rest.index, axis=0
    )
    return pd.concat([rest, numbers], axis=1)[json.loads(kept["columns"])].reset_index(drop=True)


def _read_other(data: Any, name: str, report: ImportReport) -> Cohort:  # noqa: ANN401
    tables, specs = {}, {}
    for part_name, part in data.mod.items():
        where = f"modality {part_name!r}"
        ids = part.obs["patient_id"].astype(str) if "patient_id" in part.obs else pd.Series(part.obs_names, index=part.obs_names)
        check_ids(ids, where=where)
        frame = part.to_df().reset_index(drop=True)
        frame.insert(0, "patient_id", ids.to_numpy(dtype=object))
        frame.insert(1, "sample_id", part.obs_names.to_numpy(dtype=object))
        tables[part_name] = frame
        kind = next((k for k, names in _KINDS.items() if part_name.lower() in names), "embedding")
        specs[part_name] = ModalitySpec(name=part_name, kind=kind)
        report.note("chosen", 1, "modalities", where=where, reason=f"read as {kind}, by its name")
        left = [c for c in part.obs.columns if c != "patient_id"]
        report.note("left out", len(left), "columns", where=where, reason="stand in obs, not in X")
    ids = list(dict.fromkeys(p for t in tables.values() for p in t["patient_id"]))
    patients = data.obs[[c for c in data.obs.columns if ":" not in c]].reindex(ids)
    patients.columns = [str(c) for c in patients.columns]
    report.note(
        "unknown", len(ids), "patients", where=name, reason="a MuData file declares no outcomes; declare them with a manifest"
    )
    return Cohort(name=name, patients=patients.rename_axis("patient_id"), tables=tables, modalities=specs)


def _is_exact(column: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or pd.api.types.is_complex_dtype(column):
        return False
    return not pd.api.types.is_integer_dtype(column) or bool((column.dropna().abs() <= _EXACT).all())


def _plain(column: pd.Series) -> pd.Series:
    """A column in a type that AnnData writes; the exact one is kept beside it."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column
    return pd.Series(pd.Categorical(column.map(lambda v: None if pd.isna(v) else str(v)).astype(object)), index=column.index)


def _as(values: np.ndarray, dtype: str) -> pd.Series:
    """A column of ``X`` in the type it had; NaN becomes NA where the type has it."""
    return pd.Series(np.asarray(values).ravel()).astype(pd.api.types.pandas_dtype(dtype))


def _pack(frame: pd.DataFrame) -> np.ndarray:
    """A table as the bytes of a parquet file, which keeps every type."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "table.parquet", frame)
        return np.frombuffer((Path(folder) / "table.parquet").read_bytes(), dtype=np.uint8)


def _unpack(packed: np.ndarray) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        path.write_bytes(np.asarray(packed, dtype=np.uint8).tobytes())
        return read_table(path)


def _with_absolute_paths(table: pd.DataFrame, root: Path | None) -> pd.DataFrame:
    columns = [c for c in PATH_COLUMNS if c in table]
    if root is None:
        return table
    return table.assign(**{c: table[c].map(lambda p: str(root / p) if isinstance(p, str) else p) for c in columns})


def _mean_of_tiles(paths: pd.Series) -> np.ndarray:
    from oncoweave.data.bags import read_bag, read_head

    heads = [read_head(p) if isinstance(p, str) else None for p in paths]
    width = max((h.dim for h in heads if h is not None), default=0)
    rows = [read_bag(p).features.astype(np.float64).mean(axis=0) if isinstance(p, str) else np.full(width, np.nan) for p in paths]
    return np.stack(rows) if rows else np.zeros((0, width))
