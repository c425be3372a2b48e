"""Self-distillation over crops and masked patches of a tile (DINOv2, Oquab et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from oncoweave.nn.optim import Group, encoder_groups

PRETRAINS = "tile"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Losses and schedules; the defaults are those of DINOv2's default configuration. Warm-ups are in steps."""

    hidden: int = 2048
    """Width inside the projection heads."""
    bottleneck: int = 256
    prototypes: int = 65_536
    separate_patch_head: bool = False
    """Whether masked patches have a head of their own (ViT-g) or share the class token's."""
    patch_prototypes: int = 65_536
    """Prototypes of the separate head."""
    patch_bottleneck: int = 256
    centring: Literal["centre", "sinkhorn"] = "centre"
    sinkhorn_iterations: int = 3
    centre_momentum: float = 0.9
    class_weight: float = 1.0
    patch_weight: float = 1.0
    spread: Literal["koleo", "kde"] = "koleo"
    """What keeps the class tokens of different tiles apart: KoLeo, or the kernel density of Virchow2 (weight 0.05 there)."""
    spread_weight: float = 0.1
    kde_concentration: float = 5.0
    student_temperature: float = 0.1
    teacher_temperature: float = 0.07
    teacher_temperature_start: float = 0.04
    teacher_temperature_warm_up: int = 37_500
    momentum: float = 0.992
    """Of the moving average that is the teacher, at the first step; it reaches ``momentum_end`` by half a cosine at the last."""
    momentum_end: float = 1.0
    mask_share: float = 0.5
    """Share of global crops that are masked."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Least and largest share of patches masked in a masked crop."""
    mask_aspect: float = 0.3
    """Lowest ratio of height to width of a masked block; the highest is its inverse."""
    mask_smallest: int = 4
    """Patches in the smallest masked block."""
    freeze_prototypes: int = 1250
    """Steps before the prototypes start to move."""
    layer_decay: float = 0.9
    patch_rate: float = 0.2
    """Factor on the learning rate of the patch projection, beside layer decay."""


def build(config: Config, *, encoder: nn.Module, generator: torch.Generator) -> "DinoV2":
    """Build student and teacher around an encoder, which becomes the student; heads are drawn from ``generator``."""
    return DinoV2(config, encoder, generator)


class DinoV2(nn.Module):
    """Student, teacher and losses. Batches: ``global`` ``[2 B, 3, s, s]`` and ``local`` ``[l B, 3, s', s']``, view by view."""

    def __init__(self, config: Config, encoder: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.student = encoder

    @property
    def exported(self) -> nn.Module:
        """The teacher's encoder."""
        return self.student

    def forward(self, batch: Mapping[str, Tensor], *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss and its parts."""
        raise NotImplementedError

    def after_step(self, *, step: int, steps: int) -> None:
        """Move the teacher towards the student."""

    def parameter_groups(self) -> list[Group]:
        """Group by layer decay; prototypes wait."""
        return encoder_groups(self.student, decay=self.config.layer_decay, patch=self.config.patch_rate)
