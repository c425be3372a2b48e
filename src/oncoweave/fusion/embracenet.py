"""EmbraceNet: each dimension is taken from one modality, drawn among those present (Choi & Lee 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose: all modalities present are equally likely, as in the paper's experiments."""


class EmbraceNet(nn.Module):
    """e_j = sum_m r_mj d_mj of docking layers d_m = relu(W_m x_m + b_m), r_j ~ Multinomial(1, p) in each dimension.

    In evaluation the output is the expectation of the draws, where the paper draws again: the same patient gets the same answer.
    """

    def __init__(self, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        projected, present = self.projections(tokens)
        docked = torch.relu(projected)
        if not self.training:
            return masked_mean(docked, present)
        drawn = torch.multinomial(present.float(), docked.shape[-1], replacement=True)
        chosen = functional.one_hot(drawn, present.shape[1]).transpose(1, 2)
        return (chosen * docked).sum(dim=1)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return EmbraceNet(dims=dims, dim_out=dim_out)
