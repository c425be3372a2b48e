"""Dilated attention written out as a dense masked softmax: the definition that the kernels are held to."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from oncoweave.nn.dilated import Branch


def reference_attention(
    query: Float[Tensor, "head token dim"],
    key: Float[Tensor, "head token dim"],
    value: Float[Tensor, "head token dim"],
    *,
    branches: Sequence[Branch],
) -> Float[Tensor, "head token dim"]:
    """Attend within one sequence by a dense masked softmax: the definition; memory is quadratic."""
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    seen = multiplicity(branches, length=query.shape[1], heads=query.shape[0]).to(query)
    nothing = (seen == 0).all(dim=-1, keepdim=True)  # a softmax over -inf alone would be NaN, in the gradient too
    weights = (scores + torch.where(nothing, 0.0, seen.log())).softmax(dim=-1)
    return torch.where(nothing, 0.0, weights) @ value


def multiplicity(branches: Sequence[Branch], *, length: int, heads: int) -> Float[Tensor, "head query key"]:
    """Count how many branches let a query see a key."""
    position, head = torch.arange(length), torch.arange(heads)
    seen = torch.zeros(heads, length, length)
    for branch in branches:
        width = min(branch.segment, length)
        phase = head // math.ceil(heads / branch.dilation)
        kept = (position % width) % branch.dilation == phase[:, None]
        same = position[:, None] // width == position[None, :] // width
        seen += kept[:, :, None] & kept[:, None, :] & same
    return seen
