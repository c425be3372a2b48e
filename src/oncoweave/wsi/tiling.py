"""Tiles of a slide: which places are worth reading at a target resolution, with the share of tissue in each."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from oncoweave.core.errors import ConfigError, SlideError
from oncoweave.wsi.geometry import Box0, Mpp, Px0, TilePx, check_mpp, grid, px0_to_um, tile_to_px0
from oncoweave.wsi.image import read_box, read_thumbnail
from oncoweave.wsi.quality import QualityRecipe, blood_mask, fold_mask, pen_mask, sharpness
from oncoweave.wsi.readers import Slide
from oncoweave.wsi.tissue import TissueRecipe, find_tissue, glass_colour, large_pieces, optical_density

Stain = Literal["none", "macenko", "reinhard"]

_SHARPNESS_MPP = 0.5
_LARGEST_THUMBNAIL = 50_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TileRecipe:
    """How a slide is cut into tiles."""

    mpp: float = 0.5
    """Resolution of the tiles, um/px."""
    tile: int = 256
    """Side of a tile in its own pixels."""
    overlap: float = 0.0
    """Share of a tile's side that neighbours have in common."""
    min_tissue: float = 0.25
    """Share of a tile that must be tissue."""
    stain: Stain = "none"
    """Stain normalisation, fitted once a slide."""
    tissue: TissueRecipe = field(default_factory=TissueRecipe)
    quality: QualityRecipe = field(default_factory=QualityRecipe)

    def __post_init__(self) -> None:
        """Refuse what cannot be cut."""
        check_mpp(self.mpp, what="resolution of the tiles (--mpp)")
        check_mpp(self.tissue.mpp, what="resolution of the tissue mask")
        if self.tile < 8:
            msg = f"side of a tile (--tile): wanted at least 8 px, got {self.tile}"
            raise ConfigError(msg)
        if not 0 <= self.overlap < 1:
            msg = f"overlap of tiles: wanted a share of the side, 0 <= overlap < 1, got {self.overlap}"
            raise ConfigError(msg)
        if not 0 < self.min_tissue <= 1:
            msg = f"share of tissue a tile needs: wanted 0 < share <= 1, got {self.min_tissue}"
            raise ConfigError(msg)
        if self.stain not in ("none", "macenko", "reinhard"):
            msg = f"stain normalisation: wanted none, macenko or reinhard, got {self.stain!r}"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """A slide at low resolution, and what was found on it."""

    thumbnail: UInt8[np.ndarray, "height width 3"]
    mpp: Mpp
    tissue: Bool[np.ndarray, "height width"]
    pen: Bool[np.ndarray, "height width"]
    blood: Bool[np.ndarray, "height width"]
    fold: Bool[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """The tiles of a slide that are worth reading, before any is read."""

    coords: Int64[np.ndarray, "tile 2"]
    """Top-left corners ``(x, y)`` in level-0 pixels."""
    tissue_fraction: Float32[np.ndarray, " tile"]
    side: Px0
    """Exact side of a tile in level-0 pixels."""
    stride: int
    level0: Mpp
    overview: Overview
    dropped: dict[str, Int64[np.ndarray, "_ 2"]]
    """Corners of tiles with enough tissue that were left out, by artefact."""
    reason: str
    """Why there is no tile; empty where there are some."""


def survey(slide: Slide, *, level0: Mpp, recipe: TileRecipe) -> Overview:
    """Look at the slide as a whole: tissue, pen, blood, folds.

    Raises:
        SlideError: the slide cannot be decoded.
    """
    area = slide.dimensions[0] * slide.dimensions[1]
    smallest = level0 * (area / _LARGEST_THUMBNAIL) ** 0.5
    mpp = Mpp(max(recipe.tissue.mpp, level0, smallest))
    thumbnail = read_thumbnail(slide, level0=level0, target=mpp)
    density = optical_density(thumbnail, glass_colour(thumbnail))
    nothing = np.zeros(density.shape[:2], dtype=bool)
    pen = large_pieces(pen_mask(density), smallest=recipe.quality.pen_um2 / mpp**2) if recipe.quality.pen else nothing
    tissue = find_tissue(density, mpp=mpp, recipe=recipe.tissue, exclude=_widened(pen))
    blood = blood_mask(density) & tissue if recipe.quality.blood else nothing
    fold = fold_mask(density, tissue, recipe=recipe.quality) if recipe.quality.fold else nothing
    return Overview(thumbnail=thumbnail, mpp=mpp, tissue=tissue, pen=pen, blood=blood, fold=fold)


def lay_tiles(slide: Slide, *, level0: Mpp, recipe: TileRecipe) -> Tiling:
    """Lay a grid over the slide and keep the tiles with enough tissue and no artefact.

    The grid starts at the slide's origin; its stride is the tile's side less the overlap, rounded to whole level-0 pixels.

    Raises:
        SlideError: the slide cannot be decoded.
    """
    overview = survey(slide, level0=level0, recipe=recipe)
    side = tile_to_px0(TilePx(recipe.tile), target=Mpp(recipe.mpp), level0=level0)
    stride = max(1, round(side * (1 - recipe.overlap)))
    corners = grid(slide.dimensions, side=side, stride=stride)

    def share(mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, " tile"]:
        return covered(mask, corners, side=side, pixel=Px0(overview.mpp / level0))

    tissue = share(overview.tissue)
    enough = tissue >= recipe.min_tissue
    held = np.maximum(tissue, 1e-9)
    found = {
        "pen": share(overview.pen) >= recipe.quality.pen_share,
        "blood": share(overview.blood) >= recipe.quality.blood_share * held,
        "fold": share(overview.fold) >= recipe.quality.fold_share * held,
    }
    kept = enough.copy()
    dropped = {}
    for name, gone in found.items():
        if (kept & gone).any():
            dropped[name] = corners[kept & gone]
        kept &= ~gone
    return Tiling(
        coords=corners[kept],
        tissue_fraction=tissue[kept].astype(np.float32),
        side=side,
        stride=stride,
        level0=level0,
        overview=overview,
        dropped=dropped,
        reason="" if kept.any() else _why_none(slide, overview, tissue, side=side, recipe=recipe, dropped=dropped),
    )


def covered(
    mask: Bool[np.ndarray, "height width"], corners: Int64[np.ndarray, "tile 2"], *, side: Px0, pixel: Px0
) -> Float[np.ndarray, " tile"]:
    """Share of each square that a mask covers, exact at fractions of a mask pixel (``pixel`` level-0 pixels wide).

    The integral image of a mask that is constant on each pixel is bilinear between its corners, so interpolating it is exact.
    """
    height, width = mask.shape
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    x0, y0 = corners[:, 0] / pixel, corners[:, 1] / pixel
    x1, y1 = x0 + side / pixel, y0 + side / pixel

    def up_to(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        i, j = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
        u, v = x - i, y - j
        upper = table[j, i] * (1 - u) + table[j, i + 1] * u
        lower = table[j + 1, i] * (1 - u) + table[j + 1, i + 1] * u
        return upper * (1 - v) + lower * v

    total = up_to(x1, y1) - up_to(x0, y1) - up_to(x1, y0) + up_to(x0, y0)
    return np.clip(total / (side / pixel) ** 2, 0, 1)


def read_tile(
    slide: Slide, corner: Int64[np.ndarray, " 2"], *, side: Px0, recipe: TileRecipe
) -> UInt8[np.ndarray, "height width 3"]:
    """Read one tile at the target resolution.

    Raises:
        SlideError: the file cannot be decoded there.
    """
    box = Box0(x=Px0(float(corner[0])), y=Px0(float(corner[1])), width=side, height=side)
    return read_box(slide, box, size=(recipe.tile, recipe.tile))


def is_blurred(tile: UInt8[np.ndarray, "height width 3"], *, level0: Mpp, recipe: TileRecipe) -> bool:
    """Judge a tile's focus, at 0.5 um/px or the slide's own resolution, whichever is coarser."""
    if not recipe.quality.blur:
        return False
    reduce = max(1, round(max(_SHARPNESS_MPP, level0) / recipe.mpp))
    return min(tile.shape[:2]) // reduce > 2 and sharpness(tile, reduce=reduce) < recipe.quality.sharpness


def none_left(*, blurred: int) -> SlideError:
    """Build the error for a slide of which every tile turned out blurred."""
    return SlideError(f"no tile is left: all {blurred} with tissue are blurred; look at the preview, and see --no-blur")


def _widened(pen: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pen with the pale rim of a stroke, two pixels of the thumbnail wide."""
    from scipy import ndimage

    return ndimage.binary_dilation(pen, structure=np.ones((5, 5), dtype=bool))


def _why_none(
    slide: Slide,
    overview: Overview,
    tissue: Float[np.ndarray, " tile"],
    *,
    side: Px0,
    recipe: TileRecipe,
    dropped: dict[str, np.ndarray],
) -> str:
    width, height = slide.dimensions
    if not len(tissue):
        return (
            f"no tile: the slide has {width} x {height} px, less than one tile of {recipe.tile} px at {recipe.mpp:g} um/px,"
            f" which is {side:.1f} level-0 px ({px0_to_um(side, level0=Mpp(recipe.mpp * recipe.tile / side)):.0f} um); see --tile"
        )
    if not overview.tissue.any():
        inked = f"; {overview.pen.mean():.1%} of it is pen" if overview.pen.any() else ""
        return f"no tile: no tissue found on a thumbnail of {overview.mpp:g} um/px{inked}; look at the preview"
    if dropped:
        gone = ", ".join(f"{len(corners)} {name}" for name, corners in dropped.items())
        return f"no tile: every tile with enough tissue was dropped as an artefact ({gone}); see --no-{next(iter(dropped))}"
    return (
        f"no tile: tissue covers {overview.tissue.mean():.1%} of the slide, but at most {tissue.max():.1%} of any tile, and"
        f" {recipe.min_tissue:.0%} is wanted; see --min-tissue"
    )
