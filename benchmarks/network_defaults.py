"""What regularises networks on small tabular cohorts: MCAT's five TCGA cohorts on the released folds, one setting at a time.

Usage: python benchmarks/network_defaults.py COHORTS OUT [SETTING ...], where COHORTS is what ``mcat_cohorts.py`` wrote. One row
a cohort, fold and setting goes to OUT (a CSV file); what is there is not done again. Beside the networks stands the linear model
on the same rows. Figures are C-indices of the tested fold; choose on these cohorts, report on others.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from mcat_cohorts import COHORTS

from oncoweave.data.cohort import Cohort
from oncoweave.data.store import read_cohort
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.fold import Fold, Trained
from oncoweave.train.linear_learner import fit_linear
from oncoweave.train.loop import LoopConfig
from oncoweave.train.network_learner import NetworkOptions, NetworkSpec, fit_network

OLD = NetworkSpec(
    fusion="joint",
    encoders={"expression": "snn", "variants": "snn", "record": "tabular"},
    options=NetworkOptions(width=64, members=1),
    loop=LoopConfig(epochs=60, patience=12, schedule="constant", weight_decay=0.01),
)


def varied(
    spec: NetworkSpec = OLD, *, loop: dict | None = None, encoders: dict | None = None, fusion: str | None = None, **options
):
    return replace(
        spec,
        fusion=fusion or spec.fusion,
        encoders=encoders or spec.encoders,
        options=replace(spec.options, **options),
        loop=replace(spec.loop, **(loop or {})),
    )


LINEAR = {"expression": "linear", "variants": "linear", "record": "linear"}
L5 = varied(encoders=LINEAR, members=5)
SETTINGS = {
    "old": OLD,
    "members 5": varied(members=5),
    "weight decay 0.3": varied(loop={"weight_decay": 0.3}),
    "rate 3e-4": varied(loop={"learning_rate": 3e-4}),
    "batch 256": varied(loop={"batch_size": 256}),
    "modality dropout 0.3": varied(modality_dropout=0.3),
    "dropout 0.5": varied(dropout=0.5),
    "width 16": varied(width=16),
    "mean": varied(fusion="mean"),
    "linear encoders": varied(encoders=LINEAR),
    "linear encoders, members 5": L5,
    "linear encoders, members 5, weight decay 0.3": varied(L5, loop={"weight_decay": 0.3}),
    "linear encoders, members 5, batch 256": varied(L5, loop={"batch_size": 256}),
    "linear encoders, members 5, mean": varied(L5, fusion="mean"),
    "linear encoders, members 5, gated": varied(L5, fusion="gated"),
    "linear encoders, members 5, all of these": varied(L5, loop={"weight_decay": 0.3, "batch_size": 256}),
}


def linear(fold: Fold) -> Trained:
    return fit_linear(fold, fold.train.modalities, fusion="concat")


def folds(name: str, root: Path):
    """Training and test rows of each released fold."""
    cohort: Cohort = read_cohort(root / name)
    data: Dataset = load_dataset(cohort, "overall_survival", tuple(cohort.modalities))
    data = data.take(data.outcome.known & (np.nan_to_num(data.outcome.time) > 0))
    fold_of = (
        pd.read_parquet(root / f"{name}.splits.parquet").set_index("patient_id")["fold"].reindex(data.patient_ids).to_numpy()
    )
    for k in range(5):
        yield k, data.take(fold_of != k), data.take(fold_of == k)


def main(root: Path, out: Path, wanted: list[str]) -> None:
    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    done = {(r["cohort"], r["fold"], r["setting"]) for r in rows}
    for name in COHORTS:
        for k, train, test in folds(name, root):
            fold = Fold(train=train, seed=k, inner_folds=5, group_by_site=False)
            for setting in wanted or ["linear", *SETTINGS]:
                if (name, k, setting) in done:
                    continue
                started = time.time()
                trained = linear(fold) if setting == "linear" else fit_network(fold, train.modalities, SETTINGS[setting])
                seconds = time.time() - started
                risk, outcome = trained.fitted.predict(test)[:, 0], test.outcome
                c = harrell_c(outcome.time, outcome.event, risk)
                rows.append({"cohort": name, "fold": k, "setting": setting, "C": c, "seconds": seconds})
                pd.DataFrame(rows).to_csv(out, index=False)
    table = pd.DataFrame(rows)
    wide = table.pivot_table(index="setting", columns="cohort", values="C")
    wide = wide.assign(mean=wide.mean(axis=1), seconds=table.groupby("setting")["seconds"].mean())
    print(wide.sort_values("mean").round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
