"""DICOM slides through wsidicom: transfer syntaxes that OpenSlide lacks, and folders of instances."""

from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt8

from oncoweave.core.errors import SlideError, missing_extra
from oncoweave.wsi.geometry import read_mpp
from oncoweave.wsi.readers import WHITE, unreadable


class WsiDicomReader:
    """A slide through wsidicom; one region at a time, as its decoders share a file position."""

    def __init__(self, path: Path) -> None:
        try:
            from wsidicom import WsiDicom
        except ModuleNotFoundError as error:
            raise missing_extra("wsidicom", "wsidicom") from error
        self.path = path
        try:
            self._slide = WsiDicom.open(path)
        except Exception as error:  # wsidicom and pydicom raise a dozen types that share no base
            raise SlideError(str(error).replace(str(path), path.name)) from error
        levels = list(self._slide.levels)
        self.level_dimensions = tuple((level.size.width, level.size.height) for level in levels)
        self.dimensions = self.level_dimensions[0]
        width, height = self.dimensions
        self.downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_dimensions)
        self.reader = "wsidicom (dicom)"
        self._indices = [level.level for level in levels]
        stated = levels[0].pixel_spacing
        self.mpp, self.mpp_note = read_mpp(*((stated.width * 1000, stated.height * 1000) if stated else (None, None)))
        self._lock = Lock()

    def read_region(self, corner_px0: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Read a region; white outside the slide."""
        down, (width, height) = self.downsamples[level], self.level_dimensions[level]
        left, top = (round(c / down) for c in corner_px0)
        out = np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + size[0], width), min(top + size[1], height)
        if x1 <= x0 or y1 <= y0:
            return out
        try:
            with self._lock:
                image = self._slide.read_region((x0, y0), self._indices[level], (x1 - x0, y1 - y0))
        except Exception as error:
            raise unreadable(self.path, corner_px0, level, error) from error
        out[y0 - top : y1 - top, x0 - left : x1 - left] = np.asarray(image.convert("RGB"))
        return out

    def close(self) -> None:
        """Release the file."""
        self._slide.close()
