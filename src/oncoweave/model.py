"""The only assembly: an encoder a modality, one fusion and one head, with named taps."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, OncoweaveError
from oncoweave.nn.by_modality import ByModality
from oncoweave.nn.dropout import Dropout
from oncoweave.nn.optim import Group, encoder_groups, head_groups
from oncoweave.nn.tokens import Tokens, require_dtype
from oncoweave.nn.views import (
    Hybrid,
    Observer,
    Penalised,
    PenalisedEncoder,
    PenalisedFilling,
    Views,
    WithDropout,
    fuse_with_penalty,
    pack,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityShape:
    """What a modality's preparation says of its tokens, and the encoder that reads them."""

    encoder: str
    """``file/variant`` on the encoders shelf."""
    dim: int
    num_tokens: int | None
    feature_names: tuple[str, ...] = ()
    """Name of each token, for encoders whose ``NEEDS`` asks for them."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of the encoder's ``Config`` that differ from the variant's: those that its weights came with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that a network's shape depends on; stored beside its weights."""

    modalities: dict[str, ModalityShape]
    fusion: str
    """A file on the fusion shelf whose stage is intermediate, or hybrid and wraps one."""
    num_outputs: int
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the fusion, where they are not its defaults."""
    operator_settings: Mapping[str, object] = field(default_factory=dict)
    """Of the operator that a hybrid wraps."""
    width: int = 64
    dropout: float = 0.25
    modality_dropout: float | Mapping[str, float] = 0.0
    """Chance that a training step does not see one of a patient's modalities, of all or by modality; one always stays."""
    missing: str = "mask"
    """A file on the missingness shelf that acts on what encoders give."""
    missing_settings: Mapping[str, object] = field(default_factory=dict)
    """Of that file, where they are not its defaults."""


@runtime_checkable
class TwoPart(Protocol):
    """An encoder that can be had in two parts; its ``forward`` is one after the other."""

    @property
    def lower(self) -> nn.Module:
        """The network that weights from elsewhere fill."""

    def features(self, tokens: Tokens) -> Tokens:
        """What the lower part makes of tokens, by that part's weights alone."""

    def project(self, features: Tokens) -> Tokens:
        """What the rest makes of it."""


