"""IRENE's two tasks: the image alone, early, late, Perceiver and the transformer on the same folds, notes as they are and masked.

    python benchmarks/irene_tasks.py DATA --out OUT [--jobs 2] [--patients 640] [--side 112] [--only covid|phantom]

On ``covid_cxr_multimodal`` (see ``covid_cohort.py``): whether the course becomes adverse, with the notes as they are and with
label words and follow-up masked, on the same patients, folds and seeds; ``irene_leaks.py`` asks what the notes leak. On a drawn
cohort with films, reports and values: the stand-ins of both tasks. Each is an ordinary run folder under OUT with its report;
what is done is not done again. Writes ``OUT/irene_tasks.md``, with what a random order has in each table. Sized for two cores:
films of ``--side`` pixels, drawn ones of 64, and the image alone as the main model, so that neither nulls nor subsets train a
transformer again.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from covid_cohort import build

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import check_predictions
from oncoweave.evaluate.versus import versus
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.train.protocol import run
from oncoweave.train.study import resolve
from oncoweave.train.task import admit, load_task, study_of

ENDPOINT = "adverse_later"
TASKS = ("pulmonary_diseases", "adverse_outcome")
DRAWN = 64
"""Pixels along a side of a drawn film as networks see it; linear models see more."""
ORDERS = 400
"""Random orders of the patients, whose metrics are what a model that knows nothing has."""
PAIRS = (("late", "image_only"), ("late_linear", "only_film"))
"""Late fusions of networks and of linear models, each against what it has of the film alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--patients", type=int, default=640)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--only", choices=("covid", "phantom"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    pages = []
    if given.only != "phantom":
        pages += covid(given)
    if given.only != "covid":
        pages += phantom(given)
    (given.out / "irene_tasks.md").write_text("\n".join(pages), encoding="utf-8")
    print("\n".join(pages))


def covid(given: argparse.Namespace) -> list[str]:
    """Ask for the course of patients with covid films, notes both ways."""
    pages = []
    for masked in (False, True):
        folder = given.out / ("covid_masked" if masked else "covid")
        if not folder.exists():
            cohort, report = build(given.data, masked=masked)
            write_cohort(cohort, given.out / f"{folder.name}-all", documents={"import.json": report.content(cohort)})
            admit(load_task("adverse_outcome"), given.out / f"{folder.name}-all", folder)
        told = f"covid films, {ENDPOINT}, notes {'masked' if masked else 'as they are'}"
        pages.append(section(told, fitted(given, "adverse_outcome", folder, ENDPOINT, side=given.side)))
    return pages


def phantom(given: argparse.Namespace) -> list[str]:
    """Ask both tasks' stand-ins of drawn patients."""
    folder = draw(given.out, given.patients)
    return [section(f"phantom films, stand-in of {task}", fitted(given, task, folder, None, side=DRAWN)) for task in TASKS]


def draw(out: Path, patients: int, *, seed: int = 3) -> Path:
    """Draw a cohort with films, reports and values of the laboratory, and keep whom the tasks admit."""
    folder = out / "phantom"
    if not folder.exists():
        scanty = ("slide", "volume", "expression", "variants")
        config = Config(patients=patients, seed=seed, sites=10, without=scanty, lung_diseases=True)
        write_phantom(config, out / "phantom-all", progress=False)
        admit(load_task("pulmonary_diseases"), out / "phantom-all", folder)
    return folder


def fitted(given: argparse.Namespace, task: str, folder: Path, endpoint: str | None, *, side: int) -> Path:
    """Run a task's study of a cohort, or go on with it."""
    asked, started = study_of(load_task(task), folder), time.time()
    asked = asked.model_copy(
        update={
            "endpoint": endpoint or asked.endpoint,
            "main": "image_only",
            "preparation": {"film": {"side": side}},
        }
    )
    out = given.out / f"{folder.name}-{task}-{asked.endpoint}-{side}.run"
    run(resolve(asked, Cohort.open(folder)), out, jobs=given.jobs)
    print(f"{out.name}: {time.time() - started:.0f} s", flush=True)
    return out


def section(title: str, run_folder: Path) -> str:
    """Lay out the two metrics that decide, by model, beside a random order, and paired differences, the transformer's first."""
    metrics, study = pd.read_parquet(run_folder / "metrics.parquet"), read_json(run_folder / "manifest.json")["study"]
    metrics = metrics[metrics["role"] != "ablation"]
    names = [name for name in ("macro_auroc", "macro_auprc", "auprc", "auroc") if name in set(metrics["metric"])]
    first = metrics[metrics["metric"] == names[0]].sort_values("value", ascending=False)
    events = first["events"].max()
    lines = [
        f"## {title}", "", f"n = {first['n'].max():.0f}" + (f", events = {events:.0f}" if pd.notna(events) else ""), "",
        f"| model | role | {' | '.join(names)} | n |", "|---|---|" + "---|" * (len(names) + 1),
    ]  # fmt: skip
    for row in first.itertuples():
        cells = []
        for name in names:
            found = metrics[(metrics["model"] == row.model) & (metrics["metric"] == name)].iloc[0]
            cells.append(shown(found))
        lines.append(f"| {row.model} | {row.role} | {' | '.join(cells)} | {row.n:.0f} |")
    endpoint = Cohort.open(study["cohort"]).endpoint(study["endpoint"])
    predictions = pd.read_parquet(run_folder / "predictions.parquet")
    chance = random_order(predictions[predictions["model"] == "image_only"], endpoint, names)
    lines.append(f"| a random order | | {' | '.join(chance)} | {first['n'].max():.0f} |")
    lines += ["", f"| {names[0]} | less | difference | p |", "|---|---|---|---|"]
    others = first.loc[first["role"].isin(["fusion", "single", "baseline"]) & (first["model"] != "mdt"), "model"]
    for one, other in (*(("mdt", other) for other in others), *PAIRS):
        generator = np.random.default_rng(0)
        found = versus(predictions, endpoint, first=one, second=other, metric=names[0], generator=generator)
        lines.append(f"| {one} | {other} | {found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}) | {found.p:.3f} |")
    return "\n".join(lines) + "\n"


def random_order(rows: pd.DataFrame, endpoint: Endpoint, names: list[str]) -> list[str]:
    """Measure random scores of the patients of one model's ``rows``: mean, and the 2.5th to the 97.5th percentile, by metric."""
    generator = np.random.default_rng(0)
    scores = [column for column in rows if column == "p" or column.startswith("p@")]
    table = check_predictions(rows, endpoint)
    metrics, once = (
        [metric for metric in metrics_of(table, {}) if metric.name in names],
        np.ones((1, len(rows)), dtype=np.float32),
    )
    values: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ORDERS):
        drawn = rows.assign(**{column: generator.uniform(size=len(rows)) for column in scores})
        for metric in metrics:
            values[metric.name].append(float(metric.build(drawn)(once)[0]))
    ends = {name: np.quantile(values[name], [0.025, 0.975]) for name in names}
    return [f"{np.mean(values[name]):.3f} ({ends[name][0]:.3f} to {ends[name][1]:.3f})" for name in names]


def shown(row: pd.Series) -> str:
    interval = f" ({row['low']:.3f} to {row['high']:.3f})" if np.isfinite(row["low"]) else ""
    return f"{row['value']:.3f}{interval}"


if __name__ == "__main__":
    main()
