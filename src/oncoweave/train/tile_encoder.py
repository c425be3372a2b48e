"""Tile encoders by name, ready to use: weights loaded, and a fingerprint that says which ones."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol, cast, get_args, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.card import TileCard
from oncoweave.core.encoder_card import EncoderCard, card_beside
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.train.encoder_parts import changed, device_named, first_fault, told
from oncoweave.train.weights import read_weights

Precision = Literal["fp32", "bf16", "fp16"]
_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SEED = 0
_RANDOM_WEIGHTS = """\
********************************************************************************
*** {name}: RANDOM WEIGHTS. Nothing was learnt: its features are good for
*** trying out the chain and as a null model, not for results. Give trained ones
*** with --weights FILE, or use the encoder 'colour'.
********************************************************************************
"""
_NO_CARD = (
    "{file}: no card beside these weights says which settings they were trained with; {name} is built as the shelf has it\n"
)
_OTHER_TILES = """\
********************************************************************************
*** {name} WAS TRAINED ON OTHER TILES: {wanted}.
*** It is given {given}; its features may be worth little.
********************************************************************************
"""


@runtime_checkable
class Network(Protocol):
    """What a tile encoder's file builds; it is an ``nn.Module`` as well."""

    dim: int
    """Width of its vectors."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileEncoder:
    """A tile encoder in evaluation mode."""

    name: str
    module: nn.Module
    dim: int
    fingerprint: str
    """Hash of name, settings, weights and, where it is not fp32, precision."""
    device: torch.device
    card: TileCard | None = None
    """What is known of the shelf's variant."""
    precision: Precision = "fp32"
    settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of its ``Config`` that its weights were trained with, where they differ from the variant's."""

    @property
    def title(self) -> str:
        """Name, and the settings that are not the variant's: networks that differ have other titles."""
        stated = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name} ({stated})" if stated else self.name

    def encode(self, tiles: UInt8[Tensor, "tile 3 height width"]) -> Float[Tensor, "tile dim"]:
        """Encode 8-bit RGB tiles; the result is on the processor, in float32."""
        with torch.inference_mode(), self._autocast():
            return self.module(tiles.to(self.device, torch.float32) / 255).float().cpu()

    def _autocast(self) -> AbstractContextManager[object]:
        half = _HALF.get(self.precision)
        return nullcontext() if half is None else torch.autocast(self.device.type, dtype=half)


def load_tile_encoder(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    warn: Callable[[str], object] | None = None,
) -> TileEncoder:
    """Build the tile encoder ``file`` or ``file/variant`` from the encoders shelf.

    Weights are those of oncoweave or, where the encoder reads them, of timm, DINOv2 or Hugging Face. Where a card lies beside
    them, as beside those of a pretraining run, the encoder has the settings it states; where none does and others did not publish
    the encoder, ``warn`` (standard error, if not given) is told. An encoder of ours that has parameters and gets no ``weights``
    gets random ones, the same every time, and says so through ``warn``; one that others published is refused without its weights.

    Raises:
        UnknownNameError: there is no such tile encoder; names the nearest.
        ConfigError: the weights are missing, unreadable, of another encoder or do not fit, their card was changed, the device is
            not there, or the encoder cannot work on it at this precision.
    """
    where = device_named(device)
    arithmetic = next((known for known in _PRECISIONS if known == precision), None)
    if arithmetic is None:
        raise unknown_name("precision", precision, _PRECISIONS)
    warn = warn or sys.stderr.write
    known = [entry.name for entry in shelf.catalogue("encoders") if entry.constants.get("KINDS") == ("tile",)]
    stem, _, key = name.partition("/")
    if stem not in known:
        raise unknown_name("tile encoder", stem, known)
    module_file = shelf.load("encoders", name)
    config = shelf.variant("encoders", name)
    key = key or next(iter(module_file.VARIANTS))
    full_name = f"{stem}/{key}"
    card: TileCard | None = getattr(module_file, "CARDS", {}).get(key)
    settings: dict[str, object] = {}
    if weights is None:
        module = _without_weights(module_file, config, card, full_name, warn)
    else:
        stated = card_beside(Path(weights))
        if stated is not None:
            settings = _settings_stated(stated, module_file, Path(weights), full_name)
            config = changed(config, settings)
            card = None if card is None else replace(card, published=False)  # what its authors published are other weights
        elif card is not None and not card.published:
            warn(_NO_CARD.format(file=Path(weights).name, name=full_name))
        module = _with_weights(module_file, config, Path(weights), full_name, warn)
    _check_precision(precision, module, where, full_name)
    return TileEncoder(
        name=full_name,
        module=module.eval().to(where),
        dim=cast("Network", module).dim,
        fingerprint=fingerprint(_settings(module_file, stem, config, precision), module),
        device=where,
        card=card,
        precision=arithmetic,
        settings=settings,
    )


