"""Self-normalising network over all of a patient's values (Klambauer et al. 2017; the omics encoder of MCAT and PORPOISE).

Linear, ELU and alpha dropout, 256 wide and twice, then a projection. A value that is not kept enters as 0, the training mean of a
standardised value; the variant ``indicators`` also tells the network which values were kept.
"""

import torch
from torch import nn

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.blocks import SelfNormalisingStack, lecun_linear
from oncoweave.nn.pooling import summary
from oncoweave.nn.tokens import Tokens, require_count, require_shape

KINDS = ("expression", "variants", "record", "embedding")
ORDER_INVARIANT = False


@ranged
class Config:
    """Widths of the hidden layers, and whether keep joins the inputs."""

    widths: tuple[Count, ...] = (256, 256)
    """Of the hidden layers."""
    dropout: Rate = 0.25
    """Alpha dropout, in training."""
    indicators: bool = False
    """Whether which values were measured joins the inputs."""


VARIANTS: dict[str, Config] = {
    "base": Config(),
    "indicators": Config(indicators=True),
    "tiny": Config(widths=(16, 16), dropout=0.0),
}


class SelfNormalisingNetwork(nn.Module):
    """One token a patient."""

    def __init__(self, config: Config, *, dim_in: int, num_tokens: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.num_tokens = dim_in, num_tokens
        self.indicators = config.indicators
        self.hidden = SelfNormalisingStack(num_tokens * (dim_in + config.indicators), config.widths, dropout=config.dropout)
        self.out = lecun_linear(config.widths[-1], dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Encode each patient's values."""
        require_shape(tokens, dim=self.dim_in, num_tokens=self.num_tokens)
        values = tokens.clean.flatten(start_dim=1)
        if self.indicators:
            values = torch.cat([values, tokens.keep.to(values.dtype)], dim=1)
        return summary(self.out(self.hidden(values)), tokens.present)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network for a fixed number of tokens."""
    return SelfNormalisingNetwork(config, dim_in=dim_in, num_tokens=require_count(num_tokens, "snn"), dim_out=dim_out)
