"""What self-supervised objectives ask of an encoder, and what the pretraining loop asks of an objective."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from oncoweave.nn.optim import Group
from oncoweave.nn.tokens import Tokens


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
