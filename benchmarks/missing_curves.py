"""How every fusion bears modalities that are missing when it is used, trained with and without modality dropout.

    python benchmarks/missing_curves.py COHORT ENDPOINT --out OUT [--modalities a,b,c] [--jobs 2]

Every operator is fitted on the training rows of each fold as they are; of each tested patient every modality is then taken away
with a given probability (one is always left), the same for all operators, in several draws. Networks are fitted twice, plainly
and with modality dropout; early and late fusions of linear models have no such training and get one curve. Intervals come from
bootstraps of patients, who bring all their draws. What is done is not done again. Writes ``curves.parquet``, ``curves.md`` and
``curves.svg``.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from fusion_operators import offered
from missing_curves_page import chart, markdown

from oncoweave.core.files import publish
from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import make_splits
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import check_predictions
from oncoweave.evaluate.training_outcomes import training_curves
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.scarcity import fold_of
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve

RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
DRAWS = 3
DROPOUT = 0.3
FOLDS = 5
REPLICATES = 1000
NO_NETWORK = ("two_level",)
"""Hybrids that are made of linear models unless told otherwise."""
SVG = "http://www.w3.org/2000/svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modalities", default="")
    parser.add_argument("--without", default="", help="operators to leave out, by comma")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    (given.out / "parts").mkdir(parents=True, exist_ok=True)
    cohort = Cohort.open(given.cohort)
    stages = offered(cohort.endpoint(given.endpoint).kind, without=set(filter(None, given.without.split(","))))
    networks = [name for name, stage in stages.items() if stage in ("intermediate", "hybrid") and name not in NO_NETWORK]
    linear = [name for name in stages if name not in networks]
    work = [(fold, names, rate) for fold in range(FOLDS) for names, rate in ((linear, 0.0), (networks, 0.0), (networks, DROPOUT))]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for fold, rate, seconds in pool.map(partial(fit, given), work):
            print(f"fold {fold}, dropout {rate}: {seconds:.0f} s of processor time", flush=True)
    parts = pd.concat([pd.read_parquet(path) for path in sorted((given.out / "parts").glob("*.parquet"))], ignore_index=True)
    curves = summarise(
        parts[parts["operator"].isin(stages) & ((parts["dropout"] == 0) | parts["operator"].isin(networks))],
        cohort,
        given.endpoint,
    )
    curves.to_parquet(given.out / "curves.parquet")
    page = markdown(curves, stages, gone(admitted(given, study(given, linear[:1], 0.0))))
    (given.out / "curves.md").write_text(page, encoding="utf-8")
    (given.out / "curves.svg").write_text(chart(curves).replace("<svg ", f"<svg xmlns='{SVG}' ", 1), encoding="utf-8")
    print(page)


def study(given: argparse.Namespace, names: list[str], dropout: float) -> Study:
    cohort = Cohort.open(given.cohort)
    asked = Study(
        name="missing curves",
        cohort=str(given.cohort.resolve()),
        endpoint=given.endpoint,
        modalities=tuple(given.modalities.split(",")) if given.modalities else None,
        models=tuple(ModelSpec(name=name, fusion=name) for name in names),
        main=names[0],
        protocol=Protocol(folds=FOLDS, repeats=1, permutations=0),
        network=NetworkConfig(epochs=given.epochs, patience=8, members=1, modality_dropout=dropout),
    )
    return resolve(asked, cohort)


def fit(given: argparse.Namespace, work: tuple[int, list[str], float]) -> tuple[int, float, float]:
    """Fit some operators on one fold and predict its tested patients at every rate; one file an operator."""
    fold, names, dropout = work
    started, asked = time.process_time(), study(given, names, dropout)
    data = admitted(given, asked)
    splits = make_splits(
        data.patient_ids, data.outcome, data.site, folds=FOLDS, repeats=1,
        group_by_site=bool(asked.protocol.group_by_site), seed=asked.protocol.seed,
    )  # fmt: skip
    tested = splits.set_index("patient_id").loc[data.patient_ids, "fold"].to_numpy() == fold
    train, test = fold_of(asked, data.take(~tested), repeat=0, fold=fold), data.take(tested)
    versions = [(rate, k, thinned(test, rate, seed=(fold, k))) for rate in RATES for k in range(DRAWS if rate else 1)]
    for model in (m for m in plan(asked, has_sites=False) if m.role == "fusion"):
        path = given.out / "parts" / f"{model.name}_{dropout:g}_{fold}.parquet"
        if path.exists():
            continue
        locked = lock(model, train, asked)
        frames = [locked.frame(part).assign(pattern="thinned", rate=rate, repeat=k) for rate, k, part in versions]
        with publish(path) as partial_path:
            pd.concat(frames).assign(fold=fold, operator=model.name, dropout=dropout).to_parquet(partial_path)
    return fold, dropout, time.process_time() - started


def admitted(given: argparse.Namespace, asked: Study) -> Dataset:
    """Read the patients who have an outcome and a modality."""
    data = load_dataset(Cohort.open(given.cohort), asked.endpoint, asked.modalities or ())
    known = data.outcome.known & data.availability.any(axis=1)
    if data.outcome.endpoint.kind == "survival":
        known &= np.nan_to_num(data.outcome.time) > 0
    return data.take(known)


def gone(data: Dataset) -> dict[float, float]:
    """Give the share of what patients have that is taken away at each rate: less, as one of each patient's stays."""
    had = data.availability.sum()
    draws = {rate: [thinned(data, rate, seed=(0, k)).availability.sum() for k in range(DRAWS)] for rate in RATES}
    return {rate: float(1 - np.mean(left) / had) for rate, left in draws.items()}


