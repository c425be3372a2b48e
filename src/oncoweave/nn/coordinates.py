"""Another view of a slide's tiles: a window of the section, moved and mirrored on the grid; features stay as they are.

Cells are whole tiles ``(x, y)`` from the slide's origin. All draws come from a generator, and their number does not depend on the
slide, so that one slide's view cannot move another's.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideView:
    """How a slide is seen in pretraining; the defaults are Prov-GigaPath's (Xu et al. 2024), as far as published.

    The paper gives the crop ratio, the shift and the flip without saying of what the ratio is taken; here it is of each side of
    the box around the tissue.
    """

    crop: float = 0.875
    """Sides of the window as a share of the sides of the box around the tissue; 1 keeps every tile."""
    flip: float = 0.5
    """Probability of being mirrored left to right."""
    grid: int = 1000
    """Cells along a side of the grid in which the view is shifted, uniformly over the places where it fits."""

    def __post_init__(self) -> None:
        """Refuse a view that cannot be drawn."""
        if not (0 < self.crop <= 1 and 0 <= self.flip <= 1 and self.grid >= 1):
            msg = f"wanted crop above 0 and up to 1, flip from 0 to 1 and grid >= 1, got {self}"
            raise ValueError(msg)


def draw_view(
    cells: Int64[Tensor, "tile 2"], view: SlideView, generator: torch.Generator
) -> tuple[Int64[Tensor, "kept 2"], Int64[Tensor, " kept"]]:
    """Draw one view: crop, then flip, then shift. Returns the cells of the tiles kept, and which tiles these are.

    Raises:
        ValueError: there is no tile, or what is kept is larger than the grid.
    """
    if not len(cells):
        msg = "a slide without tiles cannot be viewed"
        raise ValueError(msg)
    toss = torch.rand(5, generator=generator, dtype=torch.float64)
    kept = torch.nonzero(inside_window(cells, ratio=view.crop, place=toss[:2]))[:, 0]
    seen = cells[kept]
    if toss[2] < view.flip:
        seen = mirrored(seen)
    return shifted(seen, grid=view.grid, place=toss[3:]), kept


def inside_window(cells: Int64[Tensor, "tile 2"], *, ratio: float, place: Tensor) -> Bool[Tensor, " tile"]:
    """Mark the tiles inside a window whose sides are ``ratio`` times the sides of the box around all tiles.

    Sides are rounded to whole cells, one at least. ``place`` (two numbers from 0 to 1) says where the window lies among those
    that fit. Where no tissue lies inside, the window is the one around the tile nearest to its middle.
    """
    low, sides = _box(cells)
    window = (sides.double() * ratio).round().long().clamp(min=1)
    corner = low + _pick(place, sides - window + 1)
    inside = ((cells >= corner) & (cells < corner + window)).all(dim=1)
    if inside.any():
        return inside
    nearest = cells[(cells - corner - window // 2).abs().amax(dim=1).argmin()]
    corner = nearest - window // 2
    return ((cells >= corner) & (cells < corner + window)).all(dim=1)


def nearest_tiles(cells: Int64[Tensor, "tile 2"], *, count: int, place: Tensor) -> Int64[Tensor, " kept"]:
    """List the ``count`` tiles nearest to one tile (larger of the two distances; ties by order), in their order in ``cells``.

    ``place`` (one number from 0 to 1) picks the tile in the middle.
    """
    middle = cells[_pick(place, torch.tensor([len(cells)]))[0]]
    distance = (cells - middle).abs().amax(dim=1)
    return torch.argsort(distance, stable=True)[:count].sort().values


def mirrored(cells: Int64[Tensor, "tile 2"]) -> Int64[Tensor, "tile 2"]:
    """Mirror left to right inside the slide's own columns."""
    x = cells[:, 0]
    return torch.stack([x.min() + x.max() - x, cells[:, 1]], dim=1)


def shifted(cells: Int64[Tensor, "tile 2"], *, grid: int, place: Tensor) -> Int64[Tensor, "tile 2"]:
    """Move to a place inside a grid of ``grid`` x ``grid`` cells; ``place`` (two numbers from 0 to 1) says where.

    Raises:
        ValueError: the section is larger than the grid.
    """
    low, sides = _box(cells)
    if (sides > grid).any():
        msg = (
            f"the section spans {sides.tolist()} tiles (x, y), more than the grid of {grid} a side; check that its coordinates"
            " are level-0 pixels and its tile size is right, or take a larger grid"
        )
        raise ValueError(msg)
    return cells - low + _pick(place, grid - sides + 1)


def _box(cells: Int64[Tensor, "tile 2"]) -> tuple[Int64[Tensor, "2"], Int64[Tensor, "2"]]:
    low = cells.amin(dim=0)
    return low, cells.amax(dim=0) - low + 1


def _pick(place: Tensor, choices: Int64[Tensor, " _"]) -> Int64[Tensor, " _"]:
    """Turn numbers from 0 to 1 into indices, each of as many choices."""
    return torch.minimum((place.double() * choices).long(), choices - 1)
