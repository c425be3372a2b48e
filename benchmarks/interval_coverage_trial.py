"""What is simulated to see how often intervals hold the truth, and the table of it; see ``interval_coverage.py``."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.intervals import bca_interval, bootstrap, jackknife, strata_of_patients
from oncoweave.evaluate.measure import Measured, Resamples
from oncoweave.evaluate.pairs import Statistic

DATA_SETS, REPLICATES, LARGE = 1000, 500, 400_000
Ends = dict[str, tuple[float, float]]
Draw = Callable[[np.random.Generator], Ends]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Cohorts of one kind, and the intervals of each.

    Where a cohort has several statistics, ``truth`` gives one for each, and intervals are named ``<statistic>, <interval>``.
    """

    name: str
    truth: Callable[[np.random.Generator], float | Mapping[str, float]]
    draw: Draw
    data_sets: int = DATA_SETS


def tell(trials: Iterable[Trial], part: str, data_sets: int) -> None:
    """Print a row an interval of the trials that have ``part`` in their name, each of ``data_sets`` cohorts (0: its own)."""
    print("| statistic | interval | data sets | coverage, % | interval below, above the truth, % | mean width |")
    print("|---|---|---|---|---|---|")
    start = time.process_time()
    for trial in trials:
        if part in trial.name:
            truth, generator = trial.truth(np.random.default_rng(2026)), np.random.default_rng(7)
            drawn = [trial.draw(generator) for _ in range(data_sets or trial.data_sets)]
            for name in drawn[0]:
                print(row(trial, name, truth, np.array([ends.get(name, (np.nan, np.nan)) for ends in drawn])), flush=True)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


def row(trial: Trial, name: str, truth: float | Mapping[str, float], ends: np.ndarray) -> str:
    title, (low, high) = trial.name, ends.T
    if isinstance(truth, Mapping):
        statistic, name = name.rsplit(", ", 1)
        title, truth = f"{statistic}; {title}", truth[statistic]
    known = ~np.isnan(low)
    above, below = 100 * np.mean(low > truth), 100 * np.mean(high < truth)
    told = 100 * np.mean(((low <= truth) & (truth <= high))[known])
    lost = f" ({int((~known).sum())} without)" if not known.all() else ""
    width = np.mean((high - low)[known])
    return f"| {title} | {name} | {len(ends)}{lost} | {told:.1f} | {below:.1f}, {above:.1f} | {width:.3f} |"


def both(statistic: Statistic, patients: np.ndarray, generator: np.random.Generator) -> Ends:
    return {f"bootstrap, {method}": ends(statistic, patients, generator, method=method) for method in ("percentile", "bca")}


def ends(statistic: Statistic, patients: np.ndarray, generator: np.random.Generator, **options: object) -> tuple[float, float]:
    found = bootstrap(statistic, patients, generator=generator, **{"replicates": REPLICATES} | options)
    return found.low, found.high


def as_run(found: Measured, statistic: Statistic, index: np.ndarray, resamples: Resamples) -> Ends:
    """The interval that a run gives, and BCa beside it where that is of percentiles; ``index`` says whose each row is."""
    name, method = found.metric.name, found.metric.interval
    told = {f"{name}, {method} (run)": (found.interval.low, found.interval.high)}
    if method in ("percentile", "expanded"):
        strata = strata_of_patients(resamples.strata[index], index)
        left_out = jackknife(statistic, index)
        corrected = bca_interval(found.value, found.replicates, left_out=left_out, strata=strata, level=resamples.level)
        told[f"{name}, bca"] = corrected.low, corrected.high
    return told


def parted(positive: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """Folds that hold positives alike."""
    order = np.concatenate([generator.permutation(np.flatnonzero(positive == value)) for value in (True, False)])
    fold = np.empty(len(positive), dtype=int)
    fold[order] = np.arange(len(positive)) % folds
    return fold
