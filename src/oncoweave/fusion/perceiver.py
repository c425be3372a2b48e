"""Latents that read one modality after the other, again and again (HEALNet, Hemker et al. 2024, alg. 1; Jaegle et al. 2021).

Each round, the latents attend to each modality in turn (cross-attention and feed-forward, both residual) and then to each other.
A modality that a patient lacks leaves that patient's latents exactly as they were. Cost is linear in the tokens. Departs from the
paper: self-attention comes once a round, and the last layer norm stands before the mean over the latents.
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, Part, places
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.latents import LatentReading
from oncoweave.nn.token_sets import TokenProjections, join, refuse_unknown
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "tokens"


@ranged
class Config:
    """Latents, and rounds over the modalities."""

    latents: Count = 16
    """Learned tokens that read the modalities."""
    width: Count = 64
    """Of the latents."""
    depth: Count = 2
    """Rounds."""
    heads: Count = 4
    """Of the attention; must divide the width."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    shared: bool = True
    """Whether all rounds have the same weights."""
    dropout: Rate = 0.1
    """Share dropped in training."""

    def __post_init__(self) -> None:
        """Refuse heads that do not divide the width."""
        refuse_uneven(self.width, self.heads)


class Round(nn.Module):
    """One reading a modality, then a transformer block among the latents."""

    def __init__(self, config: Config, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        heads, ratio, dropout = config.heads, config.ratio, config.dropout
        self.readings = nn.ModuleList(LatentReading(config.width, heads=heads, ratio=ratio, dropout=dropout) for _ in names)
        self.among = TransformerBlock(config.width, heads=heads, ratio=ratio, dropout=dropout)

    def forward(
        self, latents: Float[Tensor, "batch latent dim"], projected: Mapping[str, Tokens]
    ) -> Float[Tensor, "batch latent dim"]:
        """Read all modalities in order, then mix."""
        for name, reading in zip(self.names, self.readings, strict=True):
            latents = reading(latents, projected[name].values, keep=projected[name].keep)
        return self.among(latents, keep=_all_kept(latents))


def _all_kept(latents: Float[Tensor, "batch latent dim"]) -> Bool[Tensor, "batch latent"]:
    return torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)


class LatentFusion(nn.Module):
    """The mean of the latents after some rounds."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = TokenProjections(dims, config.width)
        self.latents = nn.Parameter(torch.randn(config.latents, config.width) * 0.02)
        self.depth = config.depth
        self.rounds = nn.ModuleList(Round(config, tuple(dims)) for _ in range(1 if config.shared else config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        projected = self.projections(tokens)
        return self.out(self.norm(self._run(projected, self.depth)).mean(dim=1))

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Return what the latents read in the last round, ``[batch, head, latent, key]`` a modality."""
        projected = self.projections(tokens)
        latents, last = self._run(projected, self.depth - 1), cast("Round", self.rounds[-1])
        maps = {}
        for name, part in zip(self.projections.dims, last.readings, strict=True):
            reading = cast("LatentReading", part)
            values, keep = projected[name].values, projected[name].keep
            maps[f"latents->{name}"] = reading.weights(latents, values, keep=keep)
            latents = reading(latents, values, keep=keep)
        return maps

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention: of the latents to each modality in turn, and among them; tokens attend to nothing."""
        projected = self.projections(tokens)
        joined, latents = join(projected), self._run(projected, 0)
        count, device = joined.keep.shape[1], latents.device
        own, steps = torch.arange(count, count + latents.shape[1], device=device), []
        for number in range(self.depth):
            turn = cast("Round", self.rounds[min(number, len(self.rounds) - 1)])
            for name, part in zip(turn.names, turn.readings, strict=True):
                reading, (values, keep) = cast("LatentReading", part), (projected[name].values, projected[name].keep)
                weights = reading.weights(latents, values, keep=keep).mean(dim=1)
                carried = torch.where(keep.any(dim=1), 0.5, 1.0)
                steps.append(
                    (Part(queries=own, keys=places(joined.spans[name], device=device), weights=weights, carried=carried),)
                )
                latents = reading(latents, values, keep=keep)
            among = turn.among.weights(latents, keep=_all_kept(latents)).mean(dim=1)
            steps.append((Part(queries=own, keys=own, weights=among),))
            latents = turn.among(latents, keep=_all_kept(latents))
        readout = torch.zeros(len(latents), count + len(own), device=device)
        readout[:, count:] = 1 / len(own)
        return AttentionPath(spans=joined.spans, steps=tuple(steps), readout=readout, last_alone=False)

    def _run(self, projected: Mapping[str, Tokens], depth: int) -> Float[Tensor, "batch latent dim"]:
        latents = self.latents.expand(len(next(iter(projected.values())).keep), -1, -1)
        for number in range(depth):
            latents = self.rounds[min(number, len(self.rounds) - 1)](latents, projected)
        return latents


def build(config: Config, *, dims: dict[str, int], dim_out: int, bags: frozenset[str]) -> nn.Module:
    """Build for modalities of widths ``dims``, read in their order; bags are read as any other modality."""
    refuse_unknown(bags, dims)
    return LatentFusion(config, dims=dims, dim_out=dim_out)
