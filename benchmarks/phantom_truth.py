"""The phantom's planted truth against what the models found: genes, regions, modalities, permuted labels, site confounder.

    python benchmarks/phantom_truth.py OUT [--patients 240] [--seeds 4]

Draws its cohorts under OUT (with and without the site confounder, the same patients), runs the studies, and writes
``OUT/phantom_truth.md`` with a table for each question and ``genes.png``, ``regions.png``, ``controls.png``. Finished cohorts and
runs are kept.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import phantom_planted
import phantom_regions
import phantom_shares
from phantom_cohorts import slide_cohort
from scipy import stats

from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import read_splits
from oncoweave.data.store import read_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.phantom.truth_folder import read_truth
from oncoweave.train.study import ModelSpec, Protocol, Study, read_study, run_study

CELLS = (("plain", False), ("plain", True), ("confounded", False), ("confounded", True))
"""Cohort, and whether the split keeps hospitals apart."""
SHOWN = ("site_only", "only_expression", "only_slide", "only_record", "stacking", "permuted_stacking")


def cell_name(cohort: str, grouped: bool) -> str:
    return f"{cohort}, split by {'hospital' if grouped else 'patient'}"


def study(cohort: Path, out: Path, *, grouped: bool, seed: int, permutations: int) -> Path:
    """Run the stacking study of a cohort, or go on with it."""
    protocol = Protocol(folds=5, repeats=1, group_by_site=grouped, seed=seed, permutations=permutations, bootstrap=500)
    asked = Study(
        name=out.name, cohort=str(cohort), endpoint="overall_survival", models=(ModelSpec(name="stacking", fusion="stacking"),),
        reference="record", protocol=protocol,
    )  # fmt: skip
    return run_study(asked, out)


def c_indices(run: Path, **labels: object) -> pd.DataFrame:
    """The C-index of every model of a run but the ablations."""
    metrics = pd.read_parquet(run / "metrics.parquet")
    kept = metrics[(metrics["metric"] == "c_index") & (metrics["role"] != "ablation")]
    return kept[["model", "value", "low", "high"]].assign(**labels)


def slide_cells(out: Path, *, patients: int) -> tuple[dict[str, Cohort], pd.DataFrame]:
    """Cohorts with slides, one study a cell."""
    cohorts = {
        name: slide_cohort(out / name, patients=patients, site_confounder=name == "confounded", seed=11)
        for name in ("plain", "confounded")
    }
    found = []
    for name, grouped in CELLS:
        run = study(
            out / name, out / f"run-{name}-{'hospital' if grouped else 'patient'}", grouped=grouped, seed=1, permutations=2
        )
        found.append(c_indices(run, cell=cell_name(name, grouped), seed="with slides"))
    return cohorts, pd.concat(found, ignore_index=True)


def table_cells(out: Path, *, patients: int, seeds: int) -> pd.DataFrame:
    """The same four cells without slides, on cohorts of several seeds."""
    found = []
    for seed in range(seeds):
        for name, grouped in CELLS:
            folder = out / f"tables-{name}-{seed}"
            if not (folder / "manifest.json").exists():
                config = Config(
                    patients=patients, seed=200 + seed, sites=10, site_confounder=name == "confounded",
                    without=("slide", "report", "volume", "film"),
                )  # fmt: skip
                write_phantom(config, folder, progress=False)
            run = study(
                folder,
                out / f"run-{folder.name}-{'hospital' if grouped else 'patient'}",
                grouped=grouped,
                seed=seed,
                permutations=2,
            )
            found.append(c_indices(run, cell=cell_name(name, grouped), seed=seed))
    return pd.concat(found, ignore_index=True)


def confounder(slides: pd.DataFrame, tables: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """C-index by model and cell: of one cohort with slides, over patients; of cohorts without, over seeds."""
    one = slides[slides["model"].isin(SHOWN)].copy()
    one["text"] = [f"{r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for r in one.itertuples()]
    several = tables[tables["model"].isin(SHOWN)].groupby(["model", "cell"])["value"].agg(mean_interval).reset_index(name="text")
    columns = [cell_name(*c) for c in CELLS]

    def wide(rows: pd.DataFrame) -> pd.DataFrame:
        table = rows.pivot_table(index="model", columns="cell", values="text", aggfunc="first")
        return table.reindex([m for m in SHOWN if m in table.index])[columns].reset_index()

    number = tables["seed"].nunique()
    return [
        ("C-index, one cohort with slides (95 % interval over patients)", wide(one)),
        (f"C-index, mean over {number} cohorts without slides and reports (95 % t interval over cohorts)", wide(several)),
        (f"Change with the confounder, and by keeping hospitals apart under it; paired over {number} cohorts", paired(tables)),
    ]


def paired(tables: pd.DataFrame) -> pd.DataFrame:
    """Differences between cells, paired by cohort seed."""
    wide = tables.pivot_table(index=["model", "seed"], columns="cell", values="value")
    by_patient, by_hospital = cell_name("confounded", False), cell_name("confounded", True)
    rows = []
    for model in [m for m in SHOWN if m in set(tables["model"])]:
        part = wide.loc[model]
        rows.append({
            "model": model,
            "confounder added, split by patient": mean_interval(part[by_patient] - part[cell_name("plain", False)], sign="+"),
            "split by hospital instead, confounded": mean_interval(part[by_hospital] - part[by_patient], sign="+"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def leaning(out: Path, *, seeds: int) -> pd.DataFrame:
    """Correlation over patients of a model's risk (ranked within folds, split by patient) with its hospital's planted effect.

    The plain cohort is held against the effects its hospitals have in the confounded one, as a control.
    """
    rows = []
    for cohort in ("with slides", *range(seeds)):
        place = "" if cohort == "with slides" else f"-{cohort}"
        names = {n: f"tables-{n}{place}" if place else n for n in ("plain", "confounded")}
        effect = read_truth(out / names["confounded"])[1]["site_effect"]
        for name, folder in names.items():
            table = pd.read_parquet(out / f"run-{folder}-patient" / "predictions.parquet")
            for model, part in table[table["model"].isin(SHOWN)].groupby("model"):
                ranked = part.groupby("fold")["risk"].rank(pct=True)
                value = stats.spearmanr(ranked, effect.reindex(part["patient_id"])).statistic
                rows.append({"model": model, "data": "with slides" if not place else "without", "cohort": name, "value": value})
    frame = pd.DataFrame(rows)
    text = frame.groupby(["model", "data", "cohort"])["value"].agg(
        lambda v: mean_interval(v) if len(v) > 1 else f"{v.iloc[0]:.3f}"
    )
    wide = text.unstack(["data", "cohort"]).reindex(SHOWN)
    columns = [(data, name) for data in ("with slides", "without") for name in ("plain", "confounded")]
    shown = wide[columns].fillna("")
    shown.columns = [f"{data}, {name}" if data == "with slides" else f"without slides, {name}" for data, name in columns]
    return shown.reset_index()


def mean_interval(values: pd.Series, sign: str = "") -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{values.mean():{sign}.3f} ({values.mean() - half:{sign}.3f} to {values.mean() + half:{sign}.3f})"


def permuted(slides: pd.DataFrame, tables: pd.DataFrame) -> pd.DataFrame:
    """C-index of the model fitted to permuted outcomes; intervals over cohorts, whose mean each is one value."""
    null = pd.concat([slides.assign(data="with slides"), tables.assign(data="without slides")])
    null = null[null["model"].str.startswith("permuted_")]
    rows = []
    for (data, cell), part in [
        *null.groupby(["data", "cell"]),
        (("without slides", "all cells"), null[null["data"] != "with slides"]),
    ]:
        covers = ((part["low"] <= 0.5) & (part["high"] >= 0.5)).sum()
        by_cohort = part.groupby("seed")["value"].mean()
        rows.append({
            "data": data, "cell": cell, "models": len(part), "C-index, mean": round(part["value"].mean(), 3),
            "smallest": round(part["value"].min(), 3), "largest": round(part["value"].max(), 3),
            "95 % t interval over cohorts": mean_interval(by_cohort) if len(by_cohort) > 1 else "one cohort",
            "patient intervals with .5 inside": f"{covers} of {len(part)}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw_controls(slides: pd.DataFrame, tables: pd.DataFrame, path: Path) -> None:
    """Dots: C-index of each model in each cell, one a cohort; the cohort with slides has its interval."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), sharex=True, sharey=True)
    for axis, cell in zip(axes, [cell_name(*c) for c in CELLS], strict=True):
        for row, model in enumerate(SHOWN):
            points = tables[(tables["cell"] == cell) & (tables["model"] == model)]
            axis.plot(points["value"], np.full(len(points), row + 0.15), "o", color="#1f5fa8", alpha=0.5, ms=4)
            for r in slides[(slides["cell"] == cell) & (slides["model"] == model)].itertuples():
                axis.plot([r.low, r.high], [row - 0.15] * 2, color="#c0392b", lw=1.5)
                axis.plot(r.value, row - 0.15, "s", color="#c0392b", ms=4)
        axis.axvline(0.5, color="black", lw=0.6)
        axis.set_title(cell, fontsize=9)
        axis.set_xlabel("C-index", fontsize=8)
    axes[0].set_yticks(range(len(SHOWN)), SHOWN, fontsize=8)
    axes[0].invert_yaxis()
    figure.suptitle(
        "Red: one cohort with slides, interval over patients. Blue: cohorts without slides, one dot each.", fontsize=9
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * table.shape[1]]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False))])


