"""Pathway and tile tokens in one attention without its tile-tile block (SurvPath, Jaume et al. 2024, eq. 3 to 5).

Tokens of modalities that are no bags (pathways) attend to everything, tiles and words to those only; the block that is left out
is never formed, so that cost is linear in the tiles. Tokens of either role are averaged, and the averages concatenated. Departs
from the paper: blocks are residual and pre-norm, and a few learned tokens stand beside the pathways, so that a slide is read of a
patient who has nothing else. All tokens of a role weigh alike: a modality of one token has little say beside fifty genes.
"""

from collections.abc import Collection, Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, Part, mean_of_means
from oncoweave.nn.few_many import FewManyBlock
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.token_sets import LEARNED, Joined, Roles, TokenProjections, pairs
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "tokens"


@ranged
class Config:
    """Size of the transformer."""

    width: Count = 64
    """Of the tokens."""
    depth: Count = 1
    """Blocks."""
    heads: Count = 1
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    learned: Count = 4
    """Tokens beside the pathways that are learned, and the same for every patient."""
    dropout: Rate = 0.25
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


class PathwayTransformer(nn.Module):
    """Few tokens (pathways) and many (tiles), the many apart from each other."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int, bags: frozenset[str]) -> None:
        super().__init__()
        self.projections = TokenProjections(dims, config.width)
        self.roles = Roles(dims, bags, width=config.width, learned=config.learned)
        self.blocks = nn.ModuleList(
            FewManyBlock(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout)
            for _ in range(config.depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2 if bags else 1))
        self.out = nn.Linear(config.width * len(self.norms), dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        roles = self.roles(self.projections(tokens))
        values = self._run(roles, len(self.blocks))
        pooled = [
            masked_mean(norm(x), role.keep)
            for norm, x, role in zip(self.norms, values, roles, strict=False)
            if x is not None and role is not None
        ]
        return self.out(torch.cat(pooled, dim=1))

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return the last block's attention, ``[batch, head, query, key]`` a pair of modalities."""
        roles = self.roles(self.projections(tokens))
        few, many = self._run(roles, len(self.blocks) - 1)
        asking, asked = roles
        keep_many = None if asked is None else asked.keep
        out, back = cast("FewManyBlock", self.blocks[-1]).weights(few, many, keep_few=asking.keep, keep_many=keep_many)
        if asked is None or back is None:
            return pairs(out, asking.spans, asking.spans)
        after = {name: slice(s.start + few.shape[1], s.stop + few.shape[1]) for name, s in asked.spans.items()}
        return pairs(out, asking.spans, asking.spans | after) | pairs(back, asked.spans, asking.spans)

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention; the means of either role, which are concatenated, count as one half of the vector each."""
        asking, asked = self.roles(self.projections(tokens))
        many, keep_many = (None, None) if asked is None else (asked.values, asked.keep)
        few, count, device, steps = asking.values, asking.keep.shape[1], asking.keep.device, []
        keep = asking.keep if keep_many is None else torch.cat([asking.keep, keep_many], dim=1)
        everywhere = torch.arange(keep.shape[1], device=device)
        for block in cast("list[FewManyBlock]", list(self.blocks)):
            out, back = block.weights(few, many, keep_few=asking.keep, keep_many=keep_many)
            step = [Part(queries=everywhere[:count], keys=everywhere, weights=out.mean(dim=1))]
            if back is not None:
                step.append(Part(queries=everywhere[count:], keys=everywhere[:count], weights=back.mean(dim=1)))
            steps.append(tuple(step))
            few, many = block(few, many, keep_few=asking.keep, keep_many=keep_many)
        spans = {name: span for name, span in asking.spans.items() if name != LEARNED}
        if asked is not None:
            spans |= {name: slice(s.start + count, s.stop + count) for name, s in asked.spans.items()}
        roles = {"few": slice(0, count), "many": slice(count, keep.shape[1])}
        return AttentionPath(spans=spans, steps=tuple(steps), readout=mean_of_means(keep, roles))

    def _run(self, roles: tuple[Joined, Joined | None], depth: int) -> tuple[Tensor, Tensor | None]:
        asking, asked = roles
        few, many, keep_many = asking.values, None, None
        if asked is not None:
            many, keep_many = asked.values, asked.keep
        for block in self.blocks[:depth]:
            few, many = block(few, many, keep_few=asking.keep, keep_many=keep_many)
        return few, many


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; the tokens of ``bags`` do not attend to each other."""
    return PathwayTransformer(config, dims=dims, dim_out=dim_out, bags=bags)


def without_effect(config: Config, *, modalities: Collection[str], bags: frozenset[str]) -> str:
    """Say where no block is there to be left out."""
    if bags:
        return ""
    return (
        "no modality is a bag of tokens (slide, film, report), so no block of the attention is left out: an ordinary transformer"
    )
