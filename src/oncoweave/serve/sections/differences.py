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
    blocks = tuple(_comparisons(run, table[table["metric"] == metric], str(metric)) for metric in table["metric"].unique())
    return Section(key=key, title=title, blocks=blocks)


def _comparisons(run: RunFolder, table: pd.DataFrame, metric: str) -> Table:
    """Tabulate one measure: interval and p of the first method, then the adjusted p of every other."""
    first, *others = list(dict.fromkeys(table["method"]))
    better_up = findings.higher_is_better(run, metric)
    rows = table[table["method"] == first].sort_values("difference", ascending=not better_up)
    ours = (rows["model"] == run.main) & (rows["reference"] == run.reference)
    several = rows["reference"].nunique() > 1
    by_method = {(row["model"], row["reference"], row["method"]): row["p_adjusted"] for _, row in table.iterrows()}
    written = []
    for _, row in pd.concat([rows[ours], rows[~ours]]).iterrows():
        further = [wording.p_value(by_method.get((row["model"], row["reference"], other))) for other in others]
        cells = _comparison(row, findings.reading(row, better_up=better_up), several=several)
        strong = row["model"] == run.main and row["reference"] == run.reference
        written.append(Row(cells=(*cells, *further), strong=strong))
    named = ("Model", *(("Reference",) if several else ()), "Reading")
    header = (*named, "Difference", "95% interval", "p", "Adjusted p", *(f"Adjusted p, {other}" for other in others))
    minus = "reference" if several else wording.model(str(rows["reference"].iloc[0]))
    caption = (
        f"Paired differences in {wording.measure(metric, run.endpoint.time_unit)}: model minus {minus}, on the same patients."
        f" Interval and p by {first}. A difference is called better or worse only where its interval leaves out zero and its"
        f" adjusted p is below {findings.ALPHA:.2f}."
    )
    return Table(caption=caption, header=header, rows=tuple(written), num_text=len(named))


def _comparison(row: pd.Series, reading: findings.Reading, *, several: bool) -> tuple[str, ...]:
    return (
        wording.model(str(row["model"])),
        *((wording.model(str(row["reference"])),) if several else ()),
        "no interval" if reading == "unknown" else reading,
        wording.number(row["difference"], sign=True),
        wording.interval(row["low"], row["high"], sign=True),
        wording.p_value(row["p"]),
        wording.p_value(row["p_adjusted"]),
    )


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
        " one, with 95% intervals. Filled bars have an interval that leaves out zero; dashed outlines do not: the modality may"
        " add nothing. A modality that repeats what others say adds little here even where it predicts well alone."
        f" {_share_words(table)}"
    )
    notes = tuple(erase(note) for note in _notes(table))
    blocks: list[Block] = [Figure(svg=chart, caption=caption), *([Items(items=notes)] if notes else [])]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _notes(table: pd.DataFrame) -> list[str]:
    """List the notes, each once with the modalities it is about, or with none where it is about all."""
    noted = table[table["note"].fillna("").astype(str) != ""]
    about = {str(note): list(rows["modality"]) for note, rows in noted.groupby("note", sort=False)}
    return [note if len(names) == len(table) else f"{wording.listed(names)}: {note}" for note, names in about.items()]


def _share_words(table: pd.DataFrame) -> str:
    if table["share"].notna().any():
        return "The Shapley share divides what all of them achieve together among the modalities, averaged over all combinations."
    return "Shapley shares were not computed: they need the model on every combination of modalities."
