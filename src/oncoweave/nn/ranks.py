"""Statistics over the processes of a distributed run; with one process, or none set up, what a process has is everything."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def num_ranks() -> int:
    """Count the processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Add up a tensor of equal shape over the processes, without a gradient."""
    return _reduced(x, dist.ReduceOp.SUM) if num_ranks() > 1 else x.detach()


def max_over_ranks(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Take the elementwise largest over the processes, without a gradient."""
    return _reduced(x, dist.ReduceOp.MAX) if num_ranks() > 1 else x.detach()


def joined(x: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, "total dim"], int]:
    """Join the rows of all processes, which have as many each, and say where this one's start.

    The gradient of a row is summed over the losses of all processes that saw it, so that losses averaged over processes have the
    gradient of the joined batch.
    """
    if num_ranks() == 1:
        return x, 0
    return _Joined.apply(x), dist.get_rank() * len(x)


def _reduced(x: Tensor, operation: Any) -> Tensor:  # noqa: ANN401  (the enumeration of torch.distributed has no type)
    reduced = x.detach().clone()
    dist.all_reduce(reduced, operation)
    return reduced


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        total = sum_over_ranks(gradients[0].contiguous())
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
