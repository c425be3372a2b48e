"""A small encoder's tokens brought to a large one's: projection, and how far they are from each other."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from oncoweave.nn.drawn import drawn


def projector(dim_in: int, dim_out: int, *, generator: torch.Generator) -> nn.Sequential:
    """Build norm and linear layer from the student's width to the teacher's."""
    return drawn(lambda: nn.Sequential(nn.LayerNorm(dim_in), nn.Linear(dim_in, dim_out)), generator=generator)


def mismatch(
    student: Float[Tensor, "*token dim"], teacher: Float[Tensor, "*token dim"], *, cosine: float, smooth: float
) -> Float[Tensor, "*token"]:
    """Weighted sum of 1 - cosine and the mean smooth L1 distance (AM-RADIO, Ranzinger et al. 2024, section 3.3), a token."""
    student, teacher = student.float(), teacher.float()
    apart = 1.0 - F.cosine_similarity(student, teacher, dim=-1)
    return cosine * apart + smooth * F.smooth_l1_loss(student, teacher, reduction="none").mean(dim=-1)


def regridded(
    patches: Float[Tensor, "batch patch dim"], grid: tuple[int, int], wanted: tuple[int, int]
) -> Float[Tensor, "batch patch2 dim"]:
    """Resample patch tokens, bilinearly, where teacher and student have patches of different sizes."""
    if grid == wanted:
        return patches
    planes = patches.transpose(1, 2).unflatten(2, grid)
    return (
        F.interpolate(planes.float(), size=wanted, mode="bilinear", antialias=True).flatten(2).transpose(1, 2).to(patches.dtype)
    )
