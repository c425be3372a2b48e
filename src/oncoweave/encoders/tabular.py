"""Feature tokens: every value becomes a token of its own, mixed by a transformer (FT-Transformer, Gorishniy et al. 2021).

Token j is x_j * w_j + b_j; a value that is not kept is no token at all, so nothing is imputed. The summary token's output is the
patient's representation; the variant ``tokens`` also returns one token a feature, for fusions that attend to features. Time grows
with the square of the number of features: for thousands of genes take ``snn``.
"""

from dataclasses import dataclass

import torch
from torch import nn

from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("record", "variants", "expression")
ORDER_INVARIANT = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Size of the transformer, and whether features' tokens are returned beside the summary."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    ratio: float = 2.0
    dropout: float = 0.1
    features: bool = False


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "tokens": Config(features=True),
    "tiny": Config(width=16, depth=1, heads=2, dropout=0.0),
}


class FeatureTransformer(nn.Module):
    """One summary token a patient, and one a kept feature where asked for."""

    INPUT = ("weight", "bias", "summary")

    def __init__(self, config: Config, *, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.features = config.features
        spread = config.width**-0.5  # the paper's initialisation: uniform in +-1/sqrt(width)
        self.weight = nn.Parameter(torch.empty(num_tokens, config.width).uniform_(-spread, spread))
        self.bias = nn.Parameter(torch.empty(num_tokens, config.width).uniform_(-spread, spread))
        self.summary = nn.Parameter(torch.empty(1, 1, config.width).uniform_(-spread, spread))
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout)
            for _ in range(config.depth)
        )
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept values."""
        require_shape(tokens, dim=1, num_tokens=self.num_tokens)
        x = torch.cat([self.summary.expand(len(tokens.values), -1, -1), tokens.clean * self.weight + self.bias], dim=1)
        keep = torch.cat([tokens.present.unsqueeze(1), tokens.keep], dim=1)
        for block in self.blocks:
            x = block(x, keep=keep)
        if not self.features:
            x, keep = x[:, :1], keep[:, :1]
        return Tokens(values=torch.where(keep.unsqueeze(-1), self.out(x), 0.0), keep=keep)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network for a fixed number of values.

    Raises:
        ValueError: tokens are wider than one value.
    """
    if dim_in != 1:
        msg = f"feature tokens are made of single values, width 1; got tokens of width {dim_in}"
        raise ValueError(msg)
    return FeatureTransformer(config, num_tokens=require_count(num_tokens, "tabular"), dim_out=dim_out)
