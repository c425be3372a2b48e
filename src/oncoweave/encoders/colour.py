"""Colour and texture statistics of a tile: no weights, no download, the same numbers everywhere.

A baseline that any learnt tile encoder has to beat. Colour is measured as optical density (Beer-Lambert) in red, green and blue
and as haematoxylin, eosin and residual (Ruifrok and Johnston 2001); texture by gradients at three scales and by local binary
patterns (Ojala et al. 2002, eight neighbours, rotation-invariant uniform) at two.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.core.ranges import Number
from oncoweave.core.settings import ranged

KINDS = ("tile",)
REVISION = 1
"""Raised when the numbers change; part of the encoder's fingerprint."""

_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


@ranged
class Config:
    """How many scales are measured."""

    gradient_scales: Number = 3
    """Scales at which edges are measured."""
    pattern_scales: Number = 2
    """Scales at which local patterns are counted."""


VARIANTS = {"plain": Config(), "tiny": Config(gradient_scales=1, pattern_scales=1)}


class ColourStatistics(nn.Module):
    """Statistics of RGB tiles with values from 0 to 1; ``names`` says what each column is."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        stains = torch.tensor(_STAINS)
        self.register_buffer("unmix", torch.linalg.inv(stains / stains.norm(dim=1, keepdim=True)), persistent=False)
        self.names = _names(config)
        self.dim = len(self.names)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Measure a batch of tiles, one by one: a tile's planes fit a processor's cache and a batch's do not."""
        return torch.cat([self._measure(image) for image in images.split(1)])

    def _measure(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        density = -torch.log10(images.clamp(1 / 255, 1))
        stains = torch.einsum("bchw,cs->bshw", density, self.unmix.to(density.dtype))
        planes = torch.cat([density, stains], dim=1)
        mean = density.mean(dim=1, keepdim=True)
        columns = [planes.mean(dim=(2, 3)), planes.std(dim=(2, 3), correction=0), _correlations(density)]
        pixels = images.shape[2] * images.shape[3]
        columns += [torch.count_nonzero(stains[:, :2] > level, dim=(2, 3)).to(density.dtype) / pixels for level in _LEVELS]
        for scale in range(max(self.config.gradient_scales, self.config.pattern_scales)):
            plane = mean if scale == 0 else F.avg_pool2d(mean, 2**scale)
            if scale < self.config.gradient_scales:
                columns.append(_gradients(plane))
            if scale < self.config.pattern_scales:
                columns.append(_patterns(plane))
        return torch.cat(columns, dim=1)


def build(config: Config) -> ColourStatistics:
    """Build the encoder."""
    return ColourStatistics(config)


def _correlations(density: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3"]:
    centred = density - density.mean(dim=(2, 3), keepdim=True)
    norm = centred.square().sum(dim=(2, 3)).sqrt()
    pairs = [(0, 1), (0, 2), (1, 2)]
    # the floor turns the 0 / 0 of a tile of one colour into "not correlated"
    return torch.stack(
        [(centred[:, i] * centred[:, j]).sum(dim=(1, 2)) / (norm[:, i] * norm[:, j]).clamp_min(1e-6) for i, j in pairs], dim=1
    )


def _gradients(plane: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 4"]:
    across = plane[..., 1:-1, 2:] - plane[..., 1:-1, :-2]
    down = plane[..., 2:, 1:-1] - plane[..., :-2, 1:-1]
    size = (across.square() + down.square()).sqrt().flatten(1)
    return torch.stack(
        [
            size.mean(dim=1),
            size.std(dim=1, correction=0),
            torch.count_nonzero(size > 0.1, dim=1).to(size.dtype) / size.shape[1],
            size.amax(dim=1),
        ],
        dim=1,
    )


def _patterns(plane: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 10"]:
    height, width = plane.shape[-2:]
    centre = plane[..., 1:-1, 1:-1]
    code = torch.zeros(centre.shape, dtype=torch.uint8, device=plane.device)
    for bit, (dy, dx) in enumerate(_NEIGHBOURS):
        code |= (plane[..., 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] >= centre).to(torch.uint8) << bit
    codes = code.flatten(1).long() + 256 * torch.arange(len(plane), device=plane.device)[:, None]
    counts = torch.bincount(codes.flatten(), minlength=256 * len(plane)).view(len(plane), 256).to(plane.dtype)
    return counts @ _pattern_of_code().to(plane) / codes.shape[1]


def _pattern_of_code() -> Float[Tensor, "256 10"]:
    """Ones where a code of eight neighbours is a pattern: 0 to 8 brighter ones in one run, or anything else (9)."""
    bits = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
    changes = (bits != bits.roll(1, dims=1)).sum(dim=1)
    return F.one_hot(torch.where(changes <= 2, bits.sum(dim=1), 9), 10).float()


def _names(config: Config) -> tuple[str, ...]:
    planes = ("red", "green", "blue", "haematoxylin", "eosin", "residual")
    names = [f"{p}_mean" for p in planes] + [f"{p}_deviation" for p in planes]
    names += [f"{a}_{b}_correlation" for a, b in (("red", "green"), ("red", "blue"), ("green", "blue"))]
    names += [f"{stain}_above_{level:g}" for level in _LEVELS for stain in ("haematoxylin", "eosin")]
    for scale in range(max(config.gradient_scales, config.pattern_scales)):
        if scale < config.gradient_scales:
            names += [f"gradient_{what}_{2**scale}px" for what in ("mean", "deviation", "edges", "largest")]
        if scale < config.pattern_scales:
            names += [f"pattern_{i}_{2**scale}px" for i in range(10)]
    return tuple(names)
