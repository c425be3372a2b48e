"""Tiles that are files already: folders of images, and shards of many tiles in one file.

Shards are of two open formats. ``.tar`` as WebDataset lays it out, uncompressed: files of one stem are one sample, ``<stem>.jpg``
or ``.png`` its image, ``<stem>.cls`` its class, ``<stem>.json`` an object that may hold ``label`` and ``slide``. ``.h5`` and
``.npz``: ``images`` uint8 ``[n, height, width, 3]``, and optionally ``labels`` (text, or numbers) and ``groups`` (text) ``[n]``.
An ``.npz`` is read into memory whole.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish
from oncoweave.train.tile_sources import JoinedTiles, Refusal, TileIndex, TileSource, hash_of, number_classes
from oncoweave.wsi.files import identity

if TYPE_CHECKING:
    import h5py
    from numpy.lib.npyio import NpzFile

IMAGES = (".jpg", ".jpeg", ".png")
SHARDS = (".tar", ".h5", ".hdf5", ".npz")


def open_tile_files(path: Path, *, kind: str) -> TileSource:
    """Open a folder or file of ``images`` or ``shards``."""
    if kind == "images":
        return ImageTiles(path)
    files = [path] if path.is_file() else _visible(path, SHARDS)
    shards: list[TileSource] = [TarTiles(f) if f.suffix.lower() == ".tar" else ArrayTiles(f) for f in files]
    return shards[0] if len(shards) == 1 else JoinedTiles(shards)


class ImageTiles:
    """A folder of tile images; the subfolder that an image lies in is its class, and each is a group of its own.

    An image whose head cannot be read is refused here.
    """

    def __init__(self, folder: Path) -> None:
        root = folder if folder.is_dir() else folder.parent
        refused: list[Refusal] = []
        self._files: list[Path] = []
        for file in _visible(folder, IMAGES) if folder.is_dir() else [folder]:
            reason = _fault(file)
            if reason:
                refused.append(Refusal(what=str(file.relative_to(root)), reason=reason))
            else:
                self._files.append(file)
        label, classes = number_classes([None if f.parent == root else f.parent.name for f in self._files])
        names = tuple(f.relative_to(root).as_posix() for f in self._files)
        self.index = TileIndex(
            group=np.arange(len(names), dtype=np.int64),
            groups=names,
            label=label,
            classes=classes,
            fingerprint=hash_of([(n, f.stat().st_size) for n, f in zip(names, self._files, strict=True)]),
            refused=tuple(refused),
        )

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Decode one image."""
        return _decode(self._files[number], name=self.index.groups[number])

    def close(self) -> None:
        """Nothing is held open."""


