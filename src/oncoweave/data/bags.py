"""Bags of tile features: one HDF5 file a slide, in the TRIDENT layout; the dialects of TRIDENT, CLAM and GigaPath are read too.

Datasets ``features`` ``[tile, dim]``, ``coords`` ``[tile, 2]`` (top-left corners ``(x, y)`` in level-0 pixels) and
``tissue_fraction`` ``[tile]``; TRIDENT's attributes stand on ``coords``, ours on the file. Nothing in a bag says when or where it
was made, so equal work gives equal bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish

if TYPE_CHECKING:
    import h5py

SCHEMA = "oncoweave.bag"
VERSION = 1

Dialect = Literal["oncoweave", "trident", "clam", "gigapath"]

_CHUNK = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BagAttrs:
    """What a bag says of itself; None where its dialect does not say."""

    slide_id: str
    encoder: str | None = None
    """Name of the tile encoder."""
    encoder_fingerprint: str | None = None
    """Hash of the encoder's weights and settings: equal fingerprints, comparable features."""
    mpp: float | None = None
    """Resolution of the tiles, um/px."""
    level0_mpp: float | None = None
    """Resolution of the slide, um/px."""
    patch_size: int | None = None
    """Side of a tile in its own pixels."""
    patch_size_level0: float | None = None
    """Side of a tile in level-0 pixels."""
    overlap: int | None = None
    """Pixels of a tile that the next one repeats."""
    level0_width: int | None = None
    level0_height: int | None = None
    recipe: str | None = None
    """How the tiles were made, as JSON."""
    fingerprint: str | None = None
    """Hash of recipe, encoder and slide file: an equal one need not be made again."""
    dialect: Dialect = "oncoweave"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bag:
    """The tiles of one slide as vectors."""

    features: Float[np.ndarray, "tile dim"]
    coords: Int64[np.ndarray, "tile 2"]
    tissue_fraction: Float[np.ndarray, " tile"] | None
    attrs: BagAttrs

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.features)


@dataclass(frozen=True, kw_only=True, slots=True)
class BagHead:
    """A bag without its features."""

    num_tiles: int
    dim: int
    attrs: BagAttrs


def write_bag(path: Path | str, bag: Bag) -> None:
    """Write a bag, atomically.

    Raises:
        DataError: the bag is empty, its parts differ in length, or a feature is not finite in the type it is stored in.
    """
    import h5py

    path = Path(path)
    _check(path, bag)
    attrs = bag.attrs
    with publish(path) as partial, h5py.File(partial, "w") as file:
        tiles, dim = bag.features.shape
        file.create_dataset("features", data=bag.features, chunks=(min(tiles, _CHUNK), dim))
        coords = file.create_dataset("coords", data=bag.coords, chunks=(min(tiles, _CHUNK), 2))
        if bag.tissue_fraction is not None:
            file.create_dataset("tissue_fraction", data=bag.tissue_fraction.astype(np.float32))
        ours = {
            "schema": SCHEMA,
            "schema_version": VERSION,
            "slide_id": attrs.slide_id,
            "encoder": attrs.encoder,
            "encoder_fingerprint": attrs.encoder_fingerprint,
            "mpp": attrs.mpp,
            "level0_mpp": attrs.level0_mpp,
            "recipe": attrs.recipe,
            "fingerprint": attrs.fingerprint,
        }
        trident = {
            "name": attrs.slide_id,
            "patch_size": attrs.patch_size,
            "patch_size_level0": attrs.patch_size_level0,
            "level0_magnification": attrs.level0_mpp and round(10 / attrs.level0_mpp, 3),
            "target_magnification": attrs.mpp and round(10 / attrs.mpp, 3),
            "overlap": attrs.overlap,
            "level0_width": attrs.level0_width,
            "level0_height": attrs.level0_height,
        }
        file.attrs.update({k: v for k, v in ours.items() if v is not None})
        coords.attrs.update({k: v for k, v in trident.items() if v is not None})
        file["features"].attrs.update({"name": attrs.slide_id, "encoder": attrs.encoder or "unknown"})


def read_bag(path: Path | str) -> Bag:
    """Read a bag of any dialect; float16 and float32 features keep their type, others become float32.

    Raises:
        DataError: the file is missing, damaged or not a bag, is empty, or holds features that are not finite.
    """
    path = Path(path)
    with _open(path) as file:
        features, coords = _datasets(path, file)
        values = features[()]
        values = values[0] if values.ndim == 3 else values
        if values.dtype not in (np.float16, np.float32):
            values = values.astype(np.float32)
        corners = coords[()]
        fraction = np.asarray(file["tissue_fraction"][()]) if "tissue_fraction" in file else None
        bag = Bag(
            features=values,
            coords=(corners[0] if corners.ndim == 3 else corners).astype(np.int64),
            tissue_fraction=fraction,
            attrs=_attrs(path, file),
        )
    _check(path, bag)
    return bag


def read_head(path: Path | str) -> BagHead:
    """Read what a bag says of itself, without its features.

    Raises:
        DataError: the file is missing, damaged or not a bag.
    """
    path = Path(path)
    with _open(path) as file:
        features, _ = _datasets(path, file)
        return BagHead(num_tiles=features.shape[-2], dim=features.shape[-1], attrs=_attrs(path, file))


