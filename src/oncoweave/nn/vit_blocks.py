"""Blocks of vision transformers: patch projection, attention, feed-forward (GELU or SwiGLU), LayerScale, dropped residuals.

Parameter names are those of timm's ``VisionTransformer``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

Feed = Literal["gelu", "swiglu"]
Interpolation = Literal["bicubic", "bilinear"]
Kept = Int64[Tensor, " _"] | None
"""Rows of a batch that a residual branch is computed for; None for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockShape:
    """What one block is made of."""

    dim: int
    heads: int
    hidden: int
    """Outputs of the first feed-forward layer; of SwiGLU gate and value together."""
    feed: Feed = "gelu"
    layer_scale: float | None = None
    """Start value of LayerScale; None for none."""
    drop: float = 0.0
    """Share of rows whose residual branches are dropped in training."""
    eps: float = 1e-6


def fit_tiles(
    images: Float[Tensor, "batch 3 height width"], *, resize: int | None, interpolation: Interpolation, crop: int | None
) -> Float[Tensor, "batch 3 fitted_height fitted_width"]:
    """Bring tiles to the size that an encoder was made for: resized, then their middle cut out; None leaves out the step.

    Resizing agrees with Pillow's to within the rounding of that to 8 bits.

    Raises:
        ValueError: a tile that is to be resized is not square, or one is smaller than what is to be cut out of it.
    """
    height, width = images.shape[-2:]
    if resize is not None and height != width:
        msg = f"tiles of {width} x {height} px: wanted square ones, as they are resized to {resize} px"
        raise ValueError(msg)
    if resize is not None and resize != height:
        images = F.interpolate(images, size=(resize, resize), mode=interpolation, antialias=True, align_corners=False).clamp(0, 1)
        height = width = resize
    if crop is None:
        return images
    if min(height, width) < crop:
        msg = f"tiles of {width} x {height} px: wanted at least {crop} px, the side of the middle that is encoded"
        raise ValueError(msg)
    top, left = (height - crop) // 2, (width - crop) // 2
    return images[..., top : top + crop, left : left + crop]


class PatchEmbed(nn.Module):
    """Squares of an image to tokens, linearly."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token dim"]:
        """Embed, row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class LayerScale(nn.Module):
    """A learnt factor for each channel of a residual branch (Touvron et al., ICCV 2021)."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Scale."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token dim"]:
        """Attend to the tokens kept; a row has to keep one."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if keep is None else keep[:, None, None, :]
        return self.proj(F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2))


class GeluFeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Transform each token."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGluFeedForward(nn.Module):
    """Linear layer to gate and value, silu(gate) * value, linear layer (Shazeer 2020), gate first as in DINOv2's ``w12``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden // 2, dim)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Transform each token."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        scale, dim = shape.layer_scale, shape.dim
        self.drop = shape.drop
        self.norm1 = nn.LayerNorm(dim, eps=shape.eps)
        self.attn = Attention(dim, shape.heads)
        self.ls1 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.norm2 = nn.LayerNorm(dim, eps=shape.eps)
        self.mlp = (SwiGluFeedForward if shape.feed == "swiglu" else GeluFeedForward)(dim, shape.hidden)
        self.ls2 = nn.Identity() if scale is None else LayerScale(dim, scale)

    def forward(
        self,
        x: Float[Tensor, "batch token dim"],
        kept_attention: Kept = None,
        kept_feed: Kept = None,
        *,
        keep: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Transform; of rows not kept, the branch is left out and not computed (see :meth:`draw_kept`).

        ``keep`` says which tokens are attended, for rows of different lengths, none of which is dropped.
        """
        attend = self._attend if keep is None else partial(self._attend, keep=keep)
        x = self._add(x, attend, kept_attention)
        return self._add(x, self._feed, kept_feed)

    def draw_kept(self, rows: int, *, device: torch.device, generator: torch.Generator | None) -> tuple[Kept, Kept]:
        """Draw the rows whose attention and whose feed-forward branch is kept (stochastic depth, Huang et al., ECCV 2016).

        Drawn apart from ``forward`` so that a block is a pure function, which checkpointing of activations needs.
        """
        if not self.training or self.drop == 0:
            return None, None
        where = device if generator is None else generator.device
        kept = torch.rand(2, rows, device=where, generator=generator) >= self.drop
        return kept[0].nonzero().flatten().to(device), kept[1].nonzero().flatten().to(device)

    def _attend(
        self, x: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token dim"]:
        return self.ls1(self.attn(self.norm1(x), keep))

    def _feed(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        return self.ls2(self.mlp(self.norm2(x)))

    def _add(
        self, x: Float[Tensor, "batch token dim"], branch: Callable[[Tensor], Tensor], kept: Kept
    ) -> Float[Tensor, "batch token dim"]:
        if kept is None:
            return x + branch(x)
        # divided by the share kept, so that the expectation is that of inference
        return x.index_add(0, kept, branch(x[kept]).to(x.dtype), alpha=1 / (1 - self.drop))
