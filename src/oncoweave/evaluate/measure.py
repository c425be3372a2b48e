"""The metrics of one model on some rows: value, bootstrap replicates, values within folds, and why one is not defined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.intervals import Interval, bca_interval, draw_weights, jackknife, percentile_interval, replicate
from oncoweave.evaluate.metrics import Metric, strata
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.pooling import owner
from oncoweave.evaluate.tables import PredictionTable


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Resamples:
    """One set of bootstrap draws of all patients of a table, shared by all models so that their differences are paired."""

    patients: pd.Index
    weights: np.ndarray
    """``Float32[replicate, patient]``: how often each patient is drawn."""
    level: float

    def index_of(self, rows: pd.DataFrame) -> np.ndarray:
        """``Int[row]``: whose each row is."""
        return self.patients.get_indexer(pd.Index(owner(rows)))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Measured:
    """A metric of one model: its value over all rows, over replicates, and in each fold (NaN where not defined)."""

    metric: Metric
    value: float
    replicates: np.ndarray
    folds: np.ndarray
    n: int
    events: int | None
    note: str
    left_out: np.ndarray | None = None
    """The value without each patient, where the metric's interval is BCa."""

    def interval(self, level: float) -> Interval:
        """Interval of the value by the metric's method; percentile where no correction can be told, as with an area of 1."""
        if self.left_out is not None:
            corrected = bca_interval(self.value, self.replicates, left_out=self.left_out, level=level)
            if np.isfinite(corrected.low):
                return corrected
        return percentile_interval(self.value, self.replicates, level=level)


def draw(table: PredictionTable, *, replicates: int, level: float, generator: np.random.Generator) -> Resamples:
    """Draw the bootstrap once for all patients of a table; equal generators give equal draws whatever the order of its rows."""
    patients = pd.Index(np.sort(owner(table.frame).unique()))
    return Resamples(
        patients=patients, weights=draw_weights(len(patients), replicates=replicates, generator=generator), level=level
    )


def measure(rows: pd.DataFrame, metrics: Sequence[Metric], endpoint: Endpoint, resamples: Resamples) -> dict[str, Measured]:
    """Measure one model's rows; a metric that cannot be computed is NaN and says why."""
    statistics: dict[str, Statistic] = {}
    notes: dict[str, str] = {}
    for metric in metrics:
        try:
            statistics[metric.name] = metric.build(rows)
        except (DataError, NoComparablePairsError) as error:
            notes[metric.name] = str(error)
    fold = strata(rows)
    indicators = (fold == np.arange(fold.max() + 1)[:, None]).astype(np.float32)
    once = np.ones((1, len(rows)), dtype=np.float32)
    draws = replicate(statistics, resamples.weights, resamples.index_of(rows))
    counts = {label: count(rows, endpoint, label) for label in {metric.label for metric in metrics}}
    own = np.unique(owner(rows).to_numpy(), return_inverse=True)[1]
    measured = {}
    for metric in metrics:
        n, events, unknown = counts[metric.label]
        statistic = statistics.get(metric.name)
        if statistic is None:
            value, values, folds = float("nan"), np.full(len(resamples.weights), np.nan), np.full(len(indicators), np.nan)
        else:
            value, values, folds = float(statistic(once)[0]), draws[metric.name], statistic(indicators)
        measured[metric.name] = Measured(
            metric=metric,
            value=value,
            replicates=values,
            folds=folds,
            n=n,
            events=events,
            note=notes.get(metric.name) or _note(value, values, folds, unknown),
            left_out=jackknife(statistic, own) if statistic is not None and metric.interval == "bca" else None,
        )
    return measured


def count(rows: pd.DataFrame, endpoint: Endpoint, label: str | None = None) -> tuple[int, int | None, int]:
    """Count patients, events (also the positive class of a binary endpoint, or of one label), and unknown labels."""
    patients = rows.drop_duplicates("patient_id")
    if label is not None:
        known = patients[f"y@{label}"].notna()
        return int(known.sum()), int(patients.loc[known, f"y@{label}"].sum()), int((~known).sum())
    column = {"survival": "event", "binary": "y"}.get(endpoint.kind)
    events = None if column is None else int(patients[column].sum())
    unknown = int(patients.filter(regex="^y@").isna().to_numpy().sum()) if endpoint.kind == "multilabel" else 0
    return len(patients), events, unknown


def _note(value: float, replicates: np.ndarray, folds: np.ndarray, unknown: int) -> str:
    said = [f"{unknown} unknown label(s) left out"] if unknown else []
    if np.isnan(value):
        said.append("not defined: no two patients of a fold can be compared")
    elif np.isnan(folds).any():
        said.append(f"not defined in {int(np.isnan(folds).sum())} of {len(folds)} folds")
    if not np.isnan(value) and np.isnan(replicates).any():
        said.append(f"not defined in {int(np.isnan(replicates).sum())} of {len(replicates)} bootstrap replicates")
    return "; ".join(said)
