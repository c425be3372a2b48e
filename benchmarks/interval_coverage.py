"""How often intervals hold the truth: nominal 95 % intervals of each statistic on simulated cohorts whose true value is known.

Run ``nice python benchmarks/interval_coverage.py`` (four minutes on one core), or with a part of a statistic's name
those alone. The truth is a closed form where there is one and otherwise the statistic of 400,000 simulated patients. Bootstraps
draw 500 replicates of patients, the calibration slope 200.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.calibration import recalibrate
from oncoweave.evaluate.compare import difference_of
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.intervals import bootstrap
from oncoweave.evaluate.pairs import Statistic, ordered_pairs, survival_pairs
from oncoweave.evaluate.restricted import restricted_mean, restricted_mean_of
from oncoweave.evaluate.utility import net_benefit
from oncoweave.evaluate.weighted import mean_of

DATA_SETS, REPLICATES, LARGE = 1000, 500, 400_000
Ends = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    name: str
    truth: float
    draw: Callable[[np.random.Generator], Ends]
    data_sets: int = DATA_SETS


def main(part: str = "") -> None:
    print("| statistic | interval | data sets | coverage, % | interval below, above the truth, % | mean width |")
    print("|---|---|---|---|---|---|")
    start = time.process_time()
    for trial in trials(np.random.default_rng(2026)):
        if part not in trial.name:
            continue
        generator = np.random.default_rng(7)
        drawn = [trial.draw(generator) for _ in range(trial.data_sets)]
        for name in drawn[0]:
            low, high = np.array([ends[name] for ends in drawn]).T
            above, below = 100 * np.mean(low > trial.truth), 100 * np.mean(high < trial.truth)
            told = 100 * np.mean((low <= trial.truth) & (trial.truth <= high))
            lost = f" ({int(np.isnan(low).sum())} without)" if np.isnan(low).any() else ""
            width = np.nanmean(high - low)
            row = f"| {trial.name} | {name} | {trial.data_sets}{lost} | {told:.1f} | {below:.1f}, {above:.1f} | {width:.3f} |"
            print(row, flush=True)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


def trials(generator: np.random.Generator) -> Iterator[Trial]:
    yield Trial(name="AUROC .76, n = 200, 60 positive", truth=float(stats.norm.cdf(1 / np.sqrt(2))), draw=area(200))
    yield Trial(name="AUROC .94, n = 200, 60 positive", truth=float(stats.norm.cdf(2.2 / np.sqrt(2))), draw=area(200, shift=2.2))
    yield Trial(name="difference of two AUROCs, n = 200", truth=0.0, draw=two_areas)
    for num in (200, 500):
        yield Trial(name=f"C-index .69, n = {num}, 1/2 censored", truth=true_c(generator), draw=concordance(num))
    yield Trial(name="C-index .89, n = 200, 1/2 censored", truth=true_c(generator, 0.125, 4.0), draw=concordance(200, 4.0))
    gap = true_c(generator, 0.5) - true_c(generator, 1.0)
    yield Trial(name="difference of two C-indices, n = 300", truth=gap, draw=two_concordances)
    p = special.expit(generator.normal(-0.5, 1.0, size=LARGE))
    yield Trial(name="Brier score, n = 200", truth=float(np.mean(p * (1 - p))), draw=brier)
    yield Trial(name="net benefit at .3, n = 300", truth=float(np.mean(np.where(p > 0.3, p - (1 - p) * 3 / 7, 0))), draw=benefit)
    yield Trial(name="calibration slope .8, n = 300", truth=0.8, draw=slope, data_sets=500)
    yield Trial(name="restricted mean survival, n = 200", truth=float(1 - np.exp(-1.0)), draw=restricted)
    yield Trial(name="mean of 60 patients with 1 to 7 rows", truth=0.0, draw=clustered)


def both(statistic: Statistic, patients: np.ndarray, generator: np.random.Generator) -> Ends:
    return {f"bootstrap, {method}": ends(statistic, patients, generator, method=method) for method in ("percentile", "bca")}


def ends(statistic: Statistic, patients: np.ndarray, generator: np.random.Generator, **options: object) -> tuple[float, float]:
    found = bootstrap(statistic, patients, generator=generator, **{"replicates": REPLICATES} | options)
    return found.low, found.high


def area(num: int, shift: float = 1.0) -> Callable[[np.random.Generator], Ends]:
    def draw(generator: np.random.Generator) -> Ends:
        y = (np.arange(num) < 0.3 * num).astype(float)
        score = generator.normal(size=num) + shift * y
        statistic = ordered_pairs(y, score, np.zeros(num, dtype=int))
        found = delong(y, score)
        reach = 1.959964 * np.sqrt(found.covariance[0, 0])
        stratified = ends(statistic, np.arange(num), generator, strata=y)
        return both(statistic, np.arange(num), generator) | {
            "bootstrap, percentile, stratified by class": stratified,
            "DeLong, logit": found.interval(),
            "DeLong, plain": (found.values[0] - reach, found.values[0] + reach),
        }

    return draw


def two_areas(generator: np.random.Generator) -> Ends:
    y, shared = (np.arange(200) < 60).astype(float), generator.normal(size=200)
    scores = [shared + generator.normal(size=200) + 1.2 * y for _ in range(2)]
    between = difference_of(*(ordered_pairs(y, score, np.zeros(200, dtype=int)) for score in scores))
    found = delong(y, np.column_stack(scores)).difference()
    return both(between, np.arange(200), generator) | {"DeLong, paired": (found.low, found.high)}


def survivors(num: int, generator: np.random.Generator, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    risk = generator.normal(size=num)
    death, follow_up = generator.exponential(np.exp(-strength * risk)), generator.exponential(size=num)
    return np.minimum(death, follow_up), death <= follow_up, risk


def true_c(generator: np.random.Generator, noise: float = 0.5, strength: float = 1.0) -> float:
    observed, event, risk = survivors(LARGE, generator, strength)
    return harrell_c(observed, event, risk + noise * generator.normal(size=LARGE))


def concordance(num: int, strength: float = 1.0) -> Callable[[np.random.Generator], Ends]:
    def draw(generator: np.random.Generator) -> Ends:
        observed, event, risk = survivors(num, generator, strength)
        guess = risk + 0.5 * generator.normal(size=num) / strength
        return both(survival_pairs(observed, event, guess, np.zeros(num, dtype=int)), np.arange(num), generator)

    return draw


def two_concordances(generator: np.random.Generator) -> Ends:
    observed, event, risk = survivors(300, generator)
    guesses = [risk + noise * generator.normal(size=300) for noise in (0.5, 1.0)]
    between = difference_of(*(survival_pairs(observed, event, guess, np.zeros(300, dtype=int)) for guess in guesses))
    return both(between, np.arange(300), generator)


def calls(num: int, generator: np.random.Generator, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    logit = generator.normal(-0.5, 1.0, size=num)
    return (generator.random(num) < special.expit(slope * logit)).astype(float), special.expit(logit)


def brier(generator: np.random.Generator) -> Ends:
    y, p = calls(200, generator)
    return both(mean_of((y - p) ** 2), np.arange(200), generator)


def benefit(generator: np.random.Generator) -> Ends:
    y, p = calls(300, generator)
    return both(net_benefit(y, p, threshold=0.3), np.arange(300), generator)


def slope(generator: np.random.Generator) -> Ends:
    y, p = calls(300, generator, slope=0.8)

    def refit(weights: np.ndarray) -> np.ndarray:
        rows = [np.repeat(np.arange(300), copies.astype(int)) for copies in weights]
        return np.array([slope_of(y[inside], p[inside]) for inside in rows])

    return {"bootstrap, percentile": ends(refit, np.arange(300), generator, replicates=200)}


def slope_of(y: np.ndarray, p: np.ndarray) -> float:
    try:
        return recalibrate(y, p).slope
    except DataError:
        return float("nan")


def restricted(generator: np.random.Generator) -> Ends:
    death, follow_up = generator.exponential(size=200), generator.uniform(0.3, 3.0, size=200)
    observed, event = np.minimum(death, follow_up), death <= follow_up
    found = restricted_mean(observed, event, until=1.0)
    statistic = restricted_mean_of(observed, event, until=1.0)
    return both(statistic, np.arange(200), generator) | {"closed form": (found.low, found.high)}


def clustered(generator: np.random.Generator) -> Ends:
    patients = np.repeat(np.arange(60), generator.integers(1, 8, size=60))
    values = generator.normal(size=60)[patients] + generator.normal(size=len(patients))
    by_row = ends(mean_of(values), np.arange(len(patients)), generator)
    return both(mean_of(values), patients, generator) | {"rows as if patients (wrong)": by_row}


if __name__ == "__main__":
    main(*sys.argv[1:])
