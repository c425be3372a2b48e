"""Gated-attention multiple-instance learning over the tiles of a patient (Ilse, Tomczak and Welling 2018).

Departs from the paper in two ways, as CLAM and PORPOISE do: tiles are embedded by one linear layer (features come from a frozen
tile encoder), and dropout follows it. A patient with several slides is one bag.
"""

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import GatedAttentionPool, summary
from oncoweave.nn.tokens import Tokens, require_shape

KINDS = ("slide",)
ORDER_INVARIANT = True


@ranged
class Config:
    """Widths of the tile embedding and of the attention."""

    width: Count = 256
    """Of the tiles' embedding."""
    hidden: Count = 128
    """Width of the attention network."""
    heads: Count = 1
    """Weightings of the tiles, side by side."""
    dropout: Rate = 0.25
    """Share dropped in training."""


VARIANTS: dict[str, Config] = {"base": Config(), "multihead": Config(heads=4), "tiny": Config(width=16, hidden=8, dropout=0.0)}


class GatedAttentionMIL(nn.Module):
    """One token a patient: the attention-weighted mean of embedded tiles, projected."""

    def __init__(self, config: Config, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in = dim_in
        self.embed = nn.Sequential(nn.Linear(dim_in, config.width), nn.ReLU(), Dropout(config.dropout))
        self.pool = GatedAttentionPool(config.width, hidden=config.hidden, heads=config.heads, dropout=config.dropout)
        self.out = nn.Linear(config.width, dim_out)

    def forward(self, tokens: Tokens) -> Tokens:
        """Pool each patient's kept tiles."""
        require_shape(tokens, dim=self.dim_in)
        return summary(self.out(self.pool(self.embed(tokens.clean), tokens.keep)), tokens.present)

    def attention(self, tokens: Tokens) -> Float[Tensor, "batch head token"]:
        """Return each tile's weight; they sum to one over a patient's tiles, and say nothing of the sign of an effect."""
        require_shape(tokens, dim=self.dim_in)
        return self.pool.weights(self.embed(tokens.clean), tokens.keep)


def build(config: Config, *, dim_in: int, num_tokens: int | None, dim_out: int) -> nn.Module:
    """Build the network; the number of tiles may be any."""
    del num_tokens
    return GatedAttentionMIL(config, dim_in=dim_in, dim_out=dim_out)