class TarTiles:
    """A shard of images in an uncompressed tar file; only places and labels are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: list[tuple[int, int]] = []
        samples: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(path, mode="r:") as tar:
                for member in tar:
                    if member.isfile():
                        folder, slash, name = member.name.rpartition("/")
                        stem, _, ending = name.partition(".")  # WebDataset cuts at the first dot
                        samples.setdefault(folder + slash + stem, {})[f".{ending.lower()}"] = (member.offset_data, member.size)
        except tarfile.TarError as error:
            msg = f"{path}: cannot be read as an uncompressed tar file ({error}); make the shard again"
            raise DataError(msg) from error
        self._file = os.open(path, os.O_RDONLY)
        labels: list[str | None] = []
        groups: list[str] = []
        refused: list[Refusal] = []
        for stem, parts in samples.items():
            image = next((parts[e] for e in IMAGES if e in parts), None)
            if image is None:
                refused.append(Refusal(what=f"{path.name}:{stem}", reason=f"no image ({' '.join(IMAGES)}) among {sorted(parts)}"))
                continue
            self._places.append(image)
            label, group = self._notes(stem, parts)
            labels.append(label)
            groups.append(group)
        self._stems = [s for s, parts in samples.items() if any(e in parts for e in IMAGES)]
        self.index = _index(labels, groups, fingerprint=identity(path), refused=refused)

    def _notes(self, stem: str, parts: dict[str, tuple[int, int]]) -> tuple[str | None, str]:
        said: dict = {}
        if ".json" in parts:
            try:
                said = json.loads(self._bytes(*parts[".json"]))
            except ValueError as error:
                msg = f"{self._path}: {stem}.json is not JSON ({error})"
                raise DataError(msg) from error
        label = self._bytes(*parts[".cls"]).decode().strip() if ".cls" in parts else said.get("label")
        return None if label is None else str(label), str(said.get("slide", f"{self._path.name}:{stem}"))

    def _bytes(self, start: int, size: int) -> bytes:
        return os.pread(self._file, size, start)  # unlike seek and read, safe from several threads

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Decode one image of the shard."""
        return _decode(io.BytesIO(self._bytes(*self._places[number])), name=f"{self._path.name}:{self._stems[number]}")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class ArrayTiles:
    """A shard with its images in one array: HDF5, or NumPy's ``.npz``."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._path = path
        self._file: h5py.File | None = None
        try:
            held = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npz" else h5py.File(path, "r")
        except (OSError, ValueError) as error:
            msg = f"{path}: cannot be read as a shard of tiles ({error})"
            raise DataError(msg) from error
        if "images" not in held:
            msg = f"{path}: a shard of tiles needs an array 'images' [n, height, width, 3]; it has {sorted(held)}"
            raise DataError(msg)
        if isinstance(held, h5py.File):
            self._file, self._images = held, held["images"]
        else:
            self._images = held["images"]
        if self._images.dtype != np.uint8 or self._images.ndim != 4 or self._images.shape[3] != 3:
            shape = tuple(self._images.shape)
            msg = f"{path}: array 'images' wanted uint8 [n, height, width, 3], got {self._images.dtype} {shape}"
            raise DataError(msg)
        count = len(self._images)
        labels = _texts(held, "labels", count, path)
        groups = _texts(held, "groups", count, path) or [f"{path.name}:{i}" for i in range(count)]
        self.index = _index(labels or [None] * count, groups, fingerprint=identity(path), refused=())

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one image of the array."""
        try:
            return np.asarray(self._images[number])
        except OSError as error:
            msg = f"{self._path}: image {number} cannot be read ({error}); the file is damaged, copy it again"
            raise DataError(msg) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def write_tiles(
    path: Path, images: UInt8[np.ndarray, "tile height width 3"], *, labels: Sequence[str] = (), groups: Sequence[str] = ()
) -> None:
    """Write a shard in HDF5, atomically; ``labels`` and ``groups`` (slides) are one text a tile, or nothing."""
    import h5py

    with publish(path) as partial, h5py.File(partial, "w") as file:
        chunk = (1, *images.shape[1:])
        file.create_dataset("images", data=images, chunks=chunk if len(images) else None, compression="gzip", compression_opts=1)
        for name, values in (("labels", labels), ("groups", groups)):
            if len(values):
                file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def _index(labels: Sequence[str | None], groups: Sequence[str], *, fingerprint: str, refused: Iterable[Refusal]) -> TileIndex:
    names, group = np.unique(np.array(groups, dtype=str), return_inverse=True)
    label, classes = number_classes(labels)
    return TileIndex(
        group=group.astype(np.int64),
        groups=tuple(names.tolist()),
        label=label,
        classes=classes,
        fingerprint=fingerprint,
        refused=tuple(refused),
    )


def _texts(held: "h5py.File | NpzFile", name: str, count: int, path: Path) -> list[str]:
    if name not in held:
        return []
    values = [v.decode() if isinstance(v, bytes) else str(v) for v in held[name][()]]
    if len(values) != count:
        msg = f"{path}: array {name!r} has {len(values)} entries for {count} images"
        raise DataError(msg)
    return values


def _visible(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    found = (f for f in sorted(folder.rglob("*")) if f.name.lower().endswith(endings) and f.is_file())
    return [f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts)]


def _fault(file: Path) -> str:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return "" if min(image.size) > 0 else "it has no pixels"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"not readable as an image ({str(error).replace(str(file), file.name)})"


def _decode(file: Path | io.BytesIO, *, name: str) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(file), name)  # it shows where in memory, so that equal faults would not count as equal
        msg = f"{name}: cannot be decoded ({reason})"
        raise DataError(msg) from error
