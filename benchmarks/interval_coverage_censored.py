"""Survival: intervals that a run gives, of two models of one cohort in five folds, from its prediction table.

Log-hazards are normal, deaths exponential, follow-up exponential: 30 % or 78 % are censored. Horizons lie where .8 and .5, of the
heavily censored .6 and .3, are still followed. Training patients, whose censoring weighs, are those of the other folds. Models
are given, not fitted: the ``new`` one knows the log-hazard with little noise, the ``old`` one with much, and predictions of both
are a little off. The truth is that of 100,000 patients of whom all are followed to the end; where a figure depends on the
censoring (Harrell's C, the hazard ratio of two groups within which hazards differ), of as many censored alike. Uno's C ends where
a tenth are still followed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from interval_coverage_trial import REPLICATES, Draw, Ends, Trial, as_run, parted
from scipy import stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.acting import reclassification_table
from oncoweave.evaluate.compare import paired_difference
from oncoweave.evaluate.comparisons import over_folds
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.cox import hazard_ratio
from oncoweave.evaluate.displays import km_tables
from oncoweave.evaluate.intervals import expanded_level, percentile_interval, replicate
from oncoweave.evaluate.measure import Resamples, draw, measure
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import PredictionTable, horizon_column
from oncoweave.evaluate.training_outcomes import training_curves
from oncoweave.evaluate.utility import survival_benefit

MANY = 100_000
MODELS = {"new": 0.8, "old": 0.5}
"""How much of each model's risk its survival curves take."""
ENDPOINT = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")


@dataclass(frozen=True, kw_only=True)
class Setting:
    rate: float
    """Of being lost."""
    horizons: tuple[float, float]
    threshold: float
    """Probability of the event by a horizon from which on a patient is treated."""
    noise: tuple[float, float] = (0.5, 1.0)
    """Of the risk of each model."""


LIGHT = Setting(rate=0.36, horizons=(0.6, 2.0), threshold=0.5)
HEAVY = Setting(rate=4.5, horizons=(0.11, 0.27), threshold=0.2)
ALIKE = Setting(rate=1.0, horizons=(0.5, 1.0), threshold=0.5, noise=(1.0, 1.0))


def trials() -> Iterator[Trial]:
    for words, setting in (("30 % censored", LIGHT), ("78 % censored", HEAVY)):
        for num in (150, 400):
            yield Trial(name=f"{words}, n = {num}", truth=truths(setting), draw=cohort(setting, num))
    for num in (30, 80):
        yield Trial(name=f"1/2 censored, two like models, n = {num}", truth=lambda _: {"gain in c_index": 0.0}, draw=alike(num))


def cohort(setting: Setting, num: int) -> Draw:
    def drawn(generator: np.random.Generator) -> Ends:
        table = predictions(setting, num, generator)
        resamples = draw(table, replicates=REPLICATES, level=0.95, generator=generator)
        return ranked(table, resamples) | acted(table, resamples, setting) | grouped(table)

    return drawn


