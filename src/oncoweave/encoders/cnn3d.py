"""A small residual 3-D convolutional network on the cubes of a volume, put back together (units of He et al., CVPR 2016).

Each stage halves the volume and doubles the channels until a cube is one voxel. After every convolution what lies outside the
scan is set to zero again, and norms look at one voxel's channels only, so that neither the box nor the other scans of a batch can
change a result. Mean and maximum over the cubes inside the scan are the patient's; the variant ``tokens`` also returns each cube.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Rate
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.patches import kept_positions
from oncoweave.nn.pooling import masked_max, masked_mean
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("volume",)
ORDER_INVARIANT = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Channels of the first stage, dropout before the output, and whether cubes are returned beside the summary."""

    width: Count = 8
    """Channels of the first stage."""
    dropout: Rate = 0.1
    """Before the output, in training."""
    patches: bool = False
    """Whether cubes are returned beside the summary."""


VARIANTS: dict[str, Config] = {
    "small": Config(),
    "tokens": Config(patches=True),
    "tiny": Config(width=2, dropout=0.0),
}


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each voxel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "batch channel x y z"]) -> Float[Tensor, "batch channel x y z"]:
        """Normalise."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Stage(nn.Module):
    """A convolution that halves the volume, and one residual unit; what is not inside stays zero."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv3d(channels_in, channels, kernel_size=3, stride=2, padding=1)
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv3d(channels, channels, kernel_size=3, padding=1) for _ in range(2))

    def forward(
        self, x: Float[Tensor, "batch channel x y z"], inside: Bool[Tensor, "batch 1 half_x half_y half_z"]
    ) -> Float[Tensor, "batch wide half_x half_y half_z"]:
        """Halve and transform."""
        x = torch.where(inside, self.down(x), 0.0)
        branch = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            branch = torch.where(inside, convolution(torch.where(inside, functional.gelu(norm(branch)), 0.0)), 0.0)
        return x + branch


class ResidualNetwork(nn.Module):
    """One summary token a patient, and one a kept cube where asked for."""

    def __init__(self, config: Config, *, side: int, dim_out: int) -> None:
        super().__init__()
        self.side = side
        self.patches = config.patches
        channels = [1, *(config.width * 2**i for i in range(side.bit_length() - 1))]
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairwise(channels))
        self.norm = nn.LayerNorm(channels[-1])
        self.summary = nn.Sequential(Dropout(config.dropout), nn.Linear(2 * channels[-1], dim_out))
        self.cube = nn.Linear(channels[-1], dim_out) if config.patches else None

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept cubes."""
        require_shape(tokens, dim=self.side**3)
        cells, grid = _cells(tokens)
        volume, inside = _fold(tokens, cells, grid=grid, side=self.side)
        for number, stage in enumerate(self.stages, start=1):
            volume = stage(volume, _finer(inside, self.side >> number))
        flat = volume.flatten(start_dim=2).transpose(1, 2)
        cubes = self.norm(flat.gather(1, cells.clamp(max=flat.shape[1] - 1).unsqueeze(-1).expand(-1, -1, flat.shape[2])))
        pooled = torch.cat([masked_mean(cubes, tokens.keep), masked_max(cubes, tokens.keep)], dim=1)
        values, keep = self.summary(pooled).unsqueeze(1), tokens.present.unsqueeze(1)
        if self.cube is not None:
            values, keep = torch.cat([values, self.cube(cubes)], dim=1), torch.cat([keep, tokens.keep], dim=1)
        return Tokens(values=torch.where(keep.unsqueeze(-1), values, 0.0), keep=keep)


def _cells(tokens: Tokens) -> tuple[Int64[Tensor, "batch token"], tuple[int, int, int]]:
    """Number each kept token's cell in the smallest grid that holds all; those not kept get the number after the last."""
    places = kept_positions(tokens).round().long()
    x, y, z = (int(n) + 1 for n in places.amax(dim=(0, 1)))
    cells = (places[..., 0] * y + places[..., 1]) * z + places[..., 2]
    return torch.where(tokens.keep, cells, x * y * z), (x, y, z)


def _fold(
    tokens: Tokens, cells: Int64[Tensor, "batch token"], *, grid: tuple[int, int, int], side: int
) -> tuple[Float[Tensor, "batch 1 x y z"], Bool[Tensor, "batch 1 cell_x cell_y cell_z"]]:
    """Put cubes back into a volume, and say which cells hold one."""
    x, y, z = grid
    empty = tokens.values.new_zeros(len(cells), x * y * z + 1, side**3)
    filled = empty.scatter(1, cells.unsqueeze(-1).expand_as(tokens.values), tokens.clean)[:, :-1]
    volume = filled.unflatten(2, (side, side, side)).unflatten(1, grid).permute(0, 1, 4, 2, 5, 3, 6)
    held = torch.zeros_like(empty[..., 0], dtype=torch.bool).scatter(1, cells, tokens.keep)[:, :-1]
    return volume.reshape(len(cells), 1, x * side, y * side, z * side), held.unflatten(1, grid).unsqueeze(1)


def _finer(inside: Bool[Tensor, "batch 1 x y z"], times: int) -> Bool[Tensor, "batch 1 fine_x fine_y fine_z"]:
    for axis in (2, 3, 4):
        inside = inside.repeat_interleave(times, dim=axis)
    return inside


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of cubes may be any.

    Raises:
        ValueError: tokens are not cubes whose side is a power of two, two at least.
    """
    del num_tokens
    side = round(dim_in ** (1 / 3))
    if side**3 != dim_in or side < 2 or side & (side - 1):
        msg = f"wanted tokens that are cubes of 2, 4, 8 ... voxels a side, got width {dim_in}"
        raise ValueError(msg)
    return ResidualNetwork(config, side=side, dim_out=dim_out)
