"""Vision transformer for tiles (Dosovitskiy et al., ICLR 2021), with LayerScale and registers as in DINOv2.

Parameter names are those of timm's ``VisionTransformer``, so that a checkpoint in safetensors loads without a key table.
LayerScale: Touvron et al., ICCV 2021; registers: Darcet et al., ICLR 2024. Departures: positions are resampled in ``forward`` for
any tile whose sides are whole patches, and images come as RGB from 0 to 1 and are standardised inside, so that a bag cannot be
made with the wrong mean.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("tile",)
REVISION = 1
"""Raised when the numbers change; part of the encoder's fingerprint."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Size of the transformer."""

    image: int = 224
    """Side, in pixels, of the tiles whose positions are stored."""
    patch: int = 16
    dim: int = 192
    depth: int = 12
    heads: int = 3
    hidden: int = 768
    """Width inside the feed-forward blocks."""
    layer_scale: float | None = 0.1
    """Start value of LayerScale (0.1 up to 18 blocks, less for deeper ones); None for none."""
    registers: int = 0
    prefix_positions: bool = True
    """Whether class token and registers have positions too (timm's ``no_embed_class`` turned round)."""
    pool: Literal["class", "class_and_mean"] = "class"
    """The class token, or it and the mean of the patch tokens side by side (twice as wide)."""


VARIANTS = {
    "tiny": Config(),
    "small": Config(dim=384, heads=6, hidden=1536),
    "small-registers": Config(dim=384, heads=6, hidden=1536, registers=4, prefix_positions=False),
}


class VisionTransformer(nn.Module):
    """RGB tiles with values from 0 to 1 to vectors of width ``dim``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim * (2 if config.pool == "class_and_mean" else 1)
        side = config.image // config.patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.dim)) if config.registers else None
        prefix = 1 + config.registers if config.prefix_positions else 0
        self.pos_embed = nn.Parameter(torch.zeros(1, prefix + side**2, config.dim))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encode a batch of tiles.

        Raises:
            ValueError: a side is not a whole number of patches.
        """
        tokens = self.tokens(images)
        first = tokens[:, 0]
        if self.config.pool == "class":
            return first
        return torch.cat([first, tokens[:, 1 + self.config.registers :].mean(dim=1)], dim=1)

    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token dim"]:
        """Encode to the class token, the registers and the patch tokens, row by row."""
        height, width = images.shape[-2:]
        if height % self.config.patch or width % self.config.patch:
            msg = f"tiles of {width} x {height} px are not whole patches of {self.config.patch} px"
            raise ValueError(msg)
        patches = self.patch_embed((images - self.mean) / self.deviation)
        shape = (height // self.config.patch, width // self.config.patch)
        positions = self._positions(shape).to(patches.dtype)
        prefix = self.cls_token if self.reg_token is None else torch.cat([self.cls_token, self.reg_token], dim=1)
        prefix = prefix.expand(len(images), -1, -1)
        if self.config.prefix_positions:
            x = torch.cat([prefix, patches], dim=1) + positions
        else:
            x = torch.cat([prefix, patches + positions], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _positions(self, shape: tuple[int, int]) -> Float[Tensor, "1 position dim"]:
        side = self.config.image // self.config.patch
        if shape == (side, side):
            return self.pos_embed
        extra = self.pos_embed.shape[1] - side**2
        grid = self.pos_embed[:, extra:].transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid.float(), size=shape, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([self.pos_embed[:, :extra], grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)


class PatchEmbed(nn.Module):
    """Squares of an image to tokens, linearly."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.dim, kernel_size=config.patch, stride=config.patch)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token dim"]:
        """Embed, row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class LayerScale(nn.Module):
    """A learnt factor for each channel of a residual branch."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Scale."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Attend."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.dim, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Transform each token."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        scale = config.layer_scale
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = Attention(config)
        self.ls1 = nn.Identity() if scale is None else LayerScale(config.dim, scale)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = FeedForward(config)
        self.ls2 = nn.Identity() if scale is None else LayerScale(config.dim, scale)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Transform."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


def build(config: Config, *, generator: torch.Generator) -> VisionTransformer:
    """Build the encoder with random weights drawn from ``generator``: equal seeds, equal weights.

    Weights are normal with deviation 0.02 cut at two deviations, patch projections uniform as for a linear layer, biases zero.

    Raises:
        ValueError: the width is not a multiple of the heads, or the image not one of the patch.
    """
    if config.dim % config.heads or config.image % config.patch:
        msg = f"wanted dim a multiple of heads and image one of patch, got {config}"
        raise ValueError(msg)
    with torch.random.fork_rng(devices=[]):  # the layers' own start values would otherwise move the global generator
        model = VisionTransformer(config)
    bound = (3 * config.patch**2) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name == "patch_embed.proj.weight":
                parameter.uniform_(-bound, bound, generator=generator)
            elif parameter.dim() > 1:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
    return model
