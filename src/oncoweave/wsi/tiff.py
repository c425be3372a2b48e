"""Slides through tifffile: any tiled, striped or OME-TIFF of 8-bit RGB, levels in SubIFDs included."""

import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from oncoweave.core.errors import SlideError, missing_extra
from oncoweave.wsi.geometry import Mpp, read_mpp
from oncoweave.wsi.readers import WHITE, unreadable

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_CACHE_BYTES = 64 * 2**20
_LARGEST_SEGMENT = 2**30
_UM_PER_UNIT = {2: 25400.0, 3: 10000.0}
_UM_PER_OME_UNIT = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


class TiffReader:
    """A slide through tifffile; decodes only the segments that a region touches and keeps the last 64 MiB of them."""

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ModuleNotFoundError as error:
            raise missing_extra("tifffile", "slides") from error
        self.path = path
        try:
            with _lost_pages() as lost:
                self._tiff = tifffile.TiffFile(path)
        except Exception as error:  # a damaged header makes tifffile raise a dozen types
            raise SlideError(_said(error).replace(str(path), path.name)) from error
        try:
            with _lost_pages() as later:
                self._pages = [] if lost else _rgb_pages(self._tiff)
            _refuse_cut_short(self._tiff, self._pages, [*lost, *later])
        except SlideError:
            self._tiff.close()
            raise
        except Exception as error:  # as above: tags are only read here
            self._tiff.close()
            raise SlideError(_said(error)) from error
        self.level_dimensions = tuple((p.imagewidth, p.imagelength) for p in self._pages)
        self.dimensions = self.level_dimensions[0]
        width, height = self.dimensions
        self.downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_dimensions)
        self.reader = f"tifffile ({'ome' if self._tiff.is_ome else 'aperio' if self._tiff.is_svs else 'tiff'})"
        self.mpp, self.mpp_note = _stated_mpp(self._tiff, self._pages[0])
        self._cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._cache_bytes = 0
        self._cache_lock, self._file_lock = Lock(), Lock()

    def read_region(self, corner_px0: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Read a region; white outside the slide and where a sparse file holds no data."""
        page, down = self._pages[level], self.downsamples[level]
        left, top = (round(c / down) for c in corner_px0)
        out = np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
        right, bottom = min(left + size[0], page.imagewidth), min(top + size[1], page.imagelength)
        inside = out[: max(0, bottom - top), : max(0, right - left)]  # edge segments are padded beyond the image
        high, wide = page.chunks[:2]
        for row in range(max(0, top) // high, -(-bottom // high)):
            for column in range(max(0, left) // wide, -(-right // wide)):
                try:
                    segment = self._segment(level, row * page.chunked[1] + column)
                except Exception as error:  # each codec has its own
                    raise unreadable(self.path, corner_px0, level, error) from error
                if segment is not None:
                    _paste(inside, segment, (column * wide - left, row * high - top))
        return out

    def close(self) -> None:
        """Release the file."""
        self._tiff.close()

    def _segment(self, level: int, index: int) -> np.ndarray | None:
        key = (level, index)
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        segment = self._decode(self._pages[level], index)
        with self._cache_lock:
            if key not in self._cache:
                self._cache[key] = segment
                self._cache_bytes += 0 if segment is None else segment.nbytes
            while self._cache_bytes > _CACHE_BYTES and len(self._cache) > 1:
                dropped = self._cache.popitem(last=False)[1]
                self._cache_bytes -= 0 if dropped is None else dropped.nbytes
        return segment

    def _decode(self, page: "TiffPage", index: int) -> np.ndarray | None:
        wanted = page.databytecounts[index]
        if wanted == 0:
            return None
        with self._file_lock:
            stream = self._tiff.filehandle
            stream.seek(page.dataoffsets[index])
            data = stream.read(wanted)
        if len(data) < wanted:
            msg = f"segment {index} should hold {wanted} bytes, the file ends after {len(data)}"
            raise ValueError(msg)
        array = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        if array is None:
            msg = f"segment {index} holds no image"
            raise ValueError(msg)
        return np.ascontiguousarray(array[0, ..., :3])


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _rgb_pages(tiff: "TiffFile") -> list["TiffPage"]:
    import tifffile

    series = max(tiff.series, key=lambda s: s.sizes.get("height", 0) * s.sizes.get("width", 0), default=None)
    if series is None or series.axes != "YXS" or series.dtype != np.uint8 or series.shape[2] not in (3, 4):
        found = "nothing" if series is None else f"{series.dtype} with axes {series.axes} {series.shape}"
        msg = f"wanted an 8-bit RGB image, found {found}"
        raise SlideError(msg)
    pages = [page.aspage() for level in series.levels if (page := level.pages[0]) is not None]
    for page in pages:
        if page.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise SlideError(f"no decoder for its compression ({page.compression!r})")
        if int(np.prod(page.chunks)) > _LARGEST_SEGMENT:
            msg = f"stored in strips of {page.chunks[1]} x {page.chunks[0]} px, too large to decode piece by piece; save it tiled"
            raise SlideError(msg)
    return pages


def _refuse_cut_short(tiff: "TiffFile", pages: list["TiffPage"], lost: list[str]) -> None:
    end = max((o + b for p in pages for o, b in zip(p.dataoffsets, p.databytecounts, strict=True) if b), default=0)
    if end > tiff.filehandle.size:
        lost = [*lost, f"its pixels should end at byte {end}"]
    if lost:
        msg = f"cut short at byte {tiff.filehandle.size}: {'; '.join(lost)}; copy the file again"
        raise SlideError(msg)


@contextmanager
def _lost_pages() -> Iterator[list[str]]:
    """Hear of pages that lie beyond the end of the file: tifffile logs them and goes on with those before."""
    logger, lost = logging.getLogger("tifffile"), list[str]()

    def listen(record: logging.LogRecord) -> bool:
        said = re.search(r"invalid (offset to first page|page offset) \d+", record.getMessage())
        if said is None:
            return True
        lost.append(said.group())
        return False

    logger.addFilter(listen)
    try:
        yield lost
    finally:
        logger.removeFilter(listen)


def _stated_mpp(tiff: "TiffFile", page: "TiffPage") -> tuple[Mpp | None, str]:
    if tiff.is_svs:
        stated = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", page.description)
        return read_mpp(*([float(stated.group(1))] * 2 if stated else [None, None]))
    if tiff.is_ome:
        return read_mpp(*(_ome_length(tiff.ome_metadata or "", axis) for axis in "XY"))
    unit = page.tags.get("ResolutionUnit")
    if unit is None or int(unit.value) not in _UM_PER_UNIT or "XResolution" not in page.tags or "YResolution" not in page.tags:
        return read_mpp(None, None)
    lengths = [_um_a_pixel(page.tags[tag].value, _UM_PER_UNIT[int(unit.value)]) for tag in ("XResolution", "YResolution")]
    return read_mpp(*lengths)


def _um_a_pixel(pixels_a_unit: tuple[int, int], um: float) -> float | None:
    numerator, denominator = pixels_a_unit
    return um * denominator / numerator if numerator and denominator else None


def _ome_length(xml: str, axis: str) -> float | None:
    size = re.search(rf'PhysicalSize{axis}="([^"]+)"', xml)
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', xml)
    scale = _UM_PER_OME_UNIT.get(unit.group(1) if unit else "µm")
    return float(size.group(1)) * scale if size and scale else None


def _paste(out: np.ndarray, segment: np.ndarray, at: tuple[int, int]) -> None:
    x, y = at
    height, width = segment.shape[:2]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, out.shape[1]), min(y + height, out.shape[0])
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
