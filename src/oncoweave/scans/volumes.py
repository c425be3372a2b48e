"""Volumes from a folder of DICOM slices or a NIfTI file, and their resampling to a stated spacing and size.

Axes are brought to left-to-right, back-to-front, feet-to-head (RAS+), by turning and mirroring only: a volume taken obliquely
keeps its own axes, the nearest of these; a box that leans (a tilted gantry) is refused. What DICOM calls padding gets the lowest
value that is none. Resampling averages over what a larger voxel covers and then interpolates linearly; scipy does both, so MONAI
(an import of 10 s and more) would buy nothing here.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from oncoweave.core.errors import missing_extra
from oncoweave.scans.dicom import Dataset, ScanError, padding, pixel_spacing_mm, read_dataset, rescaled, stored_values

GAP = 0.1
"""Share of the usual distance between slices by which one may differ before a slice counts as missing or doubled."""
LEAN = 0.02
"""Cosine of the angle between two axes of a volume from which on it is no box: 1.1 degrees off a right angle."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_AXES = ("left to right", "back to front", "feet to head")
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Volume:
    """One volume, left to right, back to front, feet to head."""

    values: Float[np.ndarray, "x y z"]
    spacing_mm: tuple[float, float, float]
    modality: str
    """As DICOM says, such as CT or MR; empty for NIfTI, which does not say."""
    origin_mm: tuple[float, float, float] | None = None
    """Where the first voxel lies, in millimetres to the right, front and head; None where it was not read from a file."""


def read_volume(path: Path) -> Volume:
    """Read a folder of DICOM slices or a NIfTI file.

    Raises:
        DataError: nothing readable, several series in a folder, slices missing or of different shapes or spacings, axes that
            lean or have no length, voxels that are no single real numbers; names file and what to do.
        MissingExtraError: pydicom or nibabel is not installed.
    """
    if path.is_dir():
        return _read_series(path)
    if not path.exists():
        msg = f"{path}: does not exist; correct the path or drop the row"
        raise ScanError("unreadable", msg)
    if not path.name.lower().endswith(_NIFTI):
        msg = f"{path}: wanted a folder of DICOM slices or a NIfTI file (.nii, .nii.gz)"
        raise ScanError("unreadable", msg)
    return _read_nifti(path)


def read_mask(path: Path) -> Volume:
    """Read a mask from NIfTI: values above 0 are inside.

    Raises:
        DataError: not a readable NIfTI file.
    """
    volume = _read_nifti(path)
    return replace(volume, values=(volume.values > 0).astype(np.float32))


def resample(
    volume: Volume, *, spacing_mm: tuple[float, float, float], size: tuple[int, int, int], outside: float
) -> tuple[Float[np.ndarray, "x y z"], Int[np.ndarray, "3 2"]]:
    """Bring a volume to a spacing, then crop or pad it about its middle to a size in voxels.

    Returns the values, ``outside`` beyond the scan, and the first voxel inside the scan and the first beyond it, axis by axis.

    Raises:
        ScanError: the scan is so thin along an axis that no voxel of the spacing has its centre inside.
    """
    factors = np.array(spacing_mm) / np.array(volume.spacing_mm)
    values, late = volume.values, np.zeros(3)
    for axis, factor in enumerate(factors):
        if factor >= 1.5:
            values = ndimage.uniform_filter1d(values, size=round(factor), axis=axis, mode="nearest")
            late[axis] = 0.0 if round(factor) % 2 else 0.5  # a mean of an even number lies half a voxel before its place
    middle_in, middle_out = (np.array(values.shape) - 1) / 2, (np.array(size) - 1) / 2
    offset = middle_in - factors * middle_out
    shifted = ndimage.affine_transform(values, factors, offset=offset + late, output_shape=size, order=1, mode="nearest")
    scanned = np.zeros((3, 2), dtype=np.int64)
    for axis, length in enumerate(values.shape):
        where = offset[axis] + factors[axis] * np.arange(size[axis])
        inside = np.flatnonzero((where > -0.5 - 1e-6) & (where < length - 0.5 + 1e-6))
        if not len(inside):
            extent = length * volume.spacing_mm[axis]
            msg = (
                f"{extent:.3g} mm {_AXES[axis]} ({length} voxel(s) of {volume.spacing_mm[axis]:.3g} mm), too thin for voxels of"
                f" {spacing_mm[axis]:g} mm, none of which has its centre inside; set a smaller 'spacing_mm' in the"
                " preparation of volumes, or drop the row"
            )
            raise ScanError("too thin", msg)
        scanned[axis] = (inside[0], inside[-1] + 1)
    framed = np.full(size, outside, dtype=np.float32)
    box = tuple(slice(low, high) for low, high in scanned)
    framed[box] = shifted[box]
    return framed, scanned


