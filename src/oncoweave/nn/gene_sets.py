"""A linear layer of its own for each of many overlapping sets of inputs, computed in a few batched products."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class SetLinear(nn.Module):
    """Output s is W_s x_s + b_s over the inputs of set s.

    The weights are those of the members alone, one row a member of a set. Sets of similar size (up to the same power of two) are
    padded to each other and multiplied at once: the cost is at most twice that of the members, where one dense masked layer costs
    all inputs for every set. Which inputs a set has is stored beside the weights.
    """

    def __init__(self, sets: Sequence[Sequence[int]], *, num_inputs: int, width: int) -> None:
        super().__init__()
        sizes = [len(members) for members in sets]
        starts = [0, *accumulate(sizes)]
        self.num_inputs = num_inputs
        spread = torch.tensor([size**-0.5 for size in sizes for _ in range(size)]).unsqueeze(1)
        self.weight = nn.Parameter(torch.randn(starts[-1], width) * spread)  # LeCun's: variance 1 / inputs of the set
        self.bias = nn.Parameter(torch.zeros(len(sets), width))
        by_size: dict[int, list[int]] = {}
        for s, size in enumerate(sizes):
            by_size.setdefault((size - 1).bit_length(), []).append(s)
        for place, members in enumerate(by_size.values()):
            longest = max(sizes[s] for s in members)
            inputs = [[*sets[s], *[num_inputs] * (longest - sizes[s])] for s in members]
            rows = [[*range(starts[s], starts[s + 1]), *[0] * (longest - sizes[s])] for s in members]
            self.register_buffer(f"inputs_{place}", torch.tensor(inputs))
            self.register_buffer(f"rows_{place}", torch.tensor(rows))
        self.num_groups = len(by_size)
        order = torch.tensor([s for members in by_size.values() for s in members])
        self.register_buffer("order", torch.argsort(order))

    def forward(self, values: Float[Tensor, "batch input"]) -> Float[Tensor, "batch set dim"]:
        """Compute every set's outputs; an input that is not measured must be zero."""
        padded = torch.cat([values, values.new_zeros(len(values), 1)], dim=1)
        parts = [
            torch.einsum("bsi,sid->bsd", padded[:, inputs], F.embedding(rows, self.weight)) for inputs, rows in self._groups()
        ]
        return torch.cat(parts, dim=1)[:, self.get_buffer("order")] + self.bias

    def any_kept(self, keep: Bool[Tensor, "batch input"]) -> Bool[Tensor, "batch set"]:
        """Say which sets have an input that was measured."""
        padded = torch.cat([keep, keep.new_zeros(len(keep), 1)], dim=1)
        return torch.cat([padded[:, inputs].any(dim=2) for inputs, _ in self._groups()], dim=1)[:, self.get_buffer("order")]

    def _groups(self) -> list[tuple[Int[Tensor, "set slot"], Int[Tensor, "set slot"]]]:
        return [(self.get_buffer(f"inputs_{g}"), self.get_buffer(f"rows_{g}")) for g in range(self.num_groups)]
