"""Outer products of vectors that carry a one, so that lower orders of interaction stay in."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def outer_with_ones(vectors: Sequence[Float[Tensor, "batch _"]]) -> Float[Tensor, "batch term"]:
    """Flatten [h_1; 1] x ... x [h_M; 1], the first vector varying slowest; the last term is the product of the ones.

    A vector of zeros stands for [0; 1]: what is left are the products of the others (Zadeh et al. 2017).
    """
    product = vectors[0].new_ones(len(vectors[0]), 1)
    for vector in vectors:
        extended = torch.cat([vector, vector.new_ones(len(vector), 1)], dim=1)
        product = (product.unsqueeze(2) * extended.unsqueeze(1)).flatten(start_dim=1)
    return product
