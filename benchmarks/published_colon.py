"""Bags of nuclei of 100 colon images (Ilse et al. 2018's task): an attention network beside a forest on pooled features.

A bag is a crop of 27 px at every typed nucleus; it is positive where a nucleus is epithelial. Crops are described by colour and
texture statistics without weights. ``forest`` pools a bag to mean and maximum of each feature; ``forest, mean`` to the mean
alone; ``count`` is the number of nuclei. ``ridge`` (on means and deviations) and ``abmil`` (gated attention, one network
a fold, thirty epochs at most) are the library's. Ten folds, repeated. The data name no patients, so that several images of one
may be on both sides of a fold.

The figures of the paper are quoted from memory elsewhere and are not printed here.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from published_line import OPEN, Line, Result, fold_by_fold, interval_of, judged
from real_cohorts import colon_mil
from sklearn.ensemble import RandomForestClassifier

from oncoweave.data.bags import read_bag
from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import make_splits
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.compare import paired_bootstrap
from oncoweave.evaluate.pairs import PairStatistic, ordered_pairs
from oncoweave.evaluate.weighted import mean_of
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.linear_learner import fit_linear
from oncoweave.train.loop import LoopConfig
from oncoweave.train.network_learner import NetworkOptions, NetworkSpec, fit_network

FLOOR = {"AUROC": 0.948, "accuracy": 0.860}
REPEATS, FOLDS, TREES = 2, 10, 200
NETWORK, LINEAR = "abmil", "ridge"
SPEC = NetworkSpec(
    fusion="joint",
    encoders={"slide": "abmil"},
    options=NetworkOptions(members=1),
    loop=LoopConfig(epochs=30, patience=6, batch_size=16),
)


def cohort_of(data: Path, out: Path) -> Cohort:
    """Build the cohort, or take the one that is there."""
    folder = out / "colon_mil"
    if not (folder / "manifest.json").exists():
        scratch = out / "colon_mil_bags"
        write_cohort(colon_mil(data, scratch), folder)
    return Cohort.open(folder)


def cross_validated(cohort: Cohort) -> pd.DataFrame:
    """Probabilities of every model, one row a bag and repeat, by models that did not see the bag."""
    data, pools = load_dataset(cohort, "malignant", ("slide",)), pooled(cohort)
    y = data.outcome.values.astype(int)
    splits = make_splits(
        data.patient_ids, data.outcome, data.site, folds=FOLDS, repeats=REPEATS, group_by_site=False, seed=0
    ).reset_index(drop=True)
    number = (FOLDS * splits["repeat"] + splits["fold"]).to_numpy()
    place = pd.Series(np.arange(len(y)), index=data.patient_ids).loc[splits["patient_id"]].to_numpy()

    def of_fold(k: int) -> dict[str, np.ndarray]:
        test = place[number == k]
        train = np.setdiff1d(np.arange(len(y)), test)
        part, asked = Fold(train=data.take(train), seed=k, inner_folds=5, group_by_site=False), data.take(test)
        called = {
            NETWORK: fit_network(part, ["slide"], SPEC).fitted.predict(asked)[:, 0],
            LINEAR: fit_linear(part, ["slide"], fusion="concat").fitted.predict(asked)[:, 0],
            "count": pools["count"][test, 0] / pools["count"].max(),
        }
        for name in ("forest", "forest, mean"):
            forest = RandomForestClassifier(TREES, random_state=k).fit(pools[name][train], y[train])
            called[name] = forest.predict_proba(pools[name][test])[:, 1]
        return called

    rows = splits.assign(y=y[place])
    for k, called in zip(np.unique(number), fold_by_fold(of_fold, number), strict=True):
        for name, p in called.items():
            rows.loc[number == k, name] = p
    return rows


def pooled(cohort: Cohort) -> dict[str, np.ndarray]:
    """Features of a bag by way of pooling."""
    bags = [read_bag(cohort.root / path).features for path in cohort.tables["slide"]["path"]]
    means = np.stack([b.mean(axis=0) for b in bags])
    return {
        "forest": np.hstack([means, np.stack([b.max(axis=0) for b in bags])]),
        "forest, mean": means,
        "count": np.array([[len(b)] for b in bags], dtype=float),
    }


def run(data: Path, out: Path) -> Result:
    """Measure network and forests on the same folds."""
    cohort = cohort_of(data, out)
    rows = cross_validated(cohort)
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
                ours="gated attention",
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
            ours="gated attention",
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
