"""A token in the place of what a patient lacks."""

import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.nn.tokens import Tokens


def stand_in(tokens: Tokens, values: Float[Tensor, "batch dim"]) -> Tokens:
    """Give patients who lack the modality one token, the first, with these values; all others keep what they have.

    Where tokens have places, the stand-in's is zero.
    """
    absent = ~tokens.present
    first = torch.zeros_like(tokens.keep)
    first[:, 0] = absent
    put = first.unsqueeze(-1)
    positions = tokens.positions
    return Tokens(
        values=torch.where(put, values.unsqueeze(1).to(tokens.values.dtype), tokens.values),
        keep=tokens.keep | first,
        positions=None if positions is None else torch.where(put, torch.zeros((), dtype=positions.dtype), positions),
    )
