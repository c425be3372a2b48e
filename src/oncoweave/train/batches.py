"""Patients whose bags differ in length: parts of a batch that fit into memory, and a share of a long bag."""

from collections.abc import Collection, Mapping

import numpy as np
import torch

from oncoweave.nn.tokens import Tokens

_PADDED = 0.25
"""Padding a part may hold, as a share of its tokens: a part costs little beyond what it computes."""
_FREE = 4096
"""Padding, in tokens, that is not worth a part of its own."""


def parts_of(sizes: np.ndarray, budget: int) -> list[np.ndarray]:
    """Split patients into parts of like length: at most ``budget`` tokens each once padded, and little of them padding.

    One part in the order given where all fit into it with little padding; otherwise longest first. A patient who is over the
    budget alone is a part alone.

    Args:
        sizes: ``Int[patient, modality]``, tokens of each patient.
        budget: tokens of a part, padding included.
    """
    if _fits(sizes.max(axis=0, initial=0), len(sizes), int(sizes.sum()), budget):
        return [np.arange(len(sizes))]
    parts: list[list[int]] = []
    longest, held = np.zeros(sizes.shape[1], dtype=int), 0
    for row in np.argsort(-sizes.sum(axis=1), kind="stable").tolist():
        grown, total = np.maximum(longest, sizes[row]), held + int(sizes[row].sum())
        if parts and _fits(grown, len(parts[-1]) + 1, total, budget):
            parts[-1].append(row)
            longest, held = grown, total
        else:
            parts.append([row])
            longest, held = sizes[row], int(sizes[row].sum())
    return [np.array(part) for part in parts]


def _fits(longest: np.ndarray, patients: int, held: int, budget: int) -> bool:
    """Whether so many patients are one part, of whom the longest of each modality are given and who hold so many tokens."""
    padded = int(longest.sum()) * patients
    return padded <= budget and padded - held <= max(_PADDED * held, _FREE)


def thin(tokens: Mapping[str, Tokens], ragged: Collection[str], limit: int, generator: torch.Generator) -> dict[str, Tokens]:
    """Keep a random ``limit`` of the tokens of each patient who has more, in the modalities named, in their order."""
    return {name: _thin(t, limit, generator) if name in ragged else t for name, t in tokens.items()}


def _thin(tokens: Tokens, limit: int, generator: torch.Generator) -> Tokens:
    if tokens.keep.shape[1] <= limit:
        return tokens
    drawn = torch.rand(tokens.keep.shape, generator=generator).masked_fill(~tokens.keep, 2.0)  # what is not kept comes last
    index = drawn.argsort(dim=1)[:, :limit].sort(dim=1).values

    def take(values: torch.Tensor) -> torch.Tensor:
        return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[2]))

    return Tokens(
        values=take(tokens.values),
        keep=tokens.keep.gather(1, index),
        positions=None if tokens.positions is None else take(tokens.positions),
    )
