"""LongNet over the tiles of a slide: Prov-GigaPath's slide encoder (Xu et al., Nature 2024; Ding et al., arXiv 2307.02486).

Parameter names and sizes are those of the released ``slide_encoder.pth``, which ``from_upstream`` loads. Departures, each
measured against the peer: attention is exact for every segment and dilation, without padding keys (the peer's numerics come
back with ``upstream_compatible``, which loading its weights sets); tiles are put into row-major order inside, so that an
embedding does not depend on the order of a file; batches are packed, so that padding cannot leak; positions are computed on
the fly and their cells checked; the readout is the mean, as the class token was not trained; each slide is its own sequence.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.dilated import Branch
from oncoweave.nn.dilated_block import DilatedLayer, LayerConfig, Recompute
from oncoweave.nn.grid import cells, require_cells, sine_cosine
from oncoweave.nn.packed_slides import Slides, lay, pool_slides, unpack
from oncoweave.nn.sequence_parallel import Ranks
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
ORDER_INVARIANT = True
UPSTREAM_SETTINGS: dict[str, object] = {"upstream_compatible": True, "key_bias": True}
"""What a network is built with that starts from released weights."""

_CHUNK = 4096
"""Tiles that are embedded at a time."""


def segments(max_wsi: int = 262144, tile: int = 256, *, count: int = 5) -> tuple[int, ...]:
    """Compute the peer's segment lengths, even in the exponent from 1024 to the tiles of the largest slide.

    Args:
        max_wsi: side of the largest slide, in pixels.
        tile: side of a tile, in pixels.
        count: number of branches.
    """
    top = int(math.log2((max_wsi // tile) ** 2))
    return tuple(int(2 ** (10 + (top - 10) * i / (count - 1))) for i in range(count))


@ranged
class Config:
    """Size, attention and readout."""

    dim: Count = 768
    """Width of the tokens."""
    depth: Count = 12
    """Layers."""
    heads: Count = 16
    """Of the attention; must divide ``dim``."""
    ratio: Positive = 4.0
    """Width inside the feed-forward blocks, as a multiple of ``dim``."""
    segments: tuple[Count, ...] = (1024, 5792, 32768, 185363, 1048576)
    """Segment length of each branch, in tiles."""
    dilations: tuple[Count, ...] = (1, 2, 4, 8, 16)
    """Dilation of each branch; a single 1 beside one long segment is plain attention."""
    grid: Count = 1000
    """Cells a side that positions may have."""
    key_bias: bool = True
    """Whether keys have a bias, as in released weights; exact attention cancels it, so that it is never trained."""
    upstream_compatible: bool = False
    """Attend with the numerics that the released weights were trained with (``nn.dilated_upstream``)."""
    readout: Literal["mean", "cls", "tokens"] = "mean"
    """One vector a slide (mean of the tiles, or class token), or each tile in its context."""
    layers: tuple[int, ...] = ()
    """Layers read out side by side, 0 being the embedded input; empty for the last, through its own LayerNorm."""
    dropout: Rate = 0.0
    """Share dropped in training."""
    drop_path: Rate = 0.0
    """Chance that a slide skips a half of the last layer; it grows linearly with depth from 0."""
    branch_start: Positive = 1.0
    """Factor on the start values of the projections that end each half of a layer; the peer's is 1. Below, tokens start out
    nearer to their own tile, and what depends on neighbours is learnt in fewer steps (benchmarks/slide_mae)."""
    checkpoint: Recompute = "nothing"
    """What training computes again on the way back instead of keeping it."""

    def __post_init__(self) -> None:
        """Refuse branches that do not pair up and layers that do not exist."""
        if len(self.segments) != len(self.dilations):
            msg = f"{len(self.segments)} segments and {len(self.dilations)} dilations; each branch needs one of both"
            raise ValueError(msg)
        refuse_uneven(self.dim, self.heads)
        if self.dim % 4:
            msg = f"positions need a width that divides by 4, got {self.dim}"
            raise ValueError(msg)
        wrong = [layer for layer in self.layers if not 0 <= layer <= self.depth]
        if wrong:
            msg = f"layers {wrong} do not exist; there are 0 (the embedded input) to {self.depth}"
            raise ValueError(msg)


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "large": Config(dim=1024, depth=24),
    "wide": Config(dim=1536),
    "small": Config(dim=384, depth=6, heads=8, key_bias=False),
    "tiny": Config(dim=32, depth=2, heads=4, segments=(8, 16, 32), dilations=(1, 2, 4), key_bias=False),
}
"""``base``, ``large`` and ``wide`` are the peer's enc12l768d, enc24l1024d and enc12l1536d."""


