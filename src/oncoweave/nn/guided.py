"""Fusion in which one set of tokens guides what is read from the other: the frame of MCAT and of MOTCat."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.pooling import GatedAttentionPool
from oncoweave.nn.token_sets import Joined, Roles, TokenProjections, pairs
from oncoweave.nn.tokens import Tokens


class SetTransformer(nn.Module):
    """Transformer blocks over a set, then gated attention pooling; an empty set gives zeros."""

    def __init__(self, width: int, *, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads=heads, ratio=2.0, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.pool = GatedAttentionPool(width, hidden=width, dropout=dropout)

    def forward(self, x: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]) -> Float[Tensor, "batch dim"]:
        """Pool to one vector a patient; values under ``keep`` False must be finite."""
        for block in self.blocks:
            x = block(x, keep=keep)
        return self.pool(self.norm(x), keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidedConfig:
    """Width, and depth and heads of the two set transformers."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    learned: int = 4
    """Queries that are learned, and the same for every patient."""
    dropout: float = 0.25


class Reader(nn.Module, ABC):
    """How each token that asks reads one from the tokens that are asked."""

    @abstractmethod
    def forward(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch query dim"]:
        """Read a token for each query; what is read for one that is not kept is left out later."""

    @abstractmethod
    def weights(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch head query key"]:
        """Return each query's attention to the keys; it sums to one over the kept keys."""


class GuidedFusion(nn.Module):
    """Each token that asks reads one token from the bags; both sets go through set transformers, and are concatenated.

    A bag's tokens never attend to each other, so cost is linear in their number.
    """

    def __init__(
        self, reader: Reader, config: GuidedConfig, *, dims: Mapping[str, int], bags: frozenset[str], dim_out: int
    ) -> None:
        super().__init__()
        self.projections = TokenProjections(dims, config.width)
        self.roles = Roles(dims, bags, width=config.width, learned=config.learned)
        self.asking = _set_transformer(config)
        self.reader = reader if bags else None
        self.read = _set_transformer(config) if bags else None
        self.out = nn.Linear(config.width * (2 if bags else 1), dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        asking, asked = self.roles(self.projections(tokens))
        pooled = [self.asking(asking.values, asking.keep)]
        if asked is not None and self.reader is not None and self.read is not None:
            keep = asking.keep & asked.keep.any(dim=1, keepdim=True)
            pooled.append(self.read(self.reader(asking, asked), keep))
        return self.out(torch.cat(pooled, dim=1))

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return what each token that asks reads, ``[batch, head, query, key]`` a pair of modalities."""
        asking, asked = self.roles(self.projections(tokens))
        if asked is None or self.reader is None:
            return {}
        return pairs(self.reader.weights(asking, asked) * asking.keep[:, None, :, None], asking.spans, asked.spans)


def _set_transformer(config: GuidedConfig) -> SetTransformer:
    return SetTransformer(config.width, depth=config.depth, heads=config.heads, dropout=config.dropout)
