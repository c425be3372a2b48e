"""Joint concatenation: each modality projected, an absent one replaced by a learned token, all concatenated and mixed."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """What is regularised between the modalities and the mixing layer."""

    dropout: Rate = 0.0
    """Before the mixing layer, in training."""


class Joint(nn.Module):
    """The vector an absent modality is replaced by is learned from the patients who lack it."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        self.missing = nn.Parameter(torch.zeros(len(dims), dim_out))
        self.mix = nn.Sequential(nn.GELU(), Dropout(config.dropout), nn.Linear(len(dims) * dim_out, dim_out))

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        vectors, present = self.projections(tokens)
        return self.mix(torch.where(present.unsqueeze(-1), vectors, self.missing).flatten(start_dim=1))


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Joint(config, dims=dims, dim_out=dim_out)
