"""A benchmark task about tiles: labelled images in folders, a training and a test side, and what was published.

A file on the tasks shelf holds one as ``TASK`` and says ``LEVEL = "tile"``. Tiles are not split anew: both sides come as folders,
because who took part in which is known to those who released them and not to us.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.train.task import Figure, Published, Source, member_of


@dataclass(frozen=True, kw_only=True, slots=True)
class TileLayout:
    """Where the tiles of a data set lie, as it was released; read by ``train.tile_sources.open_tiles``."""

    train: str
    """Folder of one subfolder a class, below that of the data set."""
    test: str
    folders: Mapping[str, str]
    """Subfolder of each label."""
    patient: str = ""
    """Regular expression that finds the patient in the path of a tile below its side's folder; empty where paths do not say. Each
    side numbers its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileStandIn:
    """Labelled tiles of phantom slides that play the task's part."""

    classes: Mapping[str, tuple[str, ...]]
    """Name of each class, and the tissues of ``phantom.labelled_tiles.cut_tiles`` that make it up."""
    reason: str
    """Why it is only a stand-in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileTask:
    """One task about tiles; every encoder sees the same tiles."""

    name: str
    question: str
    source: Source
    labels: tuple[str, ...]
    layout: TileLayout
    split: str
    """Who is on which side, and whether patients are kept apart."""
    tiles: tuple[int, int] | None = None
    """How many tiles train and are tested in the figures, where that is known; others are not held against them."""
    metrics: tuple[str, ...]
    """As ``train.tile_protocols`` calls them; the first decides."""
    tile_px: int
    mpp: float | None
    """None where the data do not say."""
    published: Published
    floor: tuple[Figure, ...] = ()
    """What simple models reach on the same tiles, measured with this project's code or data."""
    stand_in: TileStandIn


def load_tile_task(name: str) -> TileTask:
    """Look a tile task up on the tasks shelf.

    Raises:
        UnknownNameError: no such file.
        ConfigError: a task of patients.
    """
    task = member_of(name)
    if not isinstance(task, TileTask):
        msg = f"task {name!r} is not about tiles: load it with train.task.load_task"
        raise ConfigError(msg)
    return task


def tile_folders(task: TileTask, data: Path | str) -> tuple[Path, Path]:
    """Give the training and the test folder of a task's data set.

    Raises:
        DataError: a side lacks the folder of a label.
    """
    sides = Path(data) / task.layout.train, Path(data) / task.layout.test
    for side in sides:
        for label, folder in task.layout.folders.items():
            if not (side / folder).is_dir():
                msg = (
                    f"task {task.name!r}: {side} has no folder {folder!r} of tiles of {label}; lay the data out as {task.layout}"
                )
                raise DataError(msg)
    return sides
