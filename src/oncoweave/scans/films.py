"""Radiographs as grey values from 0 (black) to 1 (white), bright where much is absorbed: PNG, JPEG and other pictures, DICOM.

The window is the file's own: an 8-bit picture's full range; of DICOM the first VOI window or table; where neither is stated (raw
DICOM, 16-bit pictures) from the ``WINDOW`` quantiles of the film. MONOCHROME1 is inverted.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.scans.dicom import Dataset, ScanError, is_dicom, padding, pixel_spacing_mm, read_dataset, rescaled, stored_values

WINDOW = (0.005, 0.995)
"""Quantiles that become black and white where the file states no window."""
COLOUR_DIFFERENCE = 24 / 255
"""Channels that differ by more than this are colour; compression makes grey pictures differ by less."""
COLOUR_SHARE = 0.03
"""Share of coloured pixels from which a picture is a photograph; arrows and letters drawn into a film are fewer."""
MODALITIES = ("CR", "DX", "RG", "RF", "XA", "MG", "PX", "IO", "DR", "OT", "SC", "HC")
"""What DICOM files of projections, films that were scanned, and pictures of unstated origin call themselves."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Picture:
    """One radiograph."""

    pixels: Float[np.ndarray, "height width"]
    """Grey, 0 to 1."""
    spacing_mm: tuple[float, float] | None
    """From row to row and from column to column; None where the file does not state it."""


def read_film(path: Path) -> Picture:
    """Read one radiograph.

    Raises:
        ScanError: the file is missing, truncated or no picture, in colour, has several frames, or is DICOM of another modality
            than ``MODALITIES``, such as a slice of CT or MR; names the file.
        MissingExtraError: the file is DICOM and pydicom is not installed.
    """
    try:
        dicom = is_dicom(path)
    except OSError as error:
        raise ScanError("unreadable", f"{path}: cannot be read ({error.strerror}); correct the path or drop the row") from error
    return _read_dicom(path) if dicom else _read_picture(path)


def burned_in(path: Path) -> bool:
    """Whether a film says that words are part of its pixels (DICOM's BurnedInAnnotation); only DICOM can."""
    return is_dicom(path) and str(read_dataset(path, pixels=False).get("BurnedInAnnotation", "")).upper() == "YES"


def shrink(picture: Picture, side: int) -> Picture:
    """Resize the shorter side to ``side`` pixels, and cut out the middle square; larger pixels average what they cover."""
    from PIL import Image

    height, width = picture.pixels.shape
    scale = side / min(height, width)
    shape = (max(side, round(height * scale)), max(side, round(width * scale)))
    pixels = picture.pixels
    if shape != (height, width):
        image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
        pixels = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    spacing = picture.spacing_mm
    scaled = None if spacing is None else (spacing[0] * height / shape[0], spacing[1] * width / shape[1])
    return Picture(pixels=pixels[top : top + side, left : left + side], spacing_mm=scaled)


def own_window(
    values: Float[np.ndarray, "height width"], *, among: np.ndarray | None = None
) -> Float[np.ndarray, "height width"]:
    """Stretch a film between its ``WINDOW`` quantiles, ``among`` some of its pixels; a constant film becomes black."""
    counted = values if among is None else values[among]
    low, high = np.quantile(counted, WINDOW)
    if high <= low:
        low, high = float(counted.min()), float(counted.max())
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _read_picture(path: Path) -> Picture:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise _several(path, frames)
            image = ImageOps.exif_transpose(opened)  # a camera or a viewer may store it lying and say so
            mode = image.mode
            if mode in ("1", "L"):
                return Picture(pixels=np.asarray(image.convert("L"), dtype=np.float32) / 255, spacing_mm=None)
            if mode.startswith(("I", "F")):
                values = np.asarray(image, dtype=np.float32)
                if unknown := int((~np.isfinite(values)).sum()):
                    msg = f"{path}: {unknown} of {values.size} pixels are not finite; write the value of air there"
                    raise ScanError("values", msg)
                return Picture(pixels=own_window(values), spacing_mm=None)
            grey_only = mode == "LA"
            colours = np.asarray(image.convert("L" if grey_only else "RGB"), dtype=np.float32) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ScanError):
            raise
        msg = f"{path}: not a readable picture ({error}); copy the file again, or drop the row"
        raise ScanError("unreadable", msg) from error
    return Picture(pixels=colours if grey_only else _grey(colours, path), spacing_mm=None)


