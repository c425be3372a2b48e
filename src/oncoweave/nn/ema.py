"""Teachers that are moving averages of their student (Tarvainen & Valpola 2017)."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

_Network = TypeVar("_Network", bound=nn.Module)


def teacher_of(student: _Network) -> _Network:
    """Copy a network whose parameters get no gradient and whose residuals are not dropped."""
    return deepcopy(student).requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, *, momentum: float) -> None:
    """Move each parameter to ``momentum * teacher + (1 - momentum) * student``; buffers are copied.

    Sharded parameters move shard by shard.
    """
    mine: list[Tensor] = list(teacher.parameters())
    theirs: list[Tensor] = list(student.parameters())
    if mine:
        torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
    for buffer, source in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(source)
