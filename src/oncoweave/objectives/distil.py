"""A small tile encoder taught by a large one: class and patch tokens must match through a projection.

Feature distillation, as small siblings of GigaPath and Virchow2 are made; distances as in AM-RADIO (Ranzinger et al., CVPR 2024).
Both see the same crop. The teacher is frozen and not part of the state: a resumed run is given the same teacher again.
"""

from collections.abc import Mapping
from dataclasses import field

import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import NotNegative, SomeShare
from oncoweave.core.settings import ranged
from oncoweave.nn.augment import Crop, Views
from oncoweave.nn.distillation import mismatch, projector, regridded
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.pretraining import named_crops, patch_encoder, patch_grid, rest_unused

PRETRAINS = "tile"
TAUGHT = True
"""``build`` takes a ``teacher`` beside the encoder."""


def _views() -> Views:
    return Views(crops=(Crop(name="image", count=1, side=224, scale=(0.32, 1.0), blur=(0.1,)),))


@ranged
class Config:
    """Views, and weights of the distances."""

    views: Views = field(default_factory=_views)
    """One crop named ``image``, seen by student and teacher alike."""
    class_weight: NotNegative = 1.0
    patch_weight: NotNegative = 1.0
    cosine: NotNegative = 0.9
    smooth: NotNegative = 0.1
    """Weight of the smooth L1 distance, beside that of the cosine's."""
    layer_decay: SomeShare = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        counts = {crop.name: crop.count for crop in self.views.crops}
        if counts != {"image": 1} or self.class_weight + self.patch_weight <= 0 or self.cosine + self.smooth <= 0:
            msg = f"distil: wanted one crop named 'image' and weights above 0, got {self}"
            raise ConfigError(msg)


def build(config: Config, *, encoder: nn.Module, teacher: nn.Module, generator: torch.Generator) -> "Distil":
    """Put projections to the teacher's width on an encoder; the teacher's weights must have been loaded.

    Raises:
        ConfigError: encoder or teacher does not give patch tokens.
    """
    return Distil(config, encoder, teacher, generator)


class Distil(nn.Module):
    """Student, projections and loss. A batch is ``{"image": [B, 3, s, s]}``; ``s`` must be whole patches of both."""

    def __init__(self, config: Config, encoder: nn.Module, teacher: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.exported = rest_unused(encoder, "mask_token")
        self._teacher = (teacher.requires_grad_(requires_grad=False).eval(),)  # in a tuple, it is not stored with the student
        widths = (patch_encoder(encoder, "distil").config.dim, patch_encoder(teacher, "distil").config.dim)
        self.class_projector = projector(*widths, generator=generator) if config.class_weight else None
        self.patch_projector = projector(*widths, generator=generator) if config.patch_weight else None

    @property
    def teacher(self) -> nn.Module:
        """The frozen encoder."""
        return self._teacher[0]

    def forward(self, batch: Mapping[str, Tensor], *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss and its parts: means over tiles, and over patches."""
        images = named_crops(batch, self.config.views)["image"]
        student = patch_encoder(self.exported, "distil")
        teacher = patch_encoder(self.teacher.to(images.device), "distil")
        tokens = student.tokens(images, generator=generator)
        with torch.no_grad():
            wanted = teacher.tokens(images)
        parts: dict[str, Tensor] = {}
        if self.class_projector is not None:
            parts["class"] = self._mismatch(self.class_projector(tokens[:, 0]), wanted[:, 0])
        if self.patch_projector is not None:
            grids = patch_grid(images, teacher), patch_grid(images, student)
            patches = regridded(wanted[:, teacher.prefix :], *grids)
            parts["patch"] = self._mismatch(self.patch_projector(tokens[:, student.prefix :]), patches)
        weights = {"class": self.config.class_weight, "patch": self.config.patch_weight}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def after_step(self, *, step: int, steps: int) -> None:
        """Nothing follows the student."""

    def parameter_groups(self) -> list[Group]:
        """Group the student by layer decay; projections learn at the full rate."""
        groups = encoder_groups(self.exported, decay=self.config.layer_decay)
        for name, head in (("class projector", self.class_projector), ("patch projector", self.patch_projector)):
            groups += [] if head is None else head_groups(head, name=name)
        return groups

    def _mismatch(self, student: Tensor, teacher: Tensor) -> Tensor:
        return mismatch(student, teacher, cosine=self.config.cosine, smooth=self.config.smooth).mean()