def people(setting: Setting, num: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Times of death and of being lost, and the risk that each model sees."""
    hazard = generator.normal(size=num)
    death, lost = generator.exponential(np.exp(-hazard)), generator.exponential(1 / setting.rate, size=num)
    return (
        death,
        lost,
        {model: hazard + noise * generator.normal(size=num) for model, noise in zip(MODELS, setting.noise, strict=True)},
    )


def events_by(horizon: float, model: str, risk: np.ndarray) -> np.ndarray:
    """Predicted probability of the event by a horizon."""
    return -np.expm1(-horizon * np.exp(MODELS[model] * risk))


def predictions(setting: Setting, num: int, generator: np.random.Generator) -> PredictionTable:
    death, lost, risks = people(setting, num, generator)
    event = death <= lost
    keys = {"patient_id": np.arange(num), "site": "s", "repeat": 0, "fold": parted(event, 5, generator), "pattern": "all"}
    keys |= {"time": np.minimum(death, lost), "event": event.astype(float)}
    frames = []
    for model, risk in risks.items():
        curve = {horizon_column(h): 1 - events_by(h, model, risk) for h in setting.horizons}
        frames.append(pd.DataFrame(keys | {"model": model, "risk": risk, "high_risk": risk > 0} | curve))
    frame = pd.concat(frames).sort_values(["model", "repeat", "fold", "patient_id"], ignore_index=True)
    return PredictionTable(endpoint=ENDPOINT, frame=frame, horizons=setting.horizons)


def ranked(table: PredictionTable, resamples: Resamples) -> Ends:
    """Every metric of the new model, and its gain over the old one in some."""
    rows = {model: table.of(model) for model in MODELS}
    index, told, late = resamples.index_of(rows["new"]), {}, f"{table.horizons[1]:g}"
    metrics = metrics_of(table, training_curves(table))
    statistics = {m.name: m.build(rows["new"]) for m in metrics}
    built = [replace(m, build=lambda _, found=statistics[m.name]: found) for m in metrics]
    new = measure(rows["new"], built, table.endpoint, resamples)
    for name, found in new.items():
        told |= as_run(found, statistics[name], index, resamples)
    names = ("c_index", "uno_c", f"auc@{late}", f"brier@{late}")
    old = measure(rows["old"], [m for m in metrics if m.name in names], table.endpoint, resamples)
    for name in names:
        found = paired_difference(new[name].value - old[name].value, new[name].replicates - old[name].replicates)
        told[f"gain in {name}, percentile (run)"] = found.low, found.high
    found, _ = over_folds(new["c_index"].folds - old["c_index"].folds, rows["new"], None, level=0.95)
    return told | {"gain in c_index, corrected resampled t (run)": (found.low, found.high)}


def acted(table: PredictionTable, resamples: Resamples, setting: Setting) -> Ends:
    """Net benefit at the second horizon, and reclassification, as ``evaluate.acting`` has them."""
    rows, horizon = {model: table.of(model) for model in MODELS}, setting.horizons[1]
    time, event = rows["new"]["time"].to_numpy(), rows["new"]["event"].to_numpy()
    chances = {model: 1 - rows[model][horizon_column(horizon)].to_numpy() for model in MODELS} | {"all": np.ones(len(time))}
    made = {
        model: survival_benefit(time, event, chance, horizon=horizon, threshold=setting.threshold)
        for model, chance in chances.items()
    }
    index, once = resamples.index_of(rows["new"]), np.ones((1, len(time)), dtype=np.float32)
    value = {model: float(statistic(once)[0]) for model, statistic in made.items()} | {"none": 0.0}
    draws = replicate(made, resamples.weights, index) | {"none": np.zeros(len(resamples.weights))}
    default, told = "all" if value["all"] > 0 else "none", {}
    level = expanded_level(resamples.level, len(index), lost=resamples.lost(index))
    for name, over in (("net benefit", "none"), ("net benefit over the default", default), ("net benefit over the old", "old")):
        found = percentile_interval(value["new"] - value[over], draws["new"] - draws[over], level=level)
        told[f"{name}, expanded (run)"] = found.low, found.high
    curves = training_curves(table)
    moved = reclassification_table(table, resamples, main="new", reference="old", curves=curves)
    for row in moved[moved["horizon"] == horizon].itertuples():
        told[f"{row.measure} {row.part}, expanded (run)"] = row.low, row.high
    return told


def grouped(table: PredictionTable) -> Ends:
    """Kaplan-Meier curves of low and high risk at the horizons, and what sets them apart."""
    curves, apart = km_tables(table, ["new"])
    told: Ends = {}
    for group, curve in curves.groupby("group"):
        for horizon in table.horizons:
            at = curve[curve["time"] <= horizon].iloc[-1]
            told[f"survival of {group} risk at {horizon:g}, log-log (run)"] = at["low"], at["high"]
    row = apart.iloc[0]
    told["difference of restricted means, Wald (run)"] = row["rmst_low"], row["rmst_high"]
    return told | {"hazard ratio, Wald (run)": (row["hr_low"], row["hr_high"])}


def truths(setting: Setting) -> Callable[[np.random.Generator], Mapping[str, float]]:
    def of(generator: np.random.Generator) -> Mapping[str, float]:
        death, lost, risks = people(setting, MANY, generator)
        told = of_models(setting, death, lost, risks)
        y, odds = death <= setting.horizons[1], setting.threshold / (1 - setting.threshold)
        chances = {model: events_by(setting.horizons[1], model, risk) for model, risk in risks.items()}
        worth = np.where(y, 1.0, -odds)
        net = {model: float(np.mean((chance >= setting.threshold) * worth)) for model, chance in chances.items()}
        told["net benefit"], told["net benefit over the old"] = net["new"], net["new"] - net["old"]
        told["net benefit over the default"] = net["new"] - max(0.0, float(worth.mean()))
        moved = chances["new"] - chances["old"]
        for name, gain in (("nri", np.sign(moved)), ("idi", moved)):
            parts = {"events": float(gain[y].mean()), "nonevents": -float(gain[~y].mean())}
            told |= {f"{name} {part}": value for part, value in (parts | {"total": sum(parts.values())}).items()}
        return told | of_groups(setting, death, lost, risks["new"] > 0)

    return of


def of_models(setting: Setting, death: np.ndarray, lost: np.ndarray, risks: Mapping[str, np.ndarray]) -> dict[str, float]:
    told: dict[str, dict[str, float]] = {model: {} for model in risks}
    end = np.log(10) / setting.rate
    for model, risk in risks.items():
        told[model]["c_index"] = harrell_c(np.minimum(death, lost), death <= lost, risk)
        told[model]["uno_c"] = harrell_c(np.minimum(death, end), death < end, risk)
        for horizon in setting.horizons:
            y = death <= horizon
            error, share = float(np.mean((events_by(horizon, model, risk) - y) ** 2)), float(y.mean())
            cases, rank = int(y.sum()), stats.rankdata(risk)
            told[model][f"auc@{horizon:g}"] = (rank[y].sum() - cases * (cases + 1) / 2) / (cases * (len(y) - cases))
            told[model][f"brier@{horizon:g}"] = error
            told[model][f"ipa@{horizon:g}"] = 1 - error / (share * (1 - share))
        told[model]["ibs"] = float(np.mean([told[model][f"brier@{horizon:g}"] for horizon in setting.horizons]))
    gains = {f"gain in {name}": value - told["old"][name] for name, value in told["new"].items()}
    return told["new"] | gains


def of_groups(setting: Setting, death: np.ndarray, lost: np.ndarray, high: np.ndarray) -> dict[str, float]:
    groups, until = {"low": ~high, "high": high}, setting.horizons[1]
    told = {
        f"survival of {group} risk at {horizon:g}": float(np.mean(death[inside] > horizon))
        for group, inside in groups.items()
        for horizon in setting.horizons
    }
    low, above = (float(np.minimum(death[inside], until).mean()) for inside in groups.values())
    ratio = hazard_ratio(np.minimum(death, lost), death <= lost, high).value
    return told | {"difference of restricted means": low - above, "hazard ratio": ratio}


def alike(num: int) -> Draw:
    """Two models that know equally much: the difference of their C-indices is 0."""

    def drawn(generator: np.random.Generator) -> Ends:
        table = predictions(ALIKE, num, generator)
        resamples = draw(table, replicates=REPLICATES, level=0.95, generator=generator)
        metrics = metrics_of(table, training_curves(table))[:1]
        new, old = (measure(table.of(model), metrics, table.endpoint, resamples)["c_index"] for model in MODELS)
        found = paired_difference(new.value - old.value, new.replicates - old.replicates)
        return {"gain in c_index, percentile (run)": (found.low, found.high)}

    return drawn
