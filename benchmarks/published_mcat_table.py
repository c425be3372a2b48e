"""The table of MCAT (Chen et al., ICCV 2021): eleven models on five cohorts, from the risks that its authors released.

Harrell's C within each released fold, averaged. The figures held against are those of ``cindex_recomputed.csv`` and the paper's
three that are known. The gain of MCAT over concatenation of attention MIL and omics is tested by the corrected resampled t test.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from published_line import REPRODUCED, Line, Result, c_index, judged

from oncoweave.evaluate.compare import corrected_resampled_t, holm
from oncoweave.evaluate.concordance import count_pairs

COHORTS = ("tcga_blca", "tcga_brca", "tcga_gbmlgg", "tcga_luad", "tcga_ucec")
PAPER = {
    "MCAT_concat": (0.624, 0.580, 0.817, 0.620, 0.622),
    "AMIL": (0.536, 0.564, 0.787, 0.559, 0.625),
    "SNN": (0.541, 0.466, 0.598, 0.539, 0.493),
}
GAIN_P = dict(zip(COHORTS, (0.48, 0.62, 0.92, 0.22, 0.82), strict=True))
"""Two-sided p of MCAT against AMIL_concat that unrounded risks give; the released ones have five decimals."""
ROUNDED = ("tcga_brca", "tcga_gbmlgg")
"""Where rounding makes ties of up to 1.6 % of the pairs of AMIL_concat, so that its p can only be approached."""
DIGIT = 5e-4
TEST_TO_TRAIN = 0.25


def released(data: Path) -> pd.DataFrame:
    """Read the risks of MCAT's repository, one row a patient and model."""
    rows = pd.read_csv(data / "oof_histology_risk" / "oof_risk.csv.gz", float_precision="round_trip")
    rows = rows[rows["source"] == "mcat"].rename(columns={"case_id": "patient_id", "survival_months": "time"})
    return rows.assign(event=rows["event"].astype(bool)).reset_index(drop=True)


def fold_figures(rows: pd.DataFrame) -> pd.DataFrame:
    """C-index of each model, cohort and fold, ``c``, and what it would be if all tied risks were wrong or right."""
    return rows.groupby(["model", "cohort", "fold"])[["time", "event", "risk"]].apply(_with_bounds)


def _with_bounds(fold: pd.DataFrame) -> pd.Series:
    pairs = count_pairs(fold["time"].to_numpy(), fold["event"].to_numpy(), fold["risk"].to_numpy())
    total, right, tied = pairs.comparable.sum(), pairs.lower.sum(), pairs.equal.sum()
    return pd.Series({"c": (right + 0.5 * tied) / total, "least": right / total, "most": (right + tied) / total})


def figures(rows: pd.DataFrame, data: Path) -> pd.DataFrame:
    """Mean over folds of every model and cohort beside what the unrounded risks gave."""
    means = fold_figures(rows).groupby(["model", "cohort"]).mean().reset_index()
    stored = pd.read_csv(data / "oof_histology_risk" / "cindex_recomputed.csv")
    table = means.merge(stored[stored["source"] == "mcat"][["model", "cohort", "cindex_mean"]], on=["model", "cohort"])
    table["off"] = table["c"] - table["cindex_mean"]
    table["to the digit"] = table["off"].abs() < DIGIT
    table["as far as ties tell"] = table["cindex_mean"].between(table["least"] - DIGIT, table["most"] + DIGIT)
    return table


def run(data: Path, out: Path) -> Result:
    """Recompute the table and the tests."""
    del out
    rows = released(data)
    folds, table = fold_figures(rows)["c"], figures(rows, data)
    exact, possible = int(table["to the digit"].sum()), int(table["as far as ties tell"].sum())
    paper = pd.Series({(model, c): v for model, values in PAPER.items() for c, v in zip(COHORTS, values, strict=True)})
    lines = [
        Line(
            task="MCAT's table, 11 models x 5 cohorts",
            data="oof_histology_risk",
            figure=f"C-index, {len(table)} figures, {len(paper)} of them the paper's",
            n=rows["patient_id"].nunique(),
            events=int(rows.drop_duplicates("patient_id")["event"].sum()),
            verdict=f"{exact} of {len(table)} reproduced to the digit, {possible - exact} as far as ties tell",
            reason=(
                f"the risks were rounded to five decimals, which makes ties; largest difference {table['off'].abs().max():.4f}"
            ),
        )
    ]
    lines += [_gain(rows, folds, cohort) for cohort in COHORTS]
    p = [line.reproduced for line in lines[1:]]
    tests = pd.DataFrame({"cohort": COHORTS, "p": p, "p (Holm, 5 cohorts)": holm(np.array(p)), "expected": list(GAIN_P.values())})
    found = table.set_index(["model", "cohort"])["c"].reindex(paper.index)
    wide = table.pivot_table(index="model", columns="cohort", values="c")[list(COHORTS)]
    wide = wide.assign(mean=wide.mean(axis=1)).sort_values("mean", ascending=False).reset_index()
    return Result(
        lines=tuple(lines),
        tables={
            "C-index of the released risks": wide,
            "Figures of the paper": pd.DataFrame({"paper": paper, "here": found, "off": found - paper})
            .rename_axis(["model", "cohort"])
            .reset_index(),
            "Figures that rounding moved": table[~table["to the digit"]],
            "MCAT against concatenation": tests,
        },
    )


def _gain(rows: pd.DataFrame, folds: pd.Series, cohort: str) -> Line:
    difference = (folds["MCAT_concat"] - folds["AMIL_concat"])[cohort].to_numpy()
    found = corrected_resampled_t(difference, test_to_train=TEST_TO_TRAIN)
    mcat = rows[(rows["model"] == "MCAT_concat") & (rows["cohort"] == cohort)]
    interval = c_index(mcat)
    verdict = judged(GAIN_P[cohort], found.p, digits=2)
    if cohort in ROUNDED and verdict != REPRODUCED:
        verdict += " (rounded risks)"
    return Line(
        task="MCAT against concatenation",
        data="oof_histology_risk",
        figure=f"{cohort}: p of the gain at two decimals, corrected resampled t",
        n=len(mcat),
        events=int(mcat["event"].sum()),
        published=GAIN_P[cohort],
        reproduced=found.p,
        ours="MCAT (released)",
        value=interval.value,
        low=interval.low,
        high=interval.high,
        floor=float(folds["AMIL_concat"][cohort].mean()),
        floor_is="AMIL_concat",
        verdict=verdict,
        reason=f"gain {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f}): none can be told from zero",
    )
