"""Fusion in which one set of tokens guides what is read from the other: the frame of MCAT and of MOTCat."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, Part, Step
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.pooling import GatedAttentionPool
from oncoweave.nn.token_sets import LEARNED, Joined, Roles, TokenProjections, pairs
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

    def maps(
        self, x: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]
    ) -> tuple[list[Float[Tensor, "batch token token"]], Float[Tensor, "batch token"]]:
        """Return each block's attention, averaged over heads and zero to and from what is not kept, and the pooling's weights."""
        maps = []
        for block in cast("list[TransformerBlock]", list(self.blocks)):
            maps.append(block.weights(x, keep=keep).mean(dim=1) * keep.unsqueeze(2))
            x = block(x, keep=keep)
        return maps, self.pool.weights(self.norm(x), keep).mean(dim=1)


@ranged
class GuidedConfig:
    """Width, and depth and heads of the two set transformers."""

    width: Count = 64
    """Of the tokens."""
    depth: Count = 2
    """Blocks of each set transformer."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    learned: Count = 4
    """Queries that are learned, and the same for every patient."""
    dropout: Rate = 0.25
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


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

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention: what is read is a second set of tokens; the two sets' vectors count as one half each.

        How much of a bag a query matches (MOTCat) is no part of it, only where from.
        """
        asking, asked = self.roles(self.projections(tokens))
        count, device = asking.keep.shape[1], asking.keep.device
        spans = {name: span for name, span in asking.spans.items() if name != LEARNED}
        rows = torch.arange(count, device=device)
        maps, pooled = self.asking.maps(asking.values, asking.keep)
        if asked is None or self.reader is None or self.read is None:
            steps = tuple((Part(queries=rows, keys=rows, weights=weights),) for weights in maps)
            return AttentionPath(spans=spans, steps=steps, readout=pooled)
        spans |= {name: slice(2 * count + s.start, 2 * count + s.stop) for name, s in asked.spans.items()}
        has = asked.keep.any(dim=1, keepdim=True)
        found = self.reader.weights(asking, asked).mean(dim=1) * asking.keep.unsqueeze(2)
        bag = torch.arange(2 * count, 2 * count + asked.keep.shape[1], device=device)
        reading = (Part(queries=rows + count, keys=bag, weights=found, carried=0.0),)
        maps_read, pooled_read = self.read.maps(self.reader(asking, asked), asking.keep & has)
        halves = [pooled * torch.where(has, 0.5, 1.0), pooled_read / 2, torch.zeros_like(asked.keep, dtype=pooled.dtype)]
        return AttentionPath(
            spans=spans,
            steps=(reading, *_joint(maps, maps_read, (rows, rows + count))),
            readout=torch.cat(halves, dim=1),
            last_alone=False,
        )


def unguided(modalities: Collection[str], bags: frozenset[str]) -> str:
    """Say that one set reads nothing from another, where there are not both; nothing where there are."""
    if not bags:
        return "no modality is a bag of tokens (slide, film, report), so nothing is read: a set transformer over the rest"
    return "all modalities are bags of tokens, so only learned queries read" if bags == set(modalities) else ""


def _joint(first: Sequence[Tensor], second: Sequence[Tensor], rows: Sequence[Int64[Tensor, " _"]]) -> tuple[Step, ...]:
    """Put the maps of two set transformers side by side, a step a block."""
    return tuple(
        tuple(Part(queries=own, keys=own, weights=weights) for own, weights in zip(rows, both, strict=True))
        for both in zip(first, second, strict=True)
    )


def _set_transformer(config: GuidedConfig) -> SetTransformer:
    return SetTransformer(config.width, depth=config.depth, heads=config.heads, dropout=config.dropout)
