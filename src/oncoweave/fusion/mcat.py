"""Genomic-guided co-attention: each gene token reads one token from the slide (MCAT, Chen et al. 2021, eq. 4).

Queries are the tokens of modalities that are no bags (gene sets, clinical values), keys and values those of the bags:
softmax(Q K' / sqrt(d)) V, with one head. The queries and what they read then go through a set transformer and gated attention
pooling each, and are concatenated. Departs from the paper in that a few learned queries read beside the genes, so that
a slide is read of a patient who has nothing else, and the slide's half is zero for one who has none; unless told, gene tokens are
the hallmarks, each table's its own, where the paper has six families of genes with all their measurements. Pooling goes over the
tokens of all that ask: a modality of one token has little say beside fifty genes at the start. Without a bag there is nothing to
read: a set transformer, the same as that of MOTCat.
"""

from collections.abc import Collection
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.guided import GuidedConfig, GuidedFusion, Reader, unguided
from oncoweave.nn.token_sets import Joined

STAGE = "intermediate"
READS = "tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(GuidedConfig):
    """Width, and depth and heads of the two set transformers."""


class CoAttention(Reader):
    """Scaled dot-product attention of the queries to the bags' tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = MultiheadAttention(width, heads=1)

    def forward(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch query dim"]:
        """Read a token for each query."""
        return self.attention(asking.values, asked.values, keep=asked.keep)

    def weights(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch head query key"]:
        """Return the attention."""
        return self.attention.weights(asking.values, asked.values, keep=asked.keep)


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; ``bags`` are read, the others ask."""
    return GuidedFusion(CoAttention(config.width), config, dims=dims, bags=bags, dim_out=dim_out)


def without_effect(config: GuidedConfig, *, modalities: Collection[str], bags: frozenset[str]) -> str:
    """Say where no co-attention takes place."""
    return unguided(modalities, bags)