def to_ras(values: np.ndarray, affine: Float[np.ndarray, "3 3"]) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Turn and mirror an array so that its axes run nearest to left-to-right, back-to-front, feet-to-head; with its spacing.

    ``affine`` holds, column by column, the step in millimetres along each axis of the array.
    """
    spacing = np.linalg.norm(affine, axis=0)
    directions = affine / spacing
    world, axes = linear_sum_assignment(-np.abs(directions))
    order = axes[np.argsort(world)]
    turned = values.transpose(order)
    flipped = [i for i, axis in enumerate(order) if directions[i, axis] < 0]
    steps = spacing[order].tolist()
    return np.flip(turned, axis=tuple(flipped)), (steps[0], steps[1], steps[2])


def _origin(
    corner: Float[np.ndarray, " 3"], shape: tuple[int, ...], affine: Float[np.ndarray, "3 3"]
) -> tuple[float, float, float]:
    """Find where the first voxel lies after :func:`to_ras`: of each pair of opposite ends the one with less of its axis."""
    ends = [affine[:, axis] * (length - 1) for axis, length in enumerate(shape)]
    world, axes = linear_sum_assignment(-np.abs(affine / np.linalg.norm(affine, axis=0)))
    first = corner + sum(ends[axis] for along, axis in zip(world, axes, strict=True) if affine[along, axis] < 0)
    return float(first[0]), float(first[1]), float(first[2])


def _read_nifti(path: Path) -> Volume:
    try:
        import nibabel
    except ImportError as error:
        raise missing_extra("nibabel", "radiology") from error
    try:
        image: Any = nibabel.load(path)
        _require_numbers(image.get_data_dtype(), image.shape, path)
        values = np.asarray(image.dataobj, dtype=np.float32)
        affine, corner = (np.asarray(image.affine, dtype=np.float64)[:3, part] for part in (slice(3), 3))
    except ScanError:
        raise
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        msg = f"{path}: not a readable NIfTI file ({error}); copy the file again, or drop the row"
        raise ScanError("unreadable", msg) from error
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        msg = f"{path}: an array of shape {values.shape}, wanted three axes; write the volume wanted to a file of its own"
        raise ScanError("shape", msg)
    if not np.isfinite(values).all():
        msg = f"{path}: {int((~np.isfinite(values)).sum())} voxels are not finite; write the value of air there"
        raise ScanError("values", msg)
    _require_box(affine, path)
    turned, spacing = to_ras(values, affine)
    origin = _origin(corner, values.shape, affine)
    return Volume(values=np.ascontiguousarray(turned), spacing_mm=spacing, modality="", origin_mm=origin)


def _require_box(affine: Float[np.ndarray, "3 3"], path: Path) -> None:
    """Refuse axes without a length, and such as do not stand on each other."""
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 3:
        axes = np.round(affine, 3).tolist()
        msg = f"{path}: its axes {axes} (mm, by column) give no spacing; correct the header, or drop the row"
        raise ScanError("spacing", msg)
    directions = affine / np.linalg.norm(affine, axis=0)
    cosine = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if cosine > LEAN:
        msg = (
            f"{path}: its axes lean by {np.degrees(np.arcsin(min(cosine, 1.0))):.1f} degrees (a tilted gantry?), and it would be"
            " read as a box; straighten it (dcm2niix does) and give that file, or drop the row"
        )
        raise ScanError("leaning", msg)


def _require_numbers(stored: np.dtype, shape: tuple[int, ...], path: Path) -> None:
    """Refuse, before anything is read, what is no array of single real numbers."""
    if stored.kind not in "iuf":
        what = "complex numbers" if stored.kind == "c" else "colours" if stored.names else "no numbers"
        msg = f"{path}: its voxels are {what} ({stored}), wanted one number each; write the part wanted to a file of its own"
        raise ScanError("values", msg)
    if 0 in shape:
        msg = f"{path}: an array of shape {shape} without a voxel; write the volume again, or drop the row"
        raise ScanError("shape", msg)


def _read_series(folder: Path) -> Volume:
    files = _slice_files(folder)
    headers = [read_dataset(f, pixels=False) for f in files]
    _require_one_series(folder, headers)
    across, down = _orientation(headers[0], files[0])
    normal = np.cross(across, down)
    places = np.stack([_place(h, f, normal) for h, f in zip(headers, files, strict=True)])
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    _require_even_steps(folder, heights[order])
    step = (places[order[-1]] - places[order[0]]) / (len(order) - 1)
    spacing = _one_spacing(headers, files)
    affine = _LPS_TO_RAS @ np.stack([across * spacing[1], down * spacing[0], step], axis=1)
    _require_box(affine, folder)
    values = _slices([files[index] for index in order]).transpose(2, 1, 0)
    turned, steps = to_ras(values, affine)
    origin = _origin(_LPS_TO_RAS @ places[order[0]], values.shape, affine)
    modality = str(headers[0].get("Modality", ""))
    return Volume(values=np.ascontiguousarray(turned), spacing_mm=steps, modality=modality, origin_mm=origin)


def _slices(files: Sequence[Path]) -> Float[np.ndarray, "slice row column"]:
    """Read slices of one shape; what a file calls padding gets the lowest value that is none."""
    values, padded = [], []
    for file in files:
        dataset = read_dataset(file)
        stored = stored_values(dataset, file)
        values.append(rescaled(dataset, stored))
        padded.append(padding(dataset, stored))
        if values[-1].shape != values[0].shape:
            msg = f"{file}: a slice of {values[-1].shape}, the series begins with {values[0].shape}; remove the odd one"
            raise ScanError("shape", msg)
    volume, nothing = np.stack(values), np.stack(padded)
    return np.where(nothing, volume[~nothing].min(), volume) if nothing.any() and not nothing.all() else volume


def _slice_files(folder: Path) -> list[Path]:
    """List the slices: the .dcm files, or every file that is not hidden where none is called so."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    named = [f for f in files if f.suffix.lower() == ".dcm"]
    if len(named or files) < 2:
        msg = f"{folder}: {len(named or files)} slice file(s), a volume needs at least two; subfolders are not looked into"
        raise ScanError("slices", msg)
    return named or files


