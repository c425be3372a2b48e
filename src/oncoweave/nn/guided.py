"""Fusion in which one set of tokens guides what is read from the other: the frame of MCAT and of MOTCat."""

from collections.abc import Mapping
from typing import Protocol, cast

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


class Reader(Protocol):
    """What ``GuidedFusion`` asks of the module that reads: its attention, beside its output."""

    def weights(
        self,
        queries: Float[Tensor, "batch query dim"],
        keys: Float[Tensor, "batch key dim"],
        *,
        keep_query: Bool[Tensor, "batch query"],
        keep_key: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch head query key"]:
        """Return each query's attention to the keys."""


class GuidedFusion(nn.Module):
    """Each token that asks reads one token from the bags; both sets go through set transformers, and are concatenated.

    ``reader`` says how: ``forward(queries, keys, *, keep_query, keep_key)`` returns a token a query, ``weights`` (the same
    arguments) ``[batch, head, query, key]``. A bag's tokens never attend to each other, so cost is linear in their number.
    """

    def __init__(
        self,
        reader: nn.Module,
        dims: Mapping[str, int],
        bags: frozenset[str],
        *,
        settings: Mapping[str, int | float],
        dim_out: int,
    ) -> None:
        super().__init__()
        width = int(settings["width"])
        self.projections = TokenProjections(dims, width)
        self.roles = Roles(dims, bags, width=width, learned=int(settings["learned"]))
        self.asking = _set_transformer(settings)
        self.reader = reader if bags else None
        self.read = _set_transformer(settings) if bags else None
        self.out = nn.Linear(width * (2 if bags else 1), dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        asking, asked = self.roles(self.projections(tokens))
        pooled = [self.asking(asking.values, asking.keep)]
        if asked is not None and self.reader is not None and self.read is not None:
            keep = asking.keep & asked.keep.any(dim=1, keepdim=True)
            pooled.append(self.read(self.reader(asking.values, asked.values, **_keeps(asking, asked)), keep))
        return self.out(torch.cat(pooled, dim=1))

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return what each token that asks reads, ``[batch, head, query, key]`` a pair of modalities."""
        asking, asked = self.roles(self.projections(tokens))
        if asked is None or self.reader is None:
            return {}
        maps = cast("Reader", self.reader).weights(asking.values, asked.values, **_keeps(asking, asked))
        return pairs(maps * asking.keep[:, None, :, None], asking.spans, asked.spans)


def _keeps(asking: Joined, asked: Joined) -> dict[str, Tensor]:
    return {"keep_query": asking.keep, "keep_key": asked.keep}


def _set_transformer(settings: Mapping[str, int | float]) -> SetTransformer:
    return SetTransformer(
        int(settings["width"]), depth=int(settings["depth"]), heads=int(settings["heads"]), dropout=float(settings["dropout"])
    )