class _Projection(nn.Module):
    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim)


class _Stack(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DilatedLayer(c) for c in _layer_configs(config)])
        self.layer_norm = nn.LayerNorm(config.dim)


class LongNet(nn.Module):
    """Tile embeddings and their cells to one contextual token a tile, and a class token before them."""

    def __init__(self, config: Config, *, dim_in: int) -> None:
        super().__init__()
        self.config = config
        self.dim_in = dim_in
        self.dim = config.dim
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.dim).normal_(0.0, 0.02))
        self.patch_embed = _Projection(dim_in, config.dim)
        self.encoder = _Stack(config)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):
                ends_half = name.endswith(("self_attn.out_proj", "ffn.fc2"))
                nn.init.xavier_uniform_(layer.weight, gain=config.branch_start if ends_half else 1.0)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tokens) -> Tokens:
        """Put each tile into the context of its slide, each row being one slide; ``final`` without the class tokens.

        Raises:
            ValueError: a width differs, there are no positions, or they are not in tiles.
        """
        if tokens.positions is None:
            msg = "LongNet needs positions: (x, y) in tiles, as modality 'slide' makes them"
            raise ValueError(msg)
        grid = torch.zeros(*tokens.keep.shape, 2, dtype=torch.int64, device=tokens.keep.device)
        for row, own in enumerate(tokens.keep):
            grid[row, own] = cells(tokens.positions[row, own, :2], grid=self.config.grid)
        values = self.final(tokens.values, keep=tokens.keep, grid=grid)[:, 1:]
        return Tokens(values=values, keep=tokens.keep, positions=tokens.positions)

    def tokens(
        self,
        values: Float[Tensor, "batch token dim_in"],
        *,
        keep: Bool[Tensor, "batch token"],
        grid: Int64[Tensor, "batch token 2"],
    ) -> list[Float[Tensor, "batch token_and_class dim"]]:
        """Encode each row as one slide; return what enters the first layer, then what each layer returns, class token first.

        Neither LayerNorm of the end has been applied. Tiles come back in the order they came in, zeros where not kept. A row
        without a tile is no slide: its class token is zeros too.

        Raises:
            ValueError: a width differs, or a kept cell lies outside the grid.
        """
        slides = self.rows(values, keep, grid)
        return [unpack(x, slides) for x in self.states(slides)]

    def final(
        self,
        values: Float[Tensor, "batch token dim_in"],
        *,
        keep: Bool[Tensor, "batch token"],
        grid: Int64[Tensor, "batch token 2"],
    ) -> Float[Tensor, "batch token_and_class dim"]:
        """Encode each row as ``tokens`` does; return the last layer only, through both LayerNorms of the end.

        Raises:
            ValueError: a width differs, or a kept cell lies outside the grid.
        """
        slides = self.rows(values, keep, grid)
        return unpack(self.finish(_last(self.states(slides))), slides)

    def readouts(
        self, slides: Slides, *, pool: Literal["mean", "cls"], layers: Sequence[int] = ()
    ) -> list[Float[Tensor, "slide dim"]]:
        """Read layers out, 0 being the embedded input, through the last LayerNorm; without ``layers``, the end of the encoder.

        ``range(depth + 1)`` is the peer's list of all layers.
        """
        found: dict[int, Tensor] = {}
        for number, x in enumerate(self.states(slides)):
            if number in layers:
                found[number] = self.norm(pool_slides(x, slides, pool))
            last = x
        return [found[number] for number in layers] or [self.norm(pool_slides(self.encoder.layer_norm(last), slides, pool))]

    def finish(self, x: Float[Tensor, "packed dim"]) -> Float[Tensor, "packed dim"]:
        """Apply both LayerNorms of the end."""
        return self.norm(self.encoder.layer_norm(x))

    @torch.no_grad()
    def rescale_input(self, *, factor: Float[Tensor, " dim_in"], shift: Float[Tensor, " dim_in"]) -> None:
        """Take up a change of the tiles' scale: from now on ``x`` is read as ``x * factor + shift`` was; exact."""
        first = self.patch_embed.proj
        first.bias.add_(first.weight @ shift)
        first.weight.mul_(factor)

    def states(self, slides: Slides) -> Iterator[Float[Tensor, "packed dim"]]:
        """Run the layers over packed slides; yield what enters the first, then what each returns.

        Without gradients, in evaluation, every state is the same memory: take what is needed of one before asking for the next.
        """
        packing = slides.packing
        x = self.embed(slides)
        yield x
        if torch.is_grad_enabled() or self.training:
            recompute = self.config.checkpoint if torch.is_grad_enabled() else "nothing"
            for layer in self.encoder.layers:
                x = layer(x, packing, recompute=recompute)
                yield x
            return
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        room = torch.empty(3, self.config.heads, len(x), self.dim // self.config.heads, dtype=dtype, device=x.device)
        for layer in self.encoder.layers:
            cast("DilatedLayer", layer).infer_(x, packing, room)
            yield x

    def embed(self, slides: Slides) -> Float[Tensor, "packed dim"]:
        """Project tiles, add their positions and put the class token before each slide."""
        parts = []
        for span in slides.packing.layout:
            row, tiles = slides.of(span)
            if span.offset == 0:
                parts.append(self.cls_token[0])
            for own in tiles.split(_CHUNK):
                place = sine_cosine(slides.grid[row, own], dim=self.dim)
                parts.append(self.patch_embed.proj(slides.values[row, own]) + place)
        x = torch.cat(parts) if parts else self.cls_token[0, :0]
        return functional.dropout(x, self.config.dropout, training=self.training)

    def rows(
        self, values: Float[Tensor, "batch token dim_in"], keep: Bool[Tensor, "batch token"], grid: Int64[Tensor, "batch token 2"]
    ) -> Slides:
        """Take each row of a batch as one slide, its kept tiles in row-major order.

        Raises:
            ValueError: a width differs, or a kept cell lies outside the grid.
        """
        require_shape(Tokens(values=values, keep=keep), dim=self.dim_in)
        kept = [(row, own.nonzero().squeeze(1)) for row, own in enumerate(keep)]
        for row, own in kept:
            require_cells(grid[row, own], grid=self.config.grid)
        return lay(values, grid, kept)


def _layer_configs(config: Config) -> list[LayerConfig]:
    branches = tuple(Branch(segment=w, dilation=r) for w, r in zip(config.segments, config.dilations, strict=True))
    return [
        LayerConfig(
            dim=config.dim,
            heads=config.heads,
            hidden=round(config.dim * config.ratio),
            branches=branches,
            upstream=config.upstream_compatible,
            key_bias=config.key_bias,
            dropout=config.dropout,
            drop_path=config.drop_path * index / max(1, config.depth - 1),
        )
        for index in range(config.depth)
    ]


def _last(states: Iterator[Tensor]) -> Tensor:
    for x in states:
        last = x
    return last


class SlideEncoder(nn.Module):
    """One token a slide of the patient, or one a tile, of the width asked for."""

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.config = config
        self.network = LongNet(config, dim_in=dim_in)
        self.out = nn.Linear(config.dim * max(1, len(config.layers)), dim_out)
        self.ranks: Ranks | None = None
        """Set it to share each slide among processes, where a slide is read out as one vector."""

    @property
    def lower(self) -> nn.Module:
        """LongNet."""
        return self.network

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each slide of each patient by itself.

        Raises:
            ValueError: a width differs, there are no positions, or they are not in tiles.
        """
        return self.project(self.features(tokens))

    def project(self, features: Tokens) -> Tokens:
        """Bring what LongNet makes of slides to the width asked for."""
        values = torch.where(features.keep.unsqueeze(-1), self.out(features.values), 0.0)
        return Tokens(values=values, keep=features.keep, positions=features.positions)

    def features(self, tokens: Tokens) -> Tokens:
        """Read LongNet out over each slide of each patient; raises as ``forward``."""
        require_shape(tokens, dim=self.network.dim_in)
        if tokens.positions is None:
            msg = "LongNet needs positions: (x, y) in tiles and the slide's number, as modality 'slide' makes them"
            raise ValueError(msg)
        positions, slide = tokens.positions[..., :2], tokens.positions[..., 2]
        kept, numbers = _slides(tokens.keep, slide)
        grid = torch.zeros(*tokens.keep.shape, 2, dtype=torch.int64, device=tokens.keep.device)
        for row, own in kept:
            grid[row, own] = cells(positions[row, own], grid=self.config.grid)
        slides = lay(tokens.values, grid, kept, ranks=self.ranks)
        if self.config.readout == "tokens":
            return self._tiles(slides, tokens)
        vectors = torch.cat(self.network.readouts(slides, pool=self.config.readout, layers=self.config.layers), dim=1)
        return _by_patient(vectors, (slides.rows, numbers), batch=len(tokens.keep))

    def _tiles(self, slides: Slides, tokens: Tokens) -> Tokens:
        if self.config.layers:
            states = enumerate(self.network.states(slides))
            chosen = {number: self.network.norm(x) for number, x in states if number in self.config.layers}
            found = torch.cat([chosen[number] for number in self.config.layers], dim=1)
        else:
            found = self.network.finish(_last(self.network.states(slides)))
        return Tokens(values=unpack(found, slides)[:, 1:], keep=tokens.keep, positions=tokens.positions)


def _slides(keep: Bool[Tensor, "batch token"], slide: Float[Tensor, "batch token"]) -> tuple[list[tuple[int, Tensor]], list[int]]:
    """List each slide's row and tiles, and its place among the patient's slides."""
    kept, numbers = [], []
    for row, own in enumerate(keep):
        tiles = own.nonzero().squeeze(1)
        for place, number in enumerate(slide[row, tiles].unique()):
            kept.append((row, tiles[slide[row, tiles] == number]))
            numbers.append(place)
    return kept, numbers


def _by_patient(vectors: Float[Tensor, "slide dim"], place: tuple[Sequence[int], Sequence[int]], *, batch: int) -> Tokens:
    rows, numbers = (torch.tensor(x, dtype=torch.int64, device=vectors.device) for x in place)
    count = 1 + int(numbers.max()) if len(numbers) else 1
    keep = torch.zeros(batch, count, dtype=torch.bool, device=vectors.device)
    keep[rows, numbers] = True
    return Tokens(values=vectors.new_zeros(batch, count, vectors.shape[1]).index_put((rows, numbers), vectors), keep=keep)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tiles may be any."""
    del num_tokens
    return SlideEncoder(config, dim_in=dim_in, dim_out=dim_out)


def from_upstream(state: Mapping[str, Any], config: Config | None = None) -> LongNet:
    """Load released weights (the dict itself, or under the key ``model``), with the peer's numerics.

    Args:
        state: weights, as ``torch.load(path, weights_only=True)`` returns them.
        config: size of the network where it is not the released one (variant ``base``).

    Raises:
        ConfigError: keys are missing, unexpected or of another shape; all are listed.
    """
    inner = state.get("model")
    weights = inner if isinstance(inner, Mapping) else state
    wanted = dataclasses.replace(config or VARIANTS["base"], upstream_compatible=True, key_bias=True)
    if "patch_embed.proj.weight" not in weights:
        came = ", ".join(list(weights)[:8])
        msg = f"these are not weights of LongNet: no key 'patch_embed.proj.weight' among {len(weights)}: {came}"
        raise ConfigError(msg)
    with torch.device("meta"):
        network = LongNet(wanted, dim_in=weights["patch_embed.proj.weight"].shape[1])
    own = network.state_dict()
    faults = [f"missing: {', '.join(sorted(own.keys() - weights.keys()))}"] if own.keys() - weights.keys() else []
    faults += [f"unexpected: {', '.join(sorted(weights.keys() - own.keys()))}"] if weights.keys() - own.keys() else []
    faults += [
        f"{key} has shape {tuple(weights[key].shape)}, wanted {tuple(tensor.shape)}"
        for key, tensor in own.items()
        if key in weights and weights[key].shape != tensor.shape
    ]
    if faults:
        raise ConfigError("weights do not fit LongNet; " + "; ".join(faults))
    network.load_state_dict({key: nn.Parameter(value.float()) for key, value in weights.items()}, assign=True)
    return network
