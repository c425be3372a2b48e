"""How sure the main model is of single patients: prediction sets, and patients unlike those it was trained on."""

import pandas as pd

from oncoweave.evaluate.certainty import ALPHA, LEVEL
from oncoweave.serve import wording
from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.page import Block, Figure, Prose, Section, absent
from oncoweave.serve.run_folder import RunFolder

_MOST_DRAWN = 20
_NO_SETS = {
    "survival": "For survival the model gives no range of times that is sure to hold: censored patients do not allow it.",
    "multilabel": "For several labels at once the model gives no prediction sets.",
}


def certainty_section(run: RunFolder) -> Section:
    """Show whether prediction sets hold what they promise, and how many patients are flagged."""
    key, title = "certainty", "How sure it is of a patient"
    sets, flags = (None if t is None else t[t["model"] == run.main] for t in (run.certainty, run.novelty))
    if (sets is None or sets.empty) and (flags is None or flags.empty):
        why = (
            "The run folder has no certainty.parquet or novelty.parquet with rows of the main model, so nothing is known of that."
        )
        return absent(key, title, why)
    blocks: list[Block] = []
    if sets is not None and len(sets):
        blocks += _sets(run, sets)
    elif run.endpoint.kind in _NO_SETS:
        blocks.append(Prose(text=_NO_SETS[run.endpoint.kind]))
    if flags is not None and len(flags):
        blocks += _flags(flags, draw=not blocks or sets is None or sets.empty)
    return Section(key=key, title=title, blocks=tuple(blocks))


def _sets(run: RunFolder, table: pd.DataFrame) -> list[Block]:
    every = table[table["grouping"] == "all"].iloc[0]
    nine = f"{100 * LEVEL:.0f}%"
    of_values = run.endpoint.kind == "regression"
    if of_values:
        told = (
            f"For each patient the model gives an interval that is to hold the true value in {nine} of patients. It held it in"
            f" {_percent(every)} of {wording.plural(every['n'], 'patient')} and is {wording.number(every['size'])} wide on"
            " average."
        )
    else:
        several = 1 - every["single"] - every["empty"]
        told = (
            f"For each patient the model names the classes that it cannot rule out, so that in {nine} of the patients of each"
            f" class the true one is among them. It was in {_percent(every)} of {wording.plural(every['n'], 'patient')}. Of the"
            f" sets {_whole(every['single'])} name one class, {_whole(several)} several, which is to say that the model cannot"
            f" decide, and {_whole(every['empty'])} none, which is to say that the patient fits no class."
        )
    drawn = table.head(_MOST_DRAWN)
    name = (
        "Share of patients whose interval holds the true value"
        if of_values
        else "Share of patients whose set holds the true class"
    )
    chart = forest_plot(
        _groups(drawn, "covered"),
        axis=name,
        headers=("Share (95% interval)", "n"),
        guides=[Guide(value=LEVEL, label=f"promised {nine}", class_="guide")],
        title=name,
        digits=2,
    )
    caption = (
        f"{name}, of {wording.model(run.main)}, from the first repeat, with exact 95% intervals. Cut-offs come from out-of-fold"
        f" predictions of training patients. The promise of {nine} is for patients like those of training; it is not made for a"
        " new hospital."
    )
    if len(table) > len(drawn):
        caption += (
            f" {wording.plural(len(table) - len(drawn), 'further group')} can be found in certainty.parquet of the run folder."
        )
    return [Prose(text=told), Figure(svg=chart, caption=caption)]


def _flags(table: pd.DataFrame, *, draw: bool) -> list[Block]:
    every = table[table["grouping"] == "all"].iloc[0]
    told = (
        f"{wording.plural(every['flagged'], 'patient is', 'patients are')} unlike the training patients in at least one modality:"
        f" {_percent(every, 'share')} of the {wording.count(every['judged'])} who could be judged; of patients like those of"
        f" training at most {100 * ALPHA:.0f}% would be. A flag says that the model has not seen such a patient, not that its"
        " prediction is wrong."
    )
    unjudged = every["n"] - every["judged"]
    if unjudged:
        told += f" {wording.plural(unjudged, 'patient')} could not be judged."
    by_site = table[(table["grouping"] == "site") & table["share"].notna()].sort_values("n", ascending=False)
    if not draw or len(by_site) < 2:
        return [Prose(text=told)]
    chart = forest_plot(
        _groups(by_site.head(_MOST_DRAWN).assign(n=by_site["judged"]), "share"),
        axis="Share of patients flagged as unlike the training patients",
        headers=("Share (95% interval)", "n"),
        guides=[Guide(value=ALPHA, label=f"{100 * ALPHA:.0f}% by chance", class_="guide")],
        title="Patients flagged as unlike the training patients",
        digits=2,
    )
    caption = "Patients flagged as unlike the training patients, by hospital, from the first repeat, with exact 95% intervals."
    return [Prose(text=told), Figure(svg=chart, caption=caption)]


def _groups(table: pd.DataFrame, column: str) -> list[tuple[str, list[Estimate]]]:
    names = {"all": "", "class": "True class", "site": "Hospital"}
    groups = []
    for grouping in dict.fromkeys(table["grouping"]):
        rows = table[table["grouping"] == grouping]
        estimates = [
            Estimate(
                label="all patients" if grouping == "all" else str(row["group"]),
                value=row[column],
                low=row["low"],
                high=row["high"],
                columns=(wording.count(row["n"]),),
                shape="diamond" if grouping == "all" else "circle",
                tone="fusion",
                strong=grouping == "all",
            )
            for _, row in rows.iterrows()
        ]
        groups.append((names.get(str(grouping), str(grouping)), estimates))
    return groups


def _percent(row: pd.Series, column: str = "covered") -> str:
    return f"{100 * row[column]:.1f}% ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _whole(share: float) -> str:
    return f"{100 * max(share, 0.0):.0f}%"
