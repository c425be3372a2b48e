"""The tables of a run folder, as the report reads them: what is there, checked; what is not, None."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.how_split import HowSplit
from oncoweave.evaluate.metrics import CHANCE, MAIN

_COLUMNS = {
    "metrics": ("model", "role", "metric", "value", "low", "high", "n", "events", "fold_mean", "fold_sd", "higher_is_better"),
    "comparisons": ("model", "reference", "metric", "difference", "low", "high", "p", "p_adjusted", "method"),
    "groups": ("model", "grouping", "group", "metric", "value", "low", "high", "n", "events"),
    "calibration": ("model", "horizon", "bin", "predicted", "observed", "low", "high", "n"),
    "km": ("model", "group", "time", "survival", "low", "high", "at_risk"),
    "km_summary": ("model", "logrank_p", "hazard_ratio", "hr_low", "hr_high"),
    "distribution": ("model", "bins", "p", "n", "events", "note"),
    "operating": ("model", "point", "measure", "value", "low", "high", "n", "p", "note"),
    "decision": (
        *("model", "horizon", "threshold", "net_benefit", "low", "high", "treat_all", "over_default_low"),
        *("reference", "over_reference_low", "n", "events"),
    ),
    "reclassification": ("model", "reference", "horizon", "measure", "part", "value", "low", "high", "n", "events"),
    "certainty": ("model", "grouping", "group", "covered", "low", "high", "size", "single", "empty", "n"),
    "novelty": ("model", "grouping", "group", "flagged", "share", "low", "high", "n", "judged"),
    "contributions": ("modality", "adds", "low", "high", "share", "note"),
    "missingness": ("pattern", "n", "events", "share"),
    "audits": ("audit", "verdict", "evidence", "n"),
}
_PREDICTIONS = ("patient_id", "site", "model", "repeat", "fold", "pattern")
_MANIFEST = (
    "name",
    "created",
    "endpoint",
    "cohort",
    "main_model",
    "reference_model",
    "versions",
    "hashes",
    "seed",
    "warnings",
    "study",
)

UNKNOWN = "unknown"
"""Group of the patients whose hospital is not recorded."""

_MAKE = "make the run with: oncoweave run study.yaml --out {path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """A run folder in memory."""

    path: Path
    manifest: Mapping[str, Any]
    endpoint: Endpoint
    predictions: pd.DataFrame
    flow: tuple[Mapping[str, object], ...] | None
    metrics: pd.DataFrame | None
    comparisons: pd.DataFrame | None
    groups: pd.DataFrame | None
    calibration: pd.DataFrame | None
    km: pd.DataFrame | None
    km_summary: pd.DataFrame | None
    distribution: pd.DataFrame | None
    operating: pd.DataFrame | None
    decision: pd.DataFrame | None
    reclassification: pd.DataFrame | None
    certainty: pd.DataFrame | None
    novelty: pd.DataFrame | None
    contributions: pd.DataFrame | None
    missingness: pd.DataFrame | None
    audits: pd.DataFrame | None

    @property
    def main(self) -> str:
        """The model the study is about."""
        return str(self.manifest["main_model"])

    @property
    def reference(self) -> str:
        """The baseline it is held against."""
        return str(self.manifest["reference_model"])

    @property
    def metric(self) -> str | None:
        """The measure of the verdict: the first main one of the endpoint's kind that was measured; None without measures."""
        if self.metrics is None or self.metrics.empty:
            return None
        there = list(dict.fromkeys(self.metrics["metric"]))
        return next((name for name in MAIN[self.endpoint.kind] if name in there), there[0])

    @property
    def chance(self) -> float | None:
        """Value of that measure for a prediction that knows nothing; None where it depends on the outcome's distribution."""
        return CHANCE.get(self.metric) if self.metric is not None else None

    @property
    def num_sites(self) -> int:
        """Count the hospitals that are recorded."""
        return int(self.predictions.loc[self.predictions["site"] != UNKNOWN, "site"].nunique())

    @property
    def drawn(self) -> str:
        """Whom the bootstrap draws: patients, or persons where rows are specimens."""
        study = self.manifest["study"]
        return "persons, each with all specimens" if isinstance(study, dict) and study.get("person") else "patients"

    @property
    def stratum(self) -> str | None:
        """The column within whose values patients were ranked; None where all were."""
        study = self.manifest["study"]
        return study.get("stratum") if isinstance(study, dict) else None

    @property
    def protocol(self) -> Mapping[str, object]:
        """The resolved protocol of the study; empty where the manifest holds none."""
        study = self.manifest["study"]
        found = study.get("protocol") if isinstance(study, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def split(self) -> HowSplit | None:
        """How patients and hospitals were parted, counted from the splits; None where the run did not count it."""
        found = self.manifest.get("split")
        return HowSplit(**found) if isinstance(found, dict) else None

    def measured(self, metric: str) -> pd.DataFrame:
        """One row a model with its value of a measure; empty without measures. Refits that only serve ablation are left out."""
        if self.metrics is None:
            return pd.DataFrame(columns=list(_COLUMNS["metrics"]))
        chosen = (self.metrics["metric"] == metric) & (self.metrics["role"] != "ablation")
        return self.metrics[chosen].drop_duplicates("model")


def read_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        DataError: no such folder, no manifest or predictions in it, or a table that lacks a column; says what makes them.
    """
    path = Path(path)
    make = _MAKE.format(path=path)
    if not path.is_dir():
        msg = f"{path}: wanted a run folder, found {'a file' if path.exists() else 'nothing'}; {make}"
        raise DataError(msg)
    for name in ("manifest.json", "predictions.parquet"):
        if not (path / name).is_file():
            msg = f"{path}: the run folder has no {name} (it is written when a run ends); finish the run or {make}"
            raise DataError(msg)
    manifest = _json(path / "manifest.json")
    missing = [key for key in _MANIFEST if key not in manifest]
    if missing:
        msg = f"{path / 'manifest.json'}: key(s) {missing} are missing, it has {list(manifest)}; {make}"
        raise DataError(msg)
    tables = {name: _table(path, name, columns) for name, columns in _COLUMNS.items()}
    predictions = _table(path, "predictions", _PREDICTIONS)
    assert predictions is not None, "its presence was checked above"
    return RunFolder(
        path=path,
        manifest=manifest,
        endpoint=_endpoint(manifest["endpoint"]),
        predictions=predictions,
        flow=_flow(path / "flow.json"),
        **tables,
    )


def _table(path: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame | None:
    file = path / f"{name}.parquet"
    if not file.is_file():
        return None
    table = pd.read_parquet(file)
    missing = [column for column in columns if column not in table]
    if missing:
        msg = f"{file}: column(s) {missing} are missing, it has {list(table.columns)}; {_MAKE.format(path=path)}"
        raise DataError(msg)
    numeric = table.select_dtypes("number").columns
    return table.assign(**{column: table[column].astype(np.float64) for column in numeric if column not in ("repeat", "fold")})


def _endpoint(declared: Mapping[str, Any]) -> Endpoint:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in declared.items()}
    return Endpoint(**fields)


def _flow(path: Path) -> tuple[Mapping[str, object], ...] | None:
    return tuple(_json(path)) if path.is_file() else None


def _json(path: Path) -> Any:  # noqa: ANN401 - an object in the manifest, a list in the flow
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        msg = f"{path}: not JSON ({error}); {_MAKE.format(path=path.parent)}"
        raise DataError(msg) from error
