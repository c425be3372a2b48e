"""Self-distillation over crops and masked patches of a tile (DINOv2: Oquab et al., TMLR 2024).

A student sees two global crops, patches of which are hidden, and some local crops; a teacher, the moving average of the student,
sees the global crops whole. The student's class token must predict the teacher's assignment of every other crop (DINO, Caron et
al. 2021), its hidden patches the teacher's assignment of the same patch (iBOT, Zhou et al. 2022), and class tokens of different
tiles are kept apart (KoLeo, or the kernel density of Virchow2). Departures from the published code: the share of hidden patches
is met exactly, KoLeo seeks neighbours among all processes, and prototypes that are frozen get no gradient at all.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.core.ranges import Count, NotNegative, Number, Positive, Share, SomeShare
from oncoweave.core.settings import ranged
from oncoweave.nn.assignments import Centre, cross_entropy, entropy, sinkhorn
from oncoweave.nn.augment import Views, multi_crop
from oncoweave.nn.dino_head import DinoHead
from oncoweave.nn.ema import follow, teacher_of
from oncoweave.nn.masking import Blocks, block_masks
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.pretraining import PatchEncoder, named_crops, patch_encoder, patch_grid
from oncoweave.nn.ranks import sum_over_ranks
from oncoweave.nn.schedules import cosine, linear
from oncoweave.nn.spread import kde, koleo

PRETRAINS = "tile"


@ranged
class Config:
    """Losses and schedules; the defaults are those of DINOv2's default configuration. Warm-ups are in steps."""

    views: Views = field(default_factory=lambda: Views(crops=multi_crop()))
    """Two crops named ``global``, and any number named ``local``."""
    hidden: Count = 2048
    """Width inside the projection heads."""
    bottleneck: Count = 256
    prototypes: Count = 65_536
    patch_head: bool = False
    """Whether hidden patches have a head of their own (ViT-g) or share the class token's."""
    centring: Literal["centre", "sinkhorn"] = "centre"
    sinkhorn_iterations: Count = 3
    centre_momentum: Share = 0.9
    patch_weight: NotNegative = 1.0
    """Of the loss on hidden patches; that of the class token has weight 1."""
    spread: Literal["koleo", "kde"] = "koleo"
    """What keeps class tokens of different tiles apart; Virchow2 takes the kernel density with a weight of 0.05."""
    spread_weight: NotNegative = 0.1
    kde_concentration: Positive = 5.0
    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.07
    teacher_temperature_start: Positive = 0.04
    teacher_temperature_warm_up: Number = 37_500
    momentum: Share = 0.992
    """Of the teacher at the first step; it goes to ``momentum_end`` by half a cosine."""
    momentum_end: Share = 1.0
    masking: Blocks = field(default_factory=Blocks)
    freeze_prototypes: Number = 1250
    """Steps before the prototypes start to move."""
    layer_decay: SomeShare = 0.9
    patch_rate: NotNegative = 0.2
    """Factor on the learning rate of the patch projection, beside layer decay."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        counts = {crop.name: crop.count for crop in self.views.crops}
        if counts.get("global") != 2 or set(counts) - {"global", "local"}:
            msg = f"dinov2: wanted two crops named 'global' and any number named 'local', got {counts}"
            raise ConfigError(msg)


def build(config: Config, *, encoder: nn.Module, generator: torch.Generator) -> "DinoV2":
    """Build student and teacher around an encoder, which becomes the student; heads are drawn from ``generator``.

    Raises:
        ConfigError: the encoder does not give patch tokens, or has no mask token.
    """
    checked = patch_encoder(encoder, "dinov2")
    if config.patch_weight and getattr(encoder, "mask_token", None) is None:
        msg = "dinov2: hidden patches need a mask token; build the encoder with mask_token=True, or set patch_weight to 0"
        raise ConfigError(msg)
    return DinoV2(config, encoder, checked.config.dim, generator)


class Branch(nn.Module):
    """What student and teacher both have: an encoder and its heads."""

    def __init__(self, config: Config, encoder: nn.Module, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        shape = {"hidden": config.hidden, "bottleneck": config.bottleneck, "prototypes": config.prototypes}
        self.encoder = encoder
        self.head = DinoHead(dim, **shape, generator=generator)
        self.patch_head = DinoHead(dim, **shape, generator=generator) if config.patch_head and config.patch_weight else None

    @property
    def patches(self) -> PatchEncoder:
        """The encoder, as one of patches."""
        return cast("PatchEncoder", self.encoder)

    def split(
        self, images: Tensor, rows: Tensor, *, masks: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode to class tokens, ``[batch, dim]``, and the patch tokens of some ``rows`` of all, ``[row, dim]``."""
        tokens = self.patches.tokens(images, masks, generator=generator)
        return tokens[:, 0], tokens[:, self.patches.prefix :].flatten(0, 1).index_select(0, rows)

    def logits(self, first: Tensor, patches: Tensor, *, frozen: bool = False) -> tuple[Tensor, Tensor]:
        """Give the logits of class tokens and of patches: with a shared head, from one product."""
        if self.patch_head is not None:
            return self.head(first, frozen=frozen), self.patch_head(patches, frozen=frozen)
        both = self.head(torch.cat([first, patches]), frozen=frozen)
        return both[: len(first)], both[len(first) :]


