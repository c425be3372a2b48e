"""What the pretraining loop draws its batches from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from oncoweave.nn.tokens import Tokens

Batch = Mapping[str, Tensor] | Tokens


@runtime_checkable
class Stream(Protocol):
    """Batches by the number of the step: equal seed, data and step give an equal batch, whatever was asked for before."""

    fingerprint: str
    """Hash of the data."""

    def batch(self, step: int) -> Batch:
        """Give the batch of a step, on the processor."""

    def notes(self, step: int) -> dict[str, float]:
        """Say what the log should hold of the batch last given for ``step``, such as how many tiles had to be drawn again."""

    def sample(self, count: int) -> Batch:
        """Give the same ``count`` tiles or slides every time, unaugmented, on which embeddings are watched."""

    def describe(self) -> dict[str, object]:
        """Say what the data are, for the card: counts and no names, because a card travels with its weights."""

    def faults(self) -> dict[str, object]:
        """Name what was refused or could not be read, and why; for the run's own folder."""

    def close(self) -> None:
        """Release files and threads."""


@runtime_checkable
class Data(Protocol):
    """How a plan reads what it is given; a frozen dataclass."""

    def open(self, paths: Sequence[Path], *, views: Any, batch: int, seed: int, rank: int, world: int) -> Stream:  # noqa: ANN401
        """Open the data as batches of ``batch`` over all ``world`` processes, of which ``rank`` gets its share.

        ``views`` is the objective's: how a tile or a slide is shown to it.
        """


def seeded(*numbers: int) -> torch.Generator:
    """Make a generator whose numbers are a function of these alone."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
