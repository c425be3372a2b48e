"""The metrics of one model on some rows: value, bootstrap replicates, values within folds, and why one is not defined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.calibration_interval import Simulation
from oncoweave.evaluate.intervals import (
    Interval,
    bca_interval,
    draw_weights,
    expanded_level,
    jackknife,
    logit_interval,
    percentile_interval,
    replicate,
    strata_of_patients,
    varies,
)
from oncoweave.evaluate.metrics import Metric, strata
from oncoweave.evaluate.pairs import PairStatistic, Statistic
from oncoweave.evaluate.pooling import owner
from oncoweave.evaluate.reasons import silent, undefined
from oncoweave.evaluate.tables import PredictionTable
from oncoweave.evaluate.weighted import MeanOver

_FOLD = 10
"""Patients of a fold from which on it is drawn by itself: of m patients, draws of m vary by one part in m too little."""
_ROUNDING = 1e-9
_EXACT = "no pair is in the wrong order (or none in the right one): the interval is exact, from pairs without a patient in common"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Resamples:
    """One set of bootstrap draws of all patients of a table, shared by all models so that their differences are paired."""

    patients: pd.Index
    weights: np.ndarray
    """``Float32[replicate, patient]``: how often each patient is drawn."""
    strata: np.ndarray
    """``Int[patient]``: within what he is drawn; see :func:`draw`."""
    seed: int
    """Of what is simulated rather than drawn."""
    level: float

    def index_of(self, rows: pd.DataFrame) -> np.ndarray:
        """``Int[row]``: whose each row is."""
        return self.patients.get_indexer(pd.Index(owner(rows)))

    def lost(self, index: np.ndarray) -> float:
        """Degrees of freedom that drawing within strata costs the patients of ``index``: one for each stratum all theirs."""
        _, code, size = np.unique(self.strata, return_inverse=True, return_counts=True)
        return float((1 / size[code])[np.unique(index)].sum())


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Measured:
    """A metric of one model: its value over all rows, over replicates, and in each fold (NaN where not defined).

    ``interval`` is at the level of the draws; its ends are NaN where ``note`` says why.
    """

    metric: Metric
    value: float
    interval: Interval
    replicates: np.ndarray
    folds: np.ndarray
    n: int
    events: int | None
    note: str


def draw(table: PredictionTable, *, replicates: int, level: float, generator: np.random.Generator) -> Resamples:
    """Draw the bootstrap once for all patients of a table; equal generators give equal draws whatever the order of its rows.

    Patients are drawn within their fold, as pairs are compared within it: with folds whose sizes vary, pairs vary more than they
    do from cohort to cohort, and intervals of a C-index over ten folds of ten are a third too wide. Folds of fewer than ten
    patients are drawn together, and so are all patients where repeats put them into other folds each time: few share all folds.
    Classes are no strata: how many positives there are is luck too, on which an average precision depends, and an AUROC within
    folds and classes holds too little. Coverage: ``benchmarks/interval_coverage_2026-11.md``.
    """
    of_row = owner(table.frame)
    patients = pd.Index(np.sort(of_row.unique()))
    folds = table.frame.groupby(of_row)["fold"].agg(["min", "max"]).loc[patients]
    strata = folds["min"].to_numpy(dtype=np.int64)
    if (folds["min"] != folds["max"]).any():
        strata[:] = -1
    _, code, size = np.unique(strata, return_inverse=True, return_counts=True)
    strata = np.where(size[code] < _FOLD, -1, strata)
    weights = draw_weights(len(patients), replicates=replicates, generator=generator, strata=strata)
    return Resamples(patients=patients, weights=weights, strata=strata, seed=int(generator.integers(2**63)), level=level)


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
    drawn = _Drawn.of(rows, resamples)
    measured = {}
    for metric in metrics:
        n, events, unknown = counts[metric.label]
        statistic = statistics.get(metric.name)
        if statistic is None:
            value, values, folds = float("nan"), np.full(len(resamples.weights), np.nan), np.full(len(indicators), np.nan)
            interval, why = percentile_interval(value, values, level=resamples.level), ""
        else:
            value, values, folds = float(statistic(once)[0]), draws[metric.name], statistic(indicators)
            interval, why = _interval(metric, statistic, value, values, drawn)
            if metric.distance is not None and not np.isnan(value):
                simulation = Simulation(distance=metric.distance(rows), patients=drawn.patients, seed=resamples.seed)
                interval, why = simulation.interval(value, level=resamples.level), _calibrated(simulation.p())
        lacking = undefined(metric, rows, endpoint) if np.isnan(value) and statistic is not None else ""
        remark = metric.remark(rows) if metric.remark is not None and statistic is not None else ""
        aside = "; ".join(part for part in (silent(metric, rows, endpoint, fold), remark) if part)
        told = _Told(unknown=unknown, undefined=lacking, aside=aside, no_interval=why)
        measured[metric.name] = Measured(
            metric=metric,
            value=value,
            interval=interval,
            replicates=values,
            folds=folds,
            n=n,
            events=events,
            note=notes.get(metric.name) or _note(value, values, folds, told),
        )
    return measured


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Drawn:
    """Who is drawn with some rows."""

    patients: np.ndarray
    """``Int[row]``, numbered among those whose rows these are."""
    strata: np.ndarray
    """``Int[patient]`` of those: within what each is drawn."""
    lost: float
    """See :meth:`Resamples.lost`."""
    level: float

    @staticmethod
    def of(rows: pd.DataFrame, resamples: Resamples) -> "_Drawn":
        patients = np.unique(owner(rows).to_numpy(), return_inverse=True)[1]
        index = resamples.index_of(rows)
        strata = strata_of_patients(resamples.strata[index], patients)
        return _Drawn(patients=patients, strata=strata, lost=resamples.lost(index), level=resamples.level)


def _calibrated(p: float) -> str:
    if np.isnan(p):
        return "no interval: most samples of a perfectly calibrated model define none"
    return f"perfect calibration: p = {p:.2f}" if p >= 0.01 else "perfect calibration: p < 0.01"


def _interval(metric: Metric, statistic: Statistic, value: float, replicates: np.ndarray, drawn: _Drawn) -> tuple[Interval, str]:
    """Interval of a value by the metric's method, or without ends, and why; percentile where no correction can be told.

    Where every replicate gives the same value, that is no interval. Of a ranking without an error it is the exact one.
    """
    none = Interval(value=value, low=float("nan"), high=float("nan"), replicates=int((~np.isnan(replicates)).sum()))
    if np.isnan(value):
        return none, ""
    if isinstance(statistic, PairStatistic) and statistic.disjoint_pairs(drawn.patients) < 2:
        return none, "no interval: every pair that can be compared holds the same patient"
    if not varies(replicates):
        reach = _faultless(statistic, drawn.patients, (1 - drawn.level) / 2)
        if np.isfinite(reach) and min(value, 1 - value) < _ROUNDING:
            ends = (reach, 1.0) if value > 0.5 else (0.0, 1 - reach)
            return replace(none, low=ends[0], high=ends[1]), _EXACT
        return none, "no interval: the same value in every bootstrap replicate"
    corrected, level = none, drawn.level
    if metric.interval == "expanded":
        level = expanded_level(drawn.level, len(drawn.strata), lost=drawn.lost)
    elif metric.interval == "bca":
        left_out = jackknife(statistic, drawn.patients)
        corrected = bca_interval(value, replicates, left_out=left_out, strata=drawn.strata, level=drawn.level)
    elif metric.interval == "logit":
        corrected = logit_interval(value, replicates, n=len(drawn.strata), level=drawn.level)
    if np.isfinite(corrected.low):
        return corrected, ""
    return percentile_interval(value, replicates, level=level), ""


def _faultless(statistic: Statistic, patients: np.ndarray, alpha: float) -> float:
    """Lowest share of pairs in order that would, with probability ``alpha``, still show none out of order; NaN where not known.

    Of k pairs without a patient in common all are in order with probability share^k (Clopper and Pearson 1934, of k successes
    in k); the other pairs can only make it less. Parts of an average divide ``alpha`` (Bonferroni).
    """
    if isinstance(statistic, PairStatistic):
        pairs = statistic.disjoint_pairs(patients)
        return float(alpha ** (1 / pairs)) if pairs else 0.0
    if isinstance(statistic, MeanOver):
        return float(np.mean([_faultless(part, patients, alpha / len(statistic.parts)) for part in statistic.parts]))
    return float("nan")


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What is to be said of a metric besides what its values show."""

    unknown: int
    undefined: str
    aside: str
    no_interval: str


def _note(value: float, replicates: np.ndarray, folds: np.ndarray, told: _Told) -> str:
    said = [f"{told.unknown} unknown label(s) left out"] if told.unknown else []
    if np.isnan(value):
        said.append(f"not defined: {told.undefined}")
    elif np.isnan(folds).any():
        said.append(f"not defined in {int(np.isnan(folds).sum())} of {len(folds)} folds")
    if not np.isnan(value) and np.isnan(replicates).any():
        said.append(f"not defined in {int(np.isnan(replicates).sum())} of {len(replicates)} bootstrap replicates")
    return "; ".join([*said, *(part for part in (told.aside, told.no_interval) if part)])
