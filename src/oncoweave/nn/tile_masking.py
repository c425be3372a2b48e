"""Which tiles of a slide are hidden from an autoencoder: single ones, or squares of the grid; the number is met exactly."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def num_hidden(num_tiles: Int64[Tensor, " slide"], *, ratio: float) -> Int64[Tensor, " slide"]:
    """Count the tiles to hide: ``ratio`` of them, rounded (halves up), but one at least stays visible and one is hidden.

    A slide of a single tile hides nothing, since nothing would be left to predict it from.
    """
    wanted = (num_tiles.double() * ratio + 0.5).floor().long()
    return torch.minimum(wanted.clamp(min=1), (num_tiles - 1).clamp(min=0))


def hide_tiles(
    cells: Int64[Tensor, "batch tile 2"],
    keep: Bool[Tensor, "batch tile"],
    *,
    ratio: float,
    block: int = 1,
    generator: torch.Generator,
) -> Bool[Tensor, "batch tile"]:
    """Draw the tiles to hide of each slide; one that is not kept is never hidden.

    With ``block`` above 1, squares of ``block`` x ``block`` cells, whose corner is drawn too, are hidden whole one after another
    until the number is met; of the last one only a part. Draws are made for kept tiles alone, so padding does not change them.
    """
    drawn_on = generator.device
    row, column = (index.to(drawn_on) for index in keep.nonzero(as_tuple=True))
    counts = keep.sum(dim=1).to(drawn_on)
    chance = torch.rand(len(row), generator=generator, dtype=torch.float64, device=drawn_on)
    if block > 1:
        corner = torch.randint(block, (int((counts > 0).sum()), 2), generator=generator, device=drawn_on)
        slide = (counts > 0).cumsum(0)[row] - 1
        square = (cells.to(drawn_on)[row, column] + corner[slide]) // block
        which = torch.unique(torch.column_stack([row, square]), dim=0, return_inverse=True)[1]
        turn = torch.randperm(int(which.max()) + 1 if len(which) else 0, generator=generator, device=drawn_on)
        chance = chance + turn[which]
    order = torch.argsort(chance)
    order = order[torch.argsort(row[order], stable=True)]
    rank = torch.arange(len(row), device=drawn_on) - (counts.cumsum(0) - counts)[row[order]]
    chosen = order[rank < num_hidden(counts, ratio=ratio)[row[order]]]
    hidden = torch.zeros(keep.shape, dtype=torch.bool, device=drawn_on)
    hidden[row[chosen], column[chosen]] = True
    return hidden.to(keep.device)
