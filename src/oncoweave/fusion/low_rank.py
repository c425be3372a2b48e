"""Low-rank tensor fusion: a Kronecker fusion whose weights are a sum of few outer products (Liu et al. 2018)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.projections import check_tokens
from oncoweave.nn.tokens import Tokens, require_dtype

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """How many outer products."""

    rank: Count = 4
    """Products of modalities that are added up."""
    dropout: Rate = 0.0
    """Of each modality's vector, in training."""


class LowRank(nn.Module):
    """sum_r v_r prod_m W_m^(r) [x_m; 1] + b: never forms the tensor, so that its cost is linear in the number of modalities.

    The column of W_m that meets the 1 is the bias of a linear layer; an absent modality contributes [0; 1], that is its bias.
    Biases start at one, where a product of many factors neither vanishes nor explodes.
    """

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.factors = nn.ModuleList(_factor(dim, config.rank * dim_out) for dim in dims.values())
        self.rank_weight = nn.Parameter(torch.randn(config.rank) * config.rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(dim_out))
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        check_tokens(tokens, self.dims)
        require_dtype(tokens, self.factors)
        factors = [
            factor(self.dropout(masked_mean(tokens[name].values, tokens[name].keep)))  # the mean is zero where absent
            for name, factor in zip(self.dims, self.factors, strict=True)
        ]
        product = torch.stack(factors).prod(dim=0).unflatten(1, (len(self.rank_weight), -1))
        return (self.rank_weight.unsqueeze(-1) * product).sum(dim=1) + self.bias


def _factor(dim: int, dim_out: int) -> nn.Linear:
    layer = nn.Linear(dim, dim_out)
    nn.init.ones_(layer.bias)
    return layer


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``."""
    return LowRank(config, dims=dims, dim_out=dim_out)
