"""Slide files: which ones a path means, what each is called, and whether one has changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from oncoweave.core.errors import DataError

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
    """List the slides that files and folders name; a folder is searched at all depths.

    A slide is called after its file, without the ending, whatever way its path is spelt; the same file given twice is one slide.

    Raises:
        DataError: a path does not exist, or two different files would be called the same.
    """
    slides: dict[str, SlideFile] = {}
    real: dict[Path, str] = {}
    repeated: list[str] = []
    other: list[str] = []
    for given in paths:
        for file in _expand(Path(given), other):
            absolute, target = file.absolute(), file.resolve()
            if target in real:
                repeated.append(str(file))
                continue
            name = slide_id_of(absolute)
            if name in slides:
                msg = (
                    f"two slides would be called {name!r}: {slides[name].path} and {absolute}; embed them into different folders,"
                    " or rename one"
                )
                raise DataError(msg)
            real[target] = name
            slides[name] = SlideFile(slide_id=name, path=absolute, mpp=mpp)
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


def _expand(path: Path, other: list[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        msg = f"{path}: no such file or folder"
        raise DataError(msg)
    found = []
    for file in sorted(path.rglob("*")):
        inside = [part for part in file.relative_to(path).parts if part.startswith(".")]
        if inside or not file.is_file():
            continue
        if file.name.lower().endswith(SUFFIXES):
            found.append(file)
        elif not any((parent.parent / f"{parent.name}.mrxs").is_file() for parent in file.parents):
            other.append(str(file))
    return found
