"""How often intervals hold the truth: nominal 95 % intervals of each statistic on simulated cohorts whose true value is known.

Run ``nice python benchmarks/interval_coverage.py`` (half an hour on one core), or with a part of a trial's name those alone, and
with a number so many cohorts each: ``within`` (folds), ``at .5`` (calls), ``calibration error``, ``78 % censored, n = 150``. The
truth is a closed form where there is one and otherwise the statistic of 400,000 simulated patients; of average precision within
folds, which depends on their size, the mean of 1,500 cohorts. Bootstraps draw 500 replicates of patients. Here are statistics by
themselves and every interval that was thought of; ``interval_coverage_censored`` (survival) and ``interval_coverage_kinds`` (all
other endpoints) have prediction tables and the intervals that a run makes of them.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import chain

import interval_coverage_censored
import interval_coverage_kinds
import numpy as np
from interval_coverage_trial import LARGE, Draw, Ends, Trial, both, ends, parted, tell
from scipy import special, stats

from oncoweave.evaluate.calibration import wilson
from oncoweave.evaluate.calibration_error import Distance, binned_distance, calibration_index, expected_error, smooth_distance
from oncoweave.evaluate.calibration_interval import Simulation
from oncoweave.evaluate.compare import difference_of
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.pairs import Statistic, ordered_pairs, survival_pairs
from oncoweave.evaluate.restricted import restricted_mean, restricted_mean_of
from oncoweave.evaluate.utility import net_benefit
from oncoweave.evaluate.weighted import average_precision, f1, improvement_over, kappa, mean_of, mean_recall

FEWER = 300
"""Cohorts of the trials within folds, of calls and of calibration errors."""


def main(part: str = "", data_sets: str = "0") -> None:
    tell(chain(trials(), interval_coverage_censored.trials(), interval_coverage_kinds.trials()), part, int(data_sets))


def trials() -> Iterator[Trial]:
    yield Trial(name="AUROC .76, n = 200, 60 positive", truth=lambda _: true_area(1.0), draw=area(200))
    yield Trial(name="AUROC .94, n = 200, 60 positive", truth=lambda _: true_area(2.2), draw=area(200, shift=2.2))
    yield Trial(name="difference of two AUROCs, n = 200", truth=lambda _: 0.0, draw=two_areas)
    for num in (200, 500):
        yield Trial(name=f"C-index .69, n = {num}, 1/2 censored", truth=true_c, draw=concordance(num))
    yield Trial(name="C-index .89, n = 200, 1/2 censored", truth=lambda g: true_c(g, 0.125, 4.0), draw=concordance(200, 4.0))
    yield Trial(
        name="difference of two C-indices, n = 300", truth=lambda g: true_c(g, 0.5) - true_c(g, 1.0), draw=two_concordances
    )
    yield Trial(name="Brier score, n = 200", truth=true_brier, draw=brier)
    yield Trial(name="net benefit at .3, n = 300", truth=true_benefit, draw=benefit)
    yield Trial(name="calibration slope .8, n = 300", truth=lambda _: 0.8, draw=slope)
    yield Trial(name="restricted mean survival, n = 200", truth=lambda _: float(1 - np.exp(-1.0)), draw=restricted)
    yield Trial(name="mean of 60 patients with 1 to 7 rows", truth=lambda _: 0.0, draw=clustered)
    yield from within_folds()
    yield from at_threshold()
    yield from calibration()


def true_area(shift: float) -> float:
    return float(stats.norm.cdf(shift / np.sqrt(2)))


def area(num: int, shift: float = 1.0) -> Draw:
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


def concordance(num: int, strength: float = 1.0) -> Draw:
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


def true_brier(generator: np.random.Generator) -> float:
    p = special.expit(generator.normal(-0.5, 1.0, size=LARGE))
    return float(np.mean(p * (1 - p)))


def true_benefit(generator: np.random.Generator) -> float:
    p = special.expit(generator.normal(-0.5, 1.0, size=LARGE))
    return float(np.mean(np.where(p > 0.3, p - (1 - p) * 3 / 7, 0)))


def brier(generator: np.random.Generator) -> Ends:
    y, p = calls(200, generator)
    return both(mean_of((y - p) ** 2), np.arange(200), generator)


def benefit(generator: np.random.Generator) -> Ends:
    y, p = calls(300, generator)
    return both(net_benefit(y, p, threshold=0.3), np.arange(300), generator)


def slope(generator: np.random.Generator) -> Ends:
    """Slope of a logistic regression on the logit; Wald's is the interval of that regression."""
    y, p = calls(300, generator, slope=0.8)
    logit = special.logit(p)
    value, error = (each[0] for each in regressed(y, logit, np.ones((1, 300))))
    found = both(lambda weights: regressed(y, logit, weights)[0], np.arange(300), generator)
    return found | {"Wald": (value - 1.959964 * error, value + 1.959964 * error)}


