"""How good every model is on every task, which differences hold, and how models rank over tasks."""

import math
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from oncoweave.evaluate.significance import wilcoxon
from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.charts.forest import Estimate, Guide, forest_plot
from oncoweave.serve.charts.ranks import rank_plot
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.train.bench.collect import of_everyone

_TASKS_A_TABLE = 4
_ENOUGH_TASKS = 6
"""Fewer tasks cannot bring the p of a signed-rank test below .05."""


def quality_section(results: Results) -> Section:
    """Tabulate models by tasks: figure, interval, patients and events."""
    key, title = "quality", "Every model on every task"
    if not results.tasks:
        return absent(key, title, "No task has finished.")
    scores = results.scores[results.scores["same_as"] == ""]
    tables = [_matrix(scores, tasks) for _, part in scores.groupby("level", sort=False) for tasks in _parts(part)]
    explained = (
        " Below each figure stands its 95% interval over patients, or slides, or tiles. A • marks the main model of a task, named"
        " beforehand. The best model is bold only where it differs from the next after Holm’s correction over the tasks. Of the"
        " main model trained on permuted outcomes the mean over runs is shown, and below it their range. “Within” a column, only"
        " patients of one value of it are ranked against each other, and models are compared and ranked by that; what all pairs"
        " give stands below. “Of” fewer patients is a model of a modality that some lack: its figure is of other patients,"
        " and not ranked."
    )
    blocks: list[Block] = [replace(tables[0], caption=tables[0].caption + explained), *tables[1:]]
    if repeats := _repeats(results):
        blocks.append(Prose(text=repeats, role="note"))
    return Section(key=key, title=title, blocks=tuple(blocks))


def _parts(scores: pd.DataFrame) -> list[list[str]]:
    """Deal tasks out to tables of nearly equal width; where figures have more said below them, fewer fit."""
    tasks = scores["task"].drop_duplicates().tolist()
    wordy = not of_everyone(scores[scores["role"] != "null"]).all() or scores["all_pairs"].notna().any()
    num = math.ceil(len(tasks) / (_TASKS_A_TABLE - 1 if wordy else _TASKS_A_TABLE))
    ends = [round(i * len(tasks) / num) for i in range(num + 1)]
    return [tasks[start:end] for start, end in pairwise(ends)]


def _matrix(scores: pd.DataFrame, tasks: list[str]) -> Table:
    shown = scores[scores["task"].isin(tasks)].drop_duplicates(["task", "name"])
    shown = shown.assign(of=shown["n"].mask(of_everyone(shown)))
    cells = {(row["task"], row["name"]): row for _, row in shown.iterrows()}
    about = [shown[shown["task"] == task] for task in tasks]
    rows = [
        Row(cells=("Metric", *(_measure(part) for part in about)), faint=True),
        Row(cells=(_counted(about), *(_size(part) for part in about)), faint=True),
    ]
    for name in _in_order(shown[shown["role"] != "null"]):
        found = [cells.get((task, name)) for task in tasks]
        best = frozenset(i for i, row in enumerate(found, start=1) if row is not None and row["best_differs"])
        rows.append(Row(cells=(model_name(name), *(_cell(row) for row in found)), best=best))
    nulls = [part[part["role"] == "null"] for part in about]
    if any(len(part) for part in nulls):
        rows.append(Row(cells=("main model, outcomes permuted", *(_null_cell(part) for part in nulls)), faint=True))
    caption = f"Every model on {wording.listed([task_name(task) for task in tasks])}."
    return Table(caption=caption, header=("Model", *(task_name(task) for task in tasks)), rows=tuple(rows))


def _counted(about: list[pd.DataFrame]) -> str:
    if about[0]["level"].iloc[0] == "tiles":
        return "Tiles"
    return "Patients (events)" if any(part["events"].notna().any() for part in about) else "Patients"


