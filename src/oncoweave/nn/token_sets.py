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


def modality_shares(keep: Bool[Tensor, "batch token"], spans: Mapping[str, slice]) -> Float[Tensor, "batch span"]:
    """Say what each span weighs in a patient's vector: his modalities alike, however many tokens they have.

    Pooled over all tokens, a modality of one token (a record, an embedding) would hardly be heard beside fifty gene sets. Learned
    tokens weigh where no modality does. Shares sum to one, or to zero where nothing is kept.
    """
    has = torch.stack([keep[:, span].any(dim=1) for span in spans.values()], dim=1)
    known = has & torch.tensor([name != LEARNED for name in spans], device=keep.device)
    counted = torch.where(known.any(dim=1, keepdim=True), known, has).float()
    return counted / counted.sum(dim=1, keepdim=True).clamp(min=1.0)


def token_shares(keep: Bool[Tensor, "batch token"], spans: Mapping[str, slice]) -> Float[Tensor, "batch token"]:
    """Say what each token weighs where a modality's vector is the mean of its kept tokens; see :func:`modality_shares`."""
    shares = modality_shares(keep, spans)
    parts = [keep[:, span] / keep[:, span].sum(dim=1, keepdim=True).clamp(min=1) for span in spans.values()]
    return torch.cat([part * shares[:, k : k + 1] for k, part in enumerate(parts)], dim=1)


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
