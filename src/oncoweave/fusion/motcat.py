"""Optimal-transport co-attention: gene tokens and tiles are matched as two distributions (MOTCat, Xu and Chen 2023, eq. 5 to 8).

The cost is half the squared distance of unit vectors, 1 - cosine; the plan is that of unbalanced entropic transport with
KL-relaxed marginals (``nn.transport``), so that tiles which match no gene may stay behind. A gene token reads its row of the plan
times the number of gene tokens: weights that sum to one where all its mass is matched, and to less where not. Departs from the
paper: whole bags instead of micro-batches; the plan's entropy is relative to the product of the marginals (a tile that comes
twice counts as one of double mass); a few learned queries read beside the genes. The rest is MCAT, and all of it without a bag.
"""

from collections.abc import Collection

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.core.ranges import Count, Positive
from oncoweave.core.settings import ranged
from oncoweave.nn.guided import GuidedConfig, GuidedFusion, Reader, unguided
from oncoweave.nn.token_sets import Joined
from oncoweave.nn.transport import unbalanced_plan

STAGE = "intermediate"
READS = "tokens"


@ranged
class Config(GuidedConfig):
    """Transport, width, and depth and heads of the two set transformers."""

    reg: Positive = 0.1
    """Weight of the entropy: the smaller, the sharper the match."""
    tau: Positive = 0.5
    """Weight of the marginals: the smaller, the more may stay behind."""
    iterations: Count = 10
    """Of Sinkhorn; the Newton step that follows leaves an error of rounding."""


class TransportAttention(Reader):
    """The transport plan between the queries and the bags' tokens, used as attention; it has no parameters."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def plan(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch query key"]:
        """Return how much mass goes where; all of it sums to one or less."""
        cost = 1 - F.normalize(asking.values, dim=-1) @ F.normalize(asked.values, dim=-1).transpose(1, 2)
        return unbalanced_plan(
            cost,
            keep_query=asking.keep,
            keep_key=asked.keep,
            reg=self.config.reg,
            relax=self.config.tau,
            iterations=self.config.iterations,
        )

    def forward(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch query dim"]:
        """Read a token for each query."""
        return (self.plan(asking, asked) * asking.keep.sum(dim=1)[:, None, None]) @ asked.values

    def weights(self, asking: Joined, asked: Joined) -> Float[Tensor, "batch head query key"]:
        """Return where each query's matched mass comes from."""
        plan = self.plan(asking, asked)
        total = plan.sum(dim=2, keepdim=True)
        return (plan / total.where(total > 0, 1.0)).unsqueeze(1)


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``; ``bags`` are read, the others ask."""
    return GuidedFusion(TransportAttention(config), config, dims=dims, bags=bags, dim_out=dim_out)


def without_effect(config: GuidedConfig, *, modalities: Collection[str], bags: frozenset[str]) -> str:
    """Say where no co-attention takes place."""
    return unguided(modalities, bags)
