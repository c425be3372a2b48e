"""What quality costs: seconds and parameters of every model, fewer labels, and larger encoders."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.charts.xy import MOST_CURVES, Curve, Panel, Point, short_number, xy_chart
from oncoweave.serve.page import Block, Figure, Prose, Row, Section, Table, absent
from oncoweave.train.results import trained

_MOST_PANELS = 12
_SHAPES = {"baseline": "square", "single": "circle", "fusion": "diamond"}


def cost_section(results: Results) -> Section:
    """Draw quality against seconds, and tabulate seconds and parameters."""
    key, title = "cost", "What quality costs"
    scores = results.scores[(results.scores["same_as"] == "") & (results.scores["role"] != "null")]
    timed = scores[scores["seconds"].notna() & (scores["seconds"] > 0) & scores["value"].notna()].drop_duplicates(
        ["task", "name"]
    )
    if timed.empty:
        return absent(key, title, "No finished run measured how long its models took.")
    names = timed.groupby("name")["seconds"].mean().sort_values().index.tolist()
    number = {name: str(i) for i, name in enumerate(names, start=1)}
    tasks = timed["task"].drop_duplicates().tolist()
    panels = [_cost_panel(timed[timed["task"] == task], task, number) for task in tasks[:_MOST_PANELS]]
    chart = xy_chart(panels, x_label="seconds a fold (logarithmic)", title="Quality against seconds")
    more = (
        f" The first {_MOST_PANELS} of {len(tasks)} tasks are drawn; bench.parquet has all." if len(tasks) > _MOST_PANELS else ""
    )
    caption = (
        "Figure of each model with its 95% interval against the time it took to fit and to predict, a fold on average. Squares"
        f" are baselines, circles single modalities, diamonds fusions and networks; numbers as in the table below.{more}"
    )
    rows = [_cost_row(timed[timed["name"] == name], name, number[name]) for name in names]
    table = Table(
        caption=(
            "Cost of each model, averaged over the tasks that have it. Parameters are coefficients and weights of networks,"
            " frozen ones included. What models share (a late fusion’s models of one modality) is charged to each. Seconds are"
            " of this machine, with whatever else it did."
        ),
        header=("Model", "Tasks", "Seconds a fold", "Parameters", "Mean rank"),
        rows=tuple(rows),
    )
    return Section(key=key, title=title, blocks=(Figure(svg=chart, caption=caption), table))


def _cost_panel(rows: pd.DataFrame, task: str, number: dict[str, str]) -> Panel:
    points = tuple(
        Point(
            x=float(row["seconds"]),
            y=float(row["value"]),
            low=row["low"],
            high=row["high"],
            hover=f"{model_name(row['name'])}: {wording.number(row['value'])} in {row['seconds']:.2g} s",
            key=number[row["name"]],
            tone=row["role"],
            shape=_SHAPES.get(row["role"], "circle"),
        )
        for _, row in rows.iterrows()
    )
    return Panel(title=task_name(task), y_label=wording.capital(wording.measure(rows["metric"].iloc[0])), points=points)


def _cost_row(rows: pd.DataFrame, name: str, number: str) -> Row:
    return Row(
        cells=(
            f"{number}. {model_name(name)}",
            wording.count(len(rows)),
            f"{rows['seconds'].mean():.2g}" if rows["seconds"].mean() < 100 else wording.count(rows["seconds"].mean()),
            wording.count(rows["parameters"].mean()),
            wording.number(rows["rank"].mean(), 1),
        )
    )


def curves_section(results: Results) -> Section:
    """Draw what models reach with fewer labels."""
    key, title = "labels", "Fewer labels"
    if results.curves.empty:
        return absent(key, title, "The bench asks for no curves over numbers of labels (curves: labels: [0.1, 0.25, 0.5]).")
    known = results.curves[results.curves["value"].notna()]
    panels = []
    for asked in results.asked:
        rows = known[known["task"] == asked.entry.key]
        if len(rows):
            panels.append(_label_panel(results, rows, asked.entry.key))
    blocks: list[Block] = []
    if panels:
        chart = xy_chart(panels[:_MOST_PANELS], x_label="training patients with a label (logarithmic)", title=title)
        caption = (
            "The same patients are tested, and fewer of those who train have a label; smaller sets are part of larger ones. The"
            " last point of a curve is the run itself. Whiskers are 95% intervals over patients. Drawn are the main model, the"
            f" clinical baseline, and the best others, {MOST_CURVES} at most; curves.parquet has all."
        )
        blocks.append(Figure(svg=chart, caption=caption))
    small = results.curves[results.curves["value"].isna() & results.curves["note"].notna()]
    for _, row in small.drop_duplicates(["task", "note"]).iterrows():
        blocks.append(
            Prose(text=f"{task_name(row['task'])}: nothing with {row['labels']:.0f} labels: {row['note']}", role="note")
        )
    return Section(key=key, title=title, blocks=tuple(blocks))


def _label_panel(results: Results, rows: pd.DataFrame, task: str) -> Panel:
    whole = results.of(task)
    asked = next(a for a in results.asked if a.entry.key == task)
    patients = _training_patients(asked.run)
    first = whole[whole["main"] | (whole["name"] == "clinical baseline")]
    order = [*first["model"], *whole["model"]]
    chosen = [m for m in dict.fromkeys(order) if (rows["model"] == m).any()][:MOST_CURVES]
    curves = []
    for model in chosen:
        fewer = rows[rows["model"] == model].sort_values("labels")
        end = whole[whole["model"] == model].iloc[0]
        points = [_label_point(row, row["labels"]) for _, row in fewer.iterrows()]
        curves.append(Curve(name=model_name(str(end["name"])), points=(*points, _label_point(end, patients))))
    return Panel(title=task_name(task), y_label=wording.capital(wording.measure(rows["metric"].iloc[0])), curves=tuple(curves))


def _training_patients(run: Path) -> float:
    return float(np.mean(list(trained(pd.read_parquet(run / "splits.parquet")).values())))


def _label_point(row: pd.Series, labels: float) -> Point:
    hover = f"{wording.number(row['value'])} with {labels:.0f} labels"
    return Point(x=float(labels), y=float(row["value"]), low=row["low"], high=row["high"], hover=hover)


def sizes_section(results: Results) -> Section:
    """Draw what larger variants of one encoder reach."""
    key, title = "sizes", "Larger encoders"
    scores = results.scores[
        (results.scores["encoder"] != "") & results.scores["parameters"].notna() & results.scores["value"].notna()
    ]
    scores = scores[scores["same_as"] == ""].assign(family=scores["encoder"].str.split("/").str[0])
    panels = []
    for (task, metric), rows in scores.groupby(["task", "metric"], sort=False):
        parts = {names: part.sort_values("parameters") for names, part in rows.groupby(["family", "start"])}
        curves = tuple(
            Curve(name=_family_name(str(names[0]), str(names[1])), points=tuple(_size_point(row) for _, row in part.iterrows()))
            for names, part in parts.items()
            if part["parameters"].nunique() > 1
        )
        if curves:
            panels.append(
                Panel(
                    title=task_name(str(task)), y_label=wording.capital(wording.measure(str(metric))), curves=curves[:MOST_CURVES]
                )
            )
    if not panels:
        return absent(key, title, "No encoder was tried in two sizes on its own, so nothing can be said about size.")
    chart = xy_chart(panels[:_MOST_PANELS], x_label="parameters of the model (logarithmic)", title=title)
    more = f" The first {_MOST_PANELS} of {len(panels)} tasks are drawn." if len(panels) > _MOST_PANELS else ""
    caption = (
        "Sizes of one encoder on one modality, by the parameters of the whole model; sizes that start alike, from random or from"
        f" trained weights, share a line. Whiskers are 95% intervals over patients.{more}"
    )
    return Section(key=key, title=title, blocks=(Figure(svg=chart, caption=caption),))


def _family_name(family: str, start: str) -> str:
    return family if start == "random" else f"{family}, {start}"


def _size_point(row: pd.Series) -> Point:
    hover = f"{row['name']}: {wording.number(row['value'])}, {short_number(row['parameters'])} parameters"
    return Point(x=float(row["parameters"]), y=float(row["value"]), low=row["low"], high=row["high"], hover=hover)
