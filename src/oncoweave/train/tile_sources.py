"""Where tiles come from: an index that says of every tile its slide and its label, and a way to read one tile.

Nothing is written: of slides only the coordinates of their tiles are kept.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from oncoweave.core.errors import DataError
from oncoweave.wsi.tiling import TileRecipe

UNLABELLED = -1
TILING = TileRecipe()
"""How slides are cut where nothing else is said: tiles of 256 px at 0.5 um/px."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Something that holds no tile that can be used, and why."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileIndex:
    """What is known of tiles before one is read."""

    group: Int64[np.ndarray, " tile"]
    """Number of the slide, or of the file, that a tile is of."""
    groups: tuple[str, ...]
    label: Int64[np.ndarray, " tile"]
    """Number of the class; -1 where none is known."""
    classes: tuple[str, ...]
    fingerprint: str
    """Hash of what the tiles are; equal for equal files, wherever they lie."""
    refused: tuple[Refusal, ...] = ()
    """Slides and files passed over when the index was made."""

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.group)

    @property
    def labelled(self) -> bool:
        """Whether the class of every tile is known."""
        return len(self) > 0 and bool((self.label != UNLABELLED).all())


@runtime_checkable
class TileSource(Protocol):
    """Tiles that can be read by number, from several threads at once."""

    index: TileIndex

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one tile as RGB.

        Raises:
            DataError: it cannot be decoded.
            SlideError: its slide cannot be decoded there, or it is out of focus.
        """

    def close(self) -> None:
        """Release the files."""


class JoinedTiles:
    """Several sources as one."""

    def __init__(self, parts: Sequence[TileSource]) -> None:
        self.parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(p.index) for p in parts)])
        self.index = _join([p.index for p in parts])

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one tile from the source that it belongs to."""
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.parts[part].read(number - int(self._starts[part]))

    def close(self) -> None:
        """Release the files of all sources."""
        for part in self.parts:
            part.close()


def open_tiles(
    paths: Sequence[Path | str], *, recipe: TileRecipe = TILING, slide_mpp: float | None = None, reader: str = "auto"
) -> TileSource:
    """Open tiles from slides, cohort folders, folders of tile images, and shards (``.tar``, ``.h5``, ``.npz``), in any mixture.

    A folder is searched at all depths for one of the three kinds; the subfolder that an image lies in is its class. ``recipe``
    says how slides are cut.

    Raises:
        DataError: a path does not exist, a folder holds more than one kind, or there is no tile at all.
    """
    from oncoweave.train.slide_tiles import SlideTiles
    from oncoweave.train.tile_files import open_tile_files
    from oncoweave.wsi.files import find_slides

    parts: list[TileSource] = []
    slide_paths: list[Path] = []
    for path in map(Path, paths):
        found = _kind(path)
        if found == "cohort":
            parts.append(SlideTiles(_cohort_slides(path, slide_mpp), recipe=recipe, reader=reader))
        elif found == "slides":
            slide_paths.append(path)
        else:
            parts.append(open_tile_files(path, kind=found))
    if slide_paths:
        parts.append(SlideTiles(find_slides(slide_paths, mpp=slide_mpp).slides, recipe=recipe, reader=reader))
    source = parts[0] if len(parts) == 1 else JoinedTiles(parts)
    if not len(source.index):
        said = "; ".join(f"{r.what}: {r.reason}" for r in source.index.refused[:3])
        msg = f"no tile in {', '.join(map(str, paths))}{f' ({said})' if said else ''}"
        raise DataError(msg)
    return source


def hash_of(content: object) -> str:
    """Hash anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def number_classes(names: Sequence[str | None]) -> tuple[Int64[np.ndarray, " tile"], tuple[str, ...]]:
    """Number class names in their alphabetical order; None becomes -1."""
    classes = tuple(sorted({n for n in names if n is not None}))
    order: dict[str | None, int] = {name: i for i, name in enumerate(classes)}
    return np.array([order.get(n, UNLABELLED) for n in names], dtype=np.int64), classes


def _join(indexes: Sequence[TileIndex]) -> TileIndex:
    classes = tuple(sorted({c for index in indexes for c in index.classes}))
    labels, groups = [], []
    names: list[str] = []
    for index in indexes:
        numbers = np.array([*(classes.index(c) for c in index.classes), UNLABELLED], dtype=np.int64)
        labels.append(numbers[index.label])
        groups.append(index.group + len(names))
        names += index.groups
    return TileIndex(
        group=np.concatenate(groups),
        groups=tuple(names),
        label=np.concatenate(labels),
        classes=classes,
        fingerprint=hash_of([index.fingerprint for index in indexes]),
        refused=tuple(r for index in indexes for r in index.refused),
    )


def _kind(path: Path) -> str:
    """Say whether a path means a cohort, slides, images or shards."""
    from oncoweave.train.tile_files import IMAGES, SHARDS
    from oncoweave.wsi.files import SUFFIXES

    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise DataError(msg)
    if path.is_file():
        return next((k for k, ends in {"images": IMAGES, "shards": SHARDS}.items() if path.name.lower().endswith(ends)), "slides")
    manifest = path / "manifest.json"
    if manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8")).get("schema") == "oncoweave.cohort":
        return "cohort"
    shown = [f for f in path.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.relative_to(path).parts)]
    kinds = {"slides": SUFFIXES, "images": IMAGES, "shards": SHARDS}
    found = {kind: [f for f in shown if f.name.lower().endswith(ends)] for kind, ends in kinds.items()}
    present = [kind for kind, files in found.items() if files]
    if len(present) != 1:
        seen = ", ".join(f"{len(found[k])} {k}" for k in present) or "none of them"
        ends = f"tile images ({' '.join(IMAGES)}) or shards ({' '.join(SHARDS)})"
        msg = f"{path}: wanted a folder of either slides, {ends}, it holds {seen}; name the one that is meant"
        raise DataError(msg)
    return present[0]


def _cohort_slides(path: Path, mpp: float | None) -> tuple:
    from oncoweave.data.store import read_cohort
    from oncoweave.train.embed_cohort import cohort_slides, slide_modality

    cohort = read_cohort(path)
    return cohort_slides(cohort, slide_modality(cohort), mpp=mpp)
