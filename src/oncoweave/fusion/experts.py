"""Mixture of experts: a specialist a modality and shared generalists, gated by content and by who is present (after Flex-MoE)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.attention import masked_softmax
from oncoweave.nn.blocks import FeedForward
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """How many generalists, and how wide an expert is."""

    generalists: Count = 2
    """Experts that read the mean of all modalities present; at least 1, so that the gate always chooses."""
    ratio: Positive = 2.0
    """Hidden width of an expert, in multiples of its width."""
    dropout: Rate = 0.1
    """Inside an expert, in training."""


class Experts(nn.Module):
    """sum_k p_k (x_k + E_k(norm(x_k))): specialists read their modality's vector, generalists the mean of those present.

    p = softmax of a linear gate on [mean of present; who is present], over the generalists and the specialists of modalities
    present. Yun et al. 2024 (Flex-MoE) route by the combination observed, with an expert and a bank of missing embeddings for
    each of the 2^M - 1; here who is present is M numbers that the gate reads, and every share is differentiable: no top-k.
    """

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        number = len(dims) + config.generalists
        self.generalists = config.generalists
        self.norm = nn.LayerNorm(dim_out)
        self.experts = nn.ModuleList(FeedForward(dim_out, ratio=config.ratio, dropout=config.dropout) for _ in range(number))
        self.gate = nn.Linear(dim_out + len(dims), number)

    def shares(
        self, vectors: Float[Tensor, "batch modality dim"], present: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch expert"]:
        """Return each expert's share: they sum to one, and specialists of absent modalities have none."""
        seen = torch.cat([masked_mean(vectors, present), present.to(vectors.dtype)], dim=1)
        return masked_softmax(self.gate(seen), self._available(present))

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        vectors, present = self.projections(tokens)
        general = masked_mean(vectors, present).unsqueeze(1).expand(-1, self.generalists, -1)
        read = torch.cat([vectors, general], dim=1)
        normed = self.norm(read)
        answers = read + torch.stack([expert(normed[:, k]) for k, expert in enumerate(self.experts)], dim=1)
        return (self.shares(vectors, present).unsqueeze(-1) * answers).sum(dim=1)

    def _available(self, present: Bool[Tensor, "batch modality"]) -> Bool[Tensor, "batch expert"]:
        return torch.cat([present, present.new_ones(len(present), self.generalists)], dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Experts(config, dims=dims, dim_out=dim_out)
