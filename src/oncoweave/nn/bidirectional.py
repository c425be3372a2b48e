"""Bidirectional multimodal attention: streams of tokens that attend to themselves and to each other, then all jointly.

The transformer of IRENE (Zhou et al., Nature Biomedical Engineering 2023), as its code computes it: in the first blocks each
stream has its own norms, projections and feed-forward, every query attends to each stream by a softmax of its own, and the
results are averaged. Departures: any number of streams; keys are masked; the shares of the streams are those of the streams that
a patient has (1/2 + 1/2 where there are two, 1 where there is one); other exchanges than the average; no bias of keys, which
cancels in the softmax, and no second output projection, which was never called. Two streams and nothing missing give the peer's
numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.ranges import refuse_uneven
from oncoweave.nn.attention import masked_softmax
from oncoweave.nn.blocks import FeedForward
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.tokens import Tokens

Exchange = Literal["average", "learned", "gated", "co_only", "one_way", "one_way_back", "none"]
EXCHANGES = get_args(Exchange)
"""How a query's attention is shared among the streams. ``average``: alike. ``learned``: by numbers of each block and head.
``gated``: by numbers that each query computes. ``co_only``: alike among the other streams, its own where there is no other.
``one_way``: alike among the streams of its own rank and those before it; ``one_way_back``: and those after it (a stream's rank is
its place unless told). ``none``: its own only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Size of the transformer."""

    width: int
    heads: int
    depth: int
    mixing: int
    """Blocks in which the streams stay apart and exchange; 0 joins them at once (early), ``depth`` never (late)."""
    ratio: float = 4.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    exchange: str = "average"
    dropout: float = 0.0
    """In the feed-forward blocks."""
    attention_dropout: float = 0.0
    """Of attention weights, and of what attention adds."""
    upstream_compatible: bool = False
    """Keep what the peer's weights hold to no effect: biases of keys, and a second output projection."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width, more mixing blocks than blocks, and unknown exchanges."""
        refuse_uneven(self.width, self.heads)
        if not 0 <= self.mixing <= self.depth or self.depth < 1:
            msg = f"wanted at least 1 block, of which 0 to all exchange; got mixing {self.mixing}, depth {self.depth}"
            raise ValueError(msg)
        if self.exchange not in EXCHANGES:
            msg = f"no exchange {self.exchange!r}; known: {', '.join(EXCHANGES)}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """Who attends to whom in one batch."""

    keeps: tuple[Bool[Tensor, "batch _"], ...]
    masks: tuple[Bool[Tensor, "batch 1 1 _"] | None, ...]
    """Keys of each stream for the attention kernel; None where all are kept. A row without any may see all: its share is 0."""
    allowed: Bool[Tensor, "batch stream stream"]
    """By query stream and key stream."""
    sources: tuple[tuple[int, ...], ...]
    """Key streams that the queries of any patient need, for each stream; none for a stream that nobody has."""


def routes(keeps: Sequence[Bool[Tensor, "batch _"]], exchange: str, ranks: Sequence[int] | None = None) -> Routes:
    """Find which streams each patient's streams attend to: those within reach that the patient has, its own if there is none."""
    present = torch.stack([keep.any(dim=1) for keep in keeps], dim=1)
    own = torch.eye(len(keeps), dtype=torch.bool, device=present.device)
    rank = torch.tensor(range(len(keeps)) if ranks is None else ranks, device=present.device)
    reach = {"co_only": ~own, "one_way": rank <= rank[:, None], "one_way_back": rank >= rank[:, None], "none": own}
    allowed = reach.get(exchange, torch.ones_like(own)) & present[:, None, :]
    allowed = torch.where(allowed.any(dim=2, keepdim=True), allowed, own) & present[:, :, None]
    needed = allowed.any(dim=0).tolist()
    masks = [None if bool(keep.all()) else (keep | ~keep.any(dim=1, keepdim=True))[:, None, None, :] for keep in keeps]
    return Routes(
        keeps=tuple(keeps),
        masks=tuple(masks),
        allowed=allowed,
        sources=tuple(tuple(source for source, used in enumerate(row) if used) for row in needed),
    )


