"""The only assembly: an encoder a modality, one fusion and one head, with named taps."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.tokens import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityShape:
    """What a modality's preparation says of its tokens, and the encoder that reads them."""

    encoder: str
    """``file/variant`` on the encoders shelf."""
    dim: int
    num_tokens: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that a network's shape depends on; stored beside its weights."""

    modalities: dict[str, ModalityShape]
    fusion: str
    """A file on the fusion shelf whose stage is intermediate."""
    num_outputs: int
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the fusion, where they are not its defaults."""
    width: int = 64
    dropout: float = 0.25
    modality_dropout: float = 0.0
    """Chance that a training step does not see one of a patient's modalities; one always stays."""


class Model(nn.Module):
    """Encoders, fusion and head of one network.

    ``forward`` returns the head's outputs. ``encode`` and ``fuse`` are its two taps: each modality's representation, and the
    patient's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({name: _encoder(shape, width=config.width) for name, shape in config.modalities.items()})
        settings = shelf.configure("fusion", config.fusion, config.settings)
        self.fusion = shelf.load("fusion", config.fusion).build(
            settings, dims=dict.fromkeys(config.modalities, config.width), dim_out=config.width
        )
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.width, config.num_outputs))
        self._frozen: list[nn.Module] = []

    def encode(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Encode each modality by itself."""
        return {name: encoder(tokens[name]) for name, encoder in self.encoders.items()}

    def fuse(self, encoded: dict[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse encoded modalities into one representation a patient."""
        return self.fusion(encoded)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch output"]:
        """Score a batch; every patient needs at least one modality."""
        if self.training and self.config.modality_dropout:
            tokens = drop_modalities(tokens, self.config.modality_dropout)
        return self.head(self.fuse(self.encode(tokens)))

    def freeze(self, part: nn.Module) -> None:
        """Keep a part of the network as it is: no gradient, and no dropout in it either."""
        part.requires_grad_(requires_grad=False).eval()
        self._frozen.append(part)

    def train(self, mode: bool = True) -> "Model":  # noqa: FBT001, FBT002  (the signature of nn.Module)
        """Switch to training; frozen parts stay in evaluation."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def parameter_groups(self, *, layer_decay: float) -> list[Group]:
        """Group what is not frozen; the learning rate of an encoder's layer falls by ``layer_decay`` with each layer below it."""
        groups = []
        for name, encoder in self.encoders.items():
            groups += encoder_groups(encoder, decay=layer_decay, name=f"encoder {name}")
        return groups + head_groups(self.fusion, name="fusion") + head_groups(self.head, name="head")


def drop_modalities(tokens: Mapping[str, Tokens], chance: float) -> dict[str, Tokens]:
    """Make each patient's modalities absent with a chance each, drawn by torch; where all would go, all stay."""
    present = torch.stack([t.present for t in tokens.values()], dim=1)
    kept: Bool[Tensor, "batch modality"] = present & (torch.rand(present.shape, device=present.device) >= chance)
    kept = torch.where(kept.any(dim=1, keepdim=True), kept, present)
    return {name: dataclasses.replace(t, keep=t.keep & kept[:, m : m + 1]) for m, (name, t) in enumerate(tokens.items())}


def _encoder(shape: ModalityShape, *, width: int) -> nn.Module:
    module = shelf.load("encoders", shape.encoder)
    config = shelf.variant("encoders", shape.encoder)
    return module.build(config, dim_in=shape.dim, num_tokens=shape.num_tokens, dim_out=width)
