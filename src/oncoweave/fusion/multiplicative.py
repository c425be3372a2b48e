"""Elementwise product over the modalities present, prod_m (1 + tanh(W_m x_m)) - 1 (after tanh products: Kim et al. 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


class Multiplicative(nn.Module):
    """An absent modality is the factor 1, so that it leaves the product as it is; who says nothing at all would come out as 0.

    prod_m (1 + h_m) - 1 is the sum of all h_m, all h_m h_n and so on up to all of them: interactions of every order within a
    dimension. The paper multiplies h_m themselves, where one zero silences the rest and an absent modality has no neutral value.
    """

    def __init__(self, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        vectors, _ = self.projections(tokens)  # zeros where absent, and tanh(0) = 0
        return (1.0 + torch.tanh(vectors)).prod(dim=1) - 1.0


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Multiplicative(dims=dims, dim_out=dim_out)
