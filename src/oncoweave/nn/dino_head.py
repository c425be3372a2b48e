"""The head that maps an embedding to logits over prototypes (DINO, Caron et al. 2021, section 3 and appendix C)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.nn.drawn import drawn

_EPS = 1e-6


class DinoHead(nn.Module):
    """Three linear layers with GELU between, a unit vector, and its cosine with each prototype.

    Prototypes are weight-normalised with their lengths fixed at 1, as in DINOv2.
    """

    def __init__(self, dim: int, *, hidden: int, bottleneck: int, prototypes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.mlp = drawn(lambda: _mlp(dim, hidden, hidden, bottleneck), generator=generator)
        self.prototypes = nn.Parameter(F.normalize(torch.empty(prototypes, bottleneck).normal_(generator=generator), dim=1))

    def forward(self, x: Float[Tensor, "token dim"], *, frozen: bool = False) -> Float[Tensor, "token prototype"]:
        """Give the cosines; with ``frozen`` the prototypes get no gradient."""
        directions = F.normalize(self.mlp(x).float(), dim=1, eps=_EPS)
        prototypes = self.prototypes.detach() if frozen else self.prototypes
        return F.linear(directions, F.normalize(prototypes, dim=1, eps=_EPS))


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for dim_in, dim_out in pairwise(widths):
        layers += [nn.Linear(dim_in, dim_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])
