"""Contrast of two views of a tile (SimCLR: Chen et al., ICML 2020)."""

from collections.abc import Mapping
from dataclasses import field

import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, Positive, SomeShare
from oncoweave.core.settings import ranged
from oncoweave.nn.augment import Crop, Views
from oncoweave.nn.contrast import nt_xent
from oncoweave.nn.drawn import drawn
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.pretraining import named_crops, patch_encoder, rest_unused

PRETRAINS = "tile"


def _views() -> Views:
    return Views(crops=(Crop(name="views", count=2, side=224, scale=(0.08, 1.0)),))


@ranged
class Config:
    """Views and head; the defaults are the paper's, colours and stains apart."""

    views: Views = field(default_factory=_views)
    """Two crops named ``views``."""
    dim: Count = 128
    """Width of what is contrasted."""
    temperature: Positive = 0.1
    layer_decay: SomeShare = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        counts = {crop.name: crop.count for crop in self.views.crops}
        if counts != {"views": 2}:
            msg = f"simclr: wanted two crops named 'views', got {counts}"
            raise ConfigError(msg)


def build(config: Config, *, encoder: nn.Module, generator: torch.Generator) -> "SimClr":
    """Put a head of two layers on an encoder's class token.

    Raises:
        ConfigError: the encoder does not give patch tokens.
    """
    return SimClr(config, encoder, generator)


class SimClr(nn.Module):
    """Encoder, head and loss. A batch is ``{"views": [2 B, 3, s, s]}``: first views, then second views of the same tiles."""

    def __init__(self, config: Config, encoder: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.exported = rest_unused(encoder, "mask_token")
        width = patch_encoder(encoder, "simclr").config.dim
        self.head = drawn(
            lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.dim)), generator=generator
        )

    def forward(self, batch: Mapping[str, Tensor], *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss."""
        views = named_crops(batch, self.config.views)["views"]
        first, second = self.head(patch_encoder(self.exported, "simclr").tokens(views, generator=generator)[:, 0]).chunk(2)
        return {"loss": nt_xent(first, second, temperature=self.config.temperature)}

    def after_step(self, *, step: int, steps: int) -> None:
        """Nothing follows the encoder."""

    def parameter_groups(self) -> list[Group]:
        """Group the encoder by layer decay; the head learns at the full rate."""
        return [*encoder_groups(self.exported, decay=self.config.layer_decay), *head_groups(self.head, name="head")]
