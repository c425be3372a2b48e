"""TransMIL: tiles attend to each other, and a convolution over the slide's grid says where they lie (Shao et al., NeurIPS 2021).

A class token and all tiles go through two attention layers without feed-forward parts; after the first, each tile adds depthwise
7 x 7, 5 x 5 and 3 x 3 convolutions of its neighbours. Departures: attention is exact where the paper approximates it (Nystroem),
and the convolution sees the true grid of each slide where the paper folds the sequence of tiles into a square, so that the result
does not depend on the order of the tiles. Variant ``abmil`` reads the tiles out by gated attention with a shortcut from the tiles
themselves, as the subtyping head of Prov-GigaPath (Xu et al., Nature 2024).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.grid import cells
from oncoweave.nn.pooling import ShortcutPool, summary
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
ORDER_INVARIANT = True

_KERNELS = (7, 5, 3)
_GRID = 2048
"""Cells a side that positions may have; more means that they are in another unit than tiles."""


@ranged
class Config:
    """Size of the layers, and what is read out."""

    width: Count = 512
    """Of the tokens."""
    depth: Count = 2
    """Layers."""
    heads: Count = 8
    """Of the attention; must divide the width."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    readout: Literal["class", "abmil"] = "class"
    """The class token, or gated attention over contextual tiles with a shortcut from the tiles."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "abmil": Config(readout="abmil"),
    "tiny": Config(width=16, heads=2, dropout=0.0),
}


class TransMIL(nn.Module):
    """One token a patient."""

    INPUT = ("embed", "cls_token")

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in = dim_in
        self.embed = nn.Sequential(nn.Linear(dim_in, config.width), nn.ReLU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config, places=index == 0) for index in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.pool = None
        if config.readout == "abmil":
            self.pool = ShortcutPool(config.width, dim_tile=dim_in, hidden=config.width // 2, dropout=config.dropout)
        self.out = nn.Linear(config.width, dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept tiles.

        Raises:
            ValueError: the tokens have no positions, or these are not in tiles.
        """
        require_shape(tokens, dim=self.dim_in)
        if tokens.positions is None:
            raise ValueError("transmil needs the tiles' positions (x and y in tiles, number of the slide); they are None")
        tiles = tokens.clean
        x = torch.cat([self.cls_token.expand(len(tiles), -1, -1), self.embed(tiles)], dim=1)
        keep = functional.pad(tokens.keep, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, keep=keep, positions=tokens.positions)
        x = self.norm(x)
        pooled = x[:, 0] if self.pool is None else self.pool(x[:, 1:], tiles, tokens.keep)
        return summary(self.out(pooled), tokens.present)


class Block(nn.Module):
    """Pre-norm attention; the first one is followed by the convolution that tells tiles where they lie."""

    def __init__(self, config: Config, *, places: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = MultiheadAttention(config.width, heads=config.heads)
        self.drop = Dropout(config.dropout)
        self.places = GridConvolution(config.width) if places else None

    def forward(
        self,
        x: Float[Tensor, "batch sequence dim"],
        *,
        keep: Bool[Tensor, "batch sequence"],
        positions: Float[Tensor, "batch token axis"],
    ) -> Float[Tensor, "batch sequence dim"]:
        """Mix the class token and the kept tiles."""
        normed = self.norm(x)
        x = x + self.drop(self.attention(normed, normed, keep=keep))
        if self.places is None:
            return x
        return torch.cat([x[:, :1], x[:, 1:] + self.places(x[:, 1:], keep=keep[:, 1:], positions=positions)], dim=1)


class GridConvolution(nn.Module):
    """Depthwise convolutions of three sizes over the tiles of each slide, each in its cell of the slide's grid.

    Cells without a tile count as zeros. Tiles that share a cell are averaged there.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv2d(dim, dim, kernel_size=size, groups=dim) for size in _KERNELS)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        *,
        keep: Bool[Tensor, "batch token"],
        positions: Float[Tensor, "batch token axis"],
    ) -> Float[Tensor, "batch token dim"]:
        """Return what each tile's neighbourhood adds to it; zeros where nothing is kept."""
        kernel, bias = (part.to(x.dtype) for part in self._sum())
        rows, index, parts = [], [], []
        for row in range(len(x)):
            for slide in positions[row, keep[row], 2].unique():
                here = (keep[row] & (positions[row, :, 2] == slide)).nonzero().squeeze(1)
                parts.append(_convolve(x[row, here], *_cells(positions[row, here, :2]), kernel, bias))
                rows.append(torch.full_like(here, row))
                index.append(here)
        if not parts:
            return torch.zeros_like(x)
        return torch.zeros_like(x).index_put((torch.cat(rows), torch.cat(index)), torch.cat(parts))

    def _sum(self) -> tuple[Float[Tensor, "dim 1 side side"], Float[Tensor, " dim"]]:
        """Add up kernels and biases: three convolutions of one image are the convolution with their sum."""
        names = [f"kernels.{number}" for number in range(len(_KERNELS))]
        margins = [(_KERNELS[0] - size) // 2 for size in _KERNELS]
        weights = [functional.pad(self.get_parameter(f"{n}.weight"), [m] * 4) for n, m in zip(names, margins, strict=True)]
        return torch.stack(weights).sum(dim=0), torch.stack([self.get_parameter(f"{n}.bias") for n in names]).sum(dim=0)


def _convolve(
    tiles: Float[Tensor, "token dim"],
    place: Int[Tensor, " token"],
    shape: tuple[int, int],
    kernel: Float[Tensor, "dim 1 side side"],
    bias: Float[Tensor, " dim"],
) -> Float[Tensor, "token dim"]:
    """Lay one slide's tiles on their grid, convolve it, and take each tile's cell."""
    cells, dim = shape[0] * shape[1], tiles.shape[1]
    count = tiles.new_zeros(cells).index_add(0, place, tiles.new_ones(len(place))).clamp(min=1)
    grid = tiles.new_zeros(cells, dim).index_add(0, place, tiles) / count.unsqueeze(1)
    mixed = functional.conv2d(grid.T.reshape(1, dim, *shape), kernel, bias, padding=kernel.shape[-1] // 2, groups=dim)
    return mixed.flatten(2)[0].T[place]


def _cells(xy: Float[Tensor, "token 2"]) -> tuple[Int[Tensor, " token"], tuple[int, int]]:
    """Number the cell of each tile within the slide's bounding box; returns the box's width and height in tiles too."""
    cell = cells(xy, grid=_GRID)
    cell = cell - cell.amin(dim=0)
    width, height = (int(side) + 1 for side in cell.amax(dim=0))
    return cell[:, 0] * height + cell[:, 1], (width, height)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tiles may be any."""
    del num_tokens
    return TransMIL(config, dim_in=dim_in, dim_out=dim_out)
