"""What keeps embeddings of different tiles apart: KoLeo and the kernel density of Virchow2."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from oncoweave.nn.ranks import joined

_EPS = 1e-8


def koleo(features: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean of ``-log`` of the distance to the nearest neighbour on the sphere (Sablayrolles et al. 2019, eq. 2).

    Neighbours are sought among all processes; DINOv2 seeks within one, whose number then changes the loss. A batch of one is 0.
    """
    own, everybody, cosines = _cosines(features)
    if len(everybody) == 1:
        return own.sum() * 0.0
    nearest = everybody[cosines.detach().argmax(dim=1)]
    return -torch.log(torch.linalg.vector_norm(own - nearest + _EPS, dim=1) + _EPS).mean()


def kde(features: Float[Tensor, "batch dim"], *, concentration: float) -> Float[Tensor, ""]:
    """Mean log-density of the features under a von Mises-Fisher kernel estimate of all of them (Virchow2, 2024).

    ``log(1/n sum_j exp(concentration * cos(i, j)))``, the features themselves among them, without the kernel's constant: from 0
    where they are spread to ``concentration`` where they are one point. Its gradient is bounded, unlike KoLeo's, whose nearest
    neighbours may be twins in pathology.
    """
    _, everybody, cosines = _cosines(features, itself=True)
    return torch.logsumexp(concentration * cosines, dim=1).mean() - math.log(len(everybody))


def _cosines(features: Tensor, *, itself: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features of this process and of all, and their cosines, -2 with itself unless asked for."""
    with torch.autocast(features.device.type, enabled=False):  # distances of near twins vanish in half precision
        own = F.normalize(features.float(), dim=1, eps=_EPS)
        everybody, start = joined(own)
        cosines = own @ everybody.T
    if itself:
        return own, everybody, cosines
    rows = torch.arange(len(own), device=own.device)
    return own, everybody, cosines.index_put((rows, rows + start), cosines.new_tensor(-2.0))
