"""Attention that never looks at what is not kept, and stays finite where nothing is."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


def masked_softmax(scores: Float[Tensor, "*batch token"], keep: Bool[Tensor, "*#batch token"]) -> Float[Tensor, "*batch token"]:
    """Softmax over the kept tokens; weights elsewhere, and of rows that keep nothing, are exactly zero.

    Scores that are not kept may be NaN. Neither they nor an empty row put NaN into the result or into gradients: a plain softmax
    over -inf everywhere would.
    """
    empty = ~keep.any(dim=-1, keepdim=True)
    safe = torch.where(keep, scores, torch.where(empty, 0.0, -torch.inf).to(scores.dtype))
    return torch.where(keep, torch.softmax(safe, dim=-1), 0.0)


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention of queries to kept keys (Vaswani et al. 2017, eq. 1), for self- and cross-attention.

    Attention weights are not dropped out, which would take training off the fused kernel; dropout belongs to what stands around.
    A query all of whose keys are masked receives zeros (plus the output bias). Projections of queries, keys and values have no
    bias: a key's bias cancels in the softmax and would never be trained.
    """

    def __init__(self, dim: int, *, heads: int, dim_context: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            msg = f"width {dim} does not divide into {heads} heads"
            raise ValueError(msg)
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim_context or dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Float[Tensor, "batch query dim"],
        context: Float[Tensor, "batch key dim_context"],
        *,
        keep: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch query dim"]:
        """Attend from ``queries`` to ``context`` where ``keep`` is True; values under False must be finite (``Tokens.clean``)."""
        query = self._split(self.query(queries))
        key, value = (self._split(x) for x in self.key_value(context).chunk(2, dim=-1))
        empty = ~keep.any(dim=1, keepdim=True)
        mask = (keep | empty)[:, None, None, :]  # an empty row attends everywhere and is zeroed below, so that no softmax is 0/0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.masked_fill(empty[:, None, :, None], 0.0)
        return self.out(mixed.transpose(1, 2).flatten(start_dim=2))

    def weights(
        self,
        queries: Float[Tensor, "batch query dim"],
        context: Float[Tensor, "batch key dim_context"],
        *,
        keep: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch head query key"]:
        """Return the attention weights that ``forward`` uses; zero where not kept."""
        query = self._split(self.query(queries))
        key = self._split(self.key_value(context).chunk(2, dim=-1)[0])
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return masked_softmax(scores, keep[:, None, None, :].expand_as(scores))

    def _split(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch head token dim_head"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
