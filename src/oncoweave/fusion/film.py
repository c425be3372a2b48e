"""FiLM: each modality scaled and shifted by what the others present say, (1 + g) * h + b (Perez et al. 2018)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """What is regularised before modulation."""

    dropout: Rate = 0.0
    """Of each modality's vector, in training."""


class Film(nn.Module):
    """Modality m's g and b are linear in the mean of the other modalities present; results are averaged over those present.

    The paper lets one modality (a question) modulate another (an image); here each plays both roles. Modulators have no bias and
    start at zero: a modality by itself is never modulated, and training starts from the masked mean.
    """

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        self.modulators = nn.ModuleList(_modulator(dim_out) for _ in dims)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        projected, present = self.projections(tokens)
        vectors = self.dropout(projected)
        number = present.sum(dim=1, keepdim=True)
        others = (number - present.long()).clamp(min=1).unsqueeze(-1).to(vectors.dtype)
        conditions = (vectors.sum(dim=1, keepdim=True) - vectors) / others  # zeros where nobody else is present
        modulated = []
        for m, modulator in enumerate(self.modulators):
            scale, shift = modulator(conditions[:, m]).chunk(2, dim=-1)
            modulated.append((1.0 + scale) * vectors[:, m] + shift)
        return masked_mean(torch.stack(modulated, dim=1), present)


def _modulator(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, 2 * dim, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Film(config, dims=dims, dim_out=dim_out)
