"""What sets models apart: paired comparisons, and what each modality adds."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from oncoweave.evaluate.compare import FEW
from oncoweave.serve import findings, wording
from oncoweave.serve.charts.bars import Contribution, contribution_bars
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.serve.run_folder import RunFolder

_MANY = 10
"""Models compared with one reference, above which the false discovery rate is shown beside Holm's p."""


def comparison_section(run: RunFolder) -> Section:
    """List the paired comparisons with adjusted p values and what each allows one to say."""
    key, title, table = "comparisons", "Differences between models", run.comparisons
    if table is None or table.empty:
        return absent(key, title, "The run folder has no comparisons.parquet, so no difference between models is claimed.")
    parts = table.groupby(["metric", "reference"], sort=False)
    tables: list[Block] = [
        _comparisons(run, part, metric=str(metric), reference=str(reference)) for (metric, reference), part in parts
    ]
    return Section(key=key, title=title, blocks=(*tables, *_undefined(run, table)))


def _undefined(run: RunFolder, table: pd.DataFrame) -> list[Block]:
    """Say of each test, and of intervals, what is not defined, for which models and why."""
    of_first = table["method"] == table["method"].iloc[0]
    rows = table[table["p"].isna() | (table["low"].isna() & of_first)]
    if rows.empty or "note" not in rows:
        return []
    told = []
    for (metric, method, note), part in rows.groupby(["metric", "method", "note"], sort=False):
        models = wording.listed(list(dict.fromkeys(wording.model(str(name)) for name in part["model"])))
        what = "" if part["p"].isna().all() else "interval of the "
        measure = wording.measure(str(metric), run.endpoint.time_unit)
        told.append(f"{what}{method}, {measure}, {models}{f' ({note})' if note else ''}")
    return [Prose(text=f"Not defined: {'; '.join(told)}.", role="note")]


def _comparisons(run: RunFolder, table: pd.DataFrame, *, metric: str, reference: str) -> Table:
    """Tabulate one measure against one reference: interval and p of the first method, then the adjusted p of every other."""
    first, *others = list(dict.fromkeys(table["method"]))
    better_up = findings.higher_is_better(run, metric)
    adjusted = {(row["model"], row["method"]): row["p_adjusted"] for _, row in table.iterrows()}
    q = {wording.model(str(row["model"])): row.get("q") for _, row in table[table["method"] == first].iterrows()}
    written, seen = [], "detectable" in table
    for _, row in table[table["method"] == first].sort_values("difference", ascending=not better_up).iterrows():
        primary = metric == run.metric and {row["model"], reference} == {run.main, run.reference}
        further = [wording.p_value(adjusted.get((row["model"], other))) for other in others]
        further += [wording.number(row["detectable"])] if seen else []
        cells = _comparison(row, findings.reading(row, better_up=better_up, primary=primary))
        written.append(Row(cells=(*cells, *further), strong=primary))
    tail = _tail(run, str(first))
    further_tests = "".join(f" Test {i + 2}: {other}." for i, other in enumerate(others))
    caption = (
        f"Paired differences in {wording.measure(metric, run.endpoint.time_unit)}: model minus {wording.model(reference)}, on the"
        f" same patients. Interval and p by {first}.{tail}{further_tests} A difference is called better or"
        f" worse only where its interval leaves out zero and its adjusted p is below {findings.ALPHA:.2f}."
    )
    if any(row.strong for row in written):
        caption += " The primary comparison, in bold, was named before the analysis and is read by its own p."
    if seen:
        caption += (
            " Detectable: the smallest difference that a comparison as precise as this one finds with p < .05, before correction,"
            " in four studies of five. Models that are not distinguishable may differ by less than that, either way."
        )
    many = "q" in table and table["model"].nunique() > _MANY
    if many:
        caption += " q: Benjamini and Hochberg’s, the share of false findings to expect among all with so small a q."
        written = [replace(w, cells=(*w.cells, wording.p_value(q[w.cells[0]]))) for w in written]
    further_columns = tuple(f"Adjusted p, test {i + 2}" for i in range(len(others)))
    further_columns += ("Detectable",) if seen else ()
    header = ("Model", "Reading", "Difference", "95% interval", "p", "Adjusted p", *further_columns, *(["q"] if many else []))
    return Table(caption=caption, header=header, rows=tuple(written), num_text=2)