def _in_order(shown: pd.DataFrame) -> list[str]:
    """List models by their mean rank over these tasks."""
    return shown.groupby("name")["rank"].mean().sort_values(na_position="last", kind="stable").index.tolist()


def _null_cell(part: pd.DataFrame) -> str:
    """Write the mean over runs on permuted outcomes and their range; of one run, its interval."""
    known = part[part["value"].notna()]
    if len(known) < 2:
        return _cell(known.iloc[0]) if len(known) else ""
    ends = wording.interval(known["value"].min(), known["value"].max())
    return f"{wording.number(known['value'].mean())}\n{ends} in {len(known)} runs"


def _measure(part: pd.DataFrame) -> str:
    row = part.iloc[0]
    within = f", within {wording.spaced(row['stratum'])}" if row["stratum"] else ""
    return f"{wording.capital(wording.measure(row['metric']))}{within} {'↑' if row['higher_is_better'] else '↓'}"


def _size(part: pd.DataFrame) -> str:
    n, events = part["n"].max(), part["events"].max()
    return wording.count(n) + (f" ({wording.count(events)})" if pd.notna(events) else "")


def _cell(row: pd.Series | None) -> str:
    if row is None:
        return ""
    if not wording.known(row["value"]):
        return wording.NOT_ESTIMABLE
    mark = "• " if row["main"] else ""
    over_all = f"; all pairs {wording.number(row['all_pairs'])}" if wording.known(row["all_pairs"]) else ""
    of = f"; of {wording.count(row['of'])}" if wording.known(row["of"]) else ""
    return f"{mark}{wording.number(row['value'])}\n{wording.interval(row['low'], row['high'])}{over_all}{of}"


def _repeats(results: Results) -> str:
    same = results.scores[results.scores["same_as"] != ""].drop_duplicates("task")
    if same.empty:
        return ""
    groups = same.groupby("same_as")["task"].apply(list)
    told = (f"{wording.listed([task_name(t) for t in tasks])} as {task_name(str(first))}" for first, tasks in groups.items())
    return (
        "Some tasks ask here the same of the same patients or tiles as another, share its run, and count once with it in ranks"
        f" and corrections: {'; '.join(told)}."
    )


def gains_section(results: Results) -> Section:
    """Show the main model against the best simple model of each task."""
    key, title, duels = "gains", "The main model against the best simple one", results.duel("main")
    if duels.empty:
        return absent(key, title, "No finished task has both a main model and a simple one.")
    drawn = [
        Estimate(
            label=task_name(row["task"]),
            value=row["difference"],
            low=row["low"],
            high=row["high"],
            columns=(wording.p_value(row["p_adjusted"]),),
            shape="diamond",
            tone="fusion",
            strong=bool(row["differs"]),
        )
        for _, row in duels.iterrows()
    ]
    axis = "Difference in the task’s metric (right is better)"
    chart = forest_plot(
        [("", drawn)],
        axis=axis,
        headers=("Difference (95% interval)", "Adjusted p"),
        guides=[Guide(value=0.0, label="no difference", class_="guide")],
        title=title,
    )
    caption = (
        "Main model less the best simple model of each task, on the patients that both have a figure of. Bold tasks differ after"
        f" Holm’s correction over {wording.plural(len(duels), 'task')}."
    )
    blocks: list[Block] = [Figure(svg=chart, caption=caption), _duel_table(duels)]
    blocks += [Prose(text=text, role="note") for text in (_over_tasks(duels), *_doubts(results, duels)) if text]
    return Section(key=key, title=title, blocks=tuple(blocks))


def _over_tasks(duels: pd.DataFrame) -> str:
    """Ask, of tasks with one measure, whether the main model gains over all of them together."""
    told = []
    for metric, rows in duels[duels["difference"].notna()].groupby("metric", sort=False):
        if len(rows) >= _ENOUGH_TASKS:
            p = wording.p_equals(wilcoxon(rows["difference"].to_numpy(dtype=float)).p)
            told.append(f"over the {len(rows)} tasks measured by {wording.measure(str(metric))} {p}")
    if not told:
        return ""
    return (
        f"Wilcoxon’s signed-rank test of the gains, a task counted once: {'; '.join(told)}. It takes tasks to be independent;"
        " those of one cohort are not, so that p is too small for them."
    )


