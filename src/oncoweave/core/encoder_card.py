"""What stands beside pretrained weights: which network they are of, which tiles it learnt on, and a hash of the file.

A card is sealed by a hash of its own content: with other settings or scales the same weights would load and give other numbers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from oncoweave.core.errors import ConfigError
from oncoweave.core.files import read_json, sha256, write_json

SCHEMA = "oncoweave.encoder"
VERSION = 2
PRETRAINING = "oncoweave.pretraining"
"""Schema of the card that a pretraining run leaves in its folder."""
PRETRAINING_VERSION = 2
UNNAMED = "an unnamed encoder"
"""Stands for the tile encoder of bags that do not name it."""
_SEAL = "seal"
_REMEDY = {
    SCHEMA: "copy weights and card again from where they were made",
    PRETRAINING: "remove it and give the command of the finished run again, which writes it anew and trains nothing",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSource:
    """The tiles that a slide encoder learnt on; None where it is not known."""

    encoder: str
    """Name of the tile encoder; :data:`UNNAMED` where it is not known."""
    fingerprint: str | None = None
    """Fingerprint of the tile encoder; without one, names are compared."""
    mpp: float | None = None
    """Resolution of the tiles, um/px."""
    centre: tuple[float, ...] = ()
    """Mean of each feature over the tiles learnt on, taken off before encoding; empty where features go in as they are."""
    scale: tuple[float, ...] = ()
    """What each feature is divided by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderCard:
    """Card of pretrained weights."""

    encoder: str
    """``file/variant`` of the encoders shelf."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of its ``Config`` that differ from the variant's."""
    tiles: TileSource | None = None
    """Slide encoders: what they were trained on; None for a tile encoder."""
    recipe: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    """What it was trained on, in counts."""
    sha256: str = ""
    """Of the file of weights; empty for weights that come without a card of ours."""


def card_path(weights: Path) -> Path:
    """Say where the card of a file of weights stands: ``NAME.json`` beside ``NAME.safetensors``, or ``card.json`` of a run."""
    own = weights.with_suffix(".json")
    return own if own.is_file() or not weights.with_name("card.json").is_file() else weights.with_name("card.json")


def write_card(weights: Path, card: EncoderCard) -> Path:
    """Write a card beside a file of weights, with the file's hash, and seal it."""
    target = weights.with_suffix(".json")
    content = {"schema": SCHEMA, "schema_version": VERSION, **asdict(card), "sha256": sha256(weights)}
    write_json(target, sealed(content))
    return target


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add a hash of all the rest to what a card holds, in place of the one that it may have."""
    rest = {key: value for key, value in content.items() if key != _SEAL}
    return {**rest, _SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def read_card(weights: Path) -> EncoderCard:
    """Read the card beside a file of weights, and check it against its seal and the file against the hash it states.

    Raises:
        ConfigError: there is no card, it is none or was changed, a field is missing or wrong, or the weights are not those it
            speaks of.
    """
    path = card_path(weights)
    if not weights.is_file():
        msg = f"{weights}: no such file of weights; it is never replaced by random ones"
        raise ConfigError(msg)
    if not path.is_file():
        msg = f"{weights}: no card {path.name} beside these weights; without it nobody knows which encoder and tiles they are for"
        raise ConfigError(msg)
    try:
        content = read_json(path)
        _require_sealed(content, path)
        card = _of_run(content) if content["schema"] == PRETRAINING else _card(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        msg = f"{path}: not a usable card ({type(error).__name__}: {error})"
        raise ConfigError(msg) from error
    if sha256(weights) != card.sha256:
        msg = f"{weights}: not the weights that {path.name} speaks of (sha256 differs); copy both again"
        raise ConfigError(msg)
    return card


def card_beside(weights: Path) -> EncoderCard | None:
    """Read the card beside a file of weights; None where there is none, as beside weights that others released.

    Raises:
        ConfigError: there is one, and :func:`read_card` refuses it or the weights.
    """
    return read_card(weights) if card_path(weights).is_file() else None


def _require_sealed(content: Mapping[str, Any], path: Path) -> None:
    """Refuse what is no card, a card of another version, and one that was changed since it was written."""
    schema = content.get("schema")
    wanted, came = (SCHEMA, VERSION), (schema, content.get("schema_version"))
    if schema == PRETRAINING:
        wanted, came = (PRETRAINING, PRETRAINING_VERSION), (schema, content.get("version"))
    if came != wanted:
        msg = f"{path}: wanted a card of schema {wanted[0]!r} version {wanted[1]}, got {came[0]!r} {came[1]!r}"
        raise ConfigError(f"{msg}; {_REMEDY[wanted[0]]}")
    if content != sealed(content):
        msg = f"{path}: this card was changed since it was written; what it says may not be true of the weights"
        raise ConfigError(f"{msg}; {_REMEDY[wanted[0]]}")


def _card(content: Mapping[str, Any]) -> EncoderCard:
    tiles = content["tiles"]
    return EncoderCard(
        encoder=str(content["encoder"]),
        settings=_settings(content["settings"]),
        tiles=None if tiles is None else _source(tiles),
        recipe=str(content["recipe"]),
        data=dict(content["data"]),
        sha256=str(content["sha256"]),
    )


def _of_run(content: Mapping[str, Any]) -> EncoderCard:
    data = dict(content["data"])
    tiles = data.pop("tiles_of", None)
    return EncoderCard(
        encoder=str(content["encoder"]),
        settings=_settings(content["plan"]["encoder_settings"]),
        tiles=None if tiles is None else _source(tiles),
        recipe=str(content["recipe"]),
        data=data,
        sha256=str(content["sha256"]),
    )


def _settings(content: Mapping[str, Any]) -> dict[str, object]:
    """JSON has lists where configurations have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _source(content: Mapping[str, Any]) -> TileSource:
    mpp = content["mpp"]
    source = TileSource(
        encoder=str(content["encoder"]),
        fingerprint=content["fingerprint"],
        mpp=None if mpp is None else float(mpp),
        centre=tuple(float(x) for x in content["centre"]),
        scale=tuple(float(x) for x in content["scale"]),
    )
    if len(source.centre) != len(source.scale) or not all(x > 0 for x in source.scale):
        msg = f"centre has {len(source.centre)} and scale {len(source.scale)} numbers; wanted as many, scales above 0"
        raise ValueError(msg)
    return source
