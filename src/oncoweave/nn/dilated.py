"""Dilated attention of LongNet (Ding et al., arXiv 2307.02486), exact: one softmax over the union of all branches' keys.

A branch ``(segment, dilation)`` cuts a sequence into segments and lets head ``h`` keep, in each of them, the positions
``phase, phase + dilation, ...`` with ``phase = h // ceil(heads / dilation)``; the queries kept attend to the keys kept. The
branches of a query are merged by their log-sum-exps (the paper's eq. 11), which makes the result one softmax in which a key
that ``k`` branches see counts ``k`` times. Nothing is padded: the last segment is as long as it is, so a key that does not
exist takes no part, and a dilation need not divide its segment. Gradients are those of that softmax, through the merge too:
with the merged output and the total log-sum-exp, an ordinary flash backward of one branch gives exactly that branch's share.

Sequences of a batch are packed end to end.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from oncoweave.nn.dilated_kernels import Kernel, kernel_for

_RUN = 4096
"""Positions that one kernel call takes at most where segments are shorter, so that what it makes stays near the cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One pattern of dilated attention."""

    segment: int
    """Positions of a segment."""
    dilation: int
    """Every which position of a segment is kept."""

    def __post_init__(self) -> None:
        """Refuse a branch that keeps nothing."""
        if self.segment < 1 or self.dilation < 1:
            msg = f"segment and dilation must be at least 1, got {self.segment} and {self.dilation}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Where one sequence lies in the packed tensors; its queries may be a part of it, as on one process of several."""

    key_start: int
    key_count: int
    query_start: int
    query_count: int
    offset: int = 0
    """Position, in the sequence, of the first query."""


def spans(lengths: Sequence[int]) -> tuple[Span, ...]:
    """Lay sequences end to end, each with all of its queries."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return tuple(
        Span(key_start=start, key_count=length, query_start=start, query_count=length)
        for start, length in zip(starts, lengths, strict=True)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """Positions that one phase keeps in a run of equal segments."""

    start: int
    segments: int
    width: int
    phase: int
    step: int

    def of(self, x: Float[Tensor, "head token *rest"], heads: slice) -> Float[Tensor, "phase_head segment kept *rest"]:
        """View them in a packed tensor."""
        run = x[heads, self.start : self.start + self.segments * self.width]
        return run.unflatten(1, (self.segments, self.width))[:, :, self.phase :: self.step]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Heads, queries and keys that one kernel call attends with."""

    heads: slice
    queries: Cells
    keys: Cells
    first: bool
    """Whether no branch before it wrote these queries."""


def phases(heads: int, dilation: int) -> Iterator[tuple[int, slice]]:
    """List each phase with its heads: ``ceil(heads / dilation)`` neighbours share one."""
    group = math.ceil(heads / dilation)
    for phase in range(math.ceil(heads / group)):
        yield phase, slice(phase * group, min(heads, (phase + 1) * group))


