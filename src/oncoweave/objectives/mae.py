"""Masked autoencoder over the tiles of a slide: predict the embeddings of hidden tiles from the visible ones around them.

He et al. (CVPR 2022), on tile embeddings as in Prov-GigaPath (Xu et al., Nature 2024): the encoder sees the visible tiles only; a
light decoder sees its outputs, and a mask token where a tile is hidden, each with the position of its cell, and predicts the
hidden tiles; the loss is the squared error on them. The paper publishes neither mask ratio nor decoder nor target: those here are
chosen on a phantom (benchmarks/slide_mae). The target is the input itself, standardised over training tiles: it has no
parameters, so it cannot collapse.

The decoder sees the class token as one more token of the slide, so it is trained, unlike the peer's; but nothing asks it to hold
the slide, and it reads worse than the mean of the tile tokens. Read slides out by the mean.
"""

from dataclasses import field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from oncoweave.core.ranges import Count, ProperShare
from oncoweave.core.settings import ranged
from oncoweave.nn.coordinates import SlideView
from oncoweave.nn.dilated import Branch
from oncoweave.nn.drawn import seeded
from oncoweave.nn.grid import cells as cells_of
from oncoweave.nn.grid import sine_cosine
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.packed import WHOLE, PackedBlock
from oncoweave.nn.pretraining import SlideEncoder
from oncoweave.nn.tile_masking import hide_tiles
from oncoweave.nn.tokens import Tokens, require_shape

PRETRAINS = "slide"


@ranged
class Config:
    """Masking, decoder, and how the loader shows a slide."""

    mask_ratio: ProperShare = 0.75
    """Share of a slide's tiles that are hidden."""
    mask_block: Count = 1
    """Side, in cells, of the squares that are hidden together; 1 hides tile by tile."""
    decoder_dim: Count = 512
    decoder_depth: Count = 2
    decoder_heads: Count = 8
    segments: tuple[Count, ...] = ()
    """Segments of the decoder's dilated attention; none for plain attention, whose cost is quadratic in a slide's tiles."""
    dilations: tuple[Count, ...] = ()
    """Dilation of each segment."""
    views: SlideView = field(default_factory=SlideView)
    """How the loader shows a slide; its grid bounds the cells that a batch may have."""

    def __post_init__(self) -> None:
        """Refuse a masking or decoder that cannot be built."""
        if len(self.segments) != len(self.dilations):
            msg = f"wanted one dilation a segment, got segments {self.segments} and dilations {self.dilations}"
            raise ValueError(msg)


def build(config: Config, *, encoder: nn.Module, generator: torch.Generator) -> "MaskedAutoencoder":
    """Build the autoencoder around an encoder; the decoder is drawn from ``generator``.

    Of a slide encoder with a readout, as the encoders shelf builds it, the ``network`` before the readout is taken.

    Raises:
        TypeError: the encoder has no ``final``, ``dim_in`` or ``dim``.
    """
    network: nn.Module = getattr(encoder, "network", encoder)
    if not isinstance(network, SlideEncoder):
        msg = f"mae pretrains slide encoders that have final(values, keep=, grid=), dim_in and dim, not {type(encoder).__name__}"
        raise TypeError(msg)
    with seeded(generator):
        return MaskedAutoencoder(config, network, widths=(network.dim, network.dim_in))


