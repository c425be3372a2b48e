"""Kronecker (tensor) fusion: W vec([h_1; 1] x ... x [h_M; 1]), all products of entries of all modalities (Zadeh et al. 2017)."""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, Rate
from oncoweave.core.settings import ranged
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.projections import Projections
from oncoweave.nn.tensor_product import outer_with_ones
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """How large the tensor may become."""

    width: Count = 32
    """Of each modality's vector before the product, where that does not exceed ``max_terms``."""
    max_terms: Count = 4096
    """The tensor has (width + 1)^M entries; the width is reduced until they are no more: 32 for two modalities, 15 for three, 7
    for four, 1 for twelve. More modalities than that are refused."""
    gated: bool = False
    """Scale each modality's vector by a sigmoid gate that sees all of them first (Pathomic Fusion; Chen et al. 2020)."""
    dropout: Rate = 0.0
    """Of the tensor, in training."""


class Kronecker(nn.Module):
    """An absent modality contributes [0; 1]: the products of the others remain, as if it had not been built in."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        width = fitting_width(len(dims), config)
        self.projections = Projections(dims, width)
        gates = [nn.Linear(len(dims) * width, width) for _ in dims] if config.gated else []
        self.gates = nn.ModuleList(gates)
        self.dropout = Dropout(config.dropout)
        self.mix = nn.Linear((width + 1) ** len(dims), dim_out)
        # entries of tanh start with a variance near 1/4, half of that behind a gate: the expected square of the tensor sets the
        # scale, because most of its entries are small products that a scale by their number would drown
        energy = (1.0 + width / (16.0 if config.gated else 4.0)) ** len(dims)
        nn.init.normal_(self.mix.weight, std=energy**-0.5)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        projected, _ = self.projections(tokens)  # zeros where absent, and tanh(0) = 0
        vectors = torch.tanh(projected)
        if self.gates:
            seen = vectors.flatten(start_dim=1)
            vectors = vectors * torch.stack([torch.sigmoid(gate(seen)) for gate in self.gates], dim=1)
        return self.mix(self.dropout(outer_with_ones(vectors.unbind(dim=1))))


def fitting_width(num_modalities: int, config: Config) -> int:
    """Give the largest width up to ``config.width`` whose tensor has at most ``config.max_terms`` entries.

    Raises:
        ValueError: not even a width of 1 fits.
    """
    for width in range(config.width, 0, -1):
        if (width + 1) ** num_modalities <= config.max_terms:
            return width
    msg = (
        f"a Kronecker product of {num_modalities} modalities has at least {2**num_modalities} terms, more than "
        f"max_terms={config.max_terms}; raise it, or fuse by low_rank"
    )
    raise ValueError(msg)


def check(config: Config, modalities: Collection[str]) -> None:
    """Refuse a study with more modalities than the tensor may have; raises ConfigError, before anything is fitted."""
    try:
        fitting_width(len(modalities), config)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``.

    Raises:
        ValueError: more modalities than ``max_terms`` allows.
    """
    return Kronecker(config, dims=dims, dim_out=dim_out)
