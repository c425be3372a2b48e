"""What fitted fusions and objectives offer to those who apply them, whichever file of their shelf they come from."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor


@runtime_checkable
class EarlyFusion(Protocol):
    """A fitted early fusion: from blocks of columns, one a modality, to one block."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each fused column."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Modality of each fused column."""

    def transform(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Fuse blocks ``[n, p]`` (a row all NaN where absent) to finite columns ``[n, d]``."""


@runtime_checkable
class SupervisedFusion(EarlyFusion, Protocol):
    """An early fusion that saw the outcome, so that rows have columns by fits that left them out."""

    def like(self, other: Any) -> EarlyFusion:  # noqa: ANN401  (another fit of its own kind)
        """Turn the columns to where those of another fit point, by what of the outcome each goes with."""


@runtime_checkable
class BlockPolicy(Protocol):
    """A fitted stand-in for absent blocks of columns."""

    def transform(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill blocks ``[n, p]``, whose rows are all NaN where absent."""


@runtime_checkable
class DonorPolicy(BlockPolicy, Protocol):
    """One that takes what it fills in from one training patient, whose whole sample can be handed on."""

    def donors(self, blocks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Name the training row that gives each absent block, ``Int[n]`` a modality; -1 where present, or where there is none."""


@runtime_checkable
class LateFusion(Protocol):
    """A fitted late fusion: from scores, one a modality, to one score."""

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Combine ``[n, modality, c]`` to ``[n, c]``; NaN is an absent modality."""


@runtime_checkable
class DecidingFusion(LateFusion, Protocol):
    """One that can say in words what decided for each patient."""

    def decisions(self, scores: np.ndarray) -> list[str]:
        """Name the line that decides for each patient of ``[n, modality, c]``."""


@runtime_checkable
class SupervisedObjective(Protocol):
    """A fitted objective of networks."""

    @property
    def num_outputs(self) -> int:
        """Outputs a network needs."""

    def loss(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Loss of a batch, a scalar."""

    def predict(self, outputs: Tensor) -> np.ndarray:
        """Turn outputs into scores ``[n, c]``, by the convention of late fusion."""
