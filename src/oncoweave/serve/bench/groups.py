"""How good the main model of a task is in each of the task's groups: types of cancer, and those that nothing was trained on."""

import pandas as pd

from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import Block, Prose, Row, Section, Table, absent

FIGURES = ["value", "low", "high"]


def groups_section(results: Results) -> Section:
    """Tabulate the main model by group, a table a task: patients, events, figure and interval."""
    key, title = "groups", "Types of cancer, and what was not seen in training"
    if results.groups.empty:
        return absent(key, title, "No finished task tells groups of patients apart.")
    blocks: list[Block] = [_table(rows) for _, rows in results.groups.groupby("task", sort=False)]
    lacking = {asked.entry.key: asked.lacking for asked in results.asked if asked.lacking}
    blocks += [Prose(text=_lacking(task, names), role="note") for task, names in lacking.items()]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _table(rows: pd.DataFrame) -> Table:
    """Groups with a figure, one a line; then those without, together by the reason. Over all pairs only where that differs."""
    over_all = rows[rows["metric"].str.endswith(ALL_PAIRS)].set_index(["grouping", "group"])
    usual = rows[~rows["metric"].str.endswith(ALL_PAIRS)]
    beside = over_all.reindex(pd.MultiIndex.from_frame(usual[["grouping", "group"]]))[FIGURES].set_axis(usual.index)
    told = usual["value"].map(wording.known).astype(bool)
    two = not over_all.empty and not usual.loc[told, FIGURES].equals(beside[told])
    written = []
    for place in usual.index[told]:
        figures = [_figure(table.loc[place]) for table in ((usual, beside) if two else (usual,))]
        written.append(Row(cells=(*_who(usual[usual.index == place]), *figures)))
    without = usual[~told].replace({"note": {"": wording.NOT_ESTIMABLE}})
    for (_, note), few in without.groupby(["grouping", "note"], sort=False):
        reason = (f"each {note}" if len(few) > 1 else str(note), *(("",) if two else ()))
        written.append(Row(cells=(*_who(few), *reason), faint=True))
    first = usual.iloc[0]
    measure = wording.capital(wording.measure(str(first["metric"])))
    caption = f"{task_name(str(first['task']))}: {measure} of {model_name(str(first['model']))} by group (95% interval)."
    if two:
        within = wording.spaced(str(first["stratum"]))
        caption += f" Patients of one {within} are ranked against each other, then all of the group."
    header = ("Told apart by", "Group", "Patients", "Events", measure, *(("Over all pairs",) if two else ()))
    return Table(caption=caption, header=header, rows=tuple(written), num_text=2)


def _who(rows: pd.DataFrame) -> tuple[str, ...]:
    """Say by what groups are told apart, which they are, and how many patients and events they have together."""
    groups, events = wording.listed(rows["group"].astype(str).tolist()), rows["events"].sum(min_count=1)
    return wording.spaced(str(rows["grouping"].iloc[0])), groups, wording.count(rows["n"].sum()), wording.count(events)


def _figure(row: pd.Series) -> str:
    return wording.estimate(row["value"], row["low"], row["high"])


def _lacking(task: str, names: tuple[str, ...]) -> str:
    return (
        f"{task_name(task)}: {wording.plural(len(names), 'group')} that the task tests without training on it"
        f" {'is' if len(names) == 1 else 'are'} not in this cohort: {wording.listed(list(names))}."
    )