class Model(nn.Module):
    """Encoders, fusion and head of one network.

    ``forward`` returns the head's outputs. ``encode`` and ``fuse`` are its two taps: each modality's representation, and the
    patient's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        shapes = config.modalities
        self.encoders = ByModality({name: _encoder(name, shape, width=config.width) for name, shape in shapes.items()})
        chosen = shelf.configure("missingness", config.missing, config.missing_settings)
        dims = dict.fromkeys(config.modalities, config.width)
        self.missing = shelf.load("missingness", config.missing).build(chosen, dims=dims)
        with _telling(f"fusion {config.fusion!r}"):
            self.fusion = _fusion(config)
        # a hybrid scores by heads of its own
        scores = isinstance(self.fusion, Hybrid)
        head = nn.Sequential(Dropout(config.dropout), nn.Linear(config.width, config.num_outputs))
        self.head = nn.Identity() if scores else head
        self._frozen: list[nn.Module] = []
        self._above: dict[str, Callable[[Tokens], Tokens]] = {}

    def encode(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Encode each modality by itself.

        Raises:
            ValueError: tokens of double precision, which the weights are not.
        """
        require_dtype(tokens, self.encoders)
        return {name: self._above.get(name, encoder)(tokens[name]) for name, encoder in self.encoders.items()}

    def fuse(self, encoded: dict[str, Tokens]) -> Float[Tensor, "batch dim"]:
        """Fuse encoded modalities into one representation a patient; what is absent is treated first."""
        operator = self.fusion.fusion if isinstance(self.fusion, Hybrid) else self.fusion
        return operator(self.missing(encoded))

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch column"]:
        """Score a batch; every patient needs at least one modality.

        Returns one column an output. In training, a network with several views or a loss of its own returns them packed
        (``nn.views.pack``).
        """
        if self.training and self.config.modality_dropout:
            tokens = drop_modalities(tokens, self.config.modality_dropout)
        if self.training and self.has_views:
            return pack(self.views(tokens))
        return self.score(self.encode(tokens))

    def score(self, encoded: Mapping[str, Tokens]) -> Float[Tensor, "batch output"]:
        """Score encoded modalities; what is absent is treated first, but for the heads of a hybrid's modalities."""
        filled = self.missing(encoded)
        return self.fusion(filled, encoded) if isinstance(self.fusion, Hybrid) else self.head(self.fusion(filled))

    @property
    def has_views(self) -> bool:
        """Whether training needs more than the outputs."""
        encoders = any(isinstance(encoder, PenalisedEncoder) for _, encoder in self.encoders.items())
        return encoders or isinstance(self.fusion, Hybrid | Penalised) or isinstance(self.missing, PenalisedFilling)

    @property
    def view_weights(self) -> tuple[float, ...]:
        """Weight of each view in the loss."""
        return self.fusion.view_weights if isinstance(self.fusion, Hybrid) else (1.0,)

    @property
    def observe(self) -> Callable[[Tensor], None] | None:
        """What wants to be told the losses of the views, if anything does."""
        return self.fusion.observe if isinstance(self.fusion, Observer) else None

    def views(self, tokens: Mapping[str, Tokens]) -> Views:
        """Score a batch with everything that training needs."""
        encoded, penalties = self._encode_with_penalties(tokens)
        if isinstance(self.missing, PenalisedFilling):
            filled, filling = self.missing.forward_with_penalty(encoded)
            penalties.append(filling)
        else:
            filled = self.missing(encoded)
        views = self.fusion.views(filled, encoded) if isinstance(self.fusion, Hybrid) else self._fused_view(filled)
        if views.penalty is not None:
            penalties.append(views.penalty)
        return dataclasses.replace(views, penalty=torch.stack(penalties).sum(dim=0) if penalties else None)

    def _encode_with_penalties(self, tokens: Mapping[str, Tokens]) -> tuple[dict[str, Tokens], list[Tensor]]:
        """Encode each modality, with the losses of encoders that have one of their own; a frozen one's does not count."""
        encoded, penalties = dict[str, Tokens](), list[Tensor]()
        for name, encoder in self.encoders.items():
            if isinstance(encoder, PenalisedEncoder) and encoder not in self._frozen:
                encoded[name], penalty = encoder.forward_with_penalty(tokens[name])
                penalties.append(penalty)
            else:
                encoded[name] = self._above.get(name, encoder)(tokens[name])
        return encoded, penalties

    def _fused_view(self, encoded: Mapping[str, Tokens]) -> Views:
        fused, penalty = fuse_with_penalty(self.fusion, encoded)
        outputs = self.head(fused).unsqueeze(1)
        keep = torch.ones(outputs.shape[:2], dtype=torch.bool, device=outputs.device)
        return Views(outputs=outputs, keep=keep, weight=self.view_weights, penalty=penalty)

    def freeze(self, part: nn.Module) -> None:
        """Keep a part of the network as it is: no gradient, and no dropout in it either."""
        part.requires_grad_(requires_grad=False).eval()
        self._frozen.append(part)

    def take_features(self, modality: str, part: nn.Module) -> Callable[[Tokens], Tokens] | None:
        """From now on expect, in place of a modality's tokens, what a frozen part of its encoder makes of them.

        Returns what makes it; None, and nothing changes, where the encoder cannot be cut above that part.
        """
        encoder = self.encoders[modality]
        if part is encoder:
            self._above[modality] = nn.Identity()
            return part
        if isinstance(encoder, TwoPart) and part is encoder.lower:
            self._above[modality] = encoder.project
            return encoder.features
        return None

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
        groups += head_groups(self.missing, name="missing")
        return groups + head_groups(self.fusion, name="fusion") + head_groups(self.head, name="head")


