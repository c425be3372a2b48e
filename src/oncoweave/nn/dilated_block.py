"""Transformer layer of LongNet: dilated attention and feed-forward, both with sub-LayerNorm (Magneto, Wang et al., ICML 2023).

``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``, with a second LayerNorm before each output projection.
Parameter names are torchscale's, so that released weights load without a key table. Tokens of all sequences are packed end to
end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from oncoweave.nn.dilated import Branch, Span, dilated_attention, spans
from oncoweave.nn.dilated_upstream import upstream_attention
from oncoweave.nn.sequence_parallel import Ranks, gather_rows, own_queries

_CHUNK = 256
"""Tokens a CPU thread of which activations exist at a time where none is kept: they stay in its cache (1024 were slower)."""
_CHUNK_DEVICE = 16384
_CHECKPOINTED = 4096

Recompute = Literal["nothing", "feed_forward", "layers"]
"""What training computes again on the way back: nothing, the wide activations between the linear layers, or all of a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerConfig:
    """Size and pattern of one layer."""

    dim: int
    heads: int
    hidden: int
    branches: tuple[Branch, ...]
    upstream: bool
    """Attend with the peer's numerics."""
    key_bias: bool
    dropout: float
    drop_path: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How sequences lie in packed tokens."""

    layout: tuple[Span, ...]
    """Each sequence's keys, and those of its queries that are held here."""
    total: int
    """Tokens of all sequences."""
    ranks: Ranks | None
    """Processes that share the tokens."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sequence that are held here."""
        return tuple(span.query_count for span in self.layout)


def pack(lengths: Sequence[int], ranks: Ranks | None = None) -> Packing:
    """Lay sequences end to end, all here or shared by processes."""
    layout, total = spans(lengths), sum(lengths)
    return Packing(layout=layout if ranks is None else own_queries(layout, ranks.part(total)), ranks=ranks, total=total)


class DilatedSelfAttention(nn.Module):
    """Multi-head self-attention within each sequence, over the union of all branches."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.config = config
        self.k_proj = nn.Linear(config.dim, config.dim, bias=config.key_bias)
        self.v_proj = nn.Linear(config.dim, config.dim)
        self.q_proj = nn.Linear(config.dim, config.dim)
        self.out_proj = nn.Linear(config.dim, config.dim)
        self.inner_attn_ln = nn.LayerNorm(config.dim)

    def forward(self, x: Float[Tensor, "token dim"], packing: Packing) -> Float[Tensor, "token dim"]:
        """Mix tokens."""
        return self.project(self.attend([self.split(layer(x)) for layer in (self.q_proj, self.k_proj, self.v_proj)], packing))

    def split(self, x: Float[Tensor, "token dim"]) -> Float[Tensor, "head token dim_head"]:
        """View a projection head by head."""
        return x.unflatten(-1, (self.config.heads, -1)).transpose(0, 1)

    def attend(self, projected: Sequence[Float[Tensor, "head _ dim_head"]], packing: Packing) -> Float[Tensor, "query dim"]:
        """Attend with queries, keys and values, and join the heads."""
        query, key, value = projected
        if packing.ranks is not None:
            key, value = (gather_rows(x.transpose(0, 1), packing.total, packing.ranks).transpose(0, 1) for x in (key, value))
        function = upstream_attention if self.config.upstream else dilated_attention
        return function(query, key, value, branches=self.config.branches, layout=packing.layout).transpose(0, 1).flatten(1)

    def project(self, mixed: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        """Normalise and project what the heads return."""
        return self.out_proj(self.inner_attn_ln(mixed))


class SubNormFeedForward(nn.Module):
    """Two linear layers with GELU and LayerNorm between."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.dim, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.dim)
        self.ffn_layernorm = nn.LayerNorm(config.hidden)

    def forward(self, x: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        """Change each token by itself."""
        hidden = self.fc1(x)
        hidden = F.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden)  # in place it takes half the time
        return self.fc2(self.ffn_layernorm(hidden))


class DilatedLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.config = config
        self.self_attn = DilatedSelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.ffn = SubNormFeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Float[Tensor, "token dim"], packing: Packing, *, recompute: Recompute) -> Float[Tensor, "token dim"]:
        """Attend, then change each token; of a half that is recomputed, only the input is kept for the way back."""
        attend = self._attention_half
        x = checkpoint(attend, x, packing, use_reentrant=False) if recompute == "layers" else attend(x, packing)
        scale = self._drop_path(x, packing.lengths)
        if recompute == "nothing":
            return self._feed_half(x, scale)
        scales = [None] * len(x.split(_CHECKPOINTED)) if scale is None else scale.split(_CHECKPOINTED)
        parts = zip(x.split(_CHECKPOINTED), scales, strict=True)
        return torch.cat([checkpoint(self._feed_half, part, by, use_reentrant=False) for part, by in parts])

    def _attention_half(self, x: Float[Tensor, "token dim"], packing: Packing) -> Float[Tensor, "token dim"]:
        mixed = self._drop(self.self_attn(self.self_attn_layer_norm(x), packing))
        scale = self._drop_path(x, packing.lengths)
        return x + (mixed if scale is None else mixed * scale)

    def _feed_half(self, x: Float[Tensor, "token dim"], scale: Float[Tensor, "token 1"] | None) -> Float[Tensor, "token dim"]:
        change = self._drop(self.ffn(self.final_layer_norm(x)))
        return x + (change if scale is None else change * scale)

    def _drop(self, x: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        return F.dropout(x, self.config.dropout, training=self.training)

    def _drop_path(self, x: Float[Tensor, "token dim"], lengths: Sequence[int]) -> Float[Tensor, "token 1"] | None:
        """Draw which sequences skip a half, and scale the others up so that its mean stays."""
        if not self.training or self.config.drop_path == 0:
            return None
        kept = 1 - self.config.drop_path
        drawn = (torch.rand(len(lengths), device=x.device) < kept).to(x.dtype) / kept
        return drawn.repeat_interleave(torch.tensor(lengths, device=x.device)).unsqueeze(1)

    @torch.no_grad()
    def infer_(self, x: Float[Tensor, "token dim"], packing: Packing, heads: Float[Tensor, "3 head token dim_head"]) -> None:
        """Change ``x`` in place as ``forward`` does in evaluation, chunk by chunk; ``heads`` is room for the projections."""
        attention = self.self_attn
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        step = _CHUNK * torch.get_num_threads() if x.device.type == "cpu" else _CHUNK_DEVICE
        for start in range(0, len(x), step):
            normed = self.self_attn_layer_norm(x[start : start + step])
            for room, layer in zip(heads, layers, strict=True):
                room[:, start : start + step] = attention.split(layer(normed))
        mixed = attention.attend(heads.unbind(), packing)
        for start in range(0, len(x), step):
            part = x[start : start + step]
            part += attention.project(mixed[start : start + step])
            part += self.ffn(self.final_layer_norm(part))
