"""Feature tokens: every value becomes a token of its own, mixed by a transformer (FT-Transformer, Gorishniy et al. 2021).

Token j is x_j * w_j + b_j; a value that is not kept is no token at all, so nothing is imputed. The summary token's output is the
patient's representation; the variant ``tokens`` also returns one token a feature, for fusions that attend to features. With
``missing`` a value that was not measured is a token of its feature's own, learned, so that not having been measured can count.
With ``frequencies`` a token is W_j [sin(2 pi c_j x_j), cos(2 pi c_j x_j)] + b_j, c_j learned from N(0, ``sigma``) (periodic
embedding, Gorishniy et al. 2022, eq. 2). All tokens start at one norm, whatever the feature and the kind of embedding. Time grows
with the square of the number of features: for thousands of genes take ``snn``.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Number, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("record", "variants", "expression")
ORDER_INVARIANT = False


@ranged
class Config:
    """Size of the transformer, and whether features' tokens are returned beside the summary."""

    width: Count = 64
    """Of the tokens."""
    depth: Count = 2
    """Blocks."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    dropout: Rate = 0.1
    """Share dropped in training."""
    features: bool = False
    """Whether features' tokens are returned beside the summary."""
    missing: bool = False
    """Whether what was not measured is a token; else it is none."""
    frequencies: Number = 0
    """Of each value's periodic embedding; 0 embeds it linearly."""
    sigma: Positive = 0.3
    """Spread of the frequencies at the start."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "tokens": Config(features=True),
    "missing_tokens": Config(features=True, missing=True),
    "periodic": Config(frequencies=8),
    "periodic_tokens": Config(features=True, missing=True, frequencies=8),
    "tiny": Config(width=16, depth=1, heads=2, dropout=0.0),
}


class FeatureTransformer(nn.Module):
    """One summary token a patient, and one a kept feature where asked for."""

    INPUT = ("weight", "bias", "summary", "absent", "frequency")

    def __init__(self, config: Config, *, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.features = config.features
        self.marks_absent = config.features and config.missing
        spread = config.width**-0.5  # the paper's initialisation: uniform in +-1/sqrt(width)
        count = config.frequencies
        self.frequency = nn.Parameter(torch.randn(num_tokens, count) * config.sigma) if count else None
        # sines and cosines of k frequencies have the norm sqrt(k), a value of one standard deviation has 1
        inputs, scale = ((2 * count,), spread / count**0.5) if count else ((), spread)
        self.weight = nn.Parameter(torch.empty(num_tokens, *inputs, config.width).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.empty(num_tokens, config.width).uniform_(-spread, spread))
        # of the norm of a value of one standard deviation
        far = 2**0.5 * spread
        self.absent = nn.Parameter(torch.empty(num_tokens, config.width).uniform_(-far, far)) if config.missing else None
        self.summary = nn.Parameter(torch.empty(1, 1, config.width).uniform_(-spread, spread))
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, heads=config.heads, ratio=config.ratio, dropout=config.dropout)
            for _ in range(config.depth)
        )
        self.out = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, dim_out))

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's kept values."""
        require_shape(tokens, dim=1, num_tokens=self.num_tokens)
        x = torch.cat([self.summary.expand(len(tokens.values), -1, -1), self.embed(tokens)], dim=1)
        present = tokens.present.unsqueeze(1)
        keep = torch.cat([present, tokens.keep if self.absent is None else present.expand_as(tokens.keep)], dim=1)
        for block in self.blocks:
            x = block(x, keep=keep)
        if not self.features:
            x, keep = x[:, :1], keep[:, :1]
        return Tokens(values=torch.where(keep.unsqueeze(-1), self.out(x), 0.0), keep=keep)

    def embed(self, tokens: Tokens) -> Float[Tensor, "batch feature width"]:
        """Make the token of each value, and of each that is not kept where these have one."""
        if self.frequency is None:
            x = tokens.clean * self.weight
        else:
            angle = 2 * math.pi * self.frequency * tokens.clean
            x = torch.einsum("bfk,fkw->bfw", torch.cat([angle.sin(), angle.cos()], dim=-1), self.weight)
        x = x + self.bias
        return x if self.absent is None else torch.where(tokens.keep.unsqueeze(-1), x, self.absent)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network for a fixed number of values.

    Raises:
        ValueError: tokens are wider than one value.
    """
    if dim_in != 1:
        msg = f"feature tokens are made of single values, width 1; got tokens of width {dim_in}"
        raise ValueError(msg)
    return FeatureTransformer(config, num_tokens=require_count(num_tokens, "tabular"), dim_out=dim_out)
