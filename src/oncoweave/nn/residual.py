"""A small residual convolutional network over the patches of films and volumes, put back together (He et al., CVPR 2016).

Each stage halves the picture and doubles the channels until a patch is one cell. After every convolution what lies outside the
patches that are kept is set to zero again, and norms look at one cell's channels only, so that neither the box nor the other
patients of a batch can change a result.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.patches import kept_positions
from oncoweave.nn.pooling import masked_max, masked_mean
from oncoweave.nn.tokens import Tokens, require_shape


@ranged
class ResidualConfig:
    """Channels of the first stage, dropout before the output, and whether patches are returned beside the summary."""

    width: Count = 8
    """Channels of the first stage."""
    dropout: Rate = 0.1
    """Before the output, in training."""
    patches: bool = False
    """Whether patches are returned beside the summary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchShape:
    """What a token is a patch of."""

    cells: tuple[int, int, int]
    """Pixels along each axis of a token as its values are laid out; 1 along an axis that nothing is folded along."""
    axes: tuple[int, int, int] = (0, 1, 2)
    """Which number of a token's position each of them runs along."""

    @property
    def side(self) -> int:
        """Pixels along the axes that are folded."""
        return max(self.cells)

    def per_axis(self, number: int, otherwise: int) -> tuple[int, int, int]:
        """A number for the axes that are folded, another for the rest."""
        first, second, third = (number if n > 1 else otherwise for n in self.cells)
        return first, second, third


class ResidualNetwork(nn.Module):
    """One summary token a patient, of mean and maximum over the kept patches, and one a kept patch where asked for."""

    def __init__(self, config: ResidualConfig, *, shape: PatchShape, dim_out: int) -> None:
        super().__init__()
        self.shape = shape
        channels = [1, *(config.width * 2**i for i in range(shape.side.bit_length() - 1))]
        self.stages = nn.ModuleList(Stage(a, b, shape=shape) for a, b in pairwise(channels))
        self.norm = nn.LayerNorm(channels[-1])
        self.summary = nn.Sequential(Dropout(config.dropout), nn.Linear(2 * channels[-1], dim_out))
        self.cube = nn.Linear(channels[-1], dim_out) if config.patches else None

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept patches."""
        first, second, third = self.shape.cells
        require_shape(tokens, dim=first * second * third)
        cells, grid = _cells(tokens, self.shape.axes)
        picture, inside = _fold(tokens, cells, grid=grid, shape=self.shape.cells)
        for number, stage in enumerate(self.stages, start=1):
            picture = stage(picture, _finer(inside, self.shape.per_axis(self.shape.side >> number, 1)))
        flat = picture.flatten(start_dim=2).transpose(1, 2)
        patches = self.norm(flat.gather(1, cells.clamp(max=flat.shape[1] - 1).unsqueeze(-1).expand(-1, -1, flat.shape[2])))
        pooled = torch.cat([masked_mean(patches, tokens.keep), masked_max(patches, tokens.keep)], dim=1)
        values, keep = self.summary(pooled).unsqueeze(1), tokens.present.unsqueeze(1)
        if self.cube is not None:
            values, keep = torch.cat([values, self.cube(patches)], dim=1), torch.cat([keep, tokens.keep], dim=1)
        return Tokens(values=torch.where(keep.unsqueeze(-1), values, 0.0), keep=keep)


class Stage(nn.Module):
    """A convolution that halves the picture along the axes that are folded, and one residual unit; outside stays zero."""

    def __init__(self, channels_in: int, channels: int, *, shape: PatchShape) -> None:
        super().__init__()
        kernel, padding = shape.per_axis(3, 1), shape.per_axis(1, 0)
        self.down = Convolution(channels_in, channels, kernel, stride=shape.per_axis(2, 1), padding=padding)
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in range(2))
        self.convolutions = nn.ModuleList(Convolution(channels, channels, kernel, padding=padding) for _ in range(2))

    def forward(
        self, x: Float[Tensor, "batch channel x y z"], inside: Bool[Tensor, "batch 1 half_x half_y half_z"]
    ) -> Float[Tensor, "batch wide half_x half_y half_z"]:
        """Halve and transform."""
        x = torch.where(inside, self.down(x), 0.0)
        branch = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            branch = torch.where(inside, convolution(torch.where(inside, functional.gelu(norm(branch)), 0.0)), 0.0)
        return x + branch


class Convolution(nn.Conv3d):
    """A convolution in three axes; one that is flat along the last is done in two, which takes a processor half the time."""

    def forward(self, x: Float[Tensor, "batch channel x y z"]) -> Float[Tensor, "batch wide x2 y2 z2"]:
        """Convolve."""
        if self.kernel_size[2] > 1:
            return super().forward(x)
        slices = x.movedim(-1, 1).flatten(0, 1)
        made = functional.conv2d(
            slices, self.weight.squeeze(-1), self.bias, stride=self.stride[:2], padding=tuple(int(n) for n in self.padding[:2])
        )
        return made.unflatten(0, (len(x), x.shape[-1])).movedim(1, -1)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "batch channel x y z"]) -> Float[Tensor, "batch channel x y z"]:
        """Normalise."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def side_of(dim_in: int, *, axes: int) -> int:
    """Give the side of the squares (2 axes) or cubes (3) that tokens of a width are.

    Raises:
        ValueError: they are none whose side is a power of two, two at least.
    """
    side = round(dim_in ** (1 / axes))
    if side**axes != dim_in or side < 2 or side & (side - 1):
        what = "cubes of 2, 4, 8 ... voxels" if axes == 3 else "squares of 2, 4, 8 ... pixels"
        other = "name volume_vit, which takes any" if axes == 3 else "name film_vit, which takes any"
        msg = f"wanted tokens that are {what} a side, got width {dim_in}; set 'patch' in the preparation, or {other} (encoders)"
        raise ValueError(msg)
    return side


