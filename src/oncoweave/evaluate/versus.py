"""One metric of one task: models measured, and two of them held against each other, as a bench asks it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import unknown_name
from oncoweave.evaluate.compare import paired_difference
from oncoweave.evaluate.comparisons import NOBODY, common_rows, over_folds
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import Metric, metrics_of
from oncoweave.evaluate.significance import detectable_difference
from oncoweave.evaluate.tables import PredictionTable, check_predictions
from oncoweave.evaluate.training_outcomes import Curves, training_curves


@dataclass(frozen=True, kw_only=True, slots=True)
class Versus:
    """A paired difference, first model minus second, on the rows that both predict."""

    difference: float
    low: float
    high: float
    p: float
    """Of the paired bootstrap over patients."""
    p_folds: float
    """Of the corrected resampled t test over folds; NaN where ``note`` says why."""
    detectable: float
    """The smallest difference that would have been found in four of five studies; see ``significance.detectable_difference``."""
    n: int
    events: int | None
    note: str


def versus(
    predictions: pd.DataFrame,
    endpoint: Endpoint,
    *,
    first: str,
    second: str,
    metric: str,
    generator: np.random.Generator,
    replicates: int = 1000,
    trained: Mapping[tuple[int, int], int] | None = None,
    train_censoring: Curves | None = None,
    level: float = 0.95,
) -> Versus:
    """Compare two models of a prediction table by a metric of its endpoint; NaN where no patient is predicted by both.

    Args:
        predictions: the prediction table; see ``tables``.
        endpoint: what is predicted.
        first: name of a model.
        second: the one it is held against.
        metric: name of a metric, as ``metrics.metrics_of`` lists them.
        generator: draws the bootstrap.
        replicates: of the bootstrap.
        trained: training patients of each (repeat, fold), where the table cannot tell.
        train_censoring: censoring of the training patients, where the table cannot tell.
        level: of the interval.

    Raises:
        UnknownNameError: no such model or metric.
    """
    table = check_predictions(predictions[predictions["model"].isin([first, second])], endpoint)
    wanted = _metric(table, metric, train_censoring)
    rows = common_rows(table.of(first), table.of(second))
    if rows[0].empty:
        nan = float("nan")
        return Versus(difference=nan, low=nan, high=nan, p=nan, p_folds=nan, detectable=nan, n=0, events=None, note=NOBODY)
    resamples = draw(table, replicates=replicates, level=level, generator=generator)
    one, other = (measure(model, [wanted], endpoint, resamples)[metric] for model in rows)
    found = paired_difference(one.value - other.value, one.replicates - other.replicates, level=level)
    folds, note = over_folds(one.folds - other.folds, rows[0], trained, level=level)
    return Versus(
        difference=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        p_folds=folds.p,
        detectable=detectable_difference(one.replicates - other.replicates),
        n=one.n,
        events=one.events,
        note="; ".join(part for part in (note, found.reason, folds.reason) if part),
    )


def figures(
    predictions: pd.DataFrame, endpoint: Endpoint, *, metric: str, generator: np.random.Generator, replicates: int = 1000
) -> pd.DataFrame:
    """Measure every model of a prediction table by one metric: columns model, value, low, high, n, events, note.

    Raises:
        UnknownNameError: no such metric.
    """
    table = check_predictions(predictions, endpoint)
    wanted = _metric(table, metric, None)
    resamples = draw(table, replicates=replicates, level=0.95, generator=generator)
    rows = []
    for model in table.models:
        found = measure(table.of(model), [wanted], endpoint, resamples)[metric]
        interval = found.interval
        row = {"model": model, "value": found.value, "low": interval.low, "high": interval.high}
        rows.append({**row, "n": found.n, "events": found.events, "note": found.note})
    return pd.DataFrame(rows)


def _metric(table: PredictionTable, name: str, train_censoring: Curves | None) -> Metric:
    curves, kind = train_censoring, table.endpoint.kind
    if curves is None:
        curves = training_curves(table) if kind == "survival" else {}
    known = {m.name: m for m in metrics_of(table, curves)}
    if name not in known:
        raise unknown_name(f"metric of a {kind} endpoint", name, known)
    return known[name]