class QueryKeyValue(nn.Module):
    """Queries, keys and values of tokens by one product, ``[3, batch, head, token, dim / head]``."""

    def __init__(self, dim: int, *, heads: int, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.key_bias = key_bias
        start = nn.Linear(dim, 3 * dim)  # torch's own start values depend on the inputs' width only, as for three layers
        self.weight = start.weight
        self.bias = nn.Parameter(start.bias.detach()[: None if key_bias else 2 * dim].clone())

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "3 batch head token dim_head"]:
        """Project; without biases of keys, ``bias`` holds those of queries and values."""
        projected = functional.linear(x, self.weight, self.bias if self.key_bias else self._padded())
        return projected.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def _padded(self) -> Float[Tensor, " stacked"]:
        queries, values = self.bias.chunk(2)
        return torch.cat([queries, torch.zeros_like(queries), values])


class Stream(nn.Module):
    """What a stream of tokens has of its own in a block."""

    def __init__(self, shape: Shape, *, gates: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(shape.width, eps=1e-6)
        self.qkv = QueryKeyValue(shape.width, heads=shape.heads, key_bias=shape.upstream_compatible)
        self.norm_feed = nn.LayerNorm(shape.width, eps=1e-6)
        self.feed = FeedForward(shape.width, ratio=shape.ratio, dropout=shape.dropout)
        for layer in self.feed:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
        self.gate = nn.Linear(shape.width, gates) if gates else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)  # starts as the average
            nn.init.zeros_(self.gate.bias)


