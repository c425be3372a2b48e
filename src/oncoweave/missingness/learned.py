"""A learned token for each modality stands where it is absent, so that the operator always sees all of them."""

from collections.abc import Mapping

import torch
from torch import nn

from oncoweave.core.ranges import NotNegative
from oncoweave.core.settings import ranged
from oncoweave.nn.projections import check_tokens
from oncoweave.nn.stand_ins import stand_in
from oncoweave.nn.tokens import Tokens

ACTS_ON = "encoded"


@ranged
class Config:
    """How the tokens start."""

    spread: NotNegative = 0.02
    """Standard deviation of their first values."""


class Learned(nn.Module):
    """The same for every patient who lacks the modality; taught by the patients who do."""

    def __init__(self, config: Config, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.tokens = nn.ParameterList(config.spread * torch.randn(dim) for dim in dims.values())

    def forward(self, encoded: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Fill; raises ValueError for a patient without any modality and for other names or widths than built for."""
        check_tokens(encoded, self.dims)
        return {
            name: stand_in(encoded[name], token.expand(len(encoded[name].keep), -1))
            for name, token in zip(self.dims, self.tokens, strict=True)
        }


def build(config: Config, *, dims: dict[str, int]) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Learned(config, dims)
