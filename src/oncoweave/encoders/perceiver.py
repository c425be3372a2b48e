"""Perceiver: a few learnt latents attend to all tiles, again and again (Jaegle et al., ICML 2021; the slide encoder of PRISM).

Each block is one cross-attention from the latents to the tiles and one transformer block among the latents, so that cost grows
with the number of tiles, not with its square. Weights are not shared between blocks. Where the tiles lie is not used.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.latents import LatentReading
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Number and width of the latents, and how often they look at the tiles."""

    latents: Count = 32
    """Learned tokens that read the tiles."""
    width: Count = 256
    """Of the latents."""
    depth: Count = 2
    """How often the latents read the tiles."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    dropout: Rate = 0.1
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "deep": Config(latents=128, depth=6),
    "tiny": Config(latents=3, width=16, depth=2, heads=2, dropout=0.0),
}


class Perceiver(nn.Module):
    """One token a latent."""

    INPUT = ("latents", "embed")

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in = dim_in
        self.embed = nn.Sequential(nn.Linear(dim_in, config.width), nn.LayerNorm(config.width))
        self.latents = nn.Parameter(torch.randn(config.latents, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept tiles."""
        require_shape(tokens, dim=self.dim_in)
        tiles = self.embed(tokens.clean)
        latents = self.latents.expand(len(tiles), -1, -1)
        for block in self.blocks:
            latents = block(latents, tiles, keep=tokens.keep)
        keep = tokens.present.unsqueeze(1).expand(latents.shape[:2])
        return Tokens(values=torch.where(keep.unsqueeze(-1), self.out(latents), 0.0), keep=keep)


class Block(LatentReading):
    """A reading of the tiles, then a transformer block among the latents."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout)
        self.among = TransformerBlock(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout)

    def forward(
        self,
        latents: Float[Tensor, "batch latent dim"],
        context: Float[Tensor, "batch token dim"],
        *,
        keep: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch latent dim"]:
        """Look at the tiles, then at each other."""
        latents = super().forward(latents, context, keep=keep)
        return self.among(latents, keep=torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device))


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tiles may be any."""
    del num_tokens
    return Perceiver(config, dim_in=dim_in, dim_out=dim_out)
