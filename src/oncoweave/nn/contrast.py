"""Contrast of two views of a tile with all others of the batch."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from oncoweave.nn.ranks import joined


def nt_xent(first: Float[Tensor, "batch dim"], second: Float[Tensor, "batch dim"], *, temperature: float) -> Float[Tensor, ""]:
    """Normalised, temperature-scaled cross entropy (SimCLR, Chen et al. 2020, eq. 1): mean over both views of all tiles.

    A view must find its partner among the views of all tiles of all processes but itself, by cosine. One tile alone gives 0.
    """
    with torch.autocast(first.device.type, enabled=False):
        own = F.normalize(torch.cat([first, second]).float(), dim=1)
        everybody, start = joined(own)
        logits = own @ everybody.T / temperature
    rows = torch.arange(len(own), device=own.device)
    logits = logits.index_put((rows, rows + start), logits.new_tensor(-torch.inf))
    return F.cross_entropy(logits, start + rows.roll(len(first)))
