"""Tokens: what every modality becomes, and the one convention for what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """A batch of token sequences, padded to the longest.

    ``keep`` is True where a token is real. A patient without the modality has an all-False row. Values under ``keep`` False are
    arbitrary and must never influence a result. ``positions`` are optional coordinates, in the modality's own unit.
    """

    values: Float[Tensor, "batch token dim"]
    keep: Bool[Tensor, "batch token"]
    positions: Float[Tensor, "batch token axis"] | None = None

    def __post_init__(self) -> None:
        """Refuse tensors whose batch and token sizes differ."""
        if self.values.shape[:2] != self.keep.shape:
            msg = f"values {tuple(self.values.shape)} and keep {tuple(self.keep.shape)} must agree in batch and token"
            raise ValueError(msg)

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """Patients who have the modality at all."""
        return self.keep.any(dim=1)

    @property
    def clean(self) -> Float[Tensor, "batch token dim"]:
        """Values with zeros where nothing is real; safe against NaN under the mask."""
        return torch.where(
            self.keep.unsqueeze(-1), self.values, torch.zeros((), dtype=self.values.dtype, device=self.values.device)
        )

    def to(self, device: torch.device | str) -> "Tokens":
        """Move to a device."""
        return Tokens(
            values=self.values.to(device),
            keep=self.keep.to(device),
            positions=None if self.positions is None else self.positions.to(device),
        )

    def take(self, index: Tensor) -> "Tokens":
        """Keep some rows of the batch."""
        return Tokens(
            values=self.values[index],
            keep=self.keep[index],
            positions=None if self.positions is None else self.positions[index],
        )


def pad(rows: Sequence[Float[Tensor, "_ dim"] | None], dim: int) -> Tokens:
    """Pad ragged rows to a batch; ``None`` is an absent patient. At least one token column is kept, so that shapes stay legal.

    Raises:
        ValueError: a row's width differs from ``dim``.
    """
    for row_index, row in enumerate(rows):
        if row is not None and row.shape[-1] != dim:
            msg = f"row {row_index} has tokens of width {row.shape[-1]}, wanted {dim}"
            raise ValueError(msg)
    longest = max([1, *(len(r) for r in rows if r is not None)])
    values = torch.zeros(len(rows), longest, dim)
    keep = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row_index, row in enumerate(rows):
        if row is not None:
            values[row_index, : len(row)] = row
            keep[row_index, : len(row)] = True
    return Tokens(values=values, keep=keep)


def from_table(values: Float[np.ndarray, "batch token"]) -> Tokens:
    """Make one token of width 1 from each value of a table; NaN is a value that was not measured, and is not kept."""
    keep = ~np.isnan(values)
    filled = np.where(keep, values, 0.0).astype(np.float32)
    return Tokens(values=torch.from_numpy(filled).unsqueeze(-1), keep=torch.from_numpy(keep))


def require_shape(tokens: Tokens, *, dim: int, num_tokens: int | None = None, name: str = "") -> None:
    """Refuse tokens of another width or count than a network was built for; a mismatch must never broadcast; ``name`` says whose.

    Raises:
        ValueError: the width differs from ``dim``, or the number of tokens from ``num_tokens`` (None = any number).
    """
    came = tuple(tokens.values.shape[1:])
    if came[1] != dim or num_tokens not in (None, came[0]):
        whose = f"{name}: " if name else ""
        msg = f"{whose}wanted {num_tokens or 'any number of'} tokens of width {dim} a patient, got {came[0]} of width {came[1]}"
        raise ValueError(msg)


def require_dtype(tokens: Mapping[str, Tokens], weights: nn.Module) -> None:
    """Refuse double precision where weights have none: numpy makes it unasked, and no network here casts what it is given.

    Raises:
        ValueError: names the modality and both types.
    """
    wanted = next((parameter.dtype for parameter in weights.parameters()), torch.float64)
    for name, part in tokens.items():
        if part.values.dtype == torch.float64 != wanted:
            msg = f"modality {name!r}: wanted tokens of {wanted}, as the weights are, got torch.float64; give values.float()"
            raise ValueError(msg)


def require_count(num_tokens: int | None, encoder: str) -> int:
    """Refuse to build a network of fixed size for patients whose number of tokens differs.

    Raises:
        ValueError: ``num_tokens`` is None.
    """
    if num_tokens is None:
        msg = f"encoder {encoder!r} needs the same number of tokens from every patient; this modality's number varies"
        raise ValueError(msg)
    return num_tokens
