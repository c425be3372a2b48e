"""A transformer a modality, which exchange a few bottleneck tokens after each layer (MBT, Nagrani et al. 2021, eq. 8 and 9).

In each layer a modality's stream holds its summary token, the bottlenecks and its own tokens; what each stream makes of the
bottlenecks is averaged over the modalities present, and so are the summaries at the end, after a linear layer of each. Departs
from the paper: the tokens of a bag (tiles, words) attend to the summary and the bottlenecks but not to each other, which makes
cost linear in the bag.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Range, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, Part, places
from oncoweave.nn.few_many import FewManyBlock
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.token_sets import TokenProjections, refuse_unknown
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "tokens"


@ranged
class Config:
    """Size of the streams, and how many tokens they exchange."""

    bottlenecks: Count = 4
    """Tokens through which modalities exchange."""
    width: Count = 64
    """Of the tokens."""
    depth: Annotated[int, Range(least=2)] = 2
    """Layers; the first one to see other modalities is the second."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    dropout: Rate = 0.1
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


class Stream(NamedTuple):
    """One modality on its way through the layers: its summary token and its own tokens."""

    summary: Float[Tensor, "batch 1 dim"]
    own: Float[Tensor, "batch token dim"]
    keep: Bool[Tensor, "batch token"]


class BottleneckFusion(nn.Module):
    """One stream a modality; all that passes between them are the bottlenecks."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int, bags: frozenset[str]) -> None:
        super().__init__()
        refuse_unknown(bags, dims)
        self.bags = bags
        self.projections = TokenProjections(dims, config.width)
        self.summaries = nn.Parameter(torch.randn(len(dims), 1, config.width) * 0.02)
        self.bottlenecks = nn.Parameter(torch.randn(config.bottlenecks, config.width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                FewManyBlock(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout) for _ in dims
            )
            for _ in range(config.depth)
        )
        self.outs = nn.ModuleList(nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out)) for _ in dims)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        streams, _ = self._run(self.projections(tokens), len(self.layers))
        vectors = [out(stream.summary[:, 0]) for out, stream in zip(self.outs, streams.values(), strict=True)]
        return masked_mean(torch.stack(vectors, dim=1), _present(streams))

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return how each summary divides its attention among its modality's tokens in the last layer, ``[batch, head, 1, key]``.

        What goes to the bottlenecks is left out and the rest scaled to sum to one.
        """
        streams, shared = self._run(self.projections(tokens), len(self.layers) - 1)
        maps = {}
        for block, (name, stream) in zip(cast("nn.ModuleList", self.layers[-1]), streams.items(), strict=True):
            parts = self._parts(name, stream, shared)
            weights = cast("FewManyBlock", block).weights(*parts[:2], keep_few=parts[2], keep_many=parts[3])[0]
            own = weights[:, :, :1, 1 + shared.shape[1] :]
            total = own.sum(dim=-1, keepdim=True)
            maps[f"summary->{name}"] = own / total.where(total > 0, 1.0)
        return maps

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention; a modality's first token is its summary, and the bottlenecks are nobody's.

        A bottleneck comes out as the mean, over the modalities present, of what each stream makes of it; so does its attention.
        """
        projected = self.projections(tokens)
        spans, start = {}, len(self.bottlenecks)
        for name, part in projected.items():
            spans[name] = slice(start, start + 1 + part.keep.shape[1])
            start = spans[name].stop
        steps = []
        for depth, layer in enumerate(self.layers):
            streams, shared = self._run(projected, depth)
            steps.append(self._step(cast("nn.ModuleList", layer), streams, shared, spans))
        present = _present(streams)
        readout = torch.zeros(len(present), start, device=present.device)
        readout[:, [span.start for span in spans.values()]] = present / present.sum(dim=1, keepdim=True)
        return AttentionPath(spans=spans, steps=tuple(steps), readout=readout)

    def _step(
        self, layer: nn.ModuleList, streams: Mapping[str, Stream], shared: Tensor, spans: Mapping[str, slice]
    ) -> tuple[Part, ...]:
        """Collect a layer's attention: of each stream's own tokens, and of the bottlenecks in all streams."""
        present, count, device = _present(streams), shared.shape[1], shared.device
        common = torch.arange(count, device=device)
        mixed = torch.zeros(len(shared), count, max(span.stop for span in spans.values()), device=device)
        parts = []
        for index, (block, (name, stream)) in enumerate(zip(layer, streams.items(), strict=True)):
            few, many, keep_few, keep_many = self._parts(name, stream, shared)
            out, back = cast("FewManyBlock", block).weights(few, many, keep_few=keep_few, keep_many=keep_many)
            own = places(spans[name], device=device)
            keys, weights = torch.cat([own[:1], common, own[1:]]), out.mean(dim=1)
            share = present[:, index] / present.sum(dim=1)
            mixed[:, :, keys] += weights[:, 1 : 1 + count] * share[:, None, None]
            if back is None:
                asking = torch.cat([weights[:, :1], weights[:, 1 + count :]], dim=1)
                parts.append(Part(queries=own, keys=keys, weights=asking))
            else:
                parts.append(Part(queries=own[:1], keys=keys, weights=weights[:, :1]))
                parts.append(Part(queries=own[1:], keys=keys[: 1 + count], weights=back.mean(dim=1)))
        return (*parts, Part(queries=common, keys=torch.arange(mixed.shape[2], device=device), weights=mixed))

    def _run(self, projected: Mapping[str, Tokens], depth: int) -> tuple[dict[str, Stream], Tensor]:
        """Return the streams and the bottlenecks after some layers."""
        batch = len(next(iter(projected.values())).keep)
        streams = {
            name: Stream(summary.expand(batch, -1, -1), t.values, t.keep)
            for summary, (name, t) in zip(self.summaries, projected.items(), strict=True)
        }
        present = _present(streams)
        shared = self.bottlenecks.expand(batch, -1, -1)
        for layer in self.layers[:depth]:
            made = []
            for block, (name, stream) in zip(cast("nn.ModuleList", layer), streams.items(), strict=True):
                few, many, keep_few, keep_many = self._parts(name, stream, shared)
                few, many = block(few, many, keep_few=keep_few, keep_many=keep_many)
                own = few[:, 1 + shared.shape[1] :] if many is None else many
                streams[name] = Stream(few[:, :1], own, stream.keep)
                made.append(few[:, 1 : 1 + shared.shape[1]].flatten(start_dim=1))
            shared = masked_mean(torch.stack(made, dim=1), present).view_as(shared)
        return streams, shared

    def _parts(self, name: str, stream: Stream, shared: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """Lay a stream out for its block: the few, the many (a bag's tokens), and which are kept."""
        few = torch.cat([stream.summary, shared], dim=1)
        keep = torch.ones(few.shape[:2], dtype=torch.bool, device=few.device)
        if name in self.bags:
            return few, stream.own, keep, stream.keep
        return torch.cat([few, stream.own], dim=1), None, torch.cat([keep, stream.keep], dim=1), None


def _present(streams: Mapping[str, Stream]) -> Bool[Tensor, "batch modality"]:
    return torch.stack([stream.keep.any(dim=1) for stream in streams.values()], dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; the tokens of ``bags`` do not attend to each other."""
    return BottleneckFusion(config, dims=dims, dim_out=dim_out, bags=bags)