def require_one_encoder(heads: Mapping[str, BagHead]) -> int:
    """Check that bags can be compared: one encoder, one width. Returns the width.

    Raises:
        DataError: two bags come from different encoders; names both.
    """
    if not heads:
        msg = "no bags were given"
        raise DataError(msg)
    first_id, first = next(iter(heads.items()))
    for slide_id, head in heads.items():
        widths = head.dim != first.dim
        prints = {h.attrs.encoder_fingerprint for h in (first, head)} - {None}
        if widths or len(prints) > 1:
            msg = (
                f"bag of slide {slide_id!r} comes from another encoder: {_encoder(head)}, while that of {first_id!r} is from"
                f" {_encoder(first)}; embed both with one encoder"
            )
            raise DataError(msg)
    return first.dim


def _encoder(head: BagHead) -> str:
    mark = head.attrs.encoder_fingerprint
    return f"{head.attrs.encoder or 'an unnamed encoder'} ({head.dim} wide{f', fingerprint {mark[:12]}' if mark else ''})"


def _open(path: Path) -> "h5py.File":
    import h5py

    if not path.is_file():
        msg = f"{path}: no such bag; make it with: oncoweave slides embed"
        raise DataError(msg)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = f"{path}: not a readable HDF5 file, or cut short ({error}); make or copy the bag again"
        raise DataError(msg) from error


def _datasets(path: Path, file: "h5py.File") -> tuple["h5py.Dataset", "h5py.Dataset"]:
    import h5py

    found = {name: item.shape for name, item in file.items() if isinstance(item, h5py.Dataset)}
    features = next((name for name in ("features", "feats") if name in found), None)
    if features is None or "coords" not in found:
        missing = "features" if features is None else "coords"
        msg = f"{path}: not a bag of tiles, it has no dataset {missing!r}; it has {found or 'none'}"
        raise DataError(msg)
    if file.attrs.get("unit") == "um":
        msg = f"{path}: its coords are micrometres, wanted level-0 pixels; embed the slide again"
        raise DataError(msg)
    if file.attrs.get("schema") == SCHEMA and int(file.attrs["schema_version"]) != VERSION:
        msg = f"{path}: bag schema version {file.attrs['schema_version']}, this oncoweave reads {VERSION}; embed the slide again"
        raise DataError(msg)
    shape, corners = found[features], found["coords"]
    shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    corners = corners[1:] if len(corners) == 3 and corners[0] == 1 else corners
    if len(shape) != 2 or len(corners) != 2 or corners[1] != 2 or shape[0] != corners[0]:
        msg = f"{path}: wanted features [tile, dim] and coords [tile, 2] of as many, got {found[features]} and {found['coords']}"
        raise DataError(msg)
    return file[features], file["coords"]


def _attrs(path: Path, file: "h5py.File") -> BagAttrs:
    on_file, on_coords = dict(file.attrs), dict(file["coords"].attrs)
    if on_file.get("schema") == SCHEMA:
        dialect: Dialect = "oncoweave"
    else:
        dialect = "trident" if "patch_size_level0" in on_coords else "clam" if "patch_level" in on_coords else "gigapath"
    side = _number(on_coords.get("patch_size_level0"))
    if dialect == "clam" and "patch_size" in on_coords:
        side = float(on_coords["patch_size"]) * float(np.ravel(on_coords.get("downsample", 1.0))[0])
    named = next((file[n].attrs.get("encoder") for n in ("features", "feats") if n in file), None)
    overlap, width, height, size = (_number(on_coords.get(k)) for k in ("overlap", "level0_width", "level0_height", "patch_size"))
    return BagAttrs(
        slide_id=str(on_file.get("slide_id", path.stem)),
        encoder=_text(on_file.get("encoder", named)),
        encoder_fingerprint=_text(on_file.get("encoder_fingerprint")),
        mpp=_number(on_file.get("mpp")),
        level0_mpp=_number(on_file.get("level0_mpp")),
        patch_size=None if size is None else int(size),
        patch_size_level0=side,
        overlap=None if overlap is None else int(overlap),
        level0_width=None if width is None else int(width),
        level0_height=None if height is None else int(height),
        recipe=_text(on_file.get("recipe")),
        fingerprint=_text(on_file.get("fingerprint")),
        dialect=dialect,
    )


def _number(value: object) -> float | None:
    return None if value is None or isinstance(value, str) else float(np.asarray(value).item())


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _check(path: Path, bag: Bag) -> None:
    tiles = len(bag.features)
    fractions = tiles if bag.tissue_fraction is None else len(bag.tissue_fraction)
    if not tiles or bag.features.ndim != 2 or bag.coords.shape != (tiles, 2) or fractions != tiles:
        msg = (
            f"{path}: wanted at least one tile, and as many coords and tissue fractions as features, got"
            f" {bag.features.shape}, {bag.coords.shape} and {fractions}"
        )
        raise DataError(msg)
    finite = np.isfinite(bag.features).all(axis=1)
    if not finite.all():
        msg = (
            f"{path}: {int((~finite).sum())} of {tiles} tiles have features that are not finite, first tile {np.argmin(finite)}"
            f" ({bag.features.dtype} holds up to {np.finfo(bag.features.dtype).max:g}); embed the slide again"
        )
        raise DataError(msg)
