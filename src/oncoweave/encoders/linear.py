"""One linear layer over all of a patient's values: the network form of a linear model.

A value that is not kept enters as 0, which is the training mean of a standardised value.
"""

from torch import nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("embedding", "expression", "record", "variants")
ORDER_INVARIANT = False


@ranged
class Config:
    """Share of the inputs dropped in training."""

    dropout: Rate = 0.25
    """Share of the inputs dropped in training."""


VARIANTS: dict[str, Config] = {"base": Config(), "tiny": Config(dropout=0.0)}


class Linear(nn.Module):
    """One token a patient: W x + b."""

    def __init__(self, config: Config, *, dim_in: int, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.num_tokens = dim_in, num_tokens
        self.out = nn.Sequential(Dropout(config.dropout), nn.Linear(dim_in * num_tokens, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Project each patient's values."""
        require_shape(tokens, dim=self.dim_in, num_tokens=self.num_tokens)
        return summary(self.out(tokens.clean.flatten(start_dim=1)), tokens.present)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network for a fixed number of tokens."""
    return Linear(config, dim_in=dim_in, num_tokens=require_count(num_tokens, "linear"), dim_out=dim_out)
