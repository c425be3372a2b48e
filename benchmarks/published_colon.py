"""Bags of nuclei of 100 colon images (Ilse et al. 2018's task): an attention network beside a forest on pooled features.

A bag is a crop of 27 px at every typed nucleus; it is positive where a nucleus is epithelial. Crops are described by colour and
texture statistics without weights. ``forest`` pools a bag to mean and maximum of each feature; ``forest, mean`` to the mean
alone; ``count`` is the number of nuclei. ``only_slide`` (ridge on means and
deviations) and ``abmil`` (gated attention) are the library's, run as a study.
Ten folds, repeated. The data name no patients, so that several images of one may be on both sides of a fold.

The figures of the paper are quoted from memory elsewhere and are not printed here.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from published_line import OPEN, Line, Result, interval_of, judged
from real_cohorts import colon_mil
from sklearn.ensemble import RandomForestClassifier

from oncoweave.data.bags import read_bag
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.compare import paired_bootstrap
from oncoweave.evaluate.pairs import PairStatistic, ordered_pairs
from oncoweave.evaluate.weighted import mean_of
from oncoweave.train.protocol import run as run_study
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study

FLOOR = {"AUROC": 0.948, "accuracy": 0.860}
REPEATS, FOLDS, TREES = 2, 10, 200
NETWORK, LINEAR = "abmil", "only_slide"


def cohort_of(data: Path, out: Path) -> Cohort:
    """Build the cohort, or take the one that is there."""
    folder = out / "colon_mil"
    if not (folder / "manifest.json").exists():
        scratch = out / "colon_mil_bags"
        write_cohort(colon_mil(data, scratch), folder)
    return Cohort.open(folder)


def study(out: Path) -> Path:
    """Run attention pooling on the bags, or go on with it."""
    asked = Study(
        name="colon bags",
        cohort=str(out / "colon_mil"),
        endpoint="malignant",
        models=(ModelSpec(name=NETWORK, fusion="joint", encoders={"slide": "abmil"}),),
        main=NETWORK,
        protocol=Protocol(folds=FOLDS, repeats=REPEATS, permutations=0, bootstrap=1000),
        network=NetworkConfig(epochs=30, patience=6, members=1, batch_size=16),
    )
    return run_study(asked, out / "colon_mil.run")


def pooled(cohort: Cohort) -> dict[str, np.ndarray]:
    """Features of a bag by way of pooling."""
    bags = [read_bag(cohort.root / path).features for path in cohort.tables["slide"]["path"]]
    means = np.stack([b.mean(axis=0) for b in bags])
    return {
        "forest": np.hstack([means, np.stack([b.max(axis=0) for b in bags])]),
        "forest, mean": means,
        "count": np.array([[len(b)] for b in bags], dtype=float),
    }


def with_forests(rows: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """Add the forests' out-of-fold probabilities on the folds of the study."""
    y = cohort.patients["malignant"].to_numpy(int)
    place = {patient: i for i, patient in enumerate(cohort.patient_ids)}
    rows = rows.copy()
    for name, x in pooled(cohort).items():
        for (repeat, fold), test in rows.groupby(["repeat", "fold"]):
            tested = test["patient_id"].map(place).to_numpy()
            train = np.setdiff1d(np.arange(len(y)), tested)
            if name == "count":
                rows.loc[test.index, name] = x[tested, 0] / x.max()
                continue
            forest = RandomForestClassifier(TREES, random_state=FOLDS * int(repeat) + int(fold)).fit(x[train], y[train])
            rows.loc[test.index, name] = forest.predict_proba(x[tested])[:, 1]
    return rows


def run(data: Path, out: Path) -> Result:
    """Measure network and forests on the same folds."""
    cohort = cohort_of(data, out)
    stored = pd.read_parquet(study(out) / "predictions.parquet")
    rows = stored[stored["model"] == NETWORK][["patient_id", "repeat", "fold", "y", "p"]].rename(columns={"p": NETWORK})
    linear = stored[stored["model"] == LINEAR].set_index(["patient_id", "repeat"])["p"]
    rows[LINEAR] = linear.reindex(pd.MultiIndex.from_frame(rows[["patient_id", "repeat"]])).to_numpy()
    rows = with_forests(rows.reset_index(drop=True), cohort)
    models = [NETWORK, LINEAR, "forest", "forest, mean", "count"]
    table = pd.DataFrame([_measured(rows, model) for model in models]).set_index("model")
    ranking = {m: _ranking(rows, m) for m in models}
    gain = paired_bootstrap(
        ranking[NETWORK], ranking["forest"], rows["patient_id"].to_numpy(), generator=np.random.default_rng(0), replicates=2000
    )
    lines = []
    for metric, floor in FLOOR.items():
        ours, forest = table.loc[NETWORK], table.loc["forest"]
        low, high = (f"{metric} low", f"{metric} high")
        verdict = judged(floor, forest[metric])
        if forest[low] <= floor <= forest[high] and not verdict.startswith("reproduced"):
            verdict += ", within interval"
        lines.append(
            Line(
                task="colon bags of nuclei, ten folds",
                data="colon_mil",
                figure=f"{metric} of mean and maximum, forest (the floor)",
                n=len(cohort),
                events=int(cohort.patients["malignant"].sum()),
                published=floor,
                reproduced=forest[metric],
                ours="gated attention (study)",
                value=ours[metric],
                low=ours[low],
                high=ours[high],
                floor=floor,
                floor_is="forest, other features",
                verdict=verdict,
                reason=f"attention less forest: AUROC {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), p {gain.p:.2f}",
            )
        )
    lines.append(
        Line(
            task="colon bags of nuclei, ten folds",
            data="colon_mil",
            figure="AUROC of attention MIL (Ilse et al. 2018)",
            n=len(cohort),
            events=int(cohort.patients["malignant"].sum()),
            ours="gated attention (study)",
            value=table.loc[NETWORK, "AUROC"],
            low=table.loc[NETWORK, "AUROC low"],
            high=table.loc[NETWORK, "AUROC high"],
            verdict=OPEN,
            reason="the paper's figure could not be looked up; the folds are not released and patients are not named",
        )
    )
    return Result(lines=tuple(lines), tables={"Colon bags": table.reset_index()})


def _ranking(rows: pd.DataFrame, model: str) -> PairStatistic:
    strata = rows.groupby(["repeat", "fold"]).ngroup().to_numpy()
    return ordered_pairs(rows["y"].to_numpy(float), rows[model].to_numpy(float), strata)


def _measured(rows: pd.DataFrame, model: str) -> dict[str, object]:
    patients = rows["patient_id"].to_numpy()
    area = interval_of(_ranking(rows, model), patients)
    right = interval_of(mean_of(((rows[model] >= 0.5) == (rows["y"] > 0.5)).to_numpy(float)), patients)
    return {"model": model, "AUROC": area.value, "AUROC low": area.low, "AUROC high": area.high,
            "accuracy": right.value, "accuracy low": right.low, "accuracy high": right.high,
            "n": rows["patient_id"].nunique(), "events": int(rows.drop_duplicates("patient_id")["y"].sum())}  # fmt: skip
