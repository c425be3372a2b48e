"""Published figures beside ours, and whether they may be held against each other."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from oncoweave.serve import wording
from oncoweave.serve.bench.names import model_name, task_name
from oncoweave.serve.bench.results import Results
from oncoweave.serve.page import Row, Section, Table, absent
from oncoweave.train.bench.asked import GIVEN, LESS, OTHER, OWN, SAME, Asked, whose_split
from oncoweave.train.bench.tiles import AS_MANY
from oncoweave.train.task import Figure, Task
from oncoweave.train.tile_task import TileTask, load_tile_task

_USUAL, _OVER_ALL = ("value", "low", "high"), ("all_pairs", "all_pairs_low", "all_pairs_high")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finished:
    """A finished task as its figures are looked up."""

    key: str
    task: Task | TileTask
    place: str
    stand_in: bool
    alike: Callable[[Figure], str]
    """What to say of a figure of the same metric and group."""


def published_section(results: Results) -> Section:
    """List, task by task, what a paper states and what the main model reaches here."""
    key, title = "published", "Published figures beside ours"
    asked = {a.entry.key: a for a in results.asked}
    finished = [_of_patients(asked[task]) if task in asked else _of_tiles(results, task) for task in results.tasks]
    rows = _alike([row for one in finished for row in _rows(results, one)])
    if not rows:
        return absent(key, title, "No finished task states a published figure.")
    caption = (
        "The paper’s best figure for all labels, and the task’s main model here. Simple floors are what plain models reach on the"
        " same split, measured beforehand with other code. Figures of other patients, splits or metrics are context and no"
        " contest. Papers rank all patients against each other; so do our figures here, whatever decides in table 1."
    )
    header = ("Task", "Published", "Ours", "Comparable?", "Published figure", "Ours (95% interval)")
    return Section(key=key, title=title, blocks=(Table(caption=caption, header=header, rows=tuple(rows), num_text=4),))


def _alike(rows: list[Row]) -> list[Row]:
    """Put tasks that share a run and a published figure in one row."""
    tasks: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.cells[1:], []).append(row)
    return [replace(same[0], cells=(wording.listed([r.cells[0] for r in same]), *rest)) for rest, same in tasks.items()]


def _of_patients(asked: Asked) -> _Finished:
    return _Finished(
        key=asked.entry.key,
        task=asked.task,
        place=asked.entry.key.partition("@")[2] or asked.entry.place.cohort or "",
        stand_in=asked.stand_in,
        alike=lambda figure: _split(asked, figure),
    )


def _split(asked: Asked, figure: Figure) -> str:
    whose, lacking = whose_split(asked, figure.group)
    return {
        SAME: "yes\nthe released split",
        LESS: f"nearly\nthe released split less {wording.plural(lacking, 'patient')}",
        OTHER: "context\nanother split",
        GIVEN: "context\nsplits given, none released",
        OWN: "context\nsplit of our own",
    }[whose]


def _of_tiles(results: Results, key: str) -> _Finished:
    name, _, place = key.partition("@")
    mine = results.of(key)
    whose, stand_in = str(mine["sides"].iloc[0]), bool(mine["stand_in"].any())
    alike = f"yes\n{whose}" if whose == AS_MANY else f"context\n{whose}"
    return _Finished(key=key, task=load_tile_task(name), place=place, stand_in=stand_in, alike=lambda _: alike)


def _rows(results: Results, finished: _Finished) -> list[Row]:
    mine = results.of(finished.key)
    main, task = mine[mine["main"]], finished.task
    chosen = ("published", task.published.figures), ("simple floor", task.floor)
    rows = []
    for kind, figure in ((kind, _chosen(figures, finished.place)) for kind, figures in chosen):
        if figure is None or main.empty:
            continue
        ours, over_all = main.iloc[0], wording.known(main.iloc[0]["all_pairs"])
        source = task.published.citation if kind == "published" else "measured beforehand"
        what = f"{figure.model}\n{kind}: {source}{f', {figure.group}' if figure.group else ''}"
        cells = (
            task_name(finished.key),
            what,
            f"{model_name(ours['model'])}\n{wording.measure(ours['metric'])}{' over all pairs' if over_all else ''}",
            _comparable(finished, figure, str(ours["metric"])),
            f"{_stated(figure)}\n{wording.measure(figure.metric)}",
            wording.estimate(*(ours[name] for name in (_OVER_ALL if over_all else _USUAL))),
        )
        rows.append(Row(cells=cells, faint=finished.stand_in))
    return rows


def _stated(figure: Figure) -> str:
    bare = wording.number(figure.value)
    return wording.estimate(figure.value, figure.low, figure.high) if wording.known(figure.low) else bare


def _chosen(figures: tuple[Figure, ...], place: str) -> Figure | None:
    """Give the best figure for all labels of the place asked, or of no place in particular."""
    whole = [f for f in figures if not f.label]
    here = [f for f in whole if f.group and f.group in place] or [f for f in whole if not f.group] or whole
    return max(here, key=lambda f: f.value, default=None)


def _comparable(finished: _Finished, figure: Figure, metric: str) -> str:
    if finished.stand_in:
        return "no\nstand-in"
    if figure.metric not in (metric, metric.removeprefix("macro_")):
        return "no\nanother metric"
    if figure.group and figure.group not in finished.place:
        return "no\nanother group"
    return finished.alike(figure)