def _tail(run: RunFolder, method: str) -> str:
    """Say how small p values of the bootstrap are found: counting samples could not tell one below a few hundredths."""
    if not method.startswith("paired patient bootstrap"):
        return ""
    samples = run.protocol.get("bootstrap")
    of = f" of the {wording.count(samples)}" if wording.known(samples) else ""
    return (
        f" Where fewer than {FEW}{of} bootstrap samples lie on the other side of zero, p is that of a normal difference with the"
        " standard deviation of the samples."
    )


def _comparison(row: pd.Series, reading: findings.Reading) -> tuple[str, ...]:
    return (
        wording.model(str(row["model"])),
        "no interval" if reading == "unknown" else reading.replace(" ", "\u00a0"),
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
    may_be_nothing = _gain_may_be_nothing(run)
    rows = [
        Contribution(
            modality=str(row["modality"]),
            adds=row["adds"],
            low=row["low"],
            high=row["high"],
            share=None if may_be_nothing else row["share"],
            shapley=row.get("shapley"),
            shapley_se=row.get("shapley_se"),
        )
        for _, row in table.sort_values("adds", ascending=False).iterrows()
    ]
    metric = wording.measure(run.metric, run.endpoint.time_unit) if run.metric else "the main measure"
    chart = contribution_bars(rows, axis=f"Change in {metric} when the modality is there", title=title)
    caption = (
        f"What each modality adds to {wording.model(run.main)}: {metric} with all modalities minus {metric} with all but this"
        " one, with 95% intervals. Filled bars have an interval that leaves out zero; dashed outlines do not: the modality may"
        " add nothing. A modality that repeats what others say adds little here even where it predicts well alone."
        f" {_share_words(rows)}"
    )
    notes = [erase(note.replace(str(run.metric), metric)) for note in _notes(table)]
    blocks: list[Block] = [Figure(svg=chart, caption=caption), *(Prose(text=note, role="note") for note in notes)]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _notes(table: pd.DataFrame) -> list[str]:
    """List the notes, each once with the modalities it is about, or with none where it is about all."""
    noted = table[table["note"].fillna("").astype(str) != ""]
    about = {str(note): list(rows["modality"]) for note, rows in noted.groupby("note", sort=False)}
    return [note if len(names) == len(table) else f"{wording.listed(names)}: {note}" for note, names in about.items()]


def _gain_may_be_nothing(run: RunFolder) -> bool:
    """Whether the main model's interval reaches chance; parts of a gain that may be zero are not worth printing."""
    main = findings.measured(run, run.main)
    if main is None or run.chance is None:
        return False
    better_up = findings.higher_is_better(run, str(run.metric))
    return not (main.low > run.chance if better_up else main.high < run.chance)


def _share_words(rows: list[Contribution]) -> str:
    if any(wording.known(r.share) for r in rows):
        return "The Shapley share divides what all achieve together, by what each adds to combinations of the others."
    if not any(wording.known(r.shapley) for r in rows):
        return "Shapley shares were not computed: they need the model on every combination of modalities."
    sampled = any(wording.known(r.shapley_se) and float(r.shapley_se) > 0 for r in rows)
    error = " ± is the standard error of sampling combinations;" if sampled else ""
    return (
        "Shapley values, in the unit of the measure, divide what all gain over knowing nothing, by what each adds to combinations"
        f" of the others.{error} How much they vary with the patients is not known, and no shares are given, as the gain that"
        " they divide cannot be told from zero."
    )
