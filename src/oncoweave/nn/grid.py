"""Where tiles lie: cells of a slide's grid, their canonical order, and sine-cosine positions computed on the fly.

A cell is ``(x, y)``: the tile's top-left corner in tiles from the slide's own origin, rounded down. Positions follow the
masked autoencoder of He et al. (CVPR 2022): ``[e(y), e(x)]`` with ``e(t) = [sin(t w_k), cos(t w_k)]`` and ``w_k = 10000^(-4k /
dim)``; they are separable, so the million-row table that others store is never made.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_ROUNDING = 1 / 64
"""Corners lie on whole pixels, so a corner may miss its cell by a fraction of a pixel."""
_CROWDED = 4
"""Tiles a cell, on average, that no tiling makes."""


def cells(positions: Float[Tensor, "tile 2"], *, grid: int) -> Int64[Tensor, "tile 2"]:
    """Find the cells of one slide's tiles, given their corners in tiles.

    A section that lies beyond the grid, and fits into it, is moved to its origin: where it lies on the glass means nothing.

    Raises:
        ValueError: a corner is not finite or negative, the section is larger than the grid, or so many tiles share a cell that
            the unit must be wrong.
    """
    if not torch.isfinite(positions).all():
        row = int((~torch.isfinite(positions)).any(dim=1).nonzero()[0])
        msg = f"tile {row} has position {positions[row].tolist()}; every kept tile needs a finite (x, y)"
        raise ValueError(msg)
    found = torch.floor(positions.double() + _ROUNDING).long()
    if len(found) and int(found.min()) >= 0 and int(found.max()) >= grid:
        found = found - found.amin(dim=0)
    require_cells(found, grid=grid)
    occupied = len(torch.unique(found[:, 0] * grid + found[:, 1]))
    if len(found) > _CROWDED * occupied:
        msg = (
            f"{len(found)} tiles share {occupied} cells: positions are not in tiles; divide level-0 pixels by the tile's pitch"
            " (patch_size_level0), and do not normalise them to a range"
        )
        raise ValueError(msg)
    return found


def require_cells(found: Int64[Tensor, "tile 2"], *, grid: int) -> None:
    """Refuse cells outside ``0 .. grid - 1``.

    Raises:
        ValueError: names the first tile outside, its cell, and what to do.
    """
    outside = ((found < 0) | (found >= grid)).any(dim=1)
    if not outside.any():
        return
    row = int(outside.nonzero()[0])
    cell = tuple(found[row].tolist())
    if min(cell) < 0:
        fix = "count from the slide's own origin: subtract its smallest x and y"
    else:
        fix = (
            "divide level-0 pixels by the tile's pitch (patch_size_level0, less the overlap); if they are, the section is larger"
            " than what this encoder was trained for: take larger tiles or a lower resolution"
        )
    msg = f"tile {row} lies in cell (x, y) = {cell}, wanted 0 to {grid - 1}: {fix}"
    raise ValueError(msg)


def row_major(
    found: Int64[Tensor, "kept 2"], values: Float[Tensor, "tile dim"], kept: Int64[Tensor, " kept"]
) -> Int64[Tensor, " kept"]:
    """Order kept tiles by rows of the slide, from the top, each from the left; those of one cell by a sum of their values.

    Args:
        found: cell of each kept tile.
        values: all tiles of the slide's row in a batch.
        kept: which of them are kept.
    """
    if not len(kept):
        return kept
    key = found[:, 1] * (int(found.max()) + 1) + found[:, 0]
    order = torch.argsort(key, stable=True)
    same = key[order][1:] == key[order][:-1]
    if same.any():
        shared = torch.zeros_like(key, dtype=torch.bool)
        shared[order[1:][same]] = shared[order[:-1][same]] = True
        direction = torch.arange(
            1, values.shape[1] + 1, dtype=torch.float64, device=values.device
        ).sqrt()  # any uneven one will do
        content = torch.zeros(len(key), dtype=torch.float64, device=values.device)
        content[shared] = (values.detach()[kept[shared]].double() * direction).sum(dim=1)
        order = torch.argsort(content, stable=True)
        order = order[torch.argsort(key[order], stable=True)]
    return kept[order]


def sine_cosine(found: Int64[Tensor, "tile 2"], *, dim: int) -> Float[Tensor, "tile dim"]:
    """Compute each cell's position vector, in float64 and then rounded to float32.

    Raises:
        ValueError: ``dim`` is no multiple of four.
    """
    if dim % 4:
        msg = f"positions need a width that divides by 4, got {dim}"
        raise ValueError(msg)
    size = 1 + int(found.max()) if len(found) else 1
    steps = torch.arange(dim // 4, dtype=torch.float64, device=found.device)
    angle = torch.arange(size, dtype=torch.float64, device=found.device)[:, None] * 10000.0 ** (-4 * steps / dim)
    axis = torch.cat([angle.sin(), angle.cos()], dim=1).float()
    return torch.cat([axis[found[:, 1]], axis[found[:, 0]]], dim=1)
