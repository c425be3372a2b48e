"""Clinical record, omics and histology on MCAT's five cohorts: MCAT, simple models, and our study.

``mcat.py`` runs the study: ``stacking`` was its main model, named beforehand. Five runs take minutes, so that only the cohort
``RERUN`` is run again here; the others' figures are read from the page of the full run, whose figures for ``RERUN`` must agree.
"""

import re
from pathlib import Path

import mcat
import mcat_cohorts
import numpy as np
import pandas as pd
from published_line import Line, Result, judged
from published_mcat_folds import COHORTS, PUBLISHED
from published_mcat_table import PAPER, fold_figures, released

from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import holm

RERUN = "tcga_blca"
PAGE = Path(__file__).with_name("mcat_2026-11.md")
MAIN = "stacking"
_ROW = re.compile(
    r"^\| (?P<cohort>[a-z]+) \| (?P<model>[^|]+?) \| (?P<C>[\d.]+) \((?P<low>[\d.]+) to (?P<high>[\d.]+)\) \|"
    r" (?P<gain>[+-][\d.]+) \| (?P<p>[\d.]+) \| (?P<n>\d+) \| (?P<events>\d+) \|$",
    re.MULTILINE,
)


def page() -> pd.DataFrame:
    """Read the table with intervals of the page, indexed by cohort and model."""
    found = pd.DataFrame([m.groupdict() for m in _ROW.finditer(PAGE.read_text(encoding="utf-8"))])
    if found.empty:
        msg = f"{PAGE.name}: no line of its table of intervals is as this module expects"
        raise DataError(msg)
    found["cohort"] = "tcga_" + found["cohort"]
    numbers = ["C", "low", "high", "gain", "p", "n", "events"]
    return found.astype(dict.fromkeys(numbers, float)).set_index(["cohort", "model"])


def again(data: Path, out: Path) -> pd.DataFrame:
    """Run one cohort's study, or go on with it, and measure every model."""
    folder = out / "mcat"
    if not (folder / f"{COHORTS[-1]}.splits.parquet").exists():
        mcat_cohorts.main(data, folder)
    run = mcat.study(RERUN, folder)
    return mcat.measure(mcat.scores(RERUN, run, data), np.random.default_rng(0)).set_index("model")


def run(data: Path, out: Path) -> Result:
    """Put the figures side by side."""
    stored, new = page(), again(data, out)
    reproduced = fold_figures(released(data))["c"]["MCAT_concat"].groupby("cohort").mean()
    adjusted = holm(stored.xs(MAIN, level="model").loc[list(COHORTS), "p"].to_numpy())
    lines = []
    for cohort, published, floor, p in zip(COHORTS, PAPER["MCAT_concat"], PUBLISHED["ranks"], adjusted, strict=True):
        told = stored.loc[(cohort, MAIN)]
        clinical = stored.loc[(cohort, "only_clinical")]
        value, low, high = told["C"], told["low"], told["high"]
        if cohort == RERUN:
            value, low, high = new.loc[MAIN, ["C", "low", "high"]]
        lines.append(
            Line(
                task=f"{cohort}: clinical, omics, histology",
                data="porpoise_tcga14, oof_histology_risk",
                figure="C-index of MCAT",
                n=int(told["n"]),
                events=int(told["events"]),
                published=published,
                reproduced=float(reproduced[cohort]),
                ours=f"{MAIN} (clinical, omics)" + ("" if cohort == RERUN else ", from the page"),
                value=value,
                low=low,
                high=high,
                floor=floor,
                floor_is="clinical + omics + histology risk by ranks",
                verdict=judged(published, float(reproduced[cohort])),
                reason=(
                    f"ours {told['gain']:+.3f}, p {told['p']:.3f}, {p:.2f} after Holm over cohorts; clinical alone"
                    f" {clinical['gain']:+.3f}, p {clinical['p']:.2f}"
                ),
            )
        )
    held = stored.loc[RERUN]
    table = pd.DataFrame(
        {
            "model": held.index,
            "page": held["C"].to_numpy(),
            "again": new.loc[held.index, "C"].to_numpy(),
            "low": new.loc[held.index, "low"].to_numpy(),
            "high": new.loc[held.index, "high"].to_numpy(),
        }
    )
    table["difference"] = table["again"] - table["page"]
    return Result(lines=tuple(lines), tables={f"{RERUN} run again": table})
