"""Tiles read from slides as they are asked for; only their coordinates are kept."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from oncoweave.core.errors import ConfigError, SlideError
from oncoweave.train.tile_sources import UNLABELLED, Refusal, TileIndex, hash_of
from oncoweave.wsi.files import SlideFile, identity
from oncoweave.wsi.geometry import Mpp, Px0
from oncoweave.wsi.readers import Slide, open_slide, require_mpp
from oncoweave.wsi.tiling import TileRecipe, is_blurred, lay_tiles, read_tile

_REVISION = 1
"""Raised when equal recipes give other tiles."""
_OPEN = 32
"""Slides held open at once."""


class SlideTiles:
    """The tissue tiles of slides, each slide a group.

    A slide that cannot be opened or has no tissue is refused when the index is made; that a tile is out of focus is found when it
    is read.
    """

    def __init__(self, slides: Sequence[SlideFile], *, recipe: TileRecipe, reader: str = "auto") -> None:
        if recipe.stain != "none":
            msg = f"tiles are streamed as they are stained: wanted a recipe with stain none, got {recipe.stain!r}"
            raise ConfigError(msg)
        self.recipe = recipe
        self._reader = reader
        self._slides: list[SlideFile] = []
        self._geometry: list[tuple[Mpp, Px0]] = []
        self._open: OrderedDict[int, _Held] = OrderedDict()
        self._lock = Lock()
        refused: list[Refusal] = []
        corners: list[Int32[np.ndarray, "tile 2"]] = []
        for slide in slides:
            try:
                level0, side, found = self._lay(slide)
            except (SlideError, OSError) as error:
                refused.append(Refusal(what=slide.slide_id, reason=str(error)))
                continue
            self._slides.append(slide)
            self._geometry.append((level0, side))
            corners.append(found)
        self._corners = np.concatenate(corners) if corners else np.empty((0, 2), dtype=np.int32)
        counts = [len(c) for c in corners]
        self.index = TileIndex(
            group=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
            groups=tuple(s.slide_id for s in self._slides),
            label=np.full(sum(counts), UNLABELLED, dtype=np.int64),
            classes=(),
            fingerprint=hash_of([_REVISION, asdict(recipe), [(identity(s.path), s.mpp) for s in self._slides]]),
            refused=tuple(refused),
        )

    def read(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one tile at the recipe's resolution.

        Raises:
            SlideError: the slide cannot be decoded there, or the tile is out of focus.
        """
        group = int(self.index.group[number])
        level0, side = self._geometry[group]
        corner: Int64[np.ndarray, " 2"] = self._corners[number].astype(np.int64)
        with self._slide(group) as slide:
            tile = read_tile(slide, corner, side=side, recipe=self.recipe)
        if is_blurred(tile, level0=level0, recipe=self.recipe):
            msg = f"{self.index.groups[group]}: the tile at level-0 pixel {tuple(corner.tolist())} is out of focus"
            raise SlideError(msg)
        return tile

    def close(self) -> None:
        """Close all slides."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].slide.close()

    def _lay(self, slide: SlideFile) -> tuple[Mpp, Px0, Int32[np.ndarray, "tile 2"]]:
        source = open_slide(slide.path, reader=self._reader)
        try:
            level0 = require_mpp(source, declared=slide.mpp)
            tiling = lay_tiles(source, level0=level0, recipe=self.recipe)
        finally:
            source.close()
        if tiling.reason:
            raise SlideError(tiling.reason)
        return level0, tiling.side, tiling.coords.astype(np.int32)

    @contextmanager
    def _slide(self, group: int) -> Iterator[Slide]:
        """Hold a slide open; of those that no thread reads from, the one unused for longest is closed where too many are open."""
        with self._lock:
            if group not in self._open:
                self._open[group] = _Held(open_slide(self._slides[group].path, reader=self._reader))
            held = self._open[group]
            held.readers += 1
            self._open.move_to_end(group)
        try:
            yield held.slide
        finally:
            with self._lock:
                held.readers -= 1
                idle = [g for g, h in self._open.items() if not h.readers]
                for old in idle[: max(0, len(self._open) - _OPEN)]:
                    self._open.pop(old).slide.close()


@dataclass(slots=True)
class _Held:
    slide: Slide
    readers: int = 0