class Decoder(nn.Module):
    """Transformer over all tiles of each slide: encoded where visible, the mask token where hidden.

    Its blocks lack LongNet's LayerNorm behind the attention: where neighbours disagree their average is short, and a prediction
    judged by its mean square error needs that length.
    """

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        dim = config.decoder_dim
        branches = tuple(Branch(segment=s, dilation=d) for s, d in zip(config.segments, config.dilations, strict=True))
        self.embed = nn.Linear(dim_in, dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(dim))
        self.blocks = nn.ModuleList(
            PackedBlock(dim, heads=config.decoder_heads, branches=branches or WHOLE) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.predict = nn.Linear(dim, dim_out)

    def forward(
        self,
        encoded: Float[Tensor, "slide token dim"],
        hidden: Bool[Tensor, " tile"],
        cells: Int64[Tensor, "tile 2"],
        *,
        lengths: list[int],
    ) -> Float[Tensor, "hidden_tile dim_out"]:
        """Predict the hidden tiles, in their order.

        ``encoded`` holds each slide's class token, then its visible tiles, in the order of the packed tiles that ``hidden`` and
        ``cells`` speak of; ``lengths`` counts the tiles of each slide.
        """
        encoded = self.embed(encoded)
        position = sine_cosine(cells, dim=encoded.shape[-1]).to(encoded)
        tiles = self.mask_token.to(encoded).expand(len(hidden), -1)
        tiles = tiles.index_put((~hidden,), encoded[:, 1:][_visible_slots(hidden, lengths)]) + position
        sizes = torch.tensor(lengths, device=hidden.device) + 1
        is_class = torch.zeros(len(lengths) + len(hidden), dtype=torch.bool, device=hidden.device)
        is_class[sizes.cumsum(0) - sizes] = True
        x = encoded.new_empty(len(is_class), encoded.shape[-1])
        x = x.index_put((is_class,), encoded[:, 0]).index_put((~is_class,), tiles)
        for block in self.blocks:
            x = block(x, lengths=[length + 1 for length in lengths])
        return self.predict(self.norm(x[~is_class][hidden]))


def _visible_slots(hidden: Bool[Tensor, " tile"], lengths: list[int]) -> Bool[Tensor, "slide slot"]:
    visible = torch.stack([(~part).sum() for part in hidden.split(lengths)])
    return torch.arange(int(visible.max()), device=hidden.device) < visible[:, None]


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder. Batches: Tokens with one slide a row, tiles standardised, positions in tiles."""

    encoder: Any  # an nn.Module that is a SlideEncoder; there is no type for both

    def __init__(self, config: Config, encoder: nn.Module, *, widths: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.decoder = Decoder(config, dim_in=widths[0], dim_out=widths[1])

    @property
    def exported(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    def forward(self, batch: Tokens, *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Hide tiles and give the mean squared error over the hidden tiles of the batch, whichever slide they are of.

        Beside ``loss`` come ``mean_error``, the error of predicting the training mean, and ``explained``, one less their ratio.
        With several processes the loss is scaled so that the mean of the processes' gradients is that of all hidden tiles.
        Slides that are absent or have one tile hide nothing and change nothing.

        Raises:
            ValueError: the tiles have another width than the encoder's, or no positions, or positions that are no cells.
        """
        del step, steps
        cells = _cells(batch, self.config.views.grid)
        hidden = hide_tiles(cells, batch.keep, ratio=self.config.mask_ratio, block=self.config.mask_block, generator=generator)
        if not batch.keep.any():
            nothing = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
            return {"loss": nothing, "mean_error": nothing.detach(), "explained": nothing.detach()}
        with seeded(generator):
            predicted = self.predict(batch, hidden, cells=cells)
        target = batch.values[hidden].float()
        error, plain = ((x - target).square().mean(dim=1).sum() for x in (predicted.float(), torch.zeros_like(target)))
        count = max(len(target), 1)
        mean_error = plain / count
        explained = 1.0 - error.detach() / plain.clamp(min=1e-12)
        return {"loss": error / _share(count, error.device), "mean_error": mean_error, "explained": explained}

    def predict(
        self, batch: Tokens, hidden: Bool[Tensor, "batch tile"], *, cells: Int64[Tensor, "batch tile 2"] | None = None
    ) -> Float[Tensor, "hidden_tile dim"]:
        """Predict the hidden tiles from the others, in the order of ``batch.values[hidden]``.

        Raises:
            ValueError: a slide has no visible tile; see also ``forward``.
        """
        require_shape(batch, dim=self.encoder.dim_in)
        cells = _cells(batch, self.config.views.grid) if cells is None else cells
        rows = batch.present
        keep, hidden, cells, values = (x[rows] for x in (batch.keep, hidden & batch.keep, cells, batch.values))
        number = hidden.flatten().cumsum(0).view_as(hidden) - 1  # of each hidden tile, in the order given
        order = _row_major(cells, keep)  # dilated attention depends on the order, a slide does not
        keep, hidden, number = (x.gather(1, order) for x in (keep, hidden, number))
        cells, values = (x.gather(1, _wide(order, x)) for x in (cells, values))
        visible = keep & ~hidden
        if not visible.any(dim=1).all():
            msg = "a slide has no visible tile left to predict the others from"
            raise ValueError(msg)
        order = torch.argsort((~visible).byte(), dim=1, stable=True)[:, : int(visible.sum(dim=1).max())]
        shown = visible.gather(1, order)
        seen = torch.where(shown[..., None], values.gather(1, _wide(order, values)), 0.0)
        places = torch.where(shown[..., None], cells.gather(1, _wide(order, cells)), 0)
        encoded = self.encoder.final(seen, keep=shown, grid=places)
        predicted = self.decoder(encoded, hidden[keep], cells[keep], lengths=keep.sum(dim=1).tolist())
        return torch.zeros_like(predicted).index_put((number[hidden],), predicted)

    def after_step(self, *, step: int, steps: int) -> None:
        """Do nothing: there is no teacher."""

    def parameter_groups(self) -> list[Group]:
        """Encoder and decoder, all at the full learning rate."""
        return encoder_groups(self.encoder) + head_groups(self.decoder, name="decoder")


def _cells(batch: Tokens, grid: int) -> Int64[Tensor, "batch tile 2"]:
    """Cells of the kept tiles; zero elsewhere."""
    if batch.positions is None:
        msg = "slides come without positions; mae needs each tile's (x, y) in tiles and the number of its slide"
        raise ValueError(msg)
    found = torch.zeros(*batch.keep.shape, 2, dtype=torch.int64, device=batch.keep.device)
    for row, kept in enumerate(batch.keep):
        if not kept.any():
            continue
        positions = batch.positions[row, kept]
        if positions.shape[1] > 2 and (positions[:, 2] != positions[0, 2]).any():
            msg = f"row {row} of the batch holds tiles of several slides; mae takes one slide a row"
            raise ValueError(msg)
        try:
            found[row, kept] = cells_of(positions[:, :2], grid=grid)
        except ValueError as error:
            error.add_note(f"in row {row} of the batch")
            raise
    return found


def _row_major(cells: Int64[Tensor, "batch tile 2"], keep: Bool[Tensor, "batch tile"]) -> Int64[Tensor, "batch tile"]:
    x, y = cells.unbind(dim=-1)
    return torch.argsort(torch.where(keep, y * (x.max() + 1) + x, torch.iinfo(torch.int64).max), dim=1, stable=True)


def _wide(order: Int64[Tensor, "batch slot"], like: Tensor) -> Int64[Tensor, "batch slot dim"]:
    return order.unsqueeze(-1).expand(-1, -1, like.shape[-1])


def _share(count: int, device: torch.device) -> float:
    """Mean number of hidden tiles over the processes."""
    if not torch.distributed.is_initialized():
        return float(count)
    total = torch.tensor(float(count), device=device)
    torch.distributed.all_reduce(total)
    return float(total) / torch.distributed.get_world_size()
