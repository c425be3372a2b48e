"""Histology prototypes and pathway tokens in full attention, few enough for large batches (MMP, Song et al. 2024, eq. 5 to 7).

Every token attends to every token of the patient; a feed-forward layer of each modality follows, then the mean of the modality's
tokens, a linear layer of its own, and the mean over the modalities present. Meant for short token sets: give slides the encoder
``prototypes`` (16 tokens) and expression ``pathways`` (one a gene set), as cost grows with the square of their number. Departs
from the paper in the last mean, where it concatenates complete cases.
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.attention_path import AttentionPath, mean_of_means, whole
from oncoweave.nn.blocks import FeedForward
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.token_sets import Joined, TokenProjections, join, pairs, refuse_unknown
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "tokens"
ENCODERS = {"slide": "prototypes"}


@ranged
class Config:
    """Size of the transformer."""

    width: Count = 64
    """Of the tokens."""
    depth: Count = 1
    """Blocks."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    dropout: Rate = 0.1
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


class TypedBlock(nn.Module):
    """Pre-norm transformer block whose attention is common and whose feed-forward layer is each modality's own."""

    def __init__(self, config: Config, *, modalities: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = MultiheadAttention(config.width, heads=config.heads)
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(config.width), FeedForward(config.width, ratio=config.ratio, dropout=config.dropout))
            for _ in range(modalities)
        )
        self.drop = Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch token dim"], *, keep: Bool[Tensor, "batch token"], spans: Mapping[str, slice]
    ) -> Float[Tensor, "batch token dim"]:
        """Mix each token with the kept tokens of its patient; values under ``keep`` False must be finite."""
        normed = self.norm(x)
        x = x + self.drop(self.attention(normed, normed, keep=keep))
        fed = [feed(x[:, span]) for feed, span in zip(self.feeds, spans.values(), strict=True)]
        return x + self.drop(torch.cat(fed, dim=1))

    def weights(
        self, x: Float[Tensor, "batch token dim"], *, keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch head query key"]:
        """Return the attention that ``forward`` uses; zero to and from what is not kept."""
        normed = self.norm(x)
        return self.attention.weights(normed, normed, keep=keep) * keep[:, None, :, None]


class PrototypeTransformer(nn.Module):
    """All tokens together, then a mean over the modalities present."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = TokenProjections(dims, config.width)
        self.blocks = nn.ModuleList(TypedBlock(config, modalities=len(dims)) for _ in range(config.depth))
        self.outs = nn.ModuleList(nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out)) for _ in dims)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        joined = join(self.projections(tokens))
        x = joined.values
        for block in self.blocks:
            x = block(x, keep=joined.keep, spans=joined.spans)
        spans = joined.spans.values()
        vectors = [out(masked_mean(x[:, s], joined.keep[:, s])) for out, s in zip(self.outs, spans, strict=True)]
        present = torch.stack([joined.keep[:, s].any(dim=1) for s in spans], dim=1)
        return masked_mean(torch.stack(vectors, dim=1), present)

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return the last block's attention, ``[batch, head, query, key]`` a pair of modalities."""
        joined = join(self.projections(tokens))
        return pairs(self._maps(joined)[-1], joined.spans, joined.spans)

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention between the tokens."""
        joined = join(self.projections(tokens))
        steps = tuple(whole(weights, keep=joined.keep) for weights in self._maps(joined))
        return AttentionPath(spans=joined.spans, steps=steps, readout=mean_of_means(joined.keep, joined.spans))

    def _maps(self, joined: Joined) -> list[Float[Tensor, "batch head query key"]]:
        x, maps = joined.values, []
        for block in cast("list[TypedBlock]", list(self.blocks)):
            maps.append(block.weights(x, keep=joined.keep))
            x = block(x, keep=joined.keep, spans=joined.spans)
        return maps


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; bags are read as any other modality."""
    refuse_unknown(bags, dims)
    return PrototypeTransformer(config, dims=dims, dim_out=dim_out)
