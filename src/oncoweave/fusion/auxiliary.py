"""A head for each modality beside the fused one, so that every encoder is taught by the outcome itself (deep supervision).

Loss = L(fused) + weight / M * sum over modalities of L(head of the modality), each on the patients who have it (Lee et al. 2015,
eq. 3, with modalities in the place of layers). Predictions are the fused head's.
"""

from collections.abc import Mapping

from torch import nn

from oncoweave.core.ranges import Positive
from oncoweave.core.settings import ranged
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import Hybrid, Views, fuse_with_penalty

STAGE = "hybrid"


@ranged
class Config:
    """The operator that is wrapped, and how much the modalities' own heads count."""

    operator: str = "joint"
    """The intermediate fusion that it stands around."""
    weight: Positive = 0.5
    """Of the modalities' losses together, against 1 of the fused."""


class Auxiliary(Hybrid):
    """The fused head is trained on everybody, each modality's head on those who have it."""

    def views(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Views:
        """Score by the fused head, then by each modality's."""
        fused, penalty = fuse_with_penalty(self.fusion, tokens)
        return self.arranged(self.head(fused), *self.heads(own or tokens), penalty=penalty)


def build(config: Config, *, dims: dict[str, int], dim_out: int, num_outputs: int, fusion: nn.Module) -> nn.Module:
    """Wrap an operator for modalities of widths ``dims``."""
    weights = (1.0, *(config.weight / len(dims) for _ in dims))
    return Auxiliary(weights, dims=dims, dim_out=dim_out, num_outputs=num_outputs, fusion=fusion)
