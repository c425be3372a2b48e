"""Published figures beside ours, and whether they may be held against each other."""

from dataclasses import replace

from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import Row, Section, Table, absent
from oncoweave.train.bench.asked import Asked
from oncoweave.train.task import Figure


def published_section(results: Results) -> Section:
    """List, task by task, what a paper states and what the main model reaches here."""
    key, title = "published", "Published figures beside ours"
    rows = _alike([row for asked in results.asked for row in _rows(results, asked)])
    if not rows:
        return absent(key, title, "No finished task of patients states a published figure.")
    caption = (
        "The paper’s best figure for all labels, and the task’s main model here. Simple floors are what plain models reach on the"
        " same split, measured beforehand with other code. Figures of other patients, splits or metrics are context and no"
        " contest."
    )
    header = ("Task", "Published", "Ours", "Comparable?", "Published figure", "Ours (95% interval)")
    return Section(key=key, title=title, blocks=(Table(caption=caption, header=header, rows=tuple(rows), num_text=4),))


def _alike(rows: list[Row]) -> list[Row]:
    """Put tasks that share a run and a published figure in one row."""
    tasks: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.cells[1:], []).append(row)
    return [replace(same[0], cells=("\n".join(r.cells[0] for r in same), *rest)) for rest, same in tasks.items()]


def _rows(results: Results, asked: Asked) -> list[Row]:
    place = asked.entry.key.partition("@")[2] or asked.entry.place.cohort or ""
    mine = results.of(asked.entry.key)
    main = mine[mine["main"]]
    figures = _chosen(asked.task.published.figures, place)
    rows = []
    for kind, figure in (("published", figures), ("simple floor", _chosen(asked.task.floor, place))):
        if figure is None or main.empty:
            continue
        ours = main.iloc[0]
        source = asked.task.published.citation if kind == "published" else "measured beforehand"
        what = f"{figure.model}\n{kind}: {source}{f', {figure.group}' if figure.group else ''}"
        rows.append(
            Row(
                cells=(
                    task_name(asked.entry.key),
                    what,
                    f"{model_name(ours['model'])}\n{wording.measure(ours['metric'])}",
                    _comparable(asked, figure, str(ours["metric"]), place),
                    f"{_stated(figure)}\n{wording.measure(figure.metric)}",
                    wording.estimate(ours["value"], ours["low"], ours["high"]),
                ),
                faint=asked.stand_in,
            )
        )
    return rows


def _stated(figure: Figure) -> str:
    bare = wording.number(figure.value)
    return wording.estimate(figure.value, figure.low, figure.high) if wording.known(figure.low) else bare


def _chosen(figures: tuple[Figure, ...], place: str) -> Figure | None:
    """Give the best figure for all labels of the place asked, or of no place in particular."""
    whole = [f for f in figures if not f.label]
    here = [f for f in whole if f.group and f.group in place] or [f for f in whole if not f.group] or whole
    return max(here, key=lambda f: f.value, default=None)


def _comparable(asked: Asked, figure: Figure, metric: str, place: str) -> str:
    if asked.stand_in:
        return "no\nstand-in"
    if figure.metric not in (metric, metric.removeprefix("macro_")):
        return "no\nanother metric"
    if figure.group and figure.group not in place:
        return "no\nanother group"
    if asked.study.protocol.splits:
        return "yes\nthe same split"
    return "context\nanother split" if asked.task.split.released else "context\nsplit of our own"
