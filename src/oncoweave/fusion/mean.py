"""Masked mean: each modality projected to a common space and averaged over those present."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


class Mean(nn.Module):
    """The mean is over the modalities present: how many there are does not change its size."""

    def __init__(self, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        return masked_mean(*self.projections(tokens))


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Mean(dims=dims, dim_out=dim_out)
