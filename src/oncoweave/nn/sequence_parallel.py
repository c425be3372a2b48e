"""Sequence parallelism: one slide's tokens over several processes, where one device does not hold it (Ding et al. 2023).

Every process holds an even run of the packed tokens, computes its own queries, and gathers keys and values. All processes make
the same loss of the same readout; averaging parameter gradients over them, as data parallelism does, gives the gradient of one
process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from oncoweave.nn.dilated import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """The processes that share each slide."""

    rank: int
    size: int
    group: dist.ProcessGroup | None = None

    def part(self, count: int) -> slice:
        """Rows of ``count`` packed tokens that this process holds."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)


def current_ranks(group: dist.ProcessGroup | None = None) -> Ranks:
    """Take all processes of a group, or of the program."""
    return Ranks(rank=dist.get_rank(group), size=dist.get_world_size(group), group=group)


def own_queries(layout: Sequence[Span], part: slice) -> tuple[Span, ...]:
    """Leave each sequence its keys, and of its queries those that lie in ``part`` of the packed tokens."""
    found = []
    for span in layout:
        low, high = max(span.key_start, part.start), min(span.key_start + span.key_count, part.stop)
        if low < high:
            found.append(
                Span(
                    key_start=span.key_start,
                    key_count=span.key_count,
                    query_start=low - part.start,
                    query_count=high - low,
                    offset=low - span.key_start,
                )
            )
    return tuple(found)


class _Gather(Function):
    """All processes' rows, end to end; on the way back, the sum of what all processes ask of the own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, ranks: Ranks) -> Tensor:  # noqa: ANN401
        ctx.count, ctx.ranks = count, ranks
        longest = -(-count // ranks.size)
        own = x.new_zeros(longest, *x.shape[1:])
        own[: len(x)] = x
        rows = [torch.empty_like(own) for _ in range(ranks.size)]
        dist.all_gather(rows, own, group=ranks.group)
        lengths = [(rank + 1) * count // ranks.size - rank * count // ranks.size for rank in range(ranks.size)]
        return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        total = grad.contiguous().clone()
        dist.all_reduce(total, group=ctx.ranks.group)
        return total[ctx.ranks.part(ctx.count)], None, None


class _Sum(Function):
    """Sum over processes, of values and of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:  # noqa: ANN401
        ctx.ranks = ranks
        total = x.clone()
        dist.all_reduce(total, group=ranks.group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        total = grad.contiguous().clone()
        dist.all_reduce(total, group=ctx.ranks.group)
        return total, None


def gather_rows(x: Float[Tensor, "own *rest"], count: int, ranks: Ranks) -> Float[Tensor, "all *rest"]:
    """Join the rows that the processes hold of ``count`` packed tokens."""
    return _Gather.apply(x, count, ranks)


def sum_over(x: Float[Tensor, "*shape"], ranks: Ranks) -> Float[Tensor, "*shape"]:
    """Sum the processes' shares of a readout."""
    return _Sum.apply(x, ranks)
