"""Slide encoders by name, ready to use: weights loaded, and what is known of the tiles that they learnt on."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.encoder_card import UNNAMED, EncoderCard, TileSource, read_card
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.encoders import longnet
from oncoweave.encoders.longnet import Config, LongNet, lay
from oncoweave.train.builtin_weights import BUILTIN, builtin_weights
from oncoweave.train.encoder_parts import changed, device_named, first_fault, told, unlike, unstated
from oncoweave.train.tile_encoder import fingerprint
from oncoweave.train.weights import read_weights

Pool = Literal["mean", "cls"]
Readout = Literal["mean", "cls", "layers"]

_REVISION = 1
"""Raised when equal weights and settings give other numbers; part of the fingerprint."""
_UPSTREAM_TILES = TileSource(encoder="vit/gigapath", mpp=0.5)
_UNTRAINED_CLASS = (
    "{name}: the class token of these weights was not trained in pretraining, as their authors say; they advise the mean\n"
)
_UNCHECKED = """\
********************************************************************************
*** {name}: NO {lacking} IS KNOWN OF THE TILES IT LEARNT ON.
*** Tiles of {encoder} pass by what is known; made in another way they pass
*** too, and their embeddings may be worth little.
********************************************************************************
"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedSlide:
    """What a slide encoder makes of one slide; tiles in the order of ``order``, row by row from the top."""

    vector: Float32[np.ndarray, " dim"]
    layers: Float32[np.ndarray, "layer width"]
    """What each layer reads out, 0 being the embedded input, through the last LayerNorm."""
    tokens: Float32[np.ndarray, "tile width"]
    """Each tile in its context, through both LayerNorms of the end."""
    shares: Float32[np.ndarray, " tile"] | None
    """Share of each tile in the vector; they sum to 1. None for the class token, which is no mean of tiles."""
    order: Int64[np.ndarray, " tile"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlideEncoder:
    """A slide encoder in evaluation mode, and how it is read out."""

    name: str
    module: LongNet
    readout: str
    layers: tuple[int, ...]
    """Layers read out side by side; empty for the end of the encoder."""
    fingerprint: str
    """Hash of name, settings, weights and how tiles are standardised; the readout is not part of it."""
    device: torch.device
    card: EncoderCard

    @property
    def dim(self) -> int:
        """Width of the vector."""
        return self.module.dim * max(1, len(self.layers))

    @property
    def pool(self) -> Pool:
        """What a layer is read out by."""
        return "cls" if self.readout == "cls" else "mean"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the vector's values: ``e017``, or ``l03_e017`` where layers are named."""
        own = [f"e{i:03d}" for i in range(self.module.dim)]
        return tuple(own) if not self.layers else tuple(f"l{layer:02d}_{e}" for layer in self.layers for e in own)

    def encode(self, features: Float[np.ndarray, "tile dim_in"], cells: Int64[np.ndarray, "tile 2"]) -> EncodedSlide:
        """Encode the tiles of one slide, given their cells; equal tiles in any order give equal numbers.

        Raises:
            ValueError: the width of the features is not the encoder's, or a cell lies outside its grid.
        """
        with torch.inference_mode():
            values = torch.from_numpy(self._standardised(features)).to(self.device)[None]
            grid = torch.from_numpy(cells).to(self.device)[None]
            slides = lay(values, grid, [(0, torch.arange(len(cells), device=self.device))])
            reader = _Reader(self.module, self.pool, self.layers, tiles=len(cells))
            for number, x in enumerate(self.module.states(slides)):
                reader.read(number, x)
            return reader.result(order=slides.tiles[0])

    def _standardised(self, features: Float[np.ndarray, "tile dim_in"]) -> Float32[np.ndarray, "tile dim_in"]:
        if features.shape[1] != self.module.dim_in:
            msg = f"{self.name} takes tiles of width {self.module.dim_in}, got {features.shape[1]}"
            raise ValueError(msg)
        values = features.astype(np.float32)
        source = self.card.tiles
        if source is not None and source.centre:
            centre, spread = np.array(source.centre, dtype=np.float32), np.array(source.scale, dtype=np.float32)
            return (values - centre) / spread
        return values


def load_slide_encoder(
    name: str,
    *,
    weights: Path | str = BUILTIN,
    readout: str = "mean",
    layers: Sequence[int] = (),
    device: str = "cpu",
    warn: Callable[[str], object] | None = None,
) -> SlideEncoder:
    """Build the slide encoder ``file`` or ``file/variant`` from the encoders shelf, with its weights; never with random ones.

    Args:
        name: such as ``longnet/tiny``.
        weights: ``builtin``; a ``.safetensors`` file of ours with its card beside it, such as a pretraining run's; or
            GigaPath's ``slide_encoder.pth``, which is encoded with the numerics it was trained with.
        readout: ``mean`` of the tiles in their context; ``cls``, the class token; ``layers``, the mean in several layers, side by
            side.
        layers: which ones, 0 being the embedded input. None given means the end of the encoder, or with ``layers`` all of them.
        device: where it works.
        warn: told what should be known of these weights; standard error, if not given.

    Raises:
        UnknownNameError: there is no such slide encoder or readout; names the nearest.
        ConfigError: the weights or their card are missing, unreadable or do not fit, the encoder gives no tiles in context, a
            layer does not exist, or the device is not there.
    """
    where = device_named(device)
    if readout not in get_args(Readout):
        raise unknown_name("readout", readout, get_args(Readout))
    config, full_name = _on_shelf(name)
    if str(weights) == BUILTIN:
        path, card = builtin_weights(full_name)
        module = _own(config, path, full_name, card)
    elif Path(weights).suffix == ".safetensors":
        card = read_card(Path(weights))
        module = _own(config, Path(weights), full_name, card)
    else:
        module, card = _upstream(config, Path(weights), full_name)
        if readout == "cls":
            (warn or sys.stderr.write)(_UNTRAINED_CLASS.format(name=full_name))
    _check_layers(layers, depth=module.config.depth)
    source = card.tiles
    if source is not None and (lacking := unstated(source)):
        (warn or sys.stderr.write)(_UNCHECKED.format(name=full_name, lacking=" AND NO ".join(lacking), encoder=source.encoder))
    standardised = [] if source is None else [*source.centre, *source.scale]
    settings = [full_name.partition("/")[0], _REVISION, told(module.config), standardised]
    return SlideEncoder(
        name=full_name,
        module=module.to(where).eval(),
        readout=readout,
        layers=tuple(layers) or (tuple(range(module.config.depth + 1)) if readout == "layers" else ()),
        fingerprint=fingerprint(settings, module),
        device=where,
        card=card,
    )


def require_tiles(encoder: SlideEncoder, source: TileSource, *, what: str) -> None:
    """Refuse tiles that a slide encoder did not learn on.

    Args:
        encoder: the slide encoder.
        source: where the tiles come from.
        what: the tiles, in words, for the message.

    Raises:
        ConfigError: another tile encoder, other weights or settings of it, or another resolution.
    """
    wanted = encoder.card.tiles
    if wanted is None:
        fault: str | None = "its card does not say which tiles it was trained on"
    elif source.fingerprint is None and (wanted.fingerprint is not None or source.encoder == UNNAMED):
        lacking = "without a fingerprint" if wanted.fingerprint is not None else "without a name"
        fault = f"it was trained on tiles of {wanted.encoder}, and {what} are of {source.encoder} ({lacking})"
    else:
        differs = unlike(wanted, source, what=what)
        fault = None if differs is None else f"it was {differs}"
    if fault is None:
        return
    msg = (
        f"{encoder.name} cannot encode {what}: {fault}. Embed the slide with the tile encoder that it was trained with, or say"
        " that you mean it with any_tiles=True (--any-tiles)"
    )
    raise ConfigError(msg)


class _Reader:
    """Reads layers out as they come, so that no more than one is kept."""

    def __init__(self, module: LongNet, pool: Pool, chosen: tuple[int, ...], *, tiles: int) -> None:
        self.module, self.pool, self.chosen, self.tiles = module, pool, chosen, tiles
        self.layers: list[Tensor] = []
        self.parts: list[tuple[Tensor, Tensor | None]] = []

    def read(self, number: int, x: Float[Tensor, "token dim"]) -> None:
        """Read a layer out; the last one is kept as tokens."""
        self.layers.append(self._pooled(x)[0])
        if number in self.chosen:
            self.parts.append(self._pooled(x, shared=True))
        if number == self.module.config.depth:
            last = self.module.encoder.layer_norm(x)
            if not self.chosen:
                self.parts.append(self._pooled(last, shared=True))
            self.tokens = self.module.norm(last[1:])

    def result(self, *, order: Int64[Tensor, " tile"]) -> EncodedSlide:
        """Lay what was read out side by side."""
        vector = torch.cat([part for part, _ in self.parts])
        shares = None
        if self.pool == "mean":
            projected = torch.stack([own for _, own in self.parts if own is not None]).sum(dim=0)
            shares = _numpy(projected / vector.double().square().sum())
        return EncodedSlide(
            vector=_numpy(vector),
            layers=_numpy(torch.stack(self.layers)),
            tokens=_numpy(self.tokens),
            shares=shares,
            order=order.cpu().numpy(),
        )

    def _pooled(self, x: Float[Tensor, "token dim"], *, shared: bool = False) -> tuple[Tensor, Tensor | None]:
        if self.pool == "cls":
            return self.module.norm(x[0]), None
        mean = x[1:].mean(dim=0)
        vector = self.module.norm(mean)
        return vector, contributions(x[1:], mean, vector, norm=self.module.norm) if shared else None


def contributions(
    tokens: Float[Tensor, "tile dim"], mean: Float[Tensor, " dim"], vector: Float[Tensor, " dim"], *, norm: nn.LayerNorm
) -> Float[Tensor, " tile"]:
    """Split ``|vector|^2`` among the tiles whose mean went through a LayerNorm to become the vector; exact.

    With the deviation of the mean held, LayerNorm is linear: ``vector = mean_i (t_i - avg(t_i)) / s * weight + bias``. A tile's
    part is the projection of its summand on the vector, in float64.
    """
    spread = torch.sqrt(mean.double().var(correction=0) + norm.eps)
    direction = vector.double() * norm.weight.double() / spread
    parts = [(t.double() - t.double().mean(dim=1, keepdim=True)) @ direction for t in tokens.split(8192)]
    return (torch.cat(parts) + vector.double() @ norm.bias.double()) / len(tokens)


def _numpy(x: Tensor) -> Float32[np.ndarray, "..."]:
    return x.float().cpu().numpy()


def _on_shelf(name: str) -> tuple[Config, str]:
    known = [entry.name for entry in shelf.catalogue("encoders") if entry.constants.get("KINDS") == ("slide",)]
    stem, _, key = name.partition("/")
    if stem not in known:
        raise unknown_name("slide encoder", stem, known)
    config = shelf.variant("encoders", name)
    if not isinstance(config, Config):
        msg = f"{name} learns within a study and gives no tiles in their context; slides are embedded by longnet"
        raise ConfigError(msg)
    return config, f"{stem}/{key or next(iter(longnet.VARIANTS))}"


def _own(config: Config, path: Path, name: str, card: EncoderCard) -> LongNet:
    if card.encoder != name:
        msg = f"{path}: these are weights of {card.encoder}, wanted {name}"
        raise ConfigError(msg)
    state = read_weights(path)
    inner = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    state = inner or state  # a run may have trained the network within the shelf's module, which adds a projection
    try:
        first = state["patch_embed.proj.weight"]
        with torch.device("meta"):  # nothing is drawn
            module = LongNet(changed(config, card.settings), dim_in=first.shape[1])
        module.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        msg = f"{path}: these weights do not fit the encoder {name}: {first_fault(error)}"
        raise ConfigError(msg) from error
    if card.tiles is not None and card.tiles.centre and len(card.tiles.centre) != module.dim_in:
        msg = f"{path}: its card standardises {len(card.tiles.centre)} features, and the network takes {module.dim_in}"
        raise ConfigError(msg)
    return module


def _upstream(config: Config, path: Path, name: str) -> tuple[LongNet, EncoderCard]:
    state = read_weights(path)
    if all(key.startswith("model.") for key in state):
        state = {key.removeprefix("model."): value for key, value in state.items()}
    try:
        module = longnet.from_upstream(state, config)
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
    return module, EncoderCard(encoder=name, tiles=_UPSTREAM_TILES, recipe="released by its authors")


def _check_layers(layers: Sequence[int], *, depth: int) -> None:
    wrong = [layer for layer in layers if not 0 <= layer <= depth]
    if wrong:
        msg = f"layers {wrong} do not exist; there are 0 (the embedded input) to {depth}"
        raise ConfigError(msg)
