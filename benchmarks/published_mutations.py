"""Driver mutations, microsatellite instability and mutational burden from reports and omics, overall and within a cancer type.

Most of what a report tells of a mutation is which cancer it is. So each figure stands twice: over all pairs of a fold, and over
the pairs of patients of one cancer type in one fold, in which the cancer is worth nothing. ``type`` is a ridge model that sees
the cancer type alone. ``report`` is TF-IDF (64 components) and ridge, ``omics`` copy numbers and expression (components, ridge),
``clinical`` age and sex, ``all`` the four tables in one ridge model. Mutations are no input. Each hospital is on one side.

The earlier floor is TF-IDF with logistic regression, five random folds of 1,766 patients; half of their reports are kept back, so
that it is rebuilt on the other half. No figure from text was published; GigaPath's EGFR figure is from slides of lung
adenocarcinoma and stands for context.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from published_line import NONE, OPEN, WITHIN, Line, Result, fold_by_fold, interval_of
from published_reports import BENCH, FOLDS, cohort_of, words
from real_cohorts import mutated
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from oncoweave.core.endpoint import Endpoint, read_target
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.splits import make_splits
from oncoweave.evaluate.intervals import Interval
from oncoweave.evaluate.pairs import ordered_pairs
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.linear_learner import fit_linear

FLOORS = {"TP53": 0.749, "KRAS": 0.872, "IDH1": 0.911, "PIK3CA": 0.735, "EGFR": 0.759}
GIGAPATH = 0.766
"""AUROC of EGFR in lung adenocarcinoma, from slides."""
MODELS: dict[str, tuple[tuple[str, ...], str]] = {
    "type": (("type",), "concat"),
    "clinical": (("clinical",), "concat"),
    "report": (("report",), "concat"),
    "omics": (("variants", "expression"), "pca"),
    "all": (("report", "variants", "expression", "clinical"), "pca"),
}
SHOWN = ("report", "all")
"""Models whose figures get intervals."""


def with_everything(cohort: Cohort, data: Path) -> Cohort:
    """Add EGFR, which too few patients have to be a label of the cohort, and the cancer type as a modality."""
    patients = cohort.patients.assign(driver_EGFR=mutated(data / "tcga_molecular").reindex(cohort.patients.index)["EGFR"])
    labels = [*cohort.endpoint("driver_mutations").columns, "driver_EGFR", "msi_high", "tmb_high"]
    everything = Endpoint(
        name="everything",
        kind="multilabel",
        columns=tuple(labels),
        classes=tuple(c.removeprefix("driver_") for c in labels),
    )
    types = pd.DataFrame({"patient_id": patients.index, "sample_id": patients.index, "type": patients["tumour_type"].to_numpy()})
    return replace(
        cohort,
        patients=patients,
        tables={**cohort.tables, "type": types},
        modalities={**cohort.modalities, "type": ModalitySpec(name="type", kind="record")},
        endpoints={**cohort.endpoints, "everything": everything},
    )


def cross_validated(data: Dataset, fold: np.ndarray) -> dict[str, np.ndarray]:
    """Probability of each label by each model, ``[n, label]``, by models that did not see the patient's hospital."""
    found = {model: np.full(data.outcome.values.shape, NONE) for model in MODELS}

    def of_fold(k: int) -> dict[str, np.ndarray]:
        part = Fold(train=data.take(fold != k), seed=k, inner_folds=FOLDS, group_by_site=True)
        asked = data.take(fold == k)
        return {m: fit_linear(part, names, fusion=fusion).fitted.predict(asked) for m, (names, fusion) in MODELS.items()}

    for k, told in zip(np.unique(fold), fold_by_fold(of_fold, fold), strict=True):
        for model, values in told.items():
            found[model][fold == k] = values
    return found


def auroc(y: np.ndarray, score: np.ndarray, strata: np.ndarray, *, bare: bool = False) -> Interval:
    """AUROC over the pairs of a stratum, of patients whose label and score are known; without an interval where ``bare``."""
    known = ~np.isnan(y) & ~np.isnan(score)
    statistic = ordered_pairs(y[known], score[known], strata[known])
    if bare:
        value = float(statistic(np.ones((1, int(known.sum())), dtype=np.float32))[0])
        return Interval(value=value, low=NONE, high=NONE, replicates=0)
    return interval_of(statistic, np.flatnonzero(known))


def floor_again(cohort: Cohort) -> pd.DataFrame:
    """Rebuild the earlier floor on the reports that are here."""
    bench = cohort.patients[cohort.patients["source"] == BENCH]
    texts = cohort.tables["report"].set_index("patient_id")["text"]
    rows = []
    for gene, earlier in FLOORS.items():
        y = bench[f"driver_{gene}"].dropna()
        score, fold = np.full(len(y), NONE), np.zeros(len(y), dtype=int)
        for k, (train, test) in enumerate(KFold(FOLDS, shuffle=True, random_state=0).split(y)):
            x, z = words(list(texts.loc[y.index[train]]), list(texts.loc[y.index[test]]))
            model = LogisticRegression(C=1.0, max_iter=200, class_weight="balanced").fit(x, y.iloc[train])
            score[test], fold[test] = model.predict_proba(z)[:, 1], k
        found = auroc(y.to_numpy(), score, fold)
        kind = pd.factorize(bench["tumour_type"].loc[y.index])[0]
        inside = auroc(y.to_numpy(), score, fold * 100 + kind)
        rows.append({"gene": gene, "earlier": earlier, "here": found.value, "low": found.low, "high": found.high,
                     "within type": inside.value, "within low": inside.low, "within high": inside.high,
                     "n": len(y), "events": int(y.sum())})  # fmt: skip
    return pd.DataFrame(rows)


