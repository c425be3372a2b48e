"""What notes leak, and what masking takes away: linear models of words on notes as they are and with words hidden.

    python benchmarks/irene_leaks.py DATA --out OUT [--jobs 2]

On ``covid_cxr_multimodal`` (see ``covid_cohort.py``): three endpoints, folds by patient and by source. On the drawn cohort of
``irene_tasks.py``, whose notes name no label, a leak is planted: half of the patients who have the outcome, or any of the eight
diseases, get a sentence that says so, as in notes written after the fact. Hidden again by ``mask_words`` and ``mask_classes``,
the notes must give what they gave as drawn. Each study is a run folder under OUT; what is done is not done again. Writes
``OUT/irene_leaks.md``.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from covid_cohort import build
from irene_tasks import draw, shown

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.versus import versus
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study
from oncoweave.train.texts import TextReading

COVID = ("adverse_later", "adverse_outcome", "covid")
DRAWN = {"pulmonary_diseases": "macro_auroc", "progression_24m": "auroc"}
"""Endpoints of drawn patients, by the metric that decides."""
TOLD = {"pulmonary_diseases": "Already diagnosed elsewhere: {}.", "progression_24m": "Has progressed since."}
WORDS = {"pulmonary_diseases": ("already diagnosed elsewhere",), "progression_24m": ("has progressed since",)}
"""What is hidden besides the names of classes: the rest of the planted sentence tells as much as the label in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--patients", type=int, default=640)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    page = f"{covid(given)}\n{drawn(given)}"
    (given.out / "irene_leaks.md").write_text(page, encoding="utf-8")
    print(page)


def covid(given: argparse.Namespace) -> str:
    """Hold notes as they are against the masked notes of the same patients, by either split."""
    folder = given.out / "covid_both"
    if not folder.exists():
        (plain, _), (masked, _) = (build(given.data, masked=m) for m in (False, True))
        spec = dataclasses.replace(plain.modalities["report"], name="report_masked")
        tables = plain.tables | {"report_masked": masked.tables["report"]}
        write_cohort(dataclasses.replace(plain, tables=tables, modalities=plain.modalities | {spec.name: spec}), folder)
    lines = [
        "| endpoint | folds by | AUROC | masked | as they are less masked | n | events |",
        "|---|---|" + "---|" * 5,
    ]  # fmt: skip
    for endpoint in COVID:
        for by_site in (False, True):
            split = "source" if by_site else "patient"
            run = fitted(given, folder, endpoint, ("record", "report", "report_masked"), split=split)
            cells = (*values(run, "auroc", ("report", "report_masked")), difference(run, "auroc", "report", "report_masked"))
            lines.append(f"| {endpoint} | {split} | {' | '.join(cells)} | {size(run)} |")
    return "\n".join(lines) + "\n"


def drawn(given: argparse.Namespace) -> str:
    """Hold notes as drawn against the same with a planted leak, and against those with the leak hidden."""
    lines = [
        "| endpoint | metric | as drawn | leak planted | leak hidden | planted less drawn | hidden less drawn | n | events |",
        "|---|---|" + "---|" * 7,
    ]  # fmt: skip
    for endpoint, metric in DRAWN.items():
        folder = given.out / f"drawn_{endpoint}"
        if not folder.exists():
            write_cohort(planted(Cohort.open(draw(given.out, given.patients)), endpoint), folder)
        hidden = {"report_hidden": TextReading(of="report_told", mask_words=WORDS[endpoint], mask_classes=True)}
        run = fitted(given, folder, endpoint, ("record", "report", "report_told", "report_hidden"), split="patient", texts=hidden)
        cells = (
            *values(run, metric, ("report", "report_told", "report_hidden")),
            difference(run, metric, "report_told", "report"),
            difference(run, metric, "report_hidden", "report"),
        )
        lines.append(f"| {endpoint} | {metric} | {' | '.join(cells)} | {size(run)} |")
    return "\n".join(lines) + "\n"


def planted(cohort: Cohort, endpoint: str) -> Cohort:
    """Add notes of which half of those who have the outcome, drawn by lot, say so at their end."""
    asked, table = cohort.endpoint(endpoint), cohort.tables["report"].reset_index(drop=True)
    has = cohort.patients.loc[table["patient_id"], list(asked.columns)].to_numpy() == 1
    names = np.array(asked.classes[-has.shape[1] :])
    by_lot = np.random.default_rng(0).random(len(table)) < 0.5
    for row in np.flatnonzero(by_lot & has.any(axis=1)):
        table.loc[row, "text"] += " " + TOLD[endpoint].format(", ".join(names[has[row]]))
    spec = dataclasses.replace(cohort.modalities["report"], name="report_told")
    return dataclasses.replace(
        cohort, tables=cohort.tables | {spec.name: table}, modalities=cohort.modalities | {spec.name: spec}
    )


def fitted(
    given: argparse.Namespace, folder: Path, endpoint: str, modalities: tuple[str, ...], *, split: str,
    texts: dict[str, TextReading] | None = None,
) -> Path:  # fmt: skip
    """Run a study of linear models, 3 x 5 folds."""
    study = Study(
        name="notes", cohort=str(folder.resolve()), endpoint=endpoint, modalities=modalities, texts=texts or {},
        models=(ModelSpec(name="average", fusion="average"),), main="average",
        protocol=Protocol(folds=5, repeats=3, group_by_site=split == "source", permutations=0),
    )  # fmt: skip
    return run_study(study, given.out / f"notes-{endpoint}-{split}.run", jobs=given.jobs)


def values(run: Path, metric: str, names: tuple[str, ...]) -> list[str]:
    """Give the figure of each modality alone."""
    table = pd.read_parquet(run / "metrics.parquet")
    own = table[table["metric"] == metric].set_index("model")
    return [shown(own.loc[[f"only_{name}"]].iloc[0]) for name in names]


def difference(run: Path, metric: str, first: str, second: str) -> str:
    """Give the paired difference of two modalities alone."""
    found = versus(
        pd.read_parquet(run / "predictions.parquet"), endpoint_of(run), first=f"only_{first}", second=f"only_{second}",
        metric=metric, generator=np.random.default_rng(0),
    )  # fmt: skip
    if not found.difference and not np.isfinite(found.low):
        return "0 in every resample"
    return f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}), p = {found.p:.3f}"


def size(run: Path) -> str:
    """Give patients and events, as two cells."""
    own = pd.read_parquet(run / "metrics.parquet").set_index("model").loc[["only_report"]].iloc[0]
    events = "" if pd.isna(own["events"]) else f"{own['events']:.0f}"
    return f"{own['n']:.0f} | {events}"


def endpoint_of(run: Path) -> Endpoint:
    study = read_json(run / "manifest.json")["study"]
    return Cohort.open(study["cohort"]).endpoint(study["endpoint"])


if __name__ == "__main__":
    main()
