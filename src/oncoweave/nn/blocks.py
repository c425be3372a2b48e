"""Blocks that networks are stacked from: feed-forward, transformer block, self-normalising stack."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.dropout import Dropout


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between, applied to each token by itself."""

    def __init__(self, dim: int, *, ratio: float = 4.0, dropout: float = 0.0) -> None:
        hidden = round(dim * ratio)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, dim))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + feed-forward(norm(x)) (Xiong et al. 2020, fig. 1b)."""

    def __init__(self, dim: int, *, heads: int, ratio: float = 4.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = MultiheadAttention(dim, heads=heads)
        self.norm_feed = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, ratio=ratio, dropout=dropout)
        self.drop = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch token dim"], *, keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token dim"]:
        """Mix each token with the kept tokens of its row; values under ``keep`` False must be finite."""
        normed = self.norm_attention(x)
        x = x + self.drop(self.attention(normed, normed, keep=keep))
        return x + self.drop(self.feed(self.norm_feed(x)))

    def weights(
        self, x: Float[Tensor, "batch token dim"], *, keep: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch head query key"]:
        """Return the attention weights that ``forward`` uses; zero for keys that are not kept."""
        normed = self.norm_attention(x)
        return self.attention.weights(normed, normed, keep=keep)


class SelfNormalisingStack(nn.Sequential):
    """Linear, ELU and alpha dropout, once a width (the SNN of Klambauer et al. 2017, with the ELU that MCAT and PORPOISE use).

    Weights start as N(0, 1 / fan in) and biases at zero, which keeps activations near zero mean and unit variance.
    """

    def __init__(self, dim_in: int, widths: tuple[int, ...], *, dropout: float) -> None:
        layers: list[nn.Module] = []
        for fan_in, width in zip((dim_in, *widths), widths, strict=False):
            layers += [lecun_linear(fan_in, width), nn.ELU(), nn.AlphaDropout(dropout)]
        super().__init__(*layers)


def lecun_linear(dim_in: int, dim_out: int) -> nn.Linear:
    """Build a linear layer with weights N(0, 1 / ``dim_in``) and zero bias."""
    layer = nn.Linear(dim_in, dim_out)
    with torch.no_grad():
        layer.weight.normal_(0.0, dim_in**-0.5)
        layer.bias.zero_()
    return layer