def run(data: Path, out: Path) -> Result:
    """Cross-validate every label with every model, and rebuild the floor."""
    cohort = with_everything(cohort_of(data, out), data)
    modalities = tuple(dict.fromkeys(m for of_model, _ in MODELS.values() for m in of_model))
    target = read_target(cohort.endpoint("everything"), cohort.patients)
    loaded = load_dataset(cohort, None, modalities).with_target(target).take(target.known)
    splits = make_splits(loaded.patient_ids, loaded.outcome, loaded.site, folds=FOLDS, repeats=1, group_by_site=True, seed=0)
    fold = splits.set_index("patient_id")["fold"].loc[loaded.patient_ids].to_numpy()
    found = cross_validated(loaded, fold)
    kinds = cohort.patients["tumour_type"].loc[loaded.patient_ids].to_numpy()
    table = _table(loaded, found, fold, kinds)
    floors = floor_again(cohort)
    lung = _lung(loaded, found, kinds, fold)
    return Result(
        lines=(*_lines(table, floors), lung),
        tables={"Mutations from reports and omics, by hospital": table, "The earlier floor": floors},
    )


def _table(data: Dataset, found: dict[str, np.ndarray], fold: np.ndarray, kinds: np.ndarray) -> pd.DataFrame:
    both = fold * 100 + pd.factorize(kinds)[0]
    rows = []
    for at, label in enumerate(data.outcome.endpoint.classes):
        y = data.outcome.values[:, at]
        row: dict[str, object] = {"label": label, "n": int((~np.isnan(y)).sum()), "events": int(np.nansum(y))}
        for model, scores in found.items():
            over, inside = (auroc(y, scores[:, at], strata, bare=model not in SHOWN) for strata in (fold, both))
            if model not in SHOWN:
                row |= {model: over.value, f"{model} within type": inside.value}
                continue
            row |= {model: over.value, f"{model} low": over.low, f"{model} high": over.high,
                    f"{model} within type": inside.value, f"{model} within low": inside.low,
                    f"{model} within high": inside.high}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _lines(table: pd.DataFrame, floors: pd.DataFrame) -> list[Line]:
    told, again = table.set_index("label"), floors.set_index("gene")
    lines = []
    for label in (*FLOORS, "msi_high", "tmb_high"):
        row = told.loc[label]
        earlier = FLOORS.get(label, NONE)
        floor = again.loc[label] if label in FLOORS else None
        if floor is None:
            verdict = OPEN
        elif floor["low"] <= earlier <= floor["high"]:
            verdict = WITHIN
        else:
            verdict = f"not reproduced: off by {floor['here'] - earlier:+.3f}"
        lines.append(
            Line(
                task="report and omics to mutation, MSI, TMB",
                data="tcga_reports, tcga_molecular",
                figure=f"AUROC of {label}" + ("" if floor is None else " from text (the floor)"),
                n=int(row["n"]),
                events=int(row["events"]),
                published=earlier,
                reproduced=NONE if floor is None else float(floor["here"]),
                ours="report + omics + clinical, by hospital",
                value=row["all"],
                low=row["all low"],
                high=row["all high"],
                floor=row["type"],
                floor_is="cancer type alone, by hospital",
                verdict=verdict,
                reason=(
                    f"within type: text {row['report within type']:.3f} ({row['report within low']:.3f} to"
                    f" {row['report within high']:.3f}), all {row['all within type']:.3f} ({row['all within low']:.3f} to"
                    f" {row['all within high']:.3f})" + ("; none published" if floor is None else "")
                ),
            )
        )
    return lines


def _lung(data: Dataset, found: dict[str, np.ndarray], kinds: np.ndarray, fold: np.ndarray) -> Line:
    at = data.outcome.endpoint.classes.index("EGFR")
    y = np.where(kinds == "LUAD", data.outcome.values[:, at], NONE)
    ours = auroc(y, found["report"][:, at], fold)
    return Line(
        task="EGFR in lung adenocarcinoma",
        data="tcga_reports, tcga_molecular",
        figure="AUROC, GigaPath, from slides",
        n=int((~np.isnan(y)).sum()),
        events=int(np.nansum(y)),
        published=GIGAPATH,
        ours="report, ridge, by hospital",
        value=ours.value,
        low=ours.low,
        high=ours.high,
        floor=0.5,
        floor_is="chance",
        verdict=OPEN,
        reason="no slides here; text of few patients stands for context",
    )