def _require_one_series(folder: Path, headers: list[Dataset]) -> None:
    counts: dict[tuple[str, str], int] = {}
    for header in headers:
        key = (str(header.get("SeriesInstanceUID", "?")), str(header.get("SeriesDescription", "") or "no description"))
        counts[key] = counts.get(key, 0) + 1
    if len({uid for uid, _ in counts}) > 1:
        listed = "; ".join(f"{text} ({n} slices, ...{uid[-12:]})" for (uid, text), n in counts.items())
        msg = f"{folder}: {len(counts)} series in one folder: {listed}; move the one wanted to a folder of its own"
        raise ScanError("several series", msg)


def _orientation(header: Dataset, file: Path) -> tuple[np.ndarray, np.ndarray]:
    found = header.get("ImageOrientationPatient")
    if not found:
        msg = f"{file}: no ImageOrientationPatient; these are no slices of a volume"
        raise ScanError("no volume", msg)
    numbers = np.array([float(v) for v in found])
    return numbers[:3], numbers[3:]


def _place(header: Dataset, file: Path, normal: np.ndarray) -> Float[np.ndarray, " 3"]:
    place = header.get("ImagePositionPatient")
    if not place:
        msg = f"{file}: no ImagePositionPatient, so its place among the slices is not known; remove it (a scout?)"
        raise ScanError("no volume", msg)
    across, down = _orientation(header, file)
    if np.abs(np.cross(across, down) - normal).max() > 1e-3:
        msg = f"{file}: taken in another direction than the first slice; remove it (a scout?)"
        raise ScanError("slices", msg)
    return np.array([float(v) for v in place])


def _one_spacing(headers: Sequence[Dataset], files: Sequence[Path]) -> tuple[float, float]:
    """Give the distance between rows and between columns, in millimetres, that all slices state."""
    spacings = []
    for header, file in zip(headers, files, strict=True):
        spacing = pixel_spacing_mm(header)
        if spacing is None:
            msg = f"{file}: no PixelSpacing; a volume without millimetres cannot be resampled"
            raise ScanError("spacing", msg)
        spacings.append(spacing)
        if not np.allclose(spacing, spacings[0], rtol=1e-3):
            msg = f"{file}: pixels of {spacing} mm, the series begins with {spacings[0]}; remove the odd slices (another scan?)"
            raise ScanError("spacing", msg)
    return spacings[0]


def _require_even_steps(folder: Path, heights: Float[np.ndarray, " slice"]) -> None:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > GAP * abs(usual) + 1e-3)
    if usual <= 0 or len(odd):
        at = int(odd[0]) if len(odd) else int(np.argmin(steps))
        kind = "two slices in one place" if steps[at] < 0.5 * usual or usual <= 0 else "slices are missing"
        msg = (
            f"{folder}: {kind}: after {heights[at]:.1f} mm comes {heights[at + 1]:.1f} mm, slices are usually {usual:.2f} mm"
            f" apart ({max(len(odd), 1)} such place(s) among {len(heights)} slices); complete the series, or drop the row"
        )
        raise ScanError("slices", msg)
