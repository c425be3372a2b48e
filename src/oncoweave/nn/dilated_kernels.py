"""Attention kernels that return the log-sum-exp, and take a merged output and a total log-sum-exp on the way back.

Queries, keys and values are ``[batch, head, token, dim]``, contiguous; scores are divided by the root of ``dim``. ``backward``
forms ``P = exp(score - lse)`` and ``dS = P * (grad V^T - rowsum(grad * out))``: given ``out`` and ``lse`` of a larger softmax,
of which these keys are a part, it returns this part's share of that softmax's gradient.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Query = Float[Tensor, "batch head query dim"]
Key = Float[Tensor, "batch head key dim"]
Lse = Float[Tensor, "batch head query"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One way to compute a branch."""

    name: Literal["plain", "cpu", "flash", "efficient"]

    def lse_dtype(self, query: Tensor) -> torch.dtype:
        """Type of the log-sum-exp: at least float32."""
        return torch.promote_types(query.dtype, torch.float32)

    def forward(self, query: Query, key: Key, value: Key) -> tuple[Query, Lse]:
        """Attend; return output and log-sum-exp."""
        if self.name == "cpu":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)
        if self.name == "flash":
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[:2]
        if self.name == "efficient":
            out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, compute_log_sumexp=True)[
                :2
            ]
            return out, lse[..., : query.shape[2]]  # the kernel rounds the length up
        scores = (query @ key.transpose(-1, -2)).to(self.lse_dtype(query)) / query.shape[-1] ** 0.5
        lse = scores.logsumexp(dim=-1)
        return (scores - lse.unsqueeze(-1)).exp().to(value.dtype) @ value, lse

    def backward(self, grad: Query, query: Query, key: Key, value: Key, out: Query, lse: Lse) -> tuple[Query, Key, Key]:
        """Return gradients of queries, keys and values."""
        if self.name == "cpu":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, query, key, value, out, lse, dropout_p=0.0, is_causal=False
            )
        if self.name == "flash":
            lengths = (query.shape[2], key.shape[2])
            none = torch.zeros(0, dtype=torch.int64, device=query.device)
            return torch.ops.aten._scaled_dot_product_flash_attention_backward(
                grad,
                query,
                key,
                value,
                out,
                lse,
                none,
                none,
                *lengths,
                dropout_p=0.0,
                is_causal=False,
                philox_seed=none,
                philox_offset=none,
            )
        if self.name == "efficient":
            rounded = F.pad(lse, (0, -lse.shape[-1] % 32), value=torch.inf)
            none = torch.zeros((), dtype=torch.int64, device=query.device)
            return torch.ops.aten._scaled_dot_product_efficient_attention_backward(
                grad, query, key, value, None, out, rounded, none, none, 0.0, [True, True, True, False]
            )[:3]
        return _plain_backward(grad, (query, key, value), out, lse)


def _plain_backward(grad: Query, qkv: tuple[Tensor, Tensor, Tensor], out: Query, lse: Lse) -> tuple[Query, Key, Key]:
    query, key, value = qkv
    scale = query.shape[-1] ** -0.5
    scores = (query @ key.transpose(-1, -2)).to(lse.dtype) * scale
    weights = (scores - lse.unsqueeze(-1)).exp()
    through = (grad @ value.transpose(-1, -2)).to(lse.dtype)
    inner = (weights * (through - (grad * out).sum(dim=-1, keepdim=True)) * scale).to(query.dtype)
    return inner @ key, inner.transpose(-1, -2) @ query, weights.to(grad.dtype).transpose(-1, -2) @ grad


def kernel_for(query: Tensor) -> Kernel:
    """Choose the fastest kernel of the device and type."""
    if query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        return Kernel(name="cpu")
    if query.device.type == "cuda" and query.shape[-1] % 8 == 0:
        if query.dtype in (torch.float16, torch.bfloat16) and torch.cuda.get_device_capability(query.device) >= (8, 0):
            return Kernel(name="flash")
        if query.dtype in (torch.float32, torch.float16):
            return Kernel(name="efficient")
    return Kernel(name="plain")
