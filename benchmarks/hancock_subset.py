"""What choosing the best subset of modalities reaches when it is chosen on training rows, beside stacking over everything.

Usage: python benchmarks/hancock_subset.py COHORT RUN. ``RUN`` is a finished survival study of the cohort. A subset that is picked
because its C-index on test rows is highest flatters itself; here the late mean of every one of the 2^M - 1 subsets is scored on
the out-of-fold scores of each fold's training patients, the best is taken, and only that one is applied to the fold's test
patients. Both models are then compared on the same rows.
"""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from oncoweave.core import shelf
from oncoweave.data.cohort import Cohort
from oncoweave.evaluate.compare import paired_bootstrap
from oncoweave.evaluate.intervals import draw_weights, percentile_interval, replicate
from oncoweave.evaluate.pairs import survival_pairs
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.late_learner import fit_base
from oncoweave.train.linear_learner import fit_linear

PAIRS = 30_000
"""Comparable pairs of training patients, drawn at random, on which a subset's C-index is taken."""


def best_subset(scores: np.ndarray, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Find the columns of ``[n, m]`` whose mean over those present orders patients best."""
    first, second = np.nonzero((time[:, None] < time[None, :]) & event[:, None])
    some = rng.choice(len(first), min(PAIRS, len(first)), replace=False)
    first, second = first[some], second[some]
    present, filled = ~np.isnan(scores), np.nan_to_num(scores)
    best: tuple[float, list[int]] = (-1.0, [])
    for size in range(1, scores.shape[1] + 1):
        for subset in map(list, combinations(range(scores.shape[1]), size)):
            mean = filled[:, subset].sum(axis=1) / np.maximum(present[:, subset].sum(axis=1), 1)
            apart = mean[first] - mean[second]
            best = max(best, (float((apart > 0).mean() + 0.5 * (apart == 0).mean()), subset))
    return best[1]


def main(cohort: Path, run: Path) -> None:
    """Print each fold's choice, then the C-index of both models and their difference."""
    asked = yaml.safe_load((run / "study.yaml").read_text())
    data = load_dataset(Cohort.open(cohort), asked["endpoint"], asked["modalities"])
    place = {patient: row for row, patient in enumerate(data.patient_ids)}
    average = shelf.load("fusion", "average")
    rows = pd.read_parquet(run / "predictions.parquet")
    rows = rows[rows["model"] == asked["main"]].reset_index(drop=True)
    rows["subset"] = np.nan
    for (repeat, number), test in rows.groupby(["repeat", "fold"]):
        everyone = rows.loc[rows["repeat"] == repeat, "patient_id"]
        train = data.take(np.array(sorted(place[p] for p in set(everyone) - set(test["patient_id"]))))
        fold = Fold(train=train, seed=int(1009 * repeat + number), inner_folds=5, group_by_site=False)
        bases = [
            fit_base(fold, m, learner="linear", fit=lambda part, m=m: fit_linear(part, [m], fusion="concat"))
            for m in data.modalities
        ]
        inside = np.stack([base.out_of_fold for base in bases], axis=1)
        outside = np.stack([b.fitted.predict(data.take(np.array([place[p] for p in test["patient_id"]]))) for b in bases], axis=1)
        centred = inside[:, :, 0] - np.nanmean(inside[:, :, 0], axis=0)
        outcome = train.outcome
        chosen = best_subset(centred, outcome.time, outcome.event.astype(bool), np.random.default_rng(fold.seed))
        has = ~np.isnan(inside[:, chosen]).all(axis=(1, 2))
        fitted = average.fit(inside[has][:, chosen], outcome.take(np.flatnonzero(has)), average.Config())
        able = ~np.isnan(outside[:, chosen]).all(axis=(1, 2))
        rows.loc[test.index[able], "subset"] = fitted.combine(outside[able][:, chosen])[:, 0]
        rows.loc[test.index[~able], "subset"] = 0.0  # nothing of the subset: the average patient
        print(f"repeat {repeat}, fold {number}: {' + '.join(data.modalities[i] for i in chosen)}", flush=True)
    strata = rows.groupby(["repeat", "fold"]).ngroup().to_numpy()
    patients, index = np.unique(rows["patient_id"], return_inverse=True)
    weights = draw_weights(len(patients), replicates=2000, generator=np.random.default_rng(0))
    time, event = rows["time"].to_numpy(float), rows["event"].to_numpy(bool)
    statistics = {n: survival_pairs(time, event, rows[n].to_numpy(), strata) for n in ("risk", "subset")}
    once = np.ones((1, len(rows)), dtype=np.float32)
    for name, label in (
        ("risk", f"{asked['main']} over everything"),
        ("subset", "late mean of the subset chosen on training rows"),
    ):
        interval = percentile_interval(float(statistics[name](once)[0]), replicate(statistics, weights, index)[name], level=0.95)
        print(f"{label}: C-index {interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}), n = {len(patients)}")
    gap = paired_bootstrap(
        statistics["risk"],
        statistics["subset"],
        rows["patient_id"].to_numpy(),
        replicates=2000,
        generator=np.random.default_rng(0),
    )
    print(f"difference: {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), p = {gap.p:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
