"""Slide files: which ones a path means, what each is called, and whether one has changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from oncoweave.core.errors import DataError
from oncoweave.core.files import require_file_name
from oncoweave.wsi.geometry import check_mpp

SUFFIXES = (
    ".ome.tiff", ".ome.tif", ".svs", ".tiff", ".tif", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm",
    ".qptiff",
)  # fmt: skip
"""File names taken for slides when a folder is searched."""

_BLOCK = 2**16
_BLOCKS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideFile:
    """A slide to work on."""

    slide_id: str
    path: Path
    """Absolute."""
    mpp: float | None = None
    """Level-0 um/px declared for this slide, used where the file states none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Slides found, and what was passed over on the way."""

    slides: tuple[SlideFile, ...]
    repeated: tuple[str, ...] = ()
    """Further spellings of a path already listed."""
    other: tuple[str, ...] = ()
    """Files that do not look like slides."""


def find_slides(paths: Iterable[Path | str], *, mpp: float | None = None) -> Found:
    """List the slides that files, folders and CSV tables name; a folder is searched at all depths.

    A table has a column ``path`` (relative to the table) and may have ``slide_id`` and ``mpp``. Of the DICOM files of one series
    in a folder, which are one slide, the first is taken.

    A slide is called after its file, without the ending, whatever way its path is spelt; the same file given twice is one slide.

    Raises:
        DataError: a path does not exist, a table lacks ``path``, or two different files would be called the same.
    """
    slides: dict[str, SlideFile] = {}
    real: set[Path] = set()
    repeated: list[str] = []
    other: list[str] = []
    for given in paths:
        for slide in _expand(Path(given), other, repeated):
            absolute, target, name = slide.path, slide.path.resolve(), slide.slide_id
            if target in real:
                repeated.append(str(absolute))
                continue
            if name in slides:
                msg = (
                    f"two slides would be called {name!r}: {slides[name].path} and {absolute}; embed them into different folders,"
                    " or rename one"
                )
                raise DataError(msg)
            real.add(target)
            slides[name] = replace(slide, mpp=mpp if slide.mpp is None else slide.mpp)
    return Found(slides=tuple(slides.values()), repeated=tuple(repeated), other=tuple(other))


def slide_id_of(path: Path) -> str:
    """Name a slide after its file.

    >>> slide_id_of(Path("a/TCGA-AA-3949-01Z-00-DX1.6c1d.ome.tif")), slide_id_of(Path("./a/../b.svs"))
    ('TCGA-AA-3949-01Z-00-DX1.6c1d', 'b')
    """
    name = path.name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return path.stem


def identity(path: Path) -> str:
    """Fingerprint a slide file by its size and 64 blocks of 64 KiB spread over it; files beside a MIRAX slide count by size.

    A whole hash would read gigabytes; a re-scan, a re-compression or a cut file changes this one too. Name, folder and time do
    not count.
    """
    path = Path(path)
    digest = hashlib.sha256()
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    for file in files:
        _add(digest, file)
    for companion in _companions(path):
        digest.update(f"{companion.name}:{companion.stat().st_size};".encode())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", file: Path) -> None:
    size = file.stat().st_size
    digest.update(f"{size};".encode())
    last = max(0, size - _BLOCK)
    starts = range(0, size, _BLOCK) if size <= _BLOCK * _BLOCKS else [last * i // (_BLOCKS - 1) for i in range(_BLOCKS)]
    with file.open("rb") as stream:
        for start in starts:
            stream.seek(start)
            digest.update(stream.read(_BLOCK))


def _companions(path: Path) -> list[Path]:
    if path.suffix.lower() == ".mrxs" and path.with_suffix("").is_dir():
        return sorted(f for f in path.with_suffix("").iterdir() if f.is_file())
    return []


def _expand(path: Path, other: list[str], repeated: list[str]) -> list[SlideFile]:
    if path.is_file():
        return _from_table(path) if path.suffix.lower() == ".csv" else [_slide(path)]
    if not path.is_dir():
        msg = f"{path}: no such file or folder"
        raise DataError(msg)
    found = []
    series: set[tuple[Path, str]] = set()
    for file in sorted(path.rglob("*")):
        hidden = [part for part in file.relative_to(path).parts if part.startswith(".")]
        if hidden or not file.is_file():
            continue
        if not file.name.lower().endswith(SUFFIXES):
            if not any((parent.parent / f"{parent.name}.mrxs").is_file() for parent in file.parents):
                other.append(str(file))
        elif (key := _series(file)) in series:
            repeated.append(str(file))
        else:
            found.append(_slide(file))
            if key is not None:
                series.add(key)
    return found


def _slide(path: Path) -> SlideFile:
    return SlideFile(slide_id=slide_id_of(path), path=path.absolute())


def _from_table(path: Path) -> list[SlideFile]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"path": str, "slide_id": str})
    except ValueError as error:  # not UTF-8, empty, or rows of unequal length
        msg = f"{path}: cannot be read as a CSV table: {' '.join(str(error).split())}"
        raise DataError(msg) from error
    if "path" not in table:
        msg = f"{path}: a table of slides needs a column 'path'; it has {list(table.columns)}"
        raise DataError(msg)
    slides = []
    for line, row in enumerate(table.to_dict("records"), start=2):
        if pd.isna(row["path"]):
            msg = f"{path}, line {line}: column 'path' is empty; name the slide's file"
            raise DataError(msg)
        file = path.parent / row["path"]
        if not file.exists():
            msg = f"{path}: column 'path' names {row['path']!r}, which does not exist beside the table"
            raise DataError(msg)
        name, mpp = row.get("slide_id"), row.get("mpp")
        slide = _slide(file)
        if not pd.isna(name):
            require_file_name(str(name), where=f"{path}, line {line}, column 'slide_id'")
        slides.append(
            replace(
                slide,
                slide_id=slide.slide_id if pd.isna(name) else str(name),
                mpp=None if pd.isna(mpp) else check_mpp(float(mpp), what=f"{path}, mpp of {row['path']}"),
            )
        )
    return slides


def _series(file: Path) -> tuple[Path, str] | None:
    """Folder and series of a DICOM file that OpenSlide can open; the reader says what is wrong with any other."""
    if not file.name.lower().endswith(".dcm"):
        return None
    try:
        import openslide
    except ModuleNotFoundError:
        return None
    try:
        with openslide.OpenSlide(file) as slide:
            return file.parent, slide.properties["dicom.SeriesInstanceUID"]
    except (openslide.OpenSlideError, KeyError):
        return None