def pieces(span: Span, branch: Branch, heads: int, *, first_branch: bool = True) -> Iterator[Piece]:
    """Cut a branch of one sequence into kernel calls: whole segments of a phase in one, segments cut short one by one."""
    width = min(branch.segment, span.key_count)
    first, last = span.offset, span.offset + span.query_count
    runs = list(_runs(first, last, (span.key_count, width)))
    for phase, group in phases(heads, branch.dilation):
        for low, high, start, segments, length in runs:
            shift = (phase - (low - start)) % branch.dilation
            if phase >= length or shift >= (high - low) // segments:
                continue
            common = {"segments": segments, "step": branch.dilation}
            yield Piece(
                heads=group,
                queries=Cells(start=span.query_start + low - first, width=(high - low) // segments, phase=shift, **common),
                keys=Cells(start=span.key_start + start, width=length, phase=phase, **common),
                first=first_branch,
            )


def _runs(first: int, last: int, shape: tuple[int, int]) -> Iterator[tuple[int, int, int, int, int]]:
    """Cover queries ``first`` to ``last``: each run is its queries' ends, the keys' start, number of segments, their length."""
    count, width = shape
    position = first
    while position < last:
        start = position - position % width
        length = min(width, count - start)
        whole = min((last - start) // width, max(1, _RUN // width)) if position == start else 0
        if whole > 0:
            yield position, position + whole * width, start, whole, width
            position += whole * width
        else:
            end = min(last, start + length)
            yield position, end, start, 1, length
            position = end


class _UnionAttention(Function):
    """Merges branches as they come, in one accumulator, and keeps only inputs, output and log-sum-exp for the way back."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: tuple[Piece, ...], kernel: Kernel) -> Tensor:  # noqa: ANN401
        out, lse = union_forward((query, key, value), plan, kernel)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.plan, ctx.kernel = plan, kernel
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, out, lse = ctx.saved_tensors
        grads = [torch.zeros_like(x) for x in (query, key, value)]
        for piece in ctx.plan:
            taken = [
                cells.of(x, piece.heads).contiguous()
                for x, cells in (
                    (grad, piece.queries),
                    (query, piece.queries),
                    (key, piece.keys),
                    (value, piece.keys),
                    (out, piece.queries),
                    (lse, piece.queries),
                )
            ]
            for total, part, cells in zip(
                grads, ctx.kernel.backward(*taken), (piece.queries, piece.keys, piece.keys), strict=True
            ):
                cells.of(total, piece.heads).add_(part)
        return *grads, None, None


def union_forward(
    qkv: tuple[Tensor, Tensor, Tensor], plan: tuple[Piece, ...], kernel: Kernel
) -> tuple[Float[Tensor, "head query dim"], Float[Tensor, "head query"]]:
    """Attend, branch after branch; return the merged output and the log of the softmax's denominator.

    A query that no branch keeps gets zeros and ``-inf``.
    """
    query, key, value = qkv
    wide = kernel.lse_dtype(query)
    out = query.new_zeros(query.shape[1], query.shape[0], query.shape[2], dtype=wide).transpose(
        0, 1
    )  # as the next layer reads it
    lse = torch.full(query.shape[:2], -torch.inf, dtype=wide, device=query.device)
    for piece in plan:
        part, part_lse = kernel.forward(
            _side_by_side(piece.queries.of(query, piece.heads)),
            _side_by_side(piece.keys.of(key, piece.heads)),
            _side_by_side(piece.keys.of(value, piece.heads)),
        )
        merged, merged_lse = piece.queries.of(out, piece.heads), piece.queries.of(lse, piece.heads)
        if piece.first:
            merged.copy_(part)
            merged_lse.copy_(part_lse)
            continue
        merged.lerp_(part.to(wide), torch.sigmoid(part_lse - merged_lse).unsqueeze(-1))
        merged_lse.copy_(torch.logaddexp(merged_lse, part_lse))
    return out.to(query.dtype), lse


def _side_by_side(x: Float[Tensor, "head segment kept dim"]) -> Float[Tensor, "head segment kept dim"]:
    """Copy unless each segment's rows already lie side by side, as kernels read them fastest."""
    return x if x.stride()[2:] == (x.shape[3], 1) else x.contiguous()


def dilated_attention(
    query: Float[Tensor, "head query dim"],
    key: Float[Tensor, "head token dim"],
    value: Float[Tensor, "head token dim"],
    *,
    branches: Sequence[Branch],
    layout: Sequence[Span],
    kernel: Kernel | None = None,
) -> Float[Tensor, "head query dim"]:
    """Attend within each packed sequence; scores are divided by the root of the head's width.

    Args:
        query: queries, in any memory layout (a head's positions side by side save copies).
        key: keys of all sequences, end to end.
        value: values, laid out as the keys.
        branches: patterns; every one counts.
        layout: where each sequence lies.
        kernel: what computes one branch; by default the fastest of the device and type.
    """
    heads = query.shape[0]
    plan = tuple(
        piece
        for number, branch in enumerate(branches)
        for span in layout
        for piece in pieces(span, branch, heads, first_branch=number == 0)
    )
    return _UnionAttention.apply(query, key, value, plan, kernel or kernel_for(query))
