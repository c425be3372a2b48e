"""Patients whose bags differ in length: parts of a batch that fit into memory, and a share of a long bag."""

from collections.abc import Collection, Mapping

import numpy as np
import torch

from oncoweave.nn.tokens import Tokens


def parts_of(sizes: np.ndarray, budget: int) -> list[np.ndarray]:
    """Split patients into parts that hold at most ``budget`` tokens once each modality is padded to its longest.

    One part in the order given where all fit into it; otherwise longest first, so that little is padded. A patient who is over
    the budget alone is a part alone.

    Args:
        sizes: ``Int[patient, modality]``, tokens of each patient.
        budget: tokens of a part, padding included.
    """
    if sizes.max(axis=0, initial=0).sum() * len(sizes) <= budget:
        return [np.arange(len(sizes))]
    parts: list[list[int]] = []
    longest = np.zeros(sizes.shape[1], dtype=int)
    for row in np.argsort(-sizes.sum(axis=1), kind="stable").tolist():
        grown = np.maximum(longest, sizes[row])
        if parts and grown.sum() * (len(parts[-1]) + 1) <= budget:
            parts[-1].append(row)
            longest = grown
        else:
            parts.append([row])
            longest = sizes[row]
    return [np.array(part) for part in parts]


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
