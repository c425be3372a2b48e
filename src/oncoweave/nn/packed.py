"""Transformer block over sequences of any lengths laid end to end: no padding, so nothing can leak from it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.blocks import FeedForward
from oncoweave.nn.dilated import Branch, dilated_attention, spans

WHOLE = (Branch(segment=2**40, dilation=1),)
"""Plain attention of every token to every token of its sequence; its cost is quadratic."""


class PackedBlock(nn.Module):
    """Pre-norm transformer block whose attention, plain or dilated, stays within each sequence."""

    def __init__(self, dim: int, *, heads: int, branches: Sequence[Branch] = WHOLE) -> None:
        super().__init__()
        if dim % heads:
            msg = f"width {dim} does not divide into {heads} heads"
            raise ValueError(msg)
        self.heads = heads
        self.branches = tuple(branches)
        self.norm_attention = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.norm_feed = nn.LayerNorm(dim)
        self.feed = FeedForward(dim)

    def forward(self, x: Float[Tensor, "token dim"], *, lengths: Sequence[int]) -> Float[Tensor, "token dim"]:
        """Mix the tokens of each sequence; ``lengths`` sum to the number of tokens."""
        split = self.query_key_value(self.norm_attention(x)).unflatten(1, (3, self.heads, -1))
        query, key, value = (part.contiguous() for part in split.permute(1, 2, 0, 3))
        mixed = dilated_attention(query, key, value, branches=self.branches, layout=spans(lengths))
        x = x + self.out(mixed.transpose(0, 1).flatten(start_dim=1))
        return x + self.feed(self.norm_feed(x))
