"""Masked sum, sum_m W_m x_m: each modality projected to a common space, those present added up."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


class Sum(nn.Module):
    """Nothing is divided by how many are present: more modalities can be more evidence, unlike under ``mean``."""

    def __init__(self, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        vectors, _ = self.projections(tokens)
        return vectors.sum(dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Sum(dims=dims, dim_out=dim_out)