def thinned(data: Dataset, rate: float, *, seed: tuple[int, int]) -> Dataset:
    """Take each modality of each patient away with a probability; one of them, by lot, stays.

    A lot is drawn for each modality once, so that what is gone at a rate is gone at higher ones, too.
    """
    lots = np.random.default_rng((17, *seed)).random(data.availability.shape)
    luckiest = np.where(data.availability, lots, -1.0).argmax(axis=1)
    keep = lots >= rate
    keep[np.arange(len(data)), luckiest] = True
    return Dataset(
        patient_ids=data.patient_ids,
        site=data.site,
        target=data.target,
        samples={
            m: tuple(s if k else None for s, k in zip(data.samples[m], keep[:, i], strict=True))
            for i, m in enumerate(data.modalities)
        },
        kinds=data.kinds,
    )


def summarise(parts: pd.DataFrame, cohort: Cohort, endpoint: str) -> pd.DataFrame:
    """Measure each operator at each rate, and the paired gain of modality dropout there; ``rate`` NaN is the mean of all."""
    rows = []
    generator = partial(np.random.default_rng, 0)
    kind = cohort.endpoint(endpoint)
    parts = parts.assign(model=parts["operator"] + "|" + parts["dropout"].map("{:g}".format))
    found: dict[tuple[str, float, float], np.ndarray] = {}
    for rate, at in parts.groupby("rate"):
        table = check_predictions(at.drop(columns=["operator", "dropout", "rate"]).reset_index(drop=True), kind)
        resamples = draw(table, replicates=REPLICATES, level=0.95, generator=generator())
        metric = metrics_of(table, training_curves(table) if kind.kind == "survival" else {})[0]
        for model in table.models:
            measured = measure(table.of(model), [metric], kind, resamples)[metric.name]
            operator, dropout = model.split("|")
            values = np.concatenate([[measured.value], measured.replicates])
            found[operator, float(dropout), float(rate)] = values
            rows.append(row(operator, float(dropout), float(rate), values, metric.name, measured.n, measured.events))
    for operator, dropout in sorted({(o, d) for o, d, _ in found}):
        mean = np.mean([found[operator, dropout, rate] for rate in RATES], axis=0)
        rows.append(row(operator, dropout, np.nan, mean, metric.name, rows[0]["n"], rows[0]["events"]))
        if dropout:
            gains = {rate: found[operator, dropout, rate] - found[operator, 0.0, rate] for rate in RATES}
            gains[np.nan] = np.mean(list(gains.values()), axis=0)
            rows += [row(operator, dropout, rate, gain, "gain", rows[0]["n"], rows[0]["events"]) for rate, gain in gains.items()]
    return pd.DataFrame(rows)


def row(operator: str, dropout: float, rate: float, values: np.ndarray, metric: str, n: int, events: int | None) -> dict:
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return {
        "operator": operator, "dropout": dropout, "rate": rate, "metric": metric,
        "value": values[0], "low": low, "high": high, "n": n, "events": events,
    }  # fmt: skip


if __name__ == "__main__":
    main()
