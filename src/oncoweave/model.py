"""The only assembly: an encoder a modality, one fusion and one head, with named taps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from oncoweave.core import shelf
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

    def encode(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Encode each modality by itself."""
        return {name: encoder(tokens[name]) for name, encoder in self.encoders.items()}

    def fuse(self, encoded: dict[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse encoded modalities into one representation a patient."""
        return self.fusion(encoded)

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch output"]:
        """Score a batch; every patient needs at least one modality."""
        return self.head(self.fuse(self.encode(tokens)))


def _encoder(shape: ModalityShape, *, width: int) -> nn.Module:
    module = shelf.load("encoders", shape.encoder)
    config = shelf.variant("encoders", shape.encoder)
    return module.build(config, dim_in=shape.dim, num_tokens=shape.num_tokens, dim_out=width)
