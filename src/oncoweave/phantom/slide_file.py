"""A rendered section as a slide file: a tiled pyramidal TIFF that OpenSlide and tifffile read, with its masks beside it."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import missing_extra
from oncoweave.core.files import publish
from oncoweave.data.tables import write_table
from oncoweave.phantom.histology import Section, type_mask

_TILE_PX = 256
_QUALITY = 82


def write_slide(path: Path, image: np.ndarray, *, mpp: float, levels: int = 3) -> None:
    """Write an 8-bit RGB image as a pyramid of JPEG tiles, each level half of the one before.

    The resolution tags hold pixels a centimetre, from which OpenSlide derives ``openslide.mpp-x``.

    Raises:
        MissingExtraError: tifffile or imagecodecs is not installed.
    """
    try:
        import imagecodecs  # noqa: F401  (tifffile needs it for JPEG tiles)
        import tifffile
    except ImportError as error:
        raise missing_extra("tifffile with imagecodecs", "slides") from error

    with publish(path) as partial, tifffile.TiffWriter(partial) as writer:
        for level in range(levels):
            per_cm = 1e4 / (mpp * 2**level)
            writer.write(
                image, tile=(_TILE_PX, _TILE_PX), photometric="rgb", compression="jpeg",
                compressionargs={"level": _QUALITY}, subfiletype=1 if level else 0,
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", metadata=None, software="oncoweave phantom",
            )  # fmt: skip
            image = _halve(image)


def write_section_truth(folder: Path, slide_id: str, section: Section) -> None:
    """Write what is known of a section into ``folder``.

    ``<slide_id>.nuclei.parquet`` is the table; ``<slide_id>.masks.npz`` holds ``instances`` (uint16) and ``types`` (uint8) at
    full resolution, and the maps ``regions`` and ``artefacts`` (uint8) at a quarter of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / f"{slide_id}.nuclei.parquet", section.nuclei)
    with publish(folder / f"{slide_id}.masks.npz") as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream, instances=section.instances, types=type_mask(section), regions=section.regions, artefacts=section.artefacts
        )


def summarise_section(slide_id: str, patient_id: str, section: Section) -> pd.DataFrame:
    """Count what a section shows: one row with counts by nucleus type, region shares of the tissue, and artefact shares."""
    from oncoweave.phantom.artefacts import KINDS
    from oncoweave.phantom.histology import REGIONS
    from oncoweave.phantom.nuclei import TYPES

    counts = section.nuclei["type"].value_counts()
    tissue = max(1, int((section.regions > 0).sum()))
    row: dict[str, object] = {"slide_id": slide_id, "patient_id": patient_id, "mpp": section.mpp}
    row["tissue_mm2"] = tissue * (4 * section.mpp / 1000) ** 2
    row |= {f"num_{name}": int(counts.get(name, 0)) for name in TYPES}
    row |= {f"share_{name}": float((section.regions == i).sum() / tissue) for i, name in enumerate(REGIONS) if i}
    row |= {f"share_{name}": float((section.artefacts == i).mean()) for i, name in enumerate(KINDS, start=1)}
    return pd.DataFrame([row])


def _halve(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).reduce(2))
