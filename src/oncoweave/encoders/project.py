"""Every token kept, each through a layer norm and a linear layer: for fusions that read tokens themselves.

Tiles, patches of films and volumes, and vectors share one layer, as MCAT's and SurvPath's first does. Single values have one
each, x_j * w_j + b_j (the feature tokenizer of Gorishniy et al. 2021), as a layer norm of one number would erase it.
"""

import torch
from torch import nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("slide", "embedding", "record", "variants", "expression", "film", "volume")
ORDER_INVARIANT = False


@ranged
class Config:
    """Share of the outputs dropped in training."""

    dropout: Rate = 0.25
    """Share of the outputs dropped in training."""


VARIANTS: dict[str, Config] = {"base": Config(), "tiny": Config(dropout=0.0)}


class VectorTokens(nn.Module):
    """One layer for all tokens of a patient, of whom there may be any number."""

    def __init__(self, config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.num_tokens = dim_in, num_tokens
        self.out = nn.Sequential(nn.LayerNorm(dim_in), nn.Linear(dim_in, dim_out), Dropout(config.dropout))

    def forward(self, tokens: Tokens) -> Tokens:
        """Project each kept token; where tiles lie is passed on."""
        require_shape(tokens, dim=self.dim_in, num_tokens=self.num_tokens)
        values = torch.where(tokens.keep.unsqueeze(-1), self.out(tokens.clean), 0.0)
        return Tokens(values=values, keep=tokens.keep, positions=tokens.positions)


class ValueTokens(nn.Module):
    """A direction and a place for each value of a table."""

    INPUT = ("weight", "bias")

    def __init__(self, config: Config, *, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.weight = nn.Parameter(torch.randn(num_tokens, dim_out) * 0.5**0.5)
        self.bias = nn.Parameter(torch.randn(num_tokens, dim_out) * 0.5**0.5)
        self.drop = Dropout(config.dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        """Make a token of each value that was measured."""
        require_shape(tokens, dim=1, num_tokens=self.num_tokens)
        values = self.drop(tokens.clean * self.weight + self.bias)
        return Tokens(values=torch.where(tokens.keep.unsqueeze(-1), values, 0.0), keep=tokens.keep)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build for vectors, or for the single values of a table."""
    if dim_in == 1:
        return ValueTokens(config, num_tokens=require_count(num_tokens, "project"), dim_out=dim_out)
    return VectorTokens(config, dim_in=dim_in, num_tokens=num_tokens, dim_out=dim_out)
