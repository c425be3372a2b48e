"""Nothing is put in place of what is absent: the operator leaves it out. The usual treatment in networks."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from oncoweave.nn.projections import check_tokens
from oncoweave.nn.tokens import Tokens

ACTS_ON = "encoded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to choose."""


class Mask(nn.Module):
    """Hands on what it gets."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)

    def forward(self, encoded: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Refuse other names or widths than built for, and patients without anything (ValueError)."""
        check_tokens(encoded, self.dims)
        return dict(encoded)


def build(config: Config, *, dims: dict[str, int]) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return Mask(dims)
