"""How good the main model of a task is in each of the task's groups: types of cancer, and those that nothing was trained on."""

import pandas as pd

from oncoweave.evaluate.metrics import ALL_PAIRS
from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import Block, Prose, Row, Section, Table, absent


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
    over_all = rows[rows["metric"].str.endswith(ALL_PAIRS)].set_index(["grouping", "group"])
    usual = rows[~rows["metric"].str.endswith(ALL_PAIRS)]
    written = []
    for _, row in usual.iterrows():
        beside = over_all.loc[(row["grouping"], row["group"])] if (row["grouping"], row["group"]) in over_all.index else None
        cells = [wording.spaced(str(row["grouping"])), str(row["group"]), wording.count(row["n"]), wording.count(row["events"])]
        cells += [_figure(row), *(() if over_all.empty else ("" if beside is None else _figure(beside),))]
        written.append(Row(cells=tuple(cells), faint=not wording.known(row["value"])))
    first = usual.iloc[0]
    measure = wording.capital(wording.measure(str(first["metric"])))
    caption = f"{task_name(str(first['task']))}: {measure} of {model_name(str(first['model']))} by group (95% interval)."
    if not over_all.empty:
        within = wording.spaced(str(first["stratum"]))
        caption += f" Patients of one {within} are ranked against each other, then all of the group."
    header = ("Told apart by", "Group", "Patients", "Events", measure, *(() if over_all.empty else ("Over all pairs",)))
    return Table(caption=caption, header=header, rows=tuple(written), num_text=2)


def _figure(row: pd.Series) -> str:
    if wording.known(row["value"]):
        return wording.estimate(row["value"], row["low"], row["high"])
    return row["note"] if isinstance(row["note"], str) and row["note"] else wording.NOT_ESTIMABLE


def _lacking(task: str, names: tuple[str, ...]) -> str:
    return (
        f"{task_name(task)}: {wording.plural(len(names), 'group')} that the task tests without training on it"
        f" {'is' if len(names) == 1 else 'are'} not in this cohort: {wording.listed(list(names))}."
    )
