"""The result tables of a run, beside its predictions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.files import publish
from oncoweave.evaluate.censoring import Censoring, fit_censoring
from oncoweave.evaluate.contributions import contributions
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.tables import check_predictions
from oncoweave.train.dataset import Dataset
from oncoweave.train.panel import ALONE, Planned
from oncoweave.train.study import Study
from oncoweave.train.subsets import SubsetPlan, SubsetScores, worths_of


def write_results(
    out: Path,
    study: Study,
    data: Dataset,
    predictions: pd.DataFrame,
    planned: list[Planned],
    splits: pd.DataFrame,
    *,
    subsets: SubsetPlan | None,
    scored: Sequence[tuple[int, int, SubsetScores]],
    attributes: pd.DataFrame,
) -> list[Path]:
    """Write the prediction table and every table derived from it into the run folder; returns the files.

    ``scored`` holds, by repeat and fold, what a late main model makes of the planned ``subsets`` of its modalities;
    ``attributes`` are groups of patients by which performance is told apart; see ``train.rows.told_apart``.
    """
    endpoint = data.outcome.endpoint
    table = check_predictions(predictions, endpoint)
    tables = {"predictions": table.frame}
    rng = np.random.default_rng([study.protocol.seed, 4])
    censoring = _train_censoring(data, splits) if endpoint.kind == "survival" else None
    prevalence = _train_prevalence(data, splits) if endpoint.kind == "binary" else None
    reference = ALONE + str(study.reference)
    summary = summarise(
        table,
        endpoint,
        roles={p.name: p.role for p in planned},
        generator=rng,
        options=SummaryOptions(
            references=tuple(dict.fromkeys((reference, study.main))),
            pair=(study.main, reference),
            replicates=study.protocol.bootstrap,
            attributes=attributes,
            trained=trained(splits),
        ),
        train_censoring=censoring,
        train_prevalence=prevalence,
    )
    tables |= summary.tables()
    refitted = _refitted(study, planned)
    if len(refitted) > 1:
        tables["contributions"] = contributions(
            table,
            endpoint,
            models=refitted,
            generator=rng,
            worths=None if subsets is None else worths_of(subsets, scored, table, study.main, censoring or {}),
            replicates=study.protocol.bootstrap,
            train_censoring=censoring,
        )
    tables["missingness"] = _missingness(data)
    return [write_table(out / f"{name}.parquet", frame) for name, frame in tables.items()]


def trained(splits: pd.DataFrame) -> dict[tuple[int, int], int]:
    """Count the training patients of each (repeat, fold)."""
    return {fold: len(rows) for fold, rows in _training(splits)}


def _train_censoring(data: Dataset, splits: pd.DataFrame) -> dict[tuple[int, int], Censoring]:
    """Fit the censoring curve of each fold on the patients that trained for it."""
    time = pd.Series(data.outcome.time, index=data.patient_ids)
    event = pd.Series(data.outcome.event, index=data.patient_ids)
    return {fold: fit_censoring(time[rows].to_numpy(), event[rows].to_numpy()) for fold, rows in _training(splits)}


def _train_prevalence(data: Dataset, splits: pd.DataFrame) -> dict[tuple[int, int], float]:
    """Count the share of positive patients among those that trained for each fold."""
    y = pd.Series(data.outcome.values, index=data.patient_ids)
    return {fold: float(np.nanmean(y[rows].to_numpy(dtype=float))) for fold, rows in _training(splits)}


def _training(splits: pd.DataFrame) -> Iterator[tuple[tuple[int, int], pd.Series]]:
    """Yield who trained for each (repeat, fold)."""
    for repeat in splits["repeat"].unique().tolist():
        rows = splits[splits["repeat"] == repeat]
        for fold in rows.loc[rows["fold"] >= 0, "fold"].unique().tolist():
            yield (int(repeat), int(fold)), rows.loc[rows["fold"] != fold, "patient_id"]


def _refitted(study: Study, planned: list[Planned]) -> dict[frozenset[str], str]:
    """Name the model of each subset of the main model's modalities that was fitted."""
    main = next(p for p in planned if p.name == study.main)
    ablations = {frozenset(p.modalities): p.name for p in planned if p.role == "ablation"}
    return {frozenset(main.modalities): main.name, **ablations}


def _missingness(data: Dataset) -> pd.DataFrame:
    kind = data.outcome.endpoint.kind
    events = data.outcome.event if kind == "survival" else data.outcome.values == 1 if kind == "binary" else None
    frame = pd.DataFrame({"pattern": data.patterns, "events": np.nan if events is None else events.astype(float)})
    grouped = frame.groupby("pattern").agg(n=("events", "size"), events=("events", "sum" if events is not None else "max"))
    counted = grouped.assign(share=grouped["n"] / len(data)).sort_values("n", ascending=False).reset_index()
    return counted.astype({"events": "Int64"})


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table, whole or not at all; returns its path."""
    with publish(path) as partial:
        table.to_parquet(partial, index=False)
    return path
