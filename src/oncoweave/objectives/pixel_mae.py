"""Masked autoencoder of pixels: show a quarter of a tile's patches, draw the rest (MAE: He et al., CVPR 2022)."""

from collections.abc import Mapping
from dataclasses import field

import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, ProperShare, SomeShare
from oncoweave.core.settings import ranged
from oncoweave.nn.augment import Crop, Views
from oncoweave.nn.drawn import drawn
from oncoweave.nn.masking import random_visible
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.pixels import PixelDecoder, patches_of, standardised
from oncoweave.nn.pretraining import named_crops, patch_encoder, patch_grid, rest_unused

PRETRAINS = "tile"


def _views() -> Views:
    crop = Crop(name="image", count=1, side=224, scale=(0.2, 1.0), blur=(0.0,))
    return Views(crops=(crop,), stain=0.0, colour=0.0, grey=0.0)


@ranged
class Config:
    """Masking and decoder; the defaults are the paper's, for ViT-L."""

    views: Views = field(default_factory=_views)
    """One crop named ``image``; colours are not varied, as they are what is drawn."""
    hidden: ProperShare = 0.75
    """Share of patches hidden."""
    decoder_dim: Count = 512
    decoder_depth: Count = 8
    decoder_heads: Count = 16
    standardise: bool = True
    """Whether each patch's pixels are brought to mean 0 and deviation 1 before they are drawn."""
    layer_decay: SomeShare = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        counts = {crop.name: crop.count for crop in self.views.crops}
        if counts != {"image": 1} or self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            msg = (
                "pixel_mae: wanted one crop named 'image' and a decoder whose width divides by its heads and by 4, got"
                f" {counts}, {self.decoder_dim} and {self.decoder_heads} heads"
            )
            raise ConfigError(msg)


def build(config: Config, *, encoder: nn.Module, generator: torch.Generator) -> "PixelMae":
    """Put a decoder behind an encoder.

    Raises:
        ConfigError: the encoder does not give patch tokens.
    """
    return PixelMae(config, encoder, generator)


class PixelMae(nn.Module):
    """Encoder of visible patches, decoder of all, and the squared error of the hidden ones.

    A batch is ``{"image": [B, 3, s, s]}``. The encoder's class token and registers go to the decoder too; nothing else trains
    them.
    """

    def __init__(self, config: Config, encoder: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        measures = patch_encoder(encoder, "pixel_mae").config
        self.exported = rest_unused(encoder, "mask_token")
        self.decoder = drawn(
            lambda: PixelDecoder(
                dim_in=measures.dim,
                dim=config.decoder_dim,
                depth=config.decoder_depth,
                heads=config.decoder_heads,
                dim_out=3 * measures.patch**2,
            ),
            generator=generator,
        )

    def forward(self, batch: Mapping[str, Tensor], *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss: the mean squared error over pixels of hidden patches, 1 for the best guess without looking."""
        images = named_crops(batch, self.config.views)["image"]
        encoder = patch_encoder(self.exported, "pixel_mae")
        grid = patch_grid(images, encoder)
        chosen = random_visible(len(images), grid[0] * grid[1], hidden=self.config.hidden, generator=generator)
        visible, hidden = (index.to(images.device, non_blocking=True) for index in chosen)
        tokens = encoder.tokens(images, visible=visible, generator=generator)
        drawn_patches = self.decoder(tokens, visible=visible, hidden=hidden, grid=grid)
        target = patches_of(images, encoder.config.patch)
        target = target.gather(1, hidden.unsqueeze(-1).expand(-1, -1, target.shape[-1]))
        if self.config.standardise:
            target = standardised(target)
        return {"loss": (drawn_patches.float() - target).square().mean()}

    def after_step(self, *, step: int, steps: int) -> None:
        """Nothing follows the encoder."""

    def parameter_groups(self) -> list[Group]:
        """Group the encoder by layer decay; the decoder learns at the full rate."""
        return [*encoder_groups(self.exported, decay=self.config.layer_decay), *head_groups(self.decoder, name="decoder")]
