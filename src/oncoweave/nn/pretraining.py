"""What self-supervised objectives ask of an encoder, and what the pretraining loop asks of an objective."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.nn.augment import Views
from oncoweave.nn.optim import Group
from oncoweave.nn.tokens import Tokens


@runtime_checkable
class PatchConfig(Protocol):
    """The measures of a transformer over image patches."""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""

    @property
    def dim(self) -> int:
        """Width of a token."""


@runtime_checkable
class PatchEncoder(Protocol):
    """A transformer over the patches of a tile, such as ``encoders.vit.VisionTransformer``."""

    @property
    def config(self) -> PatchConfig:
        """Its measures."""

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: class token and registers."""

    def tokens(
        self,
        images: Float[Tensor, "batch 3 height width"],
        masks: Bool[Tensor, "batch patch"] | None = None,
        *,
        visible: Int64[Tensor, "batch visible"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Encode to the class token, the registers and the patch tokens, row by row, after the last norm.

        Where ``masks`` is True the patch is replaced by the mask token before positions are added; with ``visible`` only these
        patches are encoded. ``generator`` draws what is dropped in training.
        """


@runtime_checkable
class SlideEncoder(Protocol):
    """A transformer over the tiles of a slide, such as ``encoders.longnet.LongNet``."""

    dim_in: int
    """Width of a tile's embedding."""
    dim: int
    """Width of a token."""

    def final(
        self, values: Float[Tensor, "batch tile dim_in"], *, keep: Bool[Tensor, "batch tile"], grid: Int64[Tensor, "batch tile 2"]
    ) -> Float[Tensor, "batch token dim"]:
        """Encode each row as one slide: the class token, then its tiles' tokens, after the last norm."""


@runtime_checkable
class Pretraining(Protocol):
    """A self-supervised objective with its networks, as the pretraining loop sees it; it is an ``nn.Module`` as well.

    What matters for resuming is in its ``state_dict``; what is random comes from the ``generator`` given to ``forward``.
    """

    @property
    def exported(self) -> nn.Module:
        """The encoder that is published."""

    def forward(
        self, batch: Mapping[str, Tensor] | Tokens, *, step: int, steps: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Give ``loss``, a scalar with a gradient, and other scalars for the log, detached."""

    def after_step(self, *, step: int, steps: int) -> None:
        """Follow the student, once the optimiser has moved it."""

    def parameter_groups(self) -> list[Group]:
        """List every trainable parameter once."""


def patch_encoder(encoder: nn.Module, objective: str) -> PatchEncoder:
    """Refuse an encoder that does not give patch tokens.

    Raises:
        ConfigError: naming what it lacks.
    """
    if not isinstance(encoder, PatchEncoder):
        lacking = [name for name in ("config", "prefix", "tokens") if not hasattr(encoder, name)]
        msg = (
            f"{objective}: wanted an encoder with patch tokens, such as vit; {type(encoder).__name__} has no {', '.join(lacking)}"
        )
        raise ConfigError(msg)
    return encoder


def rest_unused(encoder: nn.Module, *names: str) -> nn.Module:
    """Let parameters of an encoder that an objective never uses rest, where the encoder has them."""
    for name in names:
        parameter = getattr(encoder, name, None)
        if parameter is not None:
            parameter.requires_grad_(requires_grad=False)
    return encoder


def patch_grid(images: Float[Tensor, "batch 3 height width"], encoder: PatchEncoder) -> tuple[int, int]:
    """Count rows and columns of patches."""
    return images.shape[2] // encoder.config.patch, images.shape[3] // encoder.config.patch


def named_crops(batch: Mapping[str, Tensor], views: Views) -> dict[str, Tensor]:
    """Take the crops of a batch that ``views`` promises, view by view.

    Raises:
        ValueError: the batch lacks crops or has others, these are no images, or their numbers do not fit.
    """
    wanted = {crop.name: crop.count for crop in views.crops}
    if set(batch) != set(wanted):
        msg = f"wanted a batch of crops named {sorted(wanted)}, got {sorted(batch)}"
        raise ValueError(msg)
    for name, crops in batch.items():
        if crops.ndim != 4 or crops.shape[1] != 3:
            msg = f"crops {name!r}: wanted RGB images [crop, 3, height, width], got {tuple(crops.shape)}"
            raise ValueError(msg)
    tiles = {name: len(batch[name]) / count for name, count in wanted.items()}
    if len(set(tiles.values())) != 1 or min(tiles.values()) < 1 or min(tiles.values()) % 1:
        msg = f"wanted {wanted} crops a tile, got { ({name: len(crops) for name, crops in batch.items()}) } in all"
        raise ValueError(msg)
    return dict(batch)
