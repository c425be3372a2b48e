"""Latents that read tokens by cross-attention: cost is linear in the tokens (Perceiver: Jaegle et al., ICML 2021)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.blocks import FeedForward


class LatentReading(nn.Module):
    """Pre-norm cross-attention of the latents to tokens, with its feed-forward layer, both residual."""

    def __init__(self, width: int, *, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cross = MultiheadAttention(width, heads=heads)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = FeedForward(width, ratio=ratio, dropout=dropout)

    def forward(
        self,
        latents: Float[Tensor, "batch latent dim"],
        context: Float[Tensor, "batch token dim"],
        *,
        keep: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch latent dim"]:
        """Update the latents of patients who have tokens; those of others stay exactly as they were."""
        read = latents + self.cross(self.norm(latents), context, keep=keep)
        read = read + self.feed(self.norm_feed(read))
        return torch.where(keep.any(dim=1)[:, None, None], read, latents)

    def weights(
        self,
        latents: Float[Tensor, "batch latent dim"],
        context: Float[Tensor, "batch token dim"],
        *,
        keep: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch head latent token"]:
        """Return the attention that ``forward`` uses; zero where not kept."""
        return self.cross.weights(self.norm(latents), context, keep=keep)