class DinoV2(nn.Module):
    """Student, teacher and losses.

    A batch is ``{"global": [2 B, 3, s, s], "local": [l B, 3, s', s']}``, view by view, RGB from 0 to 1. The loss is the mean over
    the B tiles of a process; averaged over processes it is that of the joined batch.
    """

    def __init__(self, config: Config, encoder: nn.Module, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.student = Branch(config, encoder, dim, generator)
        self.teacher = teacher_of(self.student)
        centred = config.centring == "centre"
        self.centre = Centre(config.prototypes, momentum=config.centre_momentum) if centred else None
        self.patch_centre = (
            Centre(config.prototypes, momentum=config.centre_momentum) if centred and config.patch_weight else None
        )

    @property
    def exported(self) -> nn.Module:
        """The teacher's encoder."""
        return self.teacher.encoder

    def train(self, mode: bool = True) -> "DinoV2":  # noqa: FBT001, FBT002  (torch's signature)
        """Switch the student; the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Mapping[str, Tensor], *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss and, detached, its parts and the teacher's entropies in nats.

        ``teacher_entropy`` is the mean over tiles, ``marginal_entropy`` that of the mean assignment: 0 where all tiles are
        assigned alike, at most ``log(prototypes)``.
        """
        crops = named_crops(batch, self.config.views)
        masks, rows, shares = self._hidden(crops["global"], generator)
        targets, patch_targets = self._targets(crops["global"], rows, step)
        frozen = step < self.config.freeze_prototypes
        first, patches = self.student.split(crops["global"], rows, masks=masks, generator=generator)
        every = [first]
        if "local" in crops:
            every.append(self.student.patches.tokens(crops["local"], generator=generator)[:, 0])
        logits, patch_logits = self.student.logits(torch.cat(every), patches, frozen=frozen)
        temperature = self.config.student_temperature
        of_class = _class_loss(logits, targets, temperature)
        of_patches = (cross_entropy(patch_logits, patch_targets, temperature=temperature) * shares).sum()
        spread = torch.stack([self._spread(half) for half in first.chunk(2)]).sum()
        loss = of_class + self.config.patch_weight * of_patches + self.config.spread_weight * spread
        parts = {"class": of_class, "patch": of_patches, "spread": spread, **_entropies(targets)}
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}

    def after_step(self, *, step: int, steps: int) -> None:
        """Move the teacher towards the student."""
        momentum = cosine(step, start=self.config.momentum, end=self.config.momentum_end, steps=steps)
        follow(self.teacher, self.student, momentum=momentum)

    def parameter_groups(self) -> list[Group]:
        """Group by layer decay; heads learn at the full rate, and their prototypes wait."""
        groups = encoder_groups(self.student.encoder, decay=self.config.layer_decay, patch=self.config.patch_rate)
        for name, head in (("class head", self.student.head), ("patch head", self.student.patch_head)):
            if head is not None:
                groups += head_groups(head.mlp, name=name)
                wait = self.config.freeze_prototypes
                groups.append(Group(params=(head.prototypes,), name=f"{name}, prototypes", frozen_until=wait))
        return groups

    def _hidden(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor | None, Tensor, Tensor]:
        """Draw masks: which patches are hidden, their rows among all, and each one's share of the loss."""
        grid = patch_grid(images, self.student.patches)
        if not self.config.patch_weight:
            nothing = torch.zeros(0, device=images.device)
            return None, nothing.long(), nothing
        hidden = block_masks(len(images), grid, blocks=self.config.masking, generator=generator)
        shares = np.broadcast_to(1.0 / (np.maximum(hidden.sum(axis=1, keepdims=True), 1) * len(images)), hidden.shape)
        arrays = hidden, np.flatnonzero(hidden), shares[hidden].astype(np.float32)
        masks, rows, weights = (torch.from_numpy(array).to(images.device, non_blocking=True) for array in arrays)
        return masks, rows, weights

    @torch.no_grad()
    def _targets(self, images: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        config = self.config
        start, end = config.teacher_temperature_start, config.teacher_temperature
        temperature = linear(step, start=start, end=end, steps=config.teacher_temperature_warm_up)
        logits, patch_logits = self.teacher.logits(*self.teacher.split(images, rows))
        return self._assign(self.centre, logits, temperature), self._assign(self.patch_centre, patch_logits, temperature)

    def _assign(self, centre: Centre | None, logits: Tensor, temperature: float) -> Tensor:
        if self.config.centring == "centre" and centre is not None:
            return centre(logits, temperature=temperature)
        return sinkhorn(logits, temperature=temperature, iterations=self.config.sinkhorn_iterations)

    def _spread(self, first: Tensor) -> Tensor:
        return koleo(first) if self.config.spread == "koleo" else kde(first, concentration=self.config.kde_concentration)


def _class_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over tiles, and over pairs of a student's crop and a teacher's other crop (DINO, eq. 3)."""
    num_tiles = len(targets) // 2
    a, b = targets.split(num_tiles)
    num_locals = len(logits) // num_tiles - 2
    total = cross_entropy(logits[: 2 * num_tiles], torch.cat([b, a]), temperature=temperature).sum()
    if num_locals:
        of_locals = logits[2 * num_tiles :].unflatten(0, (num_locals, num_tiles))
        total = total + cross_entropy(of_locals, a + b, temperature=temperature).sum()
    return total / (num_tiles * (2 + 2 * num_locals))


@torch.no_grad()
def _entropies(targets: Tensor) -> dict[str, Tensor]:
    total = sum_over_ranks(torch.cat([targets.sum(dim=0), targets.new_tensor([len(targets)])]))
    mean = total[:-1] / total[-1]
    return {"teacher_entropy": entropy(targets).mean(), "marginal_entropy": entropy(mean[None])[0]}