def _doubts(results: Results, duels: pd.DataFrame) -> list[str]:
    """Say of comparisons of tiles what they draw, each once with its tasks."""
    tiles = set(results.scores.loc[results.scores["level"] == "tiles", "task"])
    about = duels[duels["task"].isin(tiles)].groupby("note", sort=False)["task"].apply(list)
    return [f"In {wording.listed([task_name(t) for t in tasks])} the bootstrap draws {note}." for note, tasks in about.items()]


def _duel_table(duels: pd.DataFrame) -> Table:
    rows = [
        Row(
            cells=(
                task_name(row["task"]),
                f"{model_name(row['first'])} less\n{model_name(row['second'])}",
                wording.count(row["n"]),
                wording.number(row["difference"], sign=True),
                wording.interval(row["low"], row["high"], sign=True),
                wording.p_value(row["p"]),
                wording.p_value(row["p_adjusted"]),
                wording.p_value(row["q"]),
                wording.p_value(row["p_folds"]),
                wording.number(row["detectable"]),
            ),
            strong=bool(row["differs"]),
        )
        for _, row in duels.iterrows()
    ]
    caption = (
        "Of how many patients both have a figure, or tiles. p by a paired bootstrap over patients (of tiles, see below);"
        " adjusted by Holm across tasks, so that not one of"
        " them is likely to be wrong; q by Benjamini and Hochberg across tasks: of the tasks below a q, that share may be."
        " Over folds by the corrected resampled t test of Nadeau and Bengio, which asks whether another training set would"
        " show the same. Detectable: the smallest difference that so precise a comparison finds with p < .05, before"
        " correction, in four studies of five; what is not shown to differ may differ by less."
    )
    tests = ("Of", "Difference", "95% interval", "p", "Adjusted p", "q", "p over folds", "Detectable")
    header = ("Task", "Main less best simple model", *tests)
    return Table(caption=caption, header=header, rows=tuple(rows), num_text=2)


def ranks_section(results: Results) -> Section:
    """Show mean ranks with the critical difference."""
    key, title = "ranks", "Ranks over tasks"
    ranking, left_out = results.ranking
    if ranking is None:
        return absent(key, title, "There are not two models that share two tasks of patients, so nothing can be ranked.")
    named = replace(ranking, models=tuple(model_name(name) for name in ranking.models))
    chart = rank_plot(named, title="Mean ranks of the models with their critical difference")
    told = f"Friedman’s test: {wording.p_equals(ranking.p)}; Iman and Davenport’s: {wording.p_equals(ranking.f_p)}."
    caption = (
        f"Mean rank over {ranking.tasks} tasks; bars join models that Nemenyi’s test does not tell apart at 5%. {told} Models"
        " that not all of these tasks have, of all their patients, are left out."
    )
    blocks: list[Block] = [Figure(svg=chart, caption=caption)]
    if left_out:
        names = wording.listed([task_name(t) for t in left_out])
        blocks.append(Prose(text=f"Not in the ranks, as they lack one of these models: {names}.", role="note"))
    if len(_places(results)) < ranking.tasks:
        told = (
            "Some of these tasks are asked of the same patients. The test takes tasks to be independent, which these are not, so"
            " that its p values are too small."
        )
        blocks.append(Prose(text=told, role="warning"))
    return Section(key=key, title=title, blocks=tuple(blocks))


def _places(results: Results) -> set[str]:
    """Name the different cohorts that tasks were asked of, before anybody was left out."""
    return {str(asked.entry.place.cohort) for asked in results.asked if not asked.same_as}
