"""Slides of a batch end to end: which tiles belong to each, pooling, and the way back to the batch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from oncoweave.nn.dilated import Span
from oncoweave.nn.dilated_block import Packing, pack
from oncoweave.nn.grid import row_major
from oncoweave.nn.sequence_parallel import Ranks, sum_over


@dataclass(frozen=True, kw_only=True, slots=True)
class Slides:
    """Slides to encode, each a run of packed tokens: its class token, then its tiles in row-major order."""

    values: Float[Tensor, "batch token dim_in"]
    grid: Int64[Tensor, "batch token 2"]
    rows: tuple[int, ...]
    """Row of the batch that each slide comes from."""
    tiles: tuple[Int64[Tensor, " _"], ...]
    """Tiles of that row, in the order in which they are encoded."""
    ranks: Ranks | None = None
    """Processes that share the tiles; None where each is encoded here."""

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each slide begins among the packed tokens."""
        return tuple(itertools.accumulate((1 + len(tiles) for tiles in self.tiles[:-1]), initial=0))

    @property
    def packing(self) -> Packing:
        """How the slides lie end to end."""
        return pack([1 + len(tiles) for tiles in self.tiles], self.ranks)

    def of(self, span: Span) -> tuple[int, Int64[Tensor, " _"]]:
        """Find the row of a packed slide, and its tiles among the queries held here."""
        number = self.starts.index(span.key_start)
        return self.rows[number], self.tiles[number][max(0, span.offset - 1) : span.offset + span.query_count - 1]


def lay(
    values: Float[Tensor, "batch token dim_in"],
    grid: Int64[Tensor, "batch token 2"],
    kept: Sequence[tuple[int, Int64[Tensor, " _"]]],
    *,
    ranks: Ranks | None = None,
) -> Slides:
    """Put the tiles of each slide (its row in the batch, its tiles there) into row-major order; leave out empty ones."""
    present = [(row, row_major(grid[row, own], values[row], own)) for row, own in kept if len(own)]
    return Slides(values=values, grid=grid, rows=tuple(r for r, _ in present), tiles=tuple(t for _, t in present), ranks=ranks)


def pool_slides(x: Float[Tensor, "packed dim"], slides: Slides, pool: Literal["mean", "cls"]) -> Float[Tensor, "slide dim"]:
    """Take each slide's class token or the mean of its tiles, from all processes that hold some of them."""
    packing = slides.packing
    shares = []
    for span, own in zip(packing.layout, x.split(packing.lengths), strict=True):
        head = 1 if span.offset == 0 else 0
        shares.append(own[:head].sum(dim=0) if pool == "cls" else own[head:].sum(dim=0) / (span.key_count - 1))
    numbers = torch.tensor([slides.starts.index(s.key_start) for s in packing.layout], dtype=torch.int64, device=x.device)
    joined = torch.stack(shares) if shares else x[:0]
    found = x.new_zeros(len(slides.rows), x.shape[1]).index_put((numbers,), joined)
    return found if packing.ranks is None else sum_over(found, packing.ranks)


def unpack(x: Float[Tensor, "packed dim"], slides: Slides) -> Float[Tensor, "batch token_and_class dim"]:
    """Put tokens back where their tiles came from, each row's class token first; zeros elsewhere.

    Raises:
        ValueError: processes share the tiles, so that none has them all.
    """
    if slides.ranks is not None:
        msg = "tiles that several processes share are not put back into one batch; read the mean or the class token out"
        raise ValueError(msg)
    empty = slides.grid.new_zeros(0)
    rows = torch.cat([empty, *(torch.full_like(t, row) for row, t in zip(slides.rows, slides.tiles, strict=True))])
    places = torch.cat([empty, *slides.tiles]) + 1
    heads = torch.tensor(slides.starts[: len(slides.tiles)], dtype=torch.int64, device=x.device)
    is_tile = torch.ones(len(x), dtype=torch.bool, device=x.device)
    is_tile[heads] = False
    batch, count = slides.values.shape[:2]
    found = x.new_zeros(batch, 1 + count, x.shape[1]).index_put((rows, places), x[is_tile])
    first = torch.tensor(slides.rows, dtype=torch.int64, device=x.device)
    return found.index_put((first, torch.zeros_like(first)), x[heads])
