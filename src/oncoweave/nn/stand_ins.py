"""Tokens in the place of what a patient lacks."""

from collections.abc import Mapping

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


def with_rows(tokens: Tokens, given: Mapping[int, Tokens]) -> Tokens:
    """Put the tokens of single patients, by row, in the place of what a batch holds there; padded to the longest."""
    if not given:
        return tokens
    longest = max(t.keep.shape[1] for t in (tokens, *given.values()))
    values, keep = _longer(tokens.values, longest), _longer(tokens.keep, longest)
    positions = None if tokens.positions is None else _longer(tokens.positions, longest)
    for row, own in given.items():
        values[row], keep[row] = _longer(own.values, longest)[0].to(values.dtype), _longer(own.keep, longest)[0]
        if positions is not None and own.positions is not None:
            positions[row] = _longer(own.positions, longest)[0]
    return Tokens(values=values, keep=keep, positions=positions)


def _longer(tensor: Tensor, longest: int) -> Tensor:
    """Copy a tensor with zeros after its tokens, up to so many."""
    longer = tensor.new_zeros(tensor.shape[0], longest, *tensor.shape[2:])
    longer[:, : tensor.shape[1]] = tensor
    return longer
