"""Several outputs of one network, each with the patients it is trained on, and how they travel through the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.nn.dropout import Dropout
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tokens import Tokens


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Views:
    """What a network is trained on; view 0 is the fused output."""

    outputs: Float[Tensor, "batch view output"]
    keep: Bool[Tensor, "batch view"]
    """Patients who have the view; the loss of a view is taken on them alone."""
    weight: tuple[float, ...]
    """Of each view in the loss."""
    penalty: Float[Tensor, " batch"] | None = None
    """A loss of the network's own, one number a patient."""


def pack(views: Views) -> Float[Tensor, "batch column"]:
    """Lay views side by side as columns of one tensor, so that whatever handles outputs handles them."""
    outputs = views.outputs.flatten(start_dim=1)
    penalty = outputs.new_zeros(len(outputs)) if views.penalty is None else views.penalty
    return torch.cat([outputs, views.keep.to(outputs.dtype), penalty.to(outputs.dtype).unsqueeze(1)], dim=1)


def unpack(columns: Float[Tensor, "batch column"], *, weight: tuple[float, ...], num_outputs: int) -> Views:
    """Undo :func:`pack`.

    Raises:
        ValueError: there are other columns than so many views give.
    """
    num_views = len(weight)
    wanted = num_views * (num_outputs + 1) + 1
    if columns.shape[1] != wanted:
        msg = f"{num_views} views of {num_outputs} output(s) are {wanted} columns, got {columns.shape[1]}"
        raise ValueError(msg)
    outputs, keep, penalty = columns.split([num_views * num_outputs, num_views, 1], dim=1)
    return Views(
        outputs=outputs.unflatten(1, (num_views, num_outputs)),
        keep=keep.detach() > 0.5,
        weight=weight,
        penalty=penalty.squeeze(1),
    )


@runtime_checkable
class Penalised(Protocol):
    """An operator with a loss of its own."""

    def forward_with_penalty(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
        """Fuse, and give each patient's loss."""


@runtime_checkable
class PenalisedEncoder(Protocol):
    """An encoder with a loss of its own."""

    def forward_with_penalty(self, tokens: Tokens) -> tuple[Tokens, Float[Tensor, " batch"]]:
        """Encode, and give each patient's loss; 0 for absent patients."""


@runtime_checkable
class PenalisedFilling(Protocol):
    """A treatment of absent modalities that has a loss of its own."""

    def forward_with_penalty(self, encoded: Mapping[str, Tokens]) -> tuple[dict[str, Tokens], Float[Tensor, " batch"]]:
        """Fill, and give each patient's loss."""


@runtime_checkable
class Observer(Protocol):
    """A hybrid that wants to be told how its views fare."""

    def observe(self, relative: Float[Tensor, " view"]) -> None:
        """Take each view's loss over that of constant outputs, once a step; NaN for a view nobody has."""


def fuse_with_penalty(
    fusion: nn.Module, tokens: Mapping[str, Tokens]
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
    """Fuse, with the operator's own loss of each patient: zeros where it has none, or outside training."""
    if fusion.training and isinstance(fusion, Penalised):
        return fusion.forward_with_penalty(tokens)
    fused = fusion(tokens)
    return fused, fused.new_zeros(len(fused))


class WithDropout(nn.Module):
    """An operator whose fused vector is thinned out in training."""

    def __init__(self, fusion: nn.Module, dropout: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse."""
        return self.dropout(self.fusion(tokens))

    def forward_with_penalty(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
        """Fuse, with the operator's own loss."""
        fused, penalty = fuse_with_penalty(self.fusion, tokens)
        return self.dropout(fused), penalty


class ModalityHeads(nn.Module):
    """A linear head a modality, on the mean of its kept tokens."""

    def __init__(self, dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__()
        self.names = tuple(dims)
        self.layers = nn.ModuleList(nn.Linear(dim, num_outputs) for dim in dims.values())

    def forward(
        self, tokens: Mapping[str, Tokens]
    ) -> tuple[Float[Tensor, "batch modality output"], Bool[Tensor, "batch modality"]]:
        """Return each modality's outputs, and who has it; zeros for who has not."""
        present = torch.stack([tokens[name].present for name in self.names], dim=1)
        outputs = [
            layer(masked_mean(tokens[name].values, tokens[name].keep))
            for name, layer in zip(self.names, self.layers, strict=True)
        ]
        return torch.where(present.unsqueeze(-1), torch.stack(outputs, dim=1), 0.0), present


class Hybrid(nn.Module, ABC):
    """A network that wraps an operator and scores by heads of its own: one on what is fused, one a modality.

    ``forward`` gives the outputs, which are view 0 of ``views``; each hybrid says what its views are. Where something stands in
    for absent modalities, ``own`` are the tokens without it: the operator reads ``tokens``, the modalities' heads read ``own``.
    """

    def __init__(
        self, view_weights: tuple[float, ...], *, dims: Mapping[str, int], dim_out: int, num_outputs: int, fusion: nn.Module
    ) -> None:
        super().__init__()
        self.view_weights = view_weights
        self.fusion = fusion
        self.head = nn.Linear(dim_out, num_outputs)
        self.heads = ModalityHeads(dims, num_outputs)

    def forward(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Float[Tensor, "batch output"]:
        """Score; raises ValueError for a patient without any modality and for other names or widths than built for."""
        return self.head(self.fusion(tokens))

    @abstractmethod
    def views(self, tokens: Mapping[str, Tokens], own: Mapping[str, Tokens] | None = None) -> Views:
        """Score with everything that training needs."""

    def scored_apart(self, own: Mapping[str, Tokens]) -> Bool[Tensor, " batch"]:
        """Say which patients are scored by the head of the only modality that they have, not by what is fused."""
        return torch.zeros_like(next(iter(own.values())).present)

    def arranged(
        self,
        first: Float[Tensor, "batch output"],
        own: Float[Tensor, "batch modality output"],
        present: Bool[Tensor, "batch modality"],
        *,
        penalty: Float[Tensor, " batch"],
    ) -> Views:
        """Put the outputs and those of the modalities' heads, for who has them, side by side."""
        return Views(
            outputs=torch.cat([first.unsqueeze(1), own], dim=1),
            keep=torch.cat([torch.ones_like(present[:, :1]), present], dim=1),
            weight=self.view_weights,
            penalty=penalty,
        )


FUSED = "fused"
"""What the fused model of two levels is called beside the modalities that vote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """Fusion at two levels: a fused model beside the modalities' own, combined as decisions."""

    feature: str
    """An early or intermediate file on the fusion shelf."""
    decision: str
    """A late one."""
