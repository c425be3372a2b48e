"""One task in full: what is asked of whom, how it is split and judged, what was published, what stands in for it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oncoweave.train.task import Figure, Task, member_of
from oncoweave.train.tile_task import TileTask

if TYPE_CHECKING:
    from rich.table import Table


def task_card(name: str) -> "Table":
    """Lay a task out, a line an aspect.

    Raises:
        UnknownNameError: no such task.
    """
    from rich.table import Table

    task: Task | TileTask = member_of(name)
    table = Table(task.name, task.question)
    shared = {"cohort": task.source.name, "where to get it": task.source.obtain, "labels": ", ".join(task.labels)}
    own = _of_tiles(task) if isinstance(task, TileTask) else _of_patients(task)
    published = {
        "published": f"{task.published.citation}; {task.published.source}",
        "figures": _figures(task.published.figures),
        "to know": task.published.notes,
        "simple models": _figures(task.floor),
    }
    for aspect, said in {**shared, **own, **published}.items():
        if said:
            table.add_row(aspect, said)
    return table


def _of_patients(task: Task) -> dict[str, str]:
    needs = {role: " or ".join(kinds) + (" (optional)" if role in task.optional else "") for role, kinds in task.roles.items()}
    return {
        "endpoint": " or ".join(task.endpoints),
        "roles": "; ".join(f"{role}: {kinds}" for role, kinds in needs.items()),
        "models": ", ".join(f"{m.name} (main)" if m.name == task.main else m.name for m in task.models),
        "metric": ", ".join(f"{metric} ({kind})" for kind, metric in task.metrics.items()),
        "split": task.split.rule,
        "released split": task.split.released,
        "on a phantom": f"{task.stand_in.endpoint}. {task.stand_in.reason}",
    }


def _of_tiles(task: TileTask) -> dict[str, str]:
    layout = task.layout
    folders = ", ".join(f"{folder} ({label})" for label, folder in layout.folders.items())
    return {
        "folders": f"{layout.train} to train, {layout.test} to test, in each: {folders}",
        "tiles": f"{task.tile_px} px" + ("" if task.mpp is None else f" at {task.mpp:g} um/px"),
        "metric": ", ".join(task.metrics),
        "split": task.split,
        "on a phantom": f"{', '.join(task.stand_in.classes)}. {task.stand_in.reason}",
    }


def _figures(figures: Sequence[Figure]) -> str:
    """Write a line for each model and metric, with what each value is about."""
    lines: dict[tuple[str, str], list[str]] = {}
    for figure in figures:
        about = " ".join(part for part in (figure.label, figure.group) if part)
        interval = "" if math.isnan(figure.low) else f" ({figure.low:.3f} to {figure.high:.3f})"
        lines.setdefault((figure.model, figure.metric), []).append(f"{about} {figure.value:.3f}{interval}".strip())
    return "\n".join(f"{model}: {metric} {', '.join(values)}" for (model, metric), values in lines.items())