class Block(nn.Module):
    """Pre-norm block over one or more streams; with one it is an ordinary transformer block.

    For stream m: x_m + out(sum over n of share_mn softmax(q_m k_n' / sqrt(d)) v_n), then x_m + feed_m(norm(x_m)). The output
    projection is one for all streams, as in the peer's code.
    """

    def __init__(self, shape: Shape, *, streams: int) -> None:
        super().__init__()
        several = streams > 1
        self.heads = shape.heads
        self.attention_dropout = shape.attention_dropout
        gates = shape.heads * streams if several and shape.exchange == "gated" else 0
        self.streams = nn.ModuleList(Stream(shape, gates=gates) for _ in range(streams))
        self.out = nn.Linear(shape.width, shape.width)
        self.drop_attention = Dropout(shape.attention_dropout)
        self.drop_feed = Dropout(shape.dropout)
        self.preference = None
        if several and shape.exchange == "learned":
            self.preference = nn.Parameter(torch.zeros(streams, shape.heads, streams))
        self.out_unused = nn.Linear(shape.width, shape.width) if several and shape.upstream_compatible else None

    def forward(self, xs: Sequence[Float[Tensor, "batch _ dim"]], way: Routes) -> list[Float[Tensor, "batch _ dim"]]:
        """Transform every stream; one that nobody has comes back as it is. Values under ``keep`` False must be finite."""
        normed, projected = self._project(xs)
        results = []
        for m, (stream, x, mixed) in enumerate(zip(self._own, xs, self._mix(normed, projected, way), strict=True)):
            if way.sources[m]:
                x = x + self.drop_attention(self.out(mixed.transpose(1, 2).flatten(start_dim=2)))
                x = x + self.drop_feed(stream.feed(stream.norm_feed(x)))
            results.append(x)
        return results

    def maps(self, xs: Sequence[Float[Tensor, "batch _ dim"]], way: Routes) -> Float[Tensor, "batch head all all"]:
        """Return the attention weights of every query on every key, streams side by side, times the shares of the streams.

        Each kept query's weights sum to one over all kept keys of all streams; weights are zero where query or key is not kept.
        """
        normed, projected = self._project(xs)
        rows = []
        for m, keep in enumerate(way.keeps):
            share = self._shares(m, normed[m], way)
            cells = []
            for n, keys in enumerate(way.keeps):
                scores = projected[m][0] @ projected[n][1].transpose(-1, -2) * projected[m].shape[-1] ** -0.5
                weights = masked_softmax(scores, keys[:, None, None, :].expand_as(scores))
                cells.append(weights * share[..., n : n + 1])
            rows.append(torch.where(keep[:, None, :, None], torch.cat(cells, dim=3), 0.0))
        return torch.cat(rows, dim=2)

    @property
    def _own(self) -> list[Stream]:
        return cast("list[Stream]", list(self.streams))

    def _project(self, xs: Sequence[Float[Tensor, "batch _ dim"]]) -> tuple[list[Tensor], list[Tensor]]:
        normed = [stream.norm_attention(x) for stream, x in zip(self._own, xs, strict=True)]
        return normed, [stream.qkv(x) for stream, x in zip(self._own, normed, strict=True)]

    def _mix(
        self, normed: Sequence[Float[Tensor, "batch _ dim"]], projected: Sequence[Tensor], way: Routes
    ) -> list[Float[Tensor, "batch head _ dim_head"]]:
        """Give every query its streams' values; all who read a stream do so in one call, as many small calls are what costs."""
        shares = [self._shares(m, x, way) for m, x in enumerate(normed)] if len(way.keeps) > 1 else []
        mixed = [torch.zeros_like(queries) for queries, _, _ in projected]
        for n, (_, keys, values) in enumerate(projected):
            readers = [m for m, sources in enumerate(way.sources) if n in sources]
            if not readers:
                continue
            queries = [projected[m][0] for m in readers]
            found = self._attend(torch.cat(queries, dim=2) if len(queries) > 1 else queries[0], keys, values, way.masks[n])
            for m, part in zip(readers, found.split([q.shape[2] for q in queries], dim=2), strict=True):
                mixed[m] = mixed[m] + (part * shares[m][..., n : n + 1] if shares else part)
        return mixed

    def _attend(
        self,
        queries: Float[Tensor, "batch head query dim_head"],
        keys: Float[Tensor, "batch head key dim_head"],
        values: Float[Tensor, "batch head key dim_head"],
        mask: Bool[Tensor, "batch 1 1 key"] | None,
    ) -> Float[Tensor, "batch head query dim_head"]:
        dropout = self.attention_dropout if self.training else 0.0
        if keys.shape[2] == 1 and not dropout:  # the softmax over one key is 1
            return values.expand(-1, -1, queries.shape[2], -1)
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)

    def _shares(
        self, m: int, normed: Float[Tensor, "batch token dim"], way: Routes
    ) -> Float[Tensor, "batch head_or_1 token_or_1 stream"]:
        """Compute what share of a query's attention each stream gets: they sum to one over the streams allowed."""
        allowed = way.allowed[:, m, None, None, :]
        gate = self._own[m].gate
        if gate is not None:
            scores = gate(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
        elif self.preference is not None:
            scores = self.preference[m, None, :, None, :].expand(len(allowed), -1, -1, -1)
        else:
            scores = torch.zeros(allowed.shape, dtype=normed.dtype, device=normed.device)
        return masked_softmax(scores, allowed.expand_as(scores))


class MultimodalTransformer(nn.Module):
    """Blocks in which streams exchange, then blocks over all tokens joined, then a LayerNorm.

    ``ranks``, one a stream, say which come first where the exchange is one way; their places where not given.
    """

    def __init__(self, shape: Shape, *, streams: int, ranks: Sequence[int] | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.ranks = ranks
        self.blocks = nn.ModuleList(Block(shape, streams=streams if i < shape.mixing else 1) for i in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, streams: Sequence[Tokens]) -> Tokens:
        """Return the tokens of all streams side by side, transformed, in the order given; NaN under a mask is harmless."""
        return self._run(streams, [])

    def attention(self, streams: Sequence[Tokens]) -> list[Float[Tensor, "batch head all all"]]:
        """Return the attention map of every block over all tokens side by side (:meth:`Block.maps`)."""
        maps: list[Tensor] = []
        self._run(streams, maps, look=True)
        return maps

    def _run(self, streams: Sequence[Tokens], maps: list[Tensor], *, look: bool = False) -> Tokens:
        xs, keeps = [tokens.clean for tokens in streams], [tokens.keep for tokens in streams]
        way = routes(keeps, self.shape.exchange, self.ranks)
        everyone = torch.cat(keeps, dim=1)
        for index, block in enumerate(cast("list[Block]", list(self.blocks))):
            if index == self.shape.mixing:
                xs, way = [torch.cat(xs, dim=1)], routes([everyone], "average")
            if look:
                maps.append(block.maps(xs, way))
            xs = block(xs, way)
        return Tokens(values=self.norm(torch.cat(xs, dim=1)), keep=everyone)


def split_maps(maps: Sequence[Float[Tensor, "batch head all all"]], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Cut maps over tokens side by side into one for each block and ordered pair, ``"<block>:<query>-><key>"``.

    Args:
        maps: one of each block.
        sizes: names of the parts in the order in which they lie side by side, and their numbers of tokens.
    """
    lengths = list(sizes.values())
    return {
        f"{index}:{query}->{key}": cell
        for index, whole in enumerate(maps)
        for query, row in zip(sizes, whole.split(lengths, dim=2), strict=True)
        for key, cell in zip(sizes, row.split(lengths, dim=3), strict=True)
    }
