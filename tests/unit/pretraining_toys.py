"""A small network, a loss and tiles for tests of the pretraining loop, quick enough to run it many times."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from oncoweave.nn.augment import Crop, Views
from oncoweave.nn.optim import Group
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_stream import TileData

SIDE = 8
VIEWS = Views(crops=(Crop(name="views", count=2, side=SIDE, scale=(0.3, 1.0)),))


class Encoder(nn.Module):
    """Pixels to four numbers, with dropout from torch's own generator."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIDE * SIDE, 4)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.linear.weight.normal_(std=0.1, generator=generator)
            self.linear.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class Toy(nn.Module):
    """Two views of a tile must agree with a moving average of what the other gave; noise from the generator and from torch."""

    def __init__(self, *, noisy: bool = True, collapses: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.late = nn.Parameter(torch.zeros(4))
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("centre", torch.zeros(4))
        self.noisy, self.collapses = noisy, collapses

    @property
    def exported(self) -> nn.Module:
        return self.encoder

    def forward(self, batch, *, step: int, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        first, second = (self.encoder(v) + self.late for v in batch["views"].chunk(2))
        noise = torch.randn(4, generator=generator) + torch.randn(4) if self.noisy else torch.zeros(4)
        wanted = torch.zeros(4) if self.collapses else second.detach() - self.centre + 1 + 0.1 * noise
        loss = (first - wanted).square().mean()
        return {"loss": loss, "late": self.late.detach().abs().sum(), "centre": self.centre.abs().sum()}

    def after_step(self, *, step: int, steps: int) -> None:
        with torch.no_grad():
            self.centre.lerp_(self.encoder.linear.weight.sum(dim=1), 0.1)

    def parameter_groups(self) -> list[Group]:
        return [
            Group(params=(self.encoder.linear.weight,), name="weight"),
            Group(params=(self.encoder.linear.bias, self.unused), name="bias", weight_decay=False, lr_scale=0.5),
            Group(params=(self.late,), name="late", frozen_until=3),
        ]


def tiles(folder: Path, count: int = 20) -> Path:
    """Write a shard of tiles of two classes, brighter and darker, four slides."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % 2
    images = (rng.integers(0, 100, (count, 12, 12, 3)) + 120 * label[:, None, None, None]).astype(np.uint8)
    path = folder / "tiles.h5"
    write_tiles(path, images, labels=[("dark", "bright")[i] for i in label], groups=[f"S{i % 4}" for i in range(count)])
    return path


def plan(**changes) -> Plan:
    """A run of ten steps."""
    settings = {
        "name": "toy", "encoder": "vit/tiny", "objective": "simclr", "data": TileData(side=SIDE, readers=0), "batch": 6,
        "steps": 10, "optimisation": Optimisation(rate=0.05, power=0.0, warm_up=2, weight_decay=(0.1, 0.3), clip=1.0),
        "checkpoint_every": 3, "watch_every": 5,
    }  # fmt: skip
    return Plan(**{**settings, **changes})
