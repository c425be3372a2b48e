"""IRENE's multimodal diagnosis transformer: bidirectional attention between modalities, then joint blocks (Zhou et al. 2023).

Each modality is a stream, as image and clinical tokens are in the paper (Nature Biomedical Engineering 2023, fig. 2);
``nn.bidirectional`` says how they exchange, and ``nn.irene`` is the whole released network. Departures: keys are masked, and an
absent stream takes no share; tokens are projected and normalised first, with a bias that tells modalities apart, so that one
number and one tile start at one scale; positions are left to the encoders, so that a bag has no order; each modality's tokens are
averaged before the modalities are, since a slide's thousands of tiles would outweigh everything else in the paper's plain mean.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import Count, Number, Positive, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, mean_of_means, whole
from oncoweave.nn.bidirectional import Exchange, MultimodalTransformer, Shape, split_maps
from oncoweave.nn.blocks import lecun_linear
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.token_sets import TokenProjections, join, refuse_unknown
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "tokens"


@ranged
class Config:
    """Size of the transformer, what is a stream, and what is read out."""

    width: Count = 64
    """Of the tokens."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    depth: Count = 4
    """Blocks, ``mixing`` among them."""
    mixing: Number = 2
    """Blocks in which the streams stay apart and exchange; 0 joins them at once (early), ``depth`` never (late)."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    exchange: Exchange = "average"
    """``average``, ``learned``, ``gated``, ``co_only``, ``one_way`` (bags to the rest; alike within each), ``one_way_back``,
    ``none``."""
    streams: Literal["modalities", "two"] = "modalities"
    """Each modality one stream, or ``two``: bags (slides, reports) against everything else, as in the paper."""
    readout: Literal["modalities", "mean", "summary"] = "modalities"
    """Mean of each modality's mean; ``mean`` of all tokens, as in the paper; or of one learned ``summary`` token a modality."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    attention_dropout: Rate = 0.0
    """Share of the attention dropped in training."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other."""
        _ = self.shape

    @property
    def shape(self) -> Shape:
        """The transformer's."""
        names = ("width", "heads", "depth", "mixing", "ratio", "exchange", "dropout", "attention_dropout")
        return Shape(**{name: getattr(self, name) for name in names})


class Mdt(nn.Module):
    """Tokens of every modality to one vector a patient."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int, bags: frozenset[str]) -> None:
        super().__init__()
        refuse_unknown(bags, dims)
        self.config = config
        first, rest = tuple(name for name in dims if name in bags), tuple(name for name in dims if name not in bags)
        two = tuple(group for group in (first, rest) if group)
        self.groups = two if config.streams == "two" else tuple((name,) for name in first + rest)
        self.projections = TokenProjections(dims, config.width)
        self.drop = Dropout(config.dropout)
        self.summaries = None
        if config.readout == "summary":
            self.summaries = nn.Parameter(torch.randn(len(dims), config.width))
        ranks = [int(group[0] not in bags) for group in self.groups]
        self.transformer = MultimodalTransformer(config.shape, streams=len(self.groups), ranks=ranks)
        self.out = lecun_linear(config.width, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        parts = self._parts(tokens)
        mixed = self.transformer(self._streams(parts))
        # a mean of many tokens is small: normalised, patients with few and with many tokens give vectors of one size
        pooled = functional.layer_norm(self._pool(mixed, parts), (self.config.width,))
        return self.out(pooled)

    @torch.no_grad()
    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Float[Tensor, "batch head _ _"]]:
        """Return each block's attention between every two modalities, ``"<block>:<query>-><key>"``, zero where not kept.

        The shares of the streams are part of the weights: a kept query's weights on the kept keys of all modalities sum to one.
        With ``readout`` summary a modality's first token is its summary.
        """
        parts = self._parts(tokens)
        maps = self.transformer.attention(self._streams(parts))
        return split_maps(maps, {name: part.keep.shape[1] for name, part in parts.items()})

    @torch.no_grad()
    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention between the tokens; with ``readout`` summary a modality's first token is its summary."""
        parts = self._parts(tokens)
        joined = join(parts)
        maps = self.transformer.attention(self._streams(parts))
        readout = mean_of_means(joined.keep, joined.spans)
        if self.config.readout == "mean":
            readout = mean_of_means(joined.keep, {"all": slice(0, joined.keep.shape[1])})
        if self.config.readout == "summary":
            summaries = {name: slice(span.start, span.start + 1) for name, span in joined.spans.items()}
            readout = mean_of_means(joined.keep, summaries)
        return AttentionPath(spans=joined.spans, steps=tuple(whole(m, keep=joined.keep) for m in maps), readout=readout)

    def _parts(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Project every modality and put its summary first, in the order of the streams."""
        projected = self.projections(tokens)
        parts = {}
        for index, name in enumerate(name for group in self.groups for name in group):
            values, keep = self.drop(projected[name].values), projected[name].keep
            if self.summaries is not None:
                own = self.summaries[index].expand(len(values), 1, -1)
                values = torch.cat([own, values], dim=1)
                keep = torch.cat([keep.any(dim=1, keepdim=True), keep], dim=1)
            parts[name] = Tokens(values=values, keep=keep)
        return parts

    def _streams(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        return [_side_by_side([parts[name] for name in group]) for group in self.groups]

    def _pool(self, mixed: Tokens, parts: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        if self.config.readout == "mean":
            return masked_mean(mixed.values, mixed.keep)
        pieces = mixed.values.split([part.keep.shape[1] for part in parts.values()], dim=1)
        present: Bool[Tensor, "batch modality"] = torch.stack([part.present for part in parts.values()], dim=1)
        if self.config.readout == "summary":
            vectors = [piece[:, 0] for piece in pieces]
        else:
            vectors = [masked_mean(piece, part.keep) for piece, part in zip(pieces, parts.values(), strict=True)]
        return masked_mean(torch.stack(vectors, dim=1), present)


def _side_by_side(parts: list[Tokens]) -> Tokens:
    values = torch.cat([part.values for part in parts], dim=1)
    return Tokens(values=values, keep=torch.cat([part.keep for part in parts], dim=1))


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``, of which ``bags`` have tokens that differ in number from patient to patient."""
    return Mdt(config, dims=dims, dim_out=dim_out, bags=bags)


def without_effect(config: Config, *, modalities: Collection[str], bags: frozenset[str]) -> str:
    """Say which settings do nothing for such modalities; nothing where all act."""
    if not config.mixing or (bags and bags != set(modalities)):
        return ""
    sides = "two sides, bags of tokens (slide, film, report) and the rest, of which these modalities are one"
    if config.streams == "two":
        return f"streams: two wants {sides}: one stream, which exchanges with nobody (exchange: {config.exchange})"
    if config.exchange in ("one_way", "one_way_back"):
        return f"exchange: {config.exchange} wants {sides}: all streams exchange alike, as with average"
    return ""
