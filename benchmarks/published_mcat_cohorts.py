"""Clinical record, omics and histology on MCAT's five cohorts: MCAT, simple models, and our study.

``mcat.py`` runs the study: ``stacking`` was its main model, named beforehand, and is held against MCAT and against the best
simple model of each cohort. That one is chosen by the very figures it is compared by, which favours it.
"""

from pathlib import Path

import mcat
import mcat_cohorts
import numpy as np
import pandas as pd
from published_line import Line, Result, judged
from published_mcat_folds import COHORTS, PUBLISHED
from published_mcat_table import PAPER, fold_figures, released

from oncoweave.evaluate.compare import holm

MAIN = "stacking"
SIMPLE = ("site_only", "only_clinical", "only_expression", "only_variants")


def measured(cohort: str, folder: Path, data: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Run a cohort's study, or go on with it: every model against MCAT, and the main model against the best simple one."""
    table = mcat.scores(cohort, mcat.study(cohort, folder), data)
    figures = mcat.measure(table, np.random.default_rng(0)).set_index("model")
    best = str(figures["C"].reindex(list(SIMPLE)).idxmax())
    against = mcat.measure(table, np.random.default_rng(0), best).set_index("model").loc[MAIN]
    told = {"best simple model": best, "C": figures.loc[best, "C"], "ours": against["C"], "difference": against[f"minus {best}"]}
    return figures, pd.Series(told | {"p": against["p"], "n": against["n"], "events": against["events"]})


def run(data: Path, out: Path) -> Result:
    """Put the figures side by side."""
    folder = (out / "mcat").resolve()
    if not (folder / f"{COHORTS[-1]}.splits.parquet").exists():
        mcat_cohorts.main(data, folder)
    figures, simple = zip(*(measured(cohort, folder, data) for cohort in COHORTS), strict=True)
    reproduced = fold_figures(released(data))["c"]["MCAT_concat"].groupby("cohort").mean()
    adjusted = holm(np.array([each.loc[MAIN, "p"] for each in figures]))
    lines = []
    for place, cohort in enumerate(COHORTS):
        ours, clinical = figures[place].loc[MAIN], figures[place].loc["only_clinical"]
        lines.append(
            Line(
                task=f"{cohort}: clinical, omics, histology",
                data="porpoise_tcga14, oof_histology_risk",
                figure="C-index of MCAT",
                n=int(ours["n"]),
                events=int(ours["events"]),
                published=PAPER["MCAT_concat"][place],
                reproduced=float(reproduced[cohort]),
                ours=f"{MAIN} (clinical, omics)",
                value=ours["C"],
                low=ours["low"],
                high=ours["high"],
                floor=PUBLISHED["ranks"][place],
                floor_is="clinical + omics + histology risk by ranks",
                verdict=judged(PAPER["MCAT_concat"][place], float(reproduced[cohort])),
                reason=(
                    f"ours {ours['minus MCAT']:+.3f}, p {ours['p']:.3f}, {adjusted[place]:.3f} after Holm over cohorts;"
                    f" clinical alone {clinical['minus MCAT']:+.3f}, p {clinical['p']:.2f}"
                ),
            )
        )
    every = pd.concat([each.reset_index().assign(cohort=cohort) for cohort, each in zip(COHORTS, figures, strict=True)])
    wide = every.pivot(index="model", columns="cohort", values="mean of folds")
    wide = wide.assign(mean=wide.mean(axis=1)).sort_values("mean", ascending=False).reset_index()
    against = pd.DataFrame(simple, index=pd.Index(COHORTS, name="cohort")).reset_index().astype({"n": int, "events": int})
    against.insert(6, "p (Holm)", holm(against["p"].to_numpy(float)))
    return Result(
        lines=tuple(lines), tables={"C-index, mean of the five folds": wide, f"{MAIN} against the best simple model": against}
    )