def random_twin(encoder: TileEncoder) -> TileEncoder | None:
    """Build the same network with random weights, the same every time, as a control; None where there are no weights to learn.

    Raises:
        UnknownNameError: the encoder is not from the shelf, so that nothing is known of how it is built.
    """
    if not any(True for _ in encoder.module.parameters()):
        return None
    module_file = shelf.load("encoders", encoder.name)
    config = changed(shelf.variant("encoders", encoder.name), encoder.settings)
    module = _fresh(module_file, config).eval().to(encoder.device)
    settings = _settings(module_file, encoder.name.partition("/")[0], config, encoder.precision)
    return replace(encoder, module=module, fingerprint=fingerprint(settings, module))


def tile_settings(
    encoder: TileEncoder, *, tile: int | None, mpp: float | None, warn: Callable[[str], object] | None = None
) -> tuple[int, float]:
    """Choose side (px) and resolution (um/px) of tiles: those given, else those of the encoder's card, else 256 at 0.5.

    Where those given are not the ones that published weights were trained on, ``warn`` (standard error, if not given) says so.
    """
    card = encoder.card
    usual_tile, usual_mpp = (256, 0.5) if card is None else (card.tile, card.mpp[0])
    tile, mpp = usual_tile if tile is None else tile, usual_mpp if mpp is None else mpp
    if card is not None and card.published and (tile != card.tile or not any(abs(mpp / known - 1) < 0.05 for known in card.mpp)):
        usual = " or ".join(f"{known:g}" for known in card.mpp)
        wanted, given = f"{card.tile} px at {usual} um/px", f"{tile} px at {mpp:g} um/px ({card.input})"
        (warn or sys.stderr.write)(_OTHER_TILES.format(name=encoder.name, wanted=wanted, given=given))
    return tile, mpp


def fingerprint(settings: object, module: nn.Module) -> str:
    """Hash an encoder's settings (anything JSON can hold) and its weights, in the order of its state dict."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key, value in module.state_dict().items():
        digest.update(f"{key}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _settings(module_file: ModuleType, stem: str, config: shelf.Configuration, precision: str) -> list[object]:
    """List what a fingerprint hashes beside the weights."""
    return [stem, module_file.REVISION, told(config), *([] if precision == "fp32" else [precision])]


def _fresh(module_file: ModuleType, config: object) -> nn.Module:
    if "generator" in module_file.build.__annotations__:
        return module_file.build(config, generator=torch.Generator().manual_seed(_SEED))
    return module_file.build(config)


def _without_weights(
    module_file: ModuleType, config: object, card: TileCard | None, name: str, warn: Callable[[str], object]
) -> nn.Module:
    if card is not None and card.published:
        msg = (
            f"{name} needs its weights, which are published at {card.weights} (licence: {card.licence}): give the file"
            " with --weights; random ones are never used in their place"
        )
        raise ConfigError(msg)
    module = _fresh(module_file, config)
    if any(True for _ in module.parameters()):
        warn(_RANDOM_WEIGHTS.format(name=name))
    return module


def _settings_stated(stated: EncoderCard, module_file: ModuleType, path: Path, name: str) -> dict[str, object]:
    """List what a card states otherwise than the variant and what counts in encoding.

    Raises:
        ConfigError: it speaks of another encoder, or of a setting that the encoder does not have.
    """
    stem, _, key = name.partition("/")
    if stated.encoder != name and not (stated.encoder == stem and key == next(iter(module_file.VARIANTS))):
        msg = f"{path}: these are weights of {stated.encoder}, wanted {name}; name the encoder they belong to"
        raise ConfigError(msg)
    usual = module_file.VARIANTS[key]
    training = getattr(module_file, "TRAINING_SETTINGS", ())
    try:
        changed(usual, stated.settings)
    except TypeError as error:
        msg = f"{path}: its card states a setting that the encoder {name} does not have: {error}"
        raise ConfigError(msg) from error
    return {k: value for k, value in stated.settings.items() if k not in training and value != getattr(usual, k)}


def _with_weights(module_file: ModuleType, config: object, path: Path, name: str, warn: Callable[[str], object]) -> nn.Module:
    state = read_weights(path)
    try:
        if hasattr(module_file, "from_upstream"):
            module, left_out = module_file.from_upstream(state, config)
            left_out = [key for key in left_out if key != "mask_token"]  # every pretraining with hidden patches leaves one
            if left_out:
                warn(f"{path.name}: {len(left_out)} of {len(state)} tensors are not the encoder's, as {left_out[0]}\n")
            return module
        module = _fresh(module_file, config)
        module.load_state_dict(state, strict=True)
        return module
    except (RuntimeError, ConfigError) as error:
        msg = f"{path}: these weights do not fit the encoder {name}: {first_fault(error)}"
        raise ConfigError(msg) from error


def _check_precision(precision: str, module: nn.Module, device: torch.device, name: str) -> None:
    if precision == "fp32":
        return
    if not any(True for _ in module.parameters()):
        msg = f"precision {precision} (--precision): {name} has no weights to round; leave it at fp32"
        raise ConfigError(msg)
    if precision == "fp16" and device.type == "cpu":
        msg = "precision fp16 (--precision) is several times slower than fp32 on a processor; use bf16 or fp32 there"
        raise ConfigError(msg)