def _read_dicom(path: Path) -> Picture:
    try:
        dataset = read_dataset(path)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        if frames > 1:
            raise _several(path, frames)
        _refuse_slices(dataset, path)
        stored = stored_values(dataset, path)
    except ScanError:
        raise
    except DataError as error:
        raise ScanError("unreadable", str(error)) from error
    if dataset.get("PhotometricInterpretation", "") == "PALETTE COLOR":
        raise ScanError("colour", f"{path}: a palette-colour picture; a film is grey")
    if stored.ndim == 3:
        values = _grey(stored.astype(np.float32) / (2 ** int(dataset.BitsStored) - 1), path)
    else:
        values = _windowed(dataset, stored, path)
    if dataset.get("PhotometricInterpretation", "") == "MONOCHROME1":
        values = 1 - values
    return Picture(pixels=values.astype(np.float32), spacing_mm=pixel_spacing_mm(dataset))


def _refuse_slices(dataset: Dataset, path: Path) -> None:
    """Refuse what says that it is no projection; a file that says nothing is taken for one."""
    modality = str(dataset.get("Modality", "") or "").upper()
    if modality and modality not in MODALITIES:
        series = "; series of CT, MR and PET slices are read as kind 'volume'" if modality in ("CT", "MR", "PT") else ""
        msg = f"{path}: DICOM modality {modality}, which is no film; accepted: {', '.join(MODALITIES)}{series}; drop the row"
        raise ScanError("modality", msg)


def _windowed(dataset: Dataset, stored: np.ndarray, path: Path) -> Float[np.ndarray, "height width"]:
    """Window as the file states, or by the pixels that are no padding, which becomes black whatever is written there."""
    padded = padding(dataset, stored)
    black = 1.0 if dataset.get("PhotometricInterpretation", "") == "MONOCHROME1" else 0.0  # which is inverted afterwards
    if padded.all():
        return np.full(stored.shape, black)
    return np.where(padded, black, _grey_values(dataset, rescaled(dataset, stored), path, among=~padded))


def _grey_values(dataset: Dataset, values: np.ndarray, path: Path, *, among: np.ndarray) -> Float[np.ndarray, "height width"]:
    if dataset.get("VOILUTSequence"):
        return _looked_up(dataset, values, path)
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR")
    # DICOM PS3.3 C.11.2.1: LINEAR takes off one from the width, the others take any above 0
    if centre is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return own_window(values, among=among)
    return window(values, centre=centre, width=width, function=function)


def _looked_up(dataset: Dataset, values: np.ndarray, path: Path) -> Float[np.ndarray, "height width"]:
    """Take grey values from the file's own table (VOI LUT)."""
    from pydicom.pixels.processing import apply_voi

    try:
        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        found = apply_voi(np.rint(values).astype(np.int32), dataset)
    # all that pydicom raises of a table that is empty, cut, lacks an element, or has a depth that it has no code for
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError, struct.error) as error:
        msg = f"{path}: its table of grey values (VOI LUT) cannot be read ({error}); export the film again, or drop the row"
        raise ScanError("unreadable", msg) from error
    return np.asarray(found, dtype=np.float32) / (2**depth - 1)


def window(
    values: Float[np.ndarray, "height width"], *, centre: float, width: float, function: str
) -> Float[np.ndarray, "height width"]:
    """Map values to 0..1 by a VOI window (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3): LINEAR, LINEAR_EXACT or SIGMOID."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    return np.clip((values - (centre - 0.5)) / max(width - 1, 1) + 0.5, 0, 1)


def _first(value: SupportsFloat | str | Sequence[SupportsFloat] | None) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0]) if isinstance(value, Sequence) and not isinstance(value, str) else float(value)


def _grey(colours: Float[np.ndarray, "height width 3"], path: Path) -> Float[np.ndarray, "height width"]:
    coloured = float((colours.max(axis=2) - colours.min(axis=2) > COLOUR_DIFFERENCE).mean())
    if coloured > COLOUR_SHARE:
        msg = f"{path}: {coloured:.0%} of its pixels are coloured: a photograph or a screenshot, not a radiograph; drop the row"
        raise ScanError("colour", msg)
    return colours.mean(axis=2)


def _several(path: Path, frames: int) -> ScanError:
    return ScanError("frames", f"{path}: {frames} frames; a film is one picture: write the frame wanted to a file of its own")
