"""The head that maps an embedding to logits over prototypes (DINO, Caron et al. 2021, section 3 and appendix C)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-6


class DinoHead(nn.Module):
    """Three linear layers with GELU between, a unit vector, and its cosine with each prototype.

    Prototypes are weight-normalised with their lengths fixed at 1, as in DINOv2.
    """

    def __init__(self, dim: int, *, hidden: int, bottleneck: int, prototypes: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = (dim, hidden, hidden, bottleneck)
        with torch.random.fork_rng(devices=[]):  # the layers' own start values would otherwise move the global generator
            linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.mlp = nn.Sequential(linears[0], nn.GELU(), linears[1], nn.GELU(), linears[2])
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        with torch.no_grad():
            for linear in linears:
                nn.init.trunc_normal_(linear.weight, std=0.02, a=-0.04, b=0.04, generator=generator)
                linear.bias.zero_()
            self.prototypes.normal_(generator=generator)
            self.prototypes.div_(self.prototypes.norm(dim=1, keepdim=True))

    def forward(self, x: Float[Tensor, "token dim"], *, frozen: bool = False) -> Float[Tensor, "token prototype"]:
        """Give the cosines; with ``frozen`` the prototypes get no gradient."""
        directions = F.normalize(self.mlp(x).float(), dim=1, eps=_EPS)
        prototypes = self.prototypes.detach() if frozen else self.prototypes
        return F.linear(directions, F.normalize(prototypes, dim=1, eps=_EPS))
