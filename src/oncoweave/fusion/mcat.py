"""Genomic-guided co-attention: each gene token reads one token from the slide (MCAT, Chen et al. 2021, eq. 4).

Queries are the tokens of modalities that are no bags (gene sets, clinical values), keys and values those of the bags:
softmax(Q K' / sqrt(d)) V, with one head. The queries and what they read then go through a set transformer and gated attention
pooling each, and are concatenated. Departs from the paper in that a few learned queries read beside the genes, so that
a slide is read of a patient who has nothing else, and the slide's half is zero for one who has none.
"""

from dataclasses import asdict, dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.attention import MultiheadAttention
from oncoweave.nn.guided import GuidedFusion

STAGE = "intermediate"
READS = "tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Width, and depth and heads of the two set transformers."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    learned: int = 4
    """Queries that are learned, and the same for every patient."""
    dropout: float = 0.25


class CoAttention(nn.Module):
    """Scaled dot-product attention of the queries to the bags' tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = MultiheadAttention(width, heads=1)

    def forward(
        self,
        queries: Float[Tensor, "batch query dim"],
        keys: Float[Tensor, "batch key dim"],
        *,
        keep_query: Bool[Tensor, "batch query"],
        keep_key: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch query dim"]:
        """Read a token for each query."""
        del keep_query  # a query reads by itself; what is read for one that is not kept is left out later
        return self.attention(queries, keys, keep=keep_key)

    def weights(
        self,
        queries: Float[Tensor, "batch query dim"],
        keys: Float[Tensor, "batch key dim"],
        *,
        keep_query: Bool[Tensor, "batch query"],
        keep_key: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch head query key"]:
        """Return the attention; it sums to one over the kept keys."""
        return self.attention.weights(queries, keys, keep=keep_key) * keep_query[:, None, :, None]


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; ``bags`` are read, the others ask."""
    return GuidedFusion(CoAttention(config.width), dims, bags, settings=asdict(config), dim_out=dim_out)
