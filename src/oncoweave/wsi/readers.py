"""Slide readers behind one small interface: OpenSlide, tifffile and wsidicom."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from oncoweave.core.errors import MissingExtraError, SlideError, missing_extra, unknown_name
from oncoweave.wsi.geometry import Mpp, read_mpp

WHITE = 255
"""What lies outside a slide, or was not scanned."""


@runtime_checkable
class Slide(Protocol):
    """An open slide. Reading is safe from several threads at once."""

    path: Path
    reader: str
    """Name of the reader, and what it takes the file for."""
    dimensions: tuple[int, int]
    """Width and height in level-0 pixels."""
    level_dimensions: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    """Level-0 pixels a pixel of each level; the first is 1."""
    mpp: Mpp | None
    """Level-0 resolution, None where the file states none that can be used."""
    mpp_note: str
    """Why there is none."""

    def read_region(self, corner_px0: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Read ``size`` pixels of a level from a corner given in level-0 pixels; white where the slide has nothing.

        Raises:
            SlideError: the file cannot be decoded there.
        """

    def close(self) -> None:
        """Release the file."""


class OpenSlideReader:
    """A slide through OpenSlide: Aperio, Hamamatsu, Leica, MIRAX, Philips, Ventana, DICOM and generic tiled TIFF."""

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except ModuleNotFoundError as error:
            raise missing_extra("openslide-python", "slides") from error
        self.path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError(str(error).replace(str(path), path.name)) from error
        self._error = openslide.OpenSlideError
        properties = self._slide.properties
        self.reader = f"openslide ({properties.get('openslide.vendor', 'unknown vendor')})"
        self.dimensions = self._slide.dimensions
        self.level_dimensions = self._slide.level_dimensions
        self.downsamples = self._slide.level_downsamples
        stated = [float(v) if (v := properties.get(f"openslide.mpp-{axis}")) else None for axis in "xy"]
        self.mpp, self.mpp_note = read_mpp(*stated)

    def read_region(self, corner_px0: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Read a region; what was not scanned is transparent in OpenSlide and comes out white."""
        try:
            rgba = np.asarray(self._slide.read_region(corner_px0, level, size))
        except self._error as error:
            raise unreadable(self.path, corner_px0, level, error) from error
        alpha = rgba[..., 3]
        if alpha.min() == 255:
            return np.ascontiguousarray(rgba[..., :3])
        covered = alpha[..., None].astype(np.uint16)
        return ((rgba[..., :3] * covered + WHITE * (255 - covered) + 127) // 255).astype(np.uint8)

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def open_slide(path: Path, *, reader: str = "auto") -> Slide:
    """Open a slide with the reader named, or with the first that can read it.

    Raises:
        SlideError: no reader opens the file; lists what each of them said.
    """
    path = Path(path)
    if reader != "auto" and reader not in READERS:
        raise unknown_name("slide reader", reader, ["auto", *READERS])
    if not path.exists():
        msg = f"{path.name}: no such file (looked for it in {path.parent})"
        raise SlideError(msg)
    said: list[str] = []
    for name in _order(path) if reader == "auto" else [reader]:
        try:
            return READERS[name](path)
        except MissingExtraError as error:
            if name != "wsidicom":
                raise
            said.append(f"{name}: {error}")
        except SlideError as error:
            said.append(f"{name}: {error}")
    msg = f"{path.name}: cannot be opened as a slide ({'; '.join(said)})"
    raise SlideError(msg)


def require_mpp(slide: Slide, *, declared: float | None) -> Mpp:
    """Say a slide's level-0 resolution: its own, or what was declared for slides that lack one.

    Raises:
        SlideError: there is neither.
    """
    if slide.mpp is not None:
        return slide.mpp
    if declared is not None:
        return Mpp(declared)
    msg = (
        f"{slide.path.name}: no usable resolution: {slide.mpp_note}. Declare the level-0 um/px with --slide-mpp"
        " (a 40x scan is about 0.25, 20x about 0.5); --mpp is only the resolution of the tiles"
    )
    raise SlideError(msg)


def _open_tiff(path: Path) -> Slide:
    from oncoweave.wsi.tiff import TiffReader

    return TiffReader(path)


def _open_dicom(path: Path) -> Slide:
    from oncoweave.wsi.dicom import WsiDicomReader

    return WsiDicomReader(path)


READERS: dict[str, Callable[[Path], Slide]] = {"openslide": OpenSlideReader, "tifffile": _open_tiff, "wsidicom": _open_dicom}


def _order(path: Path) -> list[str]:
    name = path.name.lower()
    if path.is_dir() or name.endswith(".dcm"):
        return ["openslide", "wsidicom"] if path.is_file() else ["wsidicom"]
    # OpenSlide sees only level 0 of an OME-TIFF, whose levels stand in SubIFDs
    return ["tifffile", "openslide"] if ".ome." in name else ["openslide", "tifffile"]


def unreadable(path: Path, corner_px0: tuple[int, int], level: int, error: Exception) -> SlideError:
    """Build the error for a place that cannot be decoded."""
    where = f"{path.name}: level {level} cannot be read at level-0 pixel {corner_px0}"
    return SlideError(f"{where}: {error}; the file is damaged or cut short, copy it again")
