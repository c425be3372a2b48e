"""MCAT's five TCGA cohorts on the released folds: our study beside the published models, measured by one code.

Usage: python benchmarks/mcat.py DATA OUT. Cohorts are built by ``mcat_cohorts.py`` where they are not there yet, each is run as
a study (clinical, expression, variants) on the released folds, and the released risks of MCAT, of its histology-only attention
MIL and of its omics-only network are put beside it. ``late_rank_with_histology`` ranks patients within each test fold by our late
fusion and by the released histology-only risk, and adds the two with equal weight: nothing is fitted on the released risks, which
are validation predictions and must not be used to train.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from mcat_cohorts import COHORTS

from oncoweave.evaluate.compare import paired_difference
from oncoweave.evaluate.intervals import draw_weights, percentile_interval, replicate
from oncoweave.evaluate.pairs import survival_pairs
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study

PUBLISHED = {"MCAT": "mcat/MCAT_concat", "AMIL (histology)": "mcat/AMIL", "SNN (omics)": "mcat/SNN"}
OURS = (
    "only_clinical",
    "only_expression",
    "only_variants",
    "site_only",
    "early_concat",
    "early_blocks",
    "late_mean",
    "late_rank",
    "stacking",
)
REPLICATES = 2000


def study(name: str, out: Path) -> Path:
    """Run the study of one cohort, or go on with it."""
    models = (
        ModelSpec(name="early_concat", fusion="concat"),
        ModelSpec(name="early_blocks", fusion="pca", penalty="per_modality"),
        ModelSpec(name="late_mean", fusion="average"),
        ModelSpec(name="late_rank", fusion="rank"),
        ModelSpec(name="stacking", fusion="stacking"),
    )
    protocol = Protocol(splits=str(out / f"{name}.splits.parquet"), group_by_site=False, bootstrap=REPLICATES)
    asked = Study(
        name=name, cohort=str(out / name), endpoint="overall_survival", reference="clinical", models=models, protocol=protocol
    )
    return run_study(asked, out / f"{name}.run")


def scores(name: str, run: Path, data: Path) -> pd.DataFrame:
    """One row a patient with the risk of every model, ours and published."""
    ours = pd.read_parquet(run / "predictions.parquet")
    table = ours.pivot_table(index=["patient_id", "fold", "time", "event"], columns="model", values="risk").reset_index()
    released = pd.read_csv(data / "oof_histology_risk" / "oof_risk.csv.gz")
    released = released[released["cohort"] == name].assign(key=released["source"] + "/" + released["model"])
    for label, key in PUBLISHED.items():
        risk = released[released["key"] == key].set_index("case_id")["risk"]
        table[label] = table["patient_id"].map(risk)
    ranked = table.groupby("fold")[["late_mean", "AMIL (histology)"]].rank(pct=True)
    table["late_rank_with_histology"] = ranked.sum(axis=1, min_count=2)
    clinical = table.groupby("fold")[["only_clinical", "late_mean", "AMIL (histology)"]].rank(pct=True)
    table["clinical + late + histology ranks"] = clinical.sum(axis=1, min_count=3)
    return table


def measure(table: pd.DataFrame, rng: np.random.Generator, reference: str = "MCAT") -> pd.DataFrame:
    """Within-fold C-index of every model with its interval, and its paired difference from another."""
    models = [c for c in table if c not in ("patient_id", "fold", "time", "event") and "[" not in c and table[c].notna().all()]
    time, event, fold = table["time"].to_numpy(), table["event"].to_numpy(bool), table["fold"].to_numpy()
    statistics = {m: survival_pairs(time, event, table[m].to_numpy(), fold) for m in models}
    weights = draw_weights(len(table), replicates=REPLICATES, generator=rng)
    drawn = replicate(statistics, weights, np.arange(len(table)))
    once = np.ones((1, len(table)), dtype=np.float32)
    rows = []
    for model in models:
        value = float(statistics[model](once)[0])
        interval = percentile_interval(value, drawn[model])
        gain = paired_difference(value - float(statistics[reference](once)[0]), drawn[model] - drawn[reference])
        folds = [
            float(survival_pairs(time[fold == k], event[fold == k], table.loc[fold == k, model].to_numpy(), fold[fold == k])(
                np.ones((1, int((fold == k).sum())), dtype=np.float32))[0])
            for k in np.unique(fold)
        ]  # fmt: skip
        rows.append({"model": model, "mean of folds": np.mean(folds), "C": value, "low": interval.low, "high": interval.high,
                     f"minus {reference}": gain.value, "p": gain.p, "n": len(table), "events": int(event.sum())})  # fmt: skip
    return pd.DataFrame(rows)


def main(data: Path, out: Path) -> None:
    if not all((out / f"{c}.splits.parquet").exists() for c in COHORTS):
        subprocess.run([sys.executable, str(Path(__file__).with_name("mcat_cohorts.py")), str(data), str(out)], check=True)
    results = []
    for name in COHORTS:
        found = measure(scores(name, study(name, out), data), np.random.default_rng(0))
        print(f"\n{name}\n{found.round(3).to_string(index=False)}", flush=True)
        results.append(found.assign(cohort=name))
    every = pd.concat(results)
    every.to_csv(out / "mcat.csv", index=False)
    wide = every.pivot_table(index="model", columns="cohort", values="mean of folds")
    print("\nC-index, mean of the five folds\n" + wide.assign(mean=wide.mean(axis=1)).sort_values("mean").round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
