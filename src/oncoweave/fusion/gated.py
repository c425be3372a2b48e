"""Gated multimodal units over the modalities present (Arevalo et al. 2017, generalised to any subset by a masked softmax)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.attention import masked_softmax
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """What is regularised before the gates."""

    dropout: Rate = 0.0
    """Of each modality's vector, in training."""


class Gated(nn.Module):
    """In each dimension the modalities present share a weight of one, by a softmax of gates.

    h_m = tanh(W_m x_m); gate logits U_m h_m + V mean(h) see the modality and the average of all present; the output is the
    sum of softmax(gates) * h_m. The paper's sigmoid pair for two modalities is this softmax up to parametrisation.
    """

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        self.dropout = Dropout(config.dropout)
        self.own = nn.ModuleList(nn.Linear(dim_out, dim_out) for _ in dims)
        self.context = nn.ModuleList(nn.Linear(dim_out, dim_out, bias=False) for _ in dims)

    def gates(
        self, tokens: Mapping[str, Tokens]
    ) -> tuple[Float[Tensor, "batch modality dim"], Float[Tensor, "batch modality dim"]]:
        """Return the share of each modality in each dimension, and the vectors that are mixed."""
        projected, present = self.projections(tokens)
        keep = present.unsqueeze(-1)
        vectors = self.dropout(torch.tanh(projected))
        shared = masked_mean(vectors, present)
        logits = [
            own(vectors[:, m]) + context(shared) for m, (own, context) in enumerate(zip(self.own, self.context, strict=True))
        ]
        scores = torch.stack(logits, dim=1).transpose(1, 2)
        share = masked_softmax(scores, keep.transpose(1, 2).expand_as(scores)).transpose(1, 2)
        return share, vectors

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        share, vectors = self.gates(tokens)
        return (share * vectors).sum(dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Gated(config, dims=dims, dim_out=dim_out)