def regressed(y: np.ndarray, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and its standard error under each row of weights, by Newton's method; as ``recalibrate`` has it."""
    level, rise, weights = np.zeros(len(weights)), np.ones(len(weights)), weights.astype(np.float64)
    for _ in range(8):
        p = special.expit(level[:, None] + rise[:, None] * x)
        left, curve = weights * (y - p), weights * p * (1 - p)
        one, first, second = curve.sum(axis=1), curve @ x, curve @ x**2
        up, along, free = left.sum(axis=1), left @ x, one * second - first**2
        level, rise = level + (second * up - first * along) / free, rise + (one * along - first * up) / free
    return rise, np.sqrt(one / free)


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


def within_folds() -> Iterator[Trial]:
    designs = ((60, 1, 1), (60, 5, 1), (100, 10, 1), (200, 5, 1), (200, 5, 3), (600, 5, 1))
    ranked = {"C-index": survival_score, "AUROC": binary_score, "AUPRC": binary_score}
    for name, sample in ranked.items():
        for num, folds, repeats in designs:
            truth = {"C-index": true_c, "AUROC": lambda _: true_area(1.0), "AUPRC": true_precision(num, folds)}[name]
            title = f"{name} within {repeats} x {folds} folds, n = {num}"
            yield Trial(name=title, truth=truth, draw=ranking(name, sample, num, folds, repeats), data_sets=FEWER)
    for num in (30, 80):
        title = f"difference of two C-indices within 5 folds, n = {num}"
        yield Trial(name=title, truth=lambda _: 0.0, draw=two_within(num), data_sets=FEWER)
    yield Trial(name="Brier score within 5 folds, n = 60", truth=true_brier, draw=brier_folds, data_sets=FEWER)


def survival_score(num: int, generator: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    observed, event, risk = survivors(num, generator)
    return (observed, event), event, risk + 0.5 * generator.normal(size=num)


def binary_score(num: int, generator: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    y = (generator.random(num) < 0.3).astype(float)
    return (y,), y > 0.5, generator.normal(size=num) + y


def true_precision(num: int, folds: int) -> Callable[[np.random.Generator], float]:
    def once(generator: np.random.Generator) -> float:
        (y,), positive, score = binary_score(num, generator)
        return float(average_precision(y, score, parted(positive, folds, generator))(np.ones((1, num), dtype=np.float32))[0])

    return lambda generator: float(np.nanmean([once(generator) for _ in range(1500)]))


MAKE = {"C-index": survival_pairs, "AUROC": ordered_pairs, "AUPRC": average_precision}
METHOD = {"C-index": "percentile", "AUROC": "bca", "AUPRC": "logit"}


def ranking(name: str, sample: Callable, num: int, folds: int, repeats: int) -> Draw:
    def draw(generator: np.random.Generator) -> Ends:
        outcome, positive, score = sample(num, generator)
        fold = [parted(positive, folds, generator) for _ in range(repeats)]
        strata = np.concatenate([repeat * folds + each for repeat, each in enumerate(fold)])
        statistic = MAKE[name](*(np.tile(v, repeats) for v in (*outcome, score)), strata)
        patients, classes = np.tile(np.arange(num), repeats), np.tile(positive, repeats)
        strategies = {"from all": None, "within class": classes}
        if folds > 1 and repeats == 1:
            strategies |= {"within fold": strata, "within fold and class": strata * 2 + classes}
        found = {"percentile, from all": ends(statistic, patients, generator)} if name == "AUPRC" else {}
        for drawn, labels in strategies.items():
            found[f"{METHOD[name]}, {drawn}"] = ends(statistic, patients, generator, method=METHOD[name], strata=labels)
        return found

    return draw


def two_within(num: int) -> Draw:
    def draw(generator: np.random.Generator) -> Ends:
        observed, event, risk = survivors(num, generator)
        strata = parted(event, 5, generator)
        guesses = [risk + generator.normal(size=num) for _ in range(2)]
        between = difference_of(*(survival_pairs(observed, event, guess, strata) for guess in guesses))
        kinds = {"from all": None, "within fold": strata}
        return {f"percentile, {k}": ends(between, np.arange(num), generator, strata=v) for k, v in kinds.items()}

    return draw


def brier_folds(generator: np.random.Generator) -> Ends:
    y, p = calls(60, generator)
    kinds = {"from all": None, "within fold": np.arange(60) % 5}
    return {f"percentile, {k}": ends(mean_of((y - p) ** 2), np.arange(60), generator, strata=v) for k, v in kinds.items()}


def at_threshold() -> Iterator[Trial]:
    """Calls at a probability of .5, and the index of prediction accuracy."""
    for num in (60, 200):
        for name, make in CALLED.items():
            yield Trial(name=f"at .5: {name}, n = {num}", truth=true_call(make), draw=called(make, num), data_sets=FEWER)
        yield Trial(name=f"at .5: sensitivity, n = {num}", truth=true_sensitivity, draw=sensitivity(num), data_sets=FEWER)


def true_call(make: Callable[[np.ndarray, np.ndarray], Statistic]) -> Callable[[np.random.Generator], float]:
    return lambda generator: float(make(*calls(LARGE, generator, slope=2.0))(np.ones((1, LARGE)))[0])


def true_sensitivity(generator: np.random.Generator) -> float:
    y, p = calls(LARGE, generator, slope=2.0)
    return float(np.mean(p[y > 0.5] >= 0.5))


CALLED: dict[str, Callable[[np.ndarray, np.ndarray], Statistic]] = {
    "balanced accuracy": lambda y, p: mean_recall(y, (p >= 0.5) == (y > 0.5)),
    "F1": lambda y, p: f1(y, p >= 0.5, (1,)),
    "kappa": lambda y, p: kappa(y, p >= 0.5, 2, weighting="none"),
    "IPA": lambda y, p: improvement_over((y - 0.4) ** 2, (y - p) ** 2),
}


def called(make: Callable[[np.ndarray, np.ndarray], Statistic], num: int) -> Draw:
    return lambda generator: both(make(*calls(num, generator, slope=2.0)), np.arange(num), generator)


def sensitivity(num: int) -> Draw:
    def draw(generator: np.random.Generator) -> Ends:
        y, p = calls(num, generator, slope=2.0)
        hits = (p >= 0.5)[y > 0.5]
        low, high = wilson(np.array([hits.mean()]), np.array([len(hits)]))
        return {"Wilson": (float(low[0]), float(high[0]))}

    return draw


def calibration() -> Iterator[Trial]:
    """Expected calibration error in ten bins and integrated calibration index of predictions stretched and shifted."""
    kinds = {"error": (expected_error, binned_distance), "index": (calibration_index, smooth_distance)}
    for name, (value, distance) in kinds.items():
        for num in (60, 200, 600, 2000) if name == "error" else (60, 200, 600):
            for stretch, shift in ((1.0, 0.0), (1.5, 0.0), (1.0, 0.5)):
                title, off = f"calibration {name} (x {stretch:g} + {shift:g}), n = {num}", (stretch, shift)
                draw = simulated(value, distance, num, off)
                fewer = FEWER if name == "error" else FEWER // 2
                yield Trial(name=title, truth=apart(name, off), draw=draw, data_sets=fewer if num < 2000 else FEWER // 4)


def apart(name: str, off: tuple[float, float]) -> Callable[[np.random.Generator], float]:
    """True calibration error, in ten bins, or index."""

    def truth(generator: np.random.Generator) -> float:
        chance, p = stretched(LARGE, *off, generator)
        if name == "index":
            return float(np.abs(chance - p).mean())
        return float(np.abs(np.add.reduceat((chance - p)[np.argsort(p)], np.arange(10) * LARGE // 10)).sum() / LARGE)

    return truth


def stretched(num: int, stretch: float, shift: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted probabilities."""
    logit = generator.normal(-1.0, 1.2, size=num)
    return special.expit(logit), special.expit(stretch * logit + shift)


def simulated(value: Callable[..., Statistic], distance: Callable[..., Distance], num: int, off: tuple[float, float]) -> Draw:
    def draw(generator: np.random.Generator) -> Ends:
        chance, p = stretched(num, *off, generator)
        y, once = (generator.random(num) < chance).astype(float), np.zeros(num, dtype=int)
        seen = float(value(y, p, once)(np.ones((1, num), dtype=np.float32))[0])
        simulation = Simulation(distance=distance(y, p, once), patients=np.arange(num), seed=int(generator.integers(2**31)))
        found = simulation.interval(seen)
        told = {"simulated": (found.low, found.high)}
        if value is expected_error and num <= 200:
            told["bootstrap, percentile (wrong)"] = ends(value(y, p, once), np.arange(num), generator, replicates=200)
        return told

    return draw


if __name__ == "__main__":
    main(*sys.argv[1:])
