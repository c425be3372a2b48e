"""Dilated attention with the numerics that Prov-GigaPath's released weights were trained with.

It departs from the exact attention of ``nn.dilated`` in five ways, all kept here on purpose: segments are padded with keys of
score 0 and value 0 that take part in the softmax; a branch whose dilation does not divide its segment is written back with the
padded stride, so that everything after its first segment lands further on; a cell whose log-sum-exp is exactly 0 counts as
absent; branches are merged with weights that no gradient flows through; and what padding queries return may land on real
positions where the stride shifts them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from oncoweave.nn.dilated import Branch, Piece, Span, pieces
from oncoweave.nn.dilated_kernels import Kernel, kernel_for


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stretch:
    """A branch of one sequence as the peer lays it out: segments of ``width`` padded to ``padded`` where the stride shifts."""

    start: int
    count: int
    width: int
    padded: int
    branch: Branch

    @property
    def shifts(self) -> bool:
        return self.padded != self.width and self.count > self.width

    def plan(self, heads: int) -> list[Piece]:
        """List the kernel calls, in the coordinates of ``spread``."""
        count = math.ceil(self.count / self.width) * self.padded if self.shifts else self.count
        segment = self.padded if self.shifts else self.width
        span = Span(key_start=0, key_count=count, query_start=0, query_count=count)
        return list(pieces(span, Branch(segment=segment, dilation=self.branch.dilation), heads))

    def spread(self, x: Float[Tensor, "head token dim"]) -> Float[Tensor, "head laid dim"]:
        """Cut this sequence out of a packed tensor, and pad every segment where the stride shifts."""
        own = x[:, self.start : self.start + self.count]
        if not self.shifts:
            return own
        segments = F.pad(own, (0, 0, 0, -self.count % self.width)).unflatten(1, (-1, self.width))
        return F.pad(segments, (0, 0, 0, self.padded - self.width)).flatten(1, 2)

    def gather(self, laid: Float[Tensor, "head laid dim"]) -> Float[Tensor, "head own dim"]:
        """Undo ``spread``: what its gradient needs."""
        if not self.shifts:
            return laid
        return laid.unflatten(1, (-1, self.padded))[:, :, : self.width].flatten(1, 2)[:, : self.count]

    def num_padding(self, piece: Piece) -> int:
        """Count the keys of padding that a query of the piece sees, apart from those that ``spread`` lays out."""
        return self.padded // self.branch.dilation - math.ceil((piece.keys.width - piece.keys.phase) / piece.keys.step)


def _stretches(branches: Sequence[Branch], layout: Sequence[Span]) -> list[_Stretch]:
    found = []
    for branch in branches:
        for span in layout:
            if (span.offset, span.query_start, span.query_count) != (0, span.key_start, span.key_count):
                msg = "the peer's attention is not split over processes; use the exact one, or one process"
                raise ValueError(msg)
            width = min(branch.segment, span.key_count)
            padded = branch.dilation * math.ceil(width / branch.dilation)
            found.append(_Stretch(start=span.key_start, count=span.key_count, width=width, padded=padded, branch=branch))
    return found


def _attend(stretch: _Stretch, qkv: Sequence[Tensor], kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Compute one branch of one sequence: output (0 where absent) and log-sum-exp (``-inf`` where absent) by position."""
    query, key, value = (stretch.spread(x) for x in qkv)
    out = torch.zeros_like(query)
    lse = torch.full(query.shape[:2], -torch.inf, dtype=kernel.lse_dtype(query), device=query.device)
    for piece in stretch.plan(len(query)):
        part, part_lse = kernel.forward(
            piece.queries.of(query, piece.heads).contiguous(),
            piece.keys.of(key, piece.heads).contiguous(),
            piece.keys.of(value, piece.heads).contiguous(),
        )
        padding = stretch.num_padding(piece)
        if padding:
            total = torch.logaddexp(part_lse, part_lse.new_tensor(math.log(padding)))
            part = part * (part_lse - total).exp().unsqueeze(-1).to(part.dtype)
            part_lse = total
        piece.queries.of(out, piece.heads).copy_(part)
        piece.queries.of(lse, piece.heads).copy_(part_lse)
    return out[:, : stretch.count], lse[:, : stretch.count]