def _cells(tokens: Tokens, axes: tuple[int, int, int]) -> tuple[Int64[Tensor, "batch token"], tuple[int, int, int]]:
    """Number each kept token's cell in the smallest grid that holds all; those not kept get the number after the last."""
    places = kept_positions(tokens).round().long()[..., list(axes)]
    x, y, z = (int(n) + 1 for n in places.amax(dim=(0, 1)))
    cells = (places[..., 0] * y + places[..., 1]) * z + places[..., 2]
    return torch.where(tokens.keep, cells, x * y * z), (x, y, z)


def _fold(
    tokens: Tokens, cells: Int64[Tensor, "batch token"], *, grid: tuple[int, int, int], shape: tuple[int, int, int]
) -> tuple[Float[Tensor, "batch 1 x y z"], Bool[Tensor, "batch 1 cell_x cell_y cell_z"]]:
    """Put patches back into a picture, and say which cells hold one."""
    (x, y, z), (a, b, c) = grid, shape
    empty = tokens.values.new_zeros(len(cells), x * y * z + 1, a * b * c)
    filled = empty.scatter(1, cells.unsqueeze(-1).expand_as(tokens.values), tokens.clean)[:, :-1]
    picture = filled.unflatten(2, shape).unflatten(1, grid).permute(0, 1, 4, 2, 5, 3, 6)
    held = torch.zeros_like(empty[..., 0], dtype=torch.bool).scatter(1, cells, tokens.keep)[:, :-1]
    return picture.reshape(len(cells), 1, x * a, y * b, z * c), held.unflatten(1, grid).unsqueeze(1)


def _finer(inside: Bool[Tensor, "batch 1 x y z"], times: tuple[int, int, int]) -> Bool[Tensor, "batch 1 fine_x fine_y fine_z"]:
    for axis, number in enumerate(times, start=2):
        inside = inside.repeat_interleave(number, dim=axis)
    return inside
