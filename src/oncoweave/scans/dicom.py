"""What films and series of slices share of DICOM: opening a file, decoding its pixels, its stored values in physical units."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from oncoweave.core.errors import DataError, missing_extra

Dataset = Any
"""A ``pydicom.Dataset``; the library is optional."""


class ScanError(DataError):
    """A film or volume that cannot be used; ``reason``, in a few words, is what such files are counted by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its mark, or says so by its name."""
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_dataset(path: Path, *, pixels: bool = True) -> Dataset:
    """Read a DICOM file; without ``pixels`` only its header.

    Raises:
        DataError: not a readable DICOM file.
        MissingExtraError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise missing_extra("pydicom", "radiology") from error
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, AttributeError, KeyError) as error:
        msg = f"{path}: not a readable DICOM file ({error})"
        raise DataError(msg) from error


def stored_values(dataset: Dataset, path: Path) -> np.ndarray:
    """Decode the pixels, ``[row, column]``, or with more axes for colours (as RGB) and frames.

    Raises:
        DataError: there are no pixels, they are truncated, or they are compressed in a way that nothing installed decodes.
    """
    from pydicom.pixels import pixel_array

    try:
        return pixel_array(dataset)
    # pydicom says it of a syntax without a decoder (NotImplementedError among them), of missing elements, and of cut-off pixels
    except (RuntimeError, AttributeError, ValueError, KeyError, OSError, TypeError) as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "unknown")
        msg = (
            f"{path}: its pixels cannot be decoded (transfer syntax {name}: {error}); if the file is whole, install"
            " pylibjpeg with its plugins, or write it uncompressed"
        )
        raise DataError(msg) from error


def rescaled(dataset: Dataset, values: np.ndarray) -> Float[np.ndarray, "row column"]:
    """Turn stored values into the modality's unit (Hounsfield for CT) by slope and intercept, or by the modality's table."""
    if "ModalityLUTSequence" in dataset:
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(values, dataset), dtype=np.float32)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def padding(dataset: Dataset, stored: np.ndarray) -> Bool[np.ndarray, "row column"]:
    """Tell which pixels the file calls padding, by its value or range."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit", first)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def pixel_spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Give the distance from row to row and from column to column; None where the file does not state it.

    For radiographs without a calibrated spacing it is that at the detector, which magnifies the patient a little.
    """
    found = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    return None if not found else (float(found[0]), float(found[1]))