def drop_modalities(tokens: Mapping[str, Tokens], chance: float | Mapping[str, float]) -> dict[str, Tokens]:
    """Make each patient's modalities absent with a chance each, drawn by torch; where all would go, one of them stays at random.

    ``chance`` is that of every modality, or a number by modality, where those not named are never dropped. Values that stay are
    not scaled. Of a patient who has the modalities ``1 ... k``, with chances ``p_1 ... p_k``, modality ``m`` is dropped with

        P(m dropped) = p_m - (p_1 * ... * p_k) / k,

    which rises with ``p_m`` and falls short of it by the k-th part of the chance that all would go: at chances of .5, .375 of two
    modalities, .458 of three and .497 of six; nothing where a patient has one only, and exactly ``p_m`` where one modality is
    never dropped. Coming nearer would take from training the patients who keep everything: no rule that leaves one can drop each
    of k more often than (k - 1) / k.

    Raises:
        ValueError: a chance that is not from 0 to below 1, or of a modality that there is not.
    """
    given = chance if isinstance(chance, Mapping) else dict.fromkeys(tokens, chance)
    if wrong := [name for name, one in given.items() if name not in tokens or not 0 <= one < 1]:
        msg = f"wanted a chance from 0 to below 1 of some of {', '.join(tokens)}, got {given[wrong[0]]} of {wrong[0]!r}"
        raise ValueError(msg)
    present = torch.stack([t.present for t in tokens.values()], dim=1)
    chances = torch.tensor([given.get(name, 0.0) for name in tokens])
    # 1 - rand is never 0, so a chance of 0 gives an infinite margin. Given that all would go, margins are uniform on (0, 1], and
    # the largest belongs to each as often
    margin = (1 - torch.rand(present.shape, device=present.device)) / chances.to(present.device)
    margin = margin.masked_fill(~present, 0.0)
    kept: Bool[Tensor, "batch modality"] = present & ((margin > 1) | (margin == margin.amax(dim=1, keepdim=True)))
    return {name: dataclasses.replace(t, keep=t.keep & kept[:, m : m + 1]) for m, (name, t) in enumerate(tokens.items())}


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Name the file that refuses its settings, or the shape of what it reads, in the error that the user sees."""
    try:
        yield
    except OncoweaveError:
        raise
    except ValueError as error:
        msg = f"{what}: {error}"
        raise ConfigError(msg) from error


def _encoder(name: str, shape: ModalityShape, *, width: int) -> nn.Module:
    module = shelf.load("encoders", shape.encoder)
    config: Any = shelf.variant("encoders", shape.encoder)
    config = dataclasses.replace(config, **shape.settings)
    named = {"feature_names": shape.feature_names} if "feature_names" in getattr(module, "NEEDS", ()) else {}
    with _telling(f"modality {name!r}, encoder {shape.encoder!r}"):
        return module.build(config, dim_in=shape.dim, num_tokens=shape.num_tokens, dim_out=width, **named)


def operator_of(fusion: str, settings: Mapping[str, object]) -> str:
    """Name the intermediate operator that reads the tokens: the fusion itself, or what a hybrid wraps.

    Raises:
        ConfigError: a hybrid names an operator of another stage.
        UnknownNameError: there is no such file.
    """
    if shelf.load("fusion", fusion).STAGE != "hybrid":
        return fusion
    operator = str(shelf.configure("fusion", fusion, settings).operator)
    stage = shelf.load("fusion", operator).STAGE
    if stage != "intermediate":
        msg = f"fusion {fusion!r} wraps an intermediate operator; {operator!r} is {stage}"
        raise ConfigError(msg)
    return operator


def _fusion(config: ModelConfig) -> nn.Module:
    operator = operator_of(config.fusion, config.settings)
    settings = config.settings if operator == config.fusion else config.operator_settings
    module, dims = shelf.load("fusion", operator), dict.fromkeys(config.modalities, config.width)
    # operators that read every token are told whose number of tokens differs from patient to patient
    bags = frozenset(name for name, shape in config.modalities.items() if shape.num_tokens is None)
    reads = {"bags": bags} if module.READS == "tokens" else {}
    fusion = module.build(shelf.configure("fusion", operator, settings), dims=dims, dim_out=config.width, **reads)
    if operator == config.fusion:
        return fusion
    return shelf.load("fusion", config.fusion).build(
        shelf.configure("fusion", config.fusion, config.settings),
        dims=dims,
        dim_out=config.width,
        num_outputs=config.num_outputs,
        fusion=WithDropout(fusion, config.dropout),
    )