class Page:
    """The result page: sections as they are finished, printed and written each time."""

    def __init__(self, path: Path) -> None:
        self.path, self.parts, self.started, self.clock = path, [], time.time(), time.process_time()

    def add(self, title: str, tables: list[tuple[str, pd.DataFrame]], *notes: str) -> None:
        text = "\n\n".join([f"## {title}", *(f"{head}:\n\n{markdown(t)}" for head, t in tables), *notes])
        self.parts.append(text)
        print(
            f"{text}\n[{time.time() - self.started:.0f} s, {time.process_time() - self.clock:.0f} s of processor]\n", flush=True
        )
        self.path.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    page = Page(out / "phantom_truth.md")
    scores, sets = phantom_planted.measure(patients=400, seeds=2 * given.seeds)
    phantom_planted.draw(sets, out / "genes.png")
    page.add("Planted genes, alterations and record columns", phantom_planted.tables(scores, sets))
    cohorts, slides = slide_cells(out, patients=given.patients)
    kept = out / "regions.parquet"
    if not kept.exists():
        phantom_regions.measure(cohorts["plain"], permutations=1, seed=1).to_parquet(kept, index=False)
    found = pd.read_parquet(kept)
    phantom_regions.draw(cohorts["plain"], out / "regions.png", seed=1)
    page.add("Planted regions", phantom_regions.tables(found))
    run = out / "run-plain-patient"
    shared = phantom_shares.compare(
        read_cohort(out / "plain"), read_study(run / "study.yaml"), read_splits(run / "splits.parquet"),
        pd.read_parquet(run / "contributions.parquet"), replicates=300,
    )  # fmt: skip
    page.add("Modality contributions", [("Shares and additions", shared)], shared.attrs["all"], shared.attrs["rank"])
    tables = table_cells(out, patients=given.patients, seeds=given.seeds)
    page.add("Permuted labels", [("C-index of stacking fitted to permuted outcomes", permuted(slides, tables))])
    draw_controls(slides, tables, out / "controls.png")
    risks = ("Correlation of risk with the planted hospital effect, split by patient (Spearman)", leaning(out, seeds=given.seeds))
    page.add("Site confounder", [*confounder(slides, tables), risks])


if __name__ == "__main__":
    main()
