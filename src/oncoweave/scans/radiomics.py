"""Radiomics features inside a mask, by pyradiomics (van Griethuysen et al., Cancer Research 2017) with its defaults."""

import logging

import numpy as np

from oncoweave.core.errors import DataError, missing_extra
from oncoweave.scans.volumes import Volume

BIN_WIDTH = 25.0
"""Width of a grey-level bin in the image's unit: 25 HU, the library's own and the usual one for CT."""
_SMALLEST = 8
"""Voxels in the smallest mask that texture can be computed of."""


def radiomics(volume: Volume, mask: Volume) -> tuple[tuple[str, ...], np.ndarray]:
    """Compute shape, first-order and texture features of the original image inside a mask: names and values.

    Raises:
        DataError: mask and volume differ in shape, spacing or place, or the mask is (nearly) empty.
        MissingExtraError: pyradiomics is not installed.
    """
    _require_fit(volume, mask)
    try:
        import SimpleITK as sitk
        from radiomics import featureextractor
    except ImportError as error:
        raise missing_extra("pyradiomics", "radiomics") from error
    logging.getLogger("radiomics").setLevel(logging.ERROR)  # it logs each feature class of each patient
    extractor = featureextractor.RadiomicsFeatureExtractor(binWidth=BIN_WIDTH, additionalInfo=False)
    images = [sitk.GetImageFromArray(v.values.transpose(2, 1, 0)) for v in (volume, mask)]
    for image in images:
        image.SetSpacing(volume.spacing_mm)
    found = extractor.execute(images[0], sitk.Cast(images[1], sitk.sitkUInt8))
    values = {name.removeprefix("original_"): float(value) for name, value in found.items()}
    return tuple(values), np.array(list(values.values()))


def _require_fit(volume: Volume, mask: Volume) -> None:
    if mask.values.shape != volume.values.shape or not np.allclose(mask.spacing_mm, volume.spacing_mm, rtol=1e-2):
        msg = (
            f"the mask has shape {mask.values.shape} at {_text(mask)} mm, the volume {volume.values.shape} at {_text(volume)} mm;"
            " draw the mask on this volume, or resample it to it"
        )
        raise DataError(msg)
    if volume.origin_mm is not None and mask.origin_mm is not None:
        apart = np.abs(np.subtract(mask.origin_mm, volume.origin_mm))
        if (apart > 0.5 * np.array(volume.spacing_mm)).any():
            msg = (
                f"the mask begins {' x '.join(f'{d:.1f}' for d in apart)} mm from where the volume does: it was drawn on another"
                " scan; draw it on this volume, or resample it to it"
            )
            raise DataError(msg)
    inside = int((mask.values > 0).sum())
    if inside < _SMALLEST:
        msg = f"the mask holds {inside} voxel(s), wanted at least {_SMALLEST}"
        raise DataError(msg)


def _text(volume: Volume) -> str:
    return " x ".join(f"{s:.2f}" for s in volume.spacing_mm)
