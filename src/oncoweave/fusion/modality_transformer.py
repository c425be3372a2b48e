"""Masked transformer over a token a modality and a summary token, with type embeddings (Vaswani et al. 2017, pre-norm)."""

import itertools
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core.ranges import Count, Positive, Rate, refuse_uneven
from oncoweave.core.settings import ranged
from oncoweave.nn.attention_path import AttentionPath, Part, mean_of_means, places
from oncoweave.nn.blocks import TransformerBlock
from oncoweave.nn.projections import Projections
from oncoweave.nn.tokens import Tokens

STAGE = "intermediate"
READS = "vectors"


@ranged
class Config:
    """How deep the transformer is."""

    depth: Count = 2
    """Blocks."""
    heads: Count = 4
    """Must divide the width of the network."""
    ratio: Positive = 2.0
    """Width inside the feed-forward blocks, as a multiple of ``width``."""
    dropout: Rate = 0.1
    """Share dropped in training."""


class ModalityTransformer(nn.Module):
    """Absent modalities are never keys, so that attention is shared by those present; the summary token is the answer."""

    def __init__(self, config: Config, *, dims: Mapping[str, int], dim_out: int) -> None:
        super().__init__()
        self.projections = Projections(dims, dim_out)
        # small beside the projected vectors: the answer starts out depending on the patient more than on the summary's start
        self.summary = nn.Parameter(0.1 * torch.randn(dim_out))
        self.kind = nn.Parameter(0.1 * torch.randn(len(dims), dim_out))
        self.blocks = nn.ModuleList(
            TransformerBlock(dim_out, heads=config.heads, ratio=config.ratio, dropout=config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim_out)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse; raises ValueError for a patient without any modality and for other names or widths than built for."""
        x, keep = self._sequence(tokens)
        for block in self.blocks:
            x = block(x, keep=keep)
        return self.norm(x[:, 0])

    def attention(self, tokens: Mapping[str, Tokens]) -> dict[str, Float[Tensor, "batch head query key"]]:
        """Return each block's weights ``block:tokens->tokens``, of the summary and then the modalities in their order."""
        return {f"{number}:tokens->tokens": weights for number, weights in enumerate(self._maps(*self._sequence(tokens)))}

    def attention_path(self, tokens: Mapping[str, Tokens]) -> AttentionPath:
        """Return all attention: each modality's vector is the mean of its tokens, and the blocks mix summary and vectors."""
        x, keep = self._sequence(tokens)
        sizes = [tokens[name].keep.shape[1] for name in self.projections.dims]
        mixed = torch.arange(sum(sizes), sum(sizes) + keep.shape[1], device=keep.device)
        spans, means = {}, []
        for name, last, vector in zip(self.projections.dims, itertools.accumulate(sizes), mixed[1:].split(1), strict=True):
            kept = tokens[name].keep
            spans[name] = slice(last - kept.shape[1], last)
            shares = mean_of_means(kept, {name: slice(0, kept.shape[1])}).unsqueeze(1)
            means.append(Part(queries=vector, keys=places(spans[name], device=keep.device), weights=shares, carried=0.0))
        steps = [(Part(queries=mixed, keys=mixed, weights=maps.mean(dim=1)),) for maps in self._maps(x, keep)]
        readout = torch.zeros(len(keep), int(mixed[-1]) + 1, device=keep.device)
        readout[:, mixed[0]] = 1.0
        return AttentionPath(spans=spans, steps=(tuple(means), *steps), readout=readout, last_alone=False)

    def _maps(
        self, x: Float[Tensor, "batch token dim"], keep: Bool[Tensor, "batch token"]
    ) -> list[Float[Tensor, "batch head query key"]]:
        maps = []
        for block in self.blocks:
            assert isinstance(block, TransformerBlock), "a list of modules does not say of which"  # for the type checker
            maps.append(torch.where(keep[:, None, :, None], block.weights(x, keep=keep), 0.0))
            x = block(x, keep=keep)
        return maps

    def _sequence(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        vectors, present = self.projections(tokens)
        kinds = torch.where(present.unsqueeze(-1), vectors + self.kind, 0.0)
        summary = self.summary.to(vectors.dtype).expand(len(vectors), 1, -1)
        return torch.cat([summary, kinds], dim=1), torch.cat([present.new_ones(len(present), 1), present], dim=1)


def check_width(config: Config, width: int) -> None:
    """Refuse heads that do not divide the width at which a network is to fuse; raises ValueError, before any is built."""
    refuse_uneven(width, config.heads)


def build(config: Config, *, dims: dict[str, int], dim_out: int) -> nn.Module:
    """Build for modalities of widths ``dims``.

    Raises:
        ValueError: a ``dim_out`` that does not divide into the heads.
    """
    return ModalityTransformer(config, dims=dims, dim_out=dim_out)
