"""A small slide encoder taught by a large one: the slide and each tile in its context must match through a projection.

The slide's share of feature distillation, beside ``distil`` for tiles. Student and teacher may see tiles through encoders of
their own: then a tile's values are those for the student followed by those for the teacher. The teacher is frozen and not part of
the state: a resumed run is given the same teacher again.
"""

from dataclasses import field
from typing import cast

import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import NotNegative
from oncoweave.core.settings import ranged
from oncoweave.nn.coordinates import SlideView
from oncoweave.nn.distillation import mismatch, projector
from oncoweave.nn.drawn import seeded
from oncoweave.nn.grid import cells
from oncoweave.nn.losses import mean_of
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.pretraining import SlideEncoder
from oncoweave.nn.tokens import Tokens, require_shape

PRETRAINS = "slide"
TAUGHT = True
"""``build`` takes a ``teacher`` beside the encoder."""


@ranged
class Config:
    """Weights of the distances, and how the loader shows a slide."""

    slide_weight: NotNegative = 1.0
    """Of the mean of the tiles' tokens."""
    tile_weight: NotNegative = 1.0
    """Of each tile's token."""
    cosine: NotNegative = 0.9
    smooth: NotNegative = 0.1
    """Weight of the smooth L1 distance, beside that of the cosine's."""
    views: SlideView = field(default_factory=SlideView)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.slide_weight + self.tile_weight <= 0 or self.cosine + self.smooth <= 0:
            msg = f"slide_distil: wanted weights above 0, got {self}"
            raise ConfigError(msg)


def build(config: Config, *, encoder: nn.Module, teacher: nn.Module, generator: torch.Generator) -> "SlideDistil":
    """Put a projection to the teacher's width on an encoder; the teacher's weights must have been loaded.

    Raises:
        ConfigError: encoder or teacher is no transformer over tiles.
    """
    for network in (encoder, teacher):
        lacking = [name for name in ("final", "dim_in", "dim") if not hasattr(network, name)]
        if lacking:
            msg = f"slide_distil: wanted encoders such as LongNet; {type(network).__name__} has no {', '.join(lacking)}"
            raise ConfigError(msg)
    return SlideDistil(config, encoder, teacher, generator)


class SlideDistil(nn.Module):
    """Student, projection and loss. A batch is Tokens with one slide a row and positions in tiles.

    The class token is not matched: released weights have an untrained one. Means are over slides, and over tiles of the batch
    whichever slide they are of.
    """

    def __init__(self, config: Config, encoder: nn.Module, teacher: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.exported = encoder
        self._teacher = (teacher.requires_grad_(requires_grad=False).eval(),)  # in a tuple, it is not stored with the student
        student, taught = cast("SlideEncoder", encoder), cast("SlideEncoder", teacher)
        self._widths = (student.dim_in, taught.dim_in)
        self.projector = projector(student.dim, taught.dim, generator=generator)

    @property
    def teacher(self) -> nn.Module:
        """The frozen encoder."""
        return self._teacher[0]

    def forward(self, batch: Tokens, *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss and its parts.

        Raises:
            ValueError: the tiles have another width than student and teacher want, no positions, or positions that are no cells.
        """
        own, shown, grid = self._shown(batch)
        teacher = cast("SlideEncoder", self.teacher.to(own.device))
        with torch.no_grad():
            wanted = teacher.final(shown, keep=batch.keep, grid=grid)[:, 1:]
        with seeded(generator):
            tokens = cast("SlideEncoder", self.exported).final(own, keep=batch.keep, grid=grid)[:, 1:]
        came = self.projector(tokens)
        weights = {"cosine": self.config.cosine, "smooth": self.config.smooth}
        tiles = mean_of(mismatch(came, wanted, **weights), batch.keep)
        pooled = mismatch(masked_mean(came, batch.keep), masked_mean(wanted, batch.keep), **weights)
        slides = mean_of(pooled, batch.present)
        loss = self.config.slide_weight * slides + self.config.tile_weight * tiles
        return {"loss": loss, "slide": slides.detach(), "tile": tiles.detach()}

    def after_step(self, *, step: int, steps: int) -> None:
        """Nothing follows the student."""

    def parameter_groups(self) -> list[Group]:
        """Student and projection, all at the full learning rate."""
        return [*encoder_groups(self.exported), *head_groups(self.projector, name="projector")]

    def _shown(self, batch: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        if not isinstance(batch, Tokens) or batch.positions is None:
            msg = f"slide_distil wants Tokens with each tile's position (x, y) in tiles, got {type(batch).__name__} without"
            raise ValueError(msg)
        student, teacher = self._widths
        alike = student == teacher == batch.values.shape[-1]
        require_shape(batch, dim=student if alike else student + teacher)
        values = batch.clean
        grid = torch.zeros(*batch.keep.shape, 2, dtype=torch.int64, device=batch.keep.device)
        for row, keep in enumerate(batch.keep):
            if len(batch.positions[row, keep, 2:].unique(dim=0)) > 1:
                msg = f"row {row} of the batch holds tiles of several slides; slide_distil takes one slide a row"
                raise ValueError(msg)
            grid[row, keep] = cells(batch.positions[row, keep, :2], grid=self.config.views.grid)
        return values[..., :student], values[..., -teacher:], grid
