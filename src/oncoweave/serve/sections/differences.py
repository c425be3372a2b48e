"""What sets models apart: paired comparisons, and what each modality adds."""

from collections.abc import Callable

import pandas as pd

from oncoweave.serve import findings, wording
from oncoweave.serve.charts.bars import Contribution, contribution_bars
from oncoweave.serve.page import Block, Figure, Items, Row, Section, Table, absent
from oncoweave.serve.run_folder import RunFolder


def comparison_section(run: RunFolder) -> Section:
    """List the paired comparisons with adjusted p values and what each allows one to say."""
    key, title, table = "comparisons", "Differences between models", run.comparisons
    if table is None or table.empty:
        return absent(key, title, "The run folder has no comparisons.parquet, so no difference between models is claimed.")
    measures, references = list(table["metric"].unique()), list(table["reference"].unique())
    named = ["Model", *(["Reference"] if len(references) > 1 else []), *(["Measure"] if len(measures) > 1 else []), "Reading"]
    ours = (table["model"] == run.main) & (table["reference"] == run.reference)
    ordered = pd.concat([table[ours], table[~ours]])
    rows = tuple(_comparison(run, row, named, strong=i < ours.sum()) for i, (_, row) in enumerate(ordered.iterrows()))
    within = f" in {wording.measure(str(measures[0]), run.endpoint.time_unit)}" if len(measures) == 1 else ""
    minus = wording.model(str(references[0])) if len(references) == 1 else "reference"
    methods = wording.listed(sorted({str(m) for m in table["method"].dropna()}))
    caption = (
        f"Paired differences{within}: model minus {minus}, on the same patients. A difference is called better or worse only"
        f" where its interval leaves out zero and its adjusted p is below {findings.ALPHA:.2f}."
        f" Method: {methods or 'not recorded'}."
    )
    header = (*named, "Difference", "95% interval", "p", "Adjusted p")
    return Section(key=key, title=title, blocks=(Table(caption=caption, header=header, rows=rows, num_text=len(named)),))


def _comparison(run: RunFolder, row: pd.Series, named: list[str], *, strong: bool) -> Row:
    reading = findings.reading(row, better_up=findings.higher_is_better(run, str(row["metric"])))
    words = {
        "Model": wording.model(str(row["model"])),
        "Reference": wording.model(str(row["reference"])),
        "Measure": wording.measure(str(row["metric"]), run.endpoint.time_unit),
        "Reading": "no interval" if reading == "unknown" else reading,
    }
    numbers = (
        wording.number(row["difference"], sign=True),
        wording.interval(row["low"], row["high"], sign=True),
        wording.p_value(row["p"]),
        wording.p_value(row["p_adjusted"]),
    )
    return Row(cells=(*(words[name] for name in named), *numbers), strong=strong)


def contribution_section(run: RunFolder, erase: Callable[[str], str]) -> Section:
    """Show what the main model loses without each modality."""
    key, title, table = "contributions", "What each modality adds", run.contributions
    if table is None or table.empty:
        why = (
            "The run folder has no contributions.parquet: the main model has only one modality, or was not fitted again without"
            " each in turn, so it cannot be said what each adds."
        )
        return absent(key, title, why)
    rows = [
        Contribution(modality=str(row["modality"]), adds=row["adds"], low=row["low"], high=row["high"], share=row["share"])
        for _, row in table.sort_values("adds", ascending=False).iterrows()
    ]
    metric = wording.measure(run.metric, run.endpoint.time_unit) if run.metric else "the main measure"
    chart = contribution_bars(rows, axis=f"Change in {metric} when the modality is there", title=title)
    caption = (
        f"What each modality adds to {wording.model(run.main)}: {metric} with all modalities minus {metric} with all but this"
        " one, with 95% intervals. Filled bars have an interval that leaves out zero; dashed outlines do not, and the modality may"
        " add nothing. A modality that repeats what others say adds little here even where it predicts well alone."
        f" {_share_words(table)}"
    )
    noted = table[table["note"].fillna("").astype(str) != ""]
    notes = [f"{row['modality']}: {erase(str(row['note']))}" for _, row in noted.iterrows()]
    blocks: list[Block] = [Figure(svg=chart, caption=caption), *([Items(items=tuple(notes))] if notes else [])]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _share_words(table: pd.DataFrame) -> str:
    if table["share"].notna().any():
        return "The Shapley share divides what all of them achieve together among the modalities, averaged over all combinations."
    return "Shapley shares were not computed: they need the model on every combination of modalities."
