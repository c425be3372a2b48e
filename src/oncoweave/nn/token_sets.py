"""Tokens of several modalities in one space: projected, laid side by side, and told apart by role."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.projections import check_tokens
from oncoweave.nn.tokens import Tokens, require_dtype

LEARNED = "(learned)"
"""Name of the tokens that are no modality's, in attention maps; no modality can have it (``data.cohort.check_name``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """Tokens of several modalities along one axis; ``spans`` says which are whose. Values are zero where not kept."""

    values: Float[Tensor, "batch token dim"]
    keep: Bool[Tensor, "batch token"]
    spans: dict[str, slice]


def join(tokens: Mapping[str, Tokens]) -> Joined:
    """Lay the tokens of modalities end to end; values under ``keep`` False must be zero."""
    spans, start = {}, 0
    for name, part in tokens.items():
        spans[name] = slice(start, start + part.keep.shape[1])
        start += part.keep.shape[1]
    values = torch.cat([t.values for t in tokens.values()], dim=1)
    return Joined(values=values, keep=torch.cat([t.keep for t in tokens.values()], dim=1), spans=spans)


def pairs(
    maps: Float[Tensor, "batch head query key"], queries: Mapping[str, slice], keys: Mapping[str, slice]
) -> dict[str, Tensor]:
    """Cut an attention map by modality: ``"rna->slide"`` and so on."""
    return {f"{a}->{b}": maps[:, :, rows, columns] for a, rows in queries.items() for b, columns in keys.items()}


def refuse_unknown(bags: frozenset[str], dims: Mapping[str, int]) -> None:
    """Refuse bags that are no modality of the model.

    Raises:
        ValueError: names them.
    """
    if strange := sorted(bags - set(dims)):
        msg = f"bags {strange} are not among the modalities {sorted(dims)}"
        raise ValueError(msg)


class TokenProjections(nn.Module):
    """Every token through the linear layer of its modality and a layer norm; zeros where not kept.

    The layer's bias tells modalities apart.
    """

    def __init__(self, dims: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width)) for dim in dims.values())

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Project; raises ValueError for a patient without any modality and for other names or widths than built for."""
        check_tokens(tokens, self.dims)
        require_dtype(tokens, self.layers)
        projected = {}
        for name, layer in zip(self.dims, self.layers, strict=True):
            keep = tokens[name].keep
            projected[name] = Tokens(values=torch.where(keep.unsqueeze(-1), layer(tokens[name].clean), 0.0), keep=keep)
        return projected


class Roles(nn.Module):
    """Who asks and who is asked: modalities with few tokens (genes, in the papers) ask, bags (tiles, words) are asked.

    Learned tokens ask beside them, so that a bag is read in one way at least of every patient who has it, whatever else is there.
    Where no modality is a bag, nobody is asked and nothing learned asks.

    Raises:
        ValueError: a bag that is no modality, or bags without a learned token: a patient with a slide alone would not be read.
    """

    def __init__(self, dims: Mapping[str, int], bags: frozenset[str], *, width: int, learned: int) -> None:
        super().__init__()
        refuse_unknown(bags, dims)
        if bags and learned < 1:
            msg = f"wanted at least one learned token to read bags of patients who have nothing else, got {learned}"
            raise ValueError(msg)
        self.asked = tuple(name for name in dims if name in bags)
        self.asking = tuple(name for name in dims if name not in bags)
        self.learned = nn.Parameter(torch.randn(learned, width)) if self.asked else None

    def forward(self, projected: Mapping[str, Tokens]) -> tuple[Joined, Joined | None]:
        """Return the tokens that ask, learned ones last, and those that are asked (None without bags)."""
        asking = {name: projected[name] for name in self.asking}
        if self.learned is None:
            return join(asking), None
        asked = join({name: projected[name] for name in self.asked})
        values = self.learned.expand(len(asked.keep), -1, -1)
        learned = Tokens(values=values, keep=torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
        return join(asking | {LEARNED: learned}), asked