class _UpstreamAttention(Function):
    """Keeps inputs and the branches' log-sum-exps; a branch's output is computed again on the way back."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, stretches: list[_Stretch], kernel: Kernel) -> Tensor:  # noqa: ANN401
        out = query.new_zeros(query.shape[1], query.shape[0], query.shape[2]).transpose(0, 1)
        lse = torch.full(query.shape[:2], -torch.inf, dtype=kernel.lse_dtype(query), device=query.device)
        for stretch in stretches:
            part, part_lse = _attend(stretch, (query, key, value), kernel)
            part_lse = part_lse.masked_fill(part_lse == 0, -torch.inf)
            own = slice(stretch.start, stretch.start + stretch.count)
            share = torch.sigmoid(part_lse - lse[:, own]).masked_fill(part_lse == -torch.inf, 0.0)
            out[:, own].lerp_(part, share.unsqueeze(-1).to(part.dtype))
            lse[:, own] = torch.logaddexp(lse[:, own], part_lse)
        ctx.save_for_backward(query, key, value, lse)
        ctx.stretches, ctx.kernel = stretches, kernel
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, total = ctx.saved_tensors
        grads = [torch.zeros_like(x) for x in (query, key, value)]
        for stretch in ctx.stretches:
            own = slice(stretch.start, stretch.start + stretch.count)
            part, part_lse = _attend(stretch, (query, key, value), ctx.kernel)
            share = (part_lse - total[:, own]).exp().masked_fill((part_lse == 0) | (part_lse == -torch.inf), 0.0)
            weighted = grad[:, own] * share.unsqueeze(-1).to(grad.dtype)
            for whole, laid in zip(grads, _back(stretch, (weighted, query, key, value, part, part_lse), ctx.kernel), strict=True):
                whole[:, own] += stretch.gather(laid)
        return *grads, None, None


def _back(stretch: _Stretch, saved: tuple[Tensor, ...], kernel: Kernel) -> list[Tensor]:
    """Return the gradients of one branch of one sequence, laid out as ``spread`` does.

    ``saved``: gradient of the branch's output, queries, keys, values, the output and its log-sum-exp.
    """
    inputs = [stretch.spread(x) for x in saved[1:4]]
    beyond = inputs[0].shape[1] - stretch.count
    placed = [F.pad(x, (0, 0, 0, beyond)) for x in (saved[0], saved[4])]
    lse = F.pad(saved[5], (0, beyond), value=torch.inf)  # weights of 0 past the end
    grads = [torch.zeros_like(x) for x in inputs]
    for piece in stretch.plan(len(inputs[0])):
        queries, keys = piece.queries, piece.keys
        query, key, value = (c.of(x, piece.heads).contiguous() for x, c in zip(inputs, (queries, keys, keys), strict=True))
        weighted, part, own_lse = (queries.of(x, piece.heads).contiguous() for x in (*placed, lse))
        parts = kernel.backward(weighted, query, key, value, part, own_lse)
        for total, grad, cells in zip(grads, parts, (queries, keys, keys), strict=True):
            cells.of(total, piece.heads).add_(grad)
    return grads


def upstream_attention(
    query: Float[Tensor, "head token dim"],
    key: Float[Tensor, "head token dim"],
    value: Float[Tensor, "head token dim"],
    *,
    branches: Sequence[Branch],
    layout: Sequence[Span],
) -> Float[Tensor, "head token dim"]:
    """Attend within each packed sequence as the peer does, forward and backward.

    Raises:
        ValueError: a sequence is split over processes.
    """
    return _UpstreamAttention.apply(query, key, value, _stretches(branches, layout), kernel_for(query))
