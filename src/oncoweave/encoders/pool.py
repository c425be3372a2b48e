"""Mean, max or both over a patient's tokens, then one linear layer: the baseline that every aggregator has to beat."""

from typing import Literal

import torch
from torch import nn

from oncoweave.core.ranges import Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_max, masked_mean, summary
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide", "embedding")
ORDER_INVARIANT = True


@ranged
class Config:
    """How the tokens are pooled."""

    how: Literal["mean", "max", "both"] = "mean"
    """``both`` puts mean and max side by side."""
    dropout: Rate = 0.25
    """Share dropped in training."""


VARIANTS: dict[str, Config] = {
    "mean": Config(),
    "max": Config(how="max"),
    "both": Config(how="both"),
    "tiny": Config(dropout=0.0),
}


class Pool(nn.Module):
    """One token a patient: W pool(h) + b."""

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in = dim_in
        self.pools = {"mean": (masked_mean,), "max": (masked_max,), "both": (masked_mean, masked_max)}[config.how]
        self.out = nn.Sequential(Dropout(config.dropout), nn.Linear(len(self.pools) * dim_in, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Pool each patient's kept tokens."""
        require_shape(tokens, dim=self.dim_in)
        pooled = torch.cat([pool(tokens.values, tokens.keep) for pool in self.pools], dim=1)
        return summary(self.out(pooled), tokens.present)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tokens may be any."""
    del num_tokens
    return Pool(config, dim_in=dim_in, dim_out=dim_out)
