"""Weights that come with the package: a tiny pair of encoders, so that a slide has an embedding without any download."""

import shutil
from pathlib import Path

from oncoweave.core.encoder_card import EncoderCard, read_card, write_card
from oncoweave.core.errors import ConfigError
from oncoweave.core.files import publish

BUILTIN = "builtin"
"""Stands for the weights that come with the package, wherever a file of weights is asked for."""
FOLDER = Path(__file__).parents[1] / "weights"


def has_builtin(name: str) -> bool:
    """Say whether an encoder ``file/variant`` comes with weights."""
    return "/" in name and _place(name).is_file()


def builtin_weights(name: str) -> tuple[Path, EncoderCard]:
    """Find the built-in weights of an encoder ``file/variant``, and its card.

    Raises:
        ConfigError: there are none for it (lists those there are), or they are not what their card says.
    """
    path = _place(name)
    if not path.is_file():
        there = ", ".join(sorted(p.stem.replace("-", "/", 1) for p in FOLDER.glob("*.safetensors"))) or "none"
        msg = f"no built-in weights for {name} (built in: {there}); give a file of weights, random ones never take their place"
        raise ConfigError(msg)
    card = read_card(path)
    if card.encoder != name:
        msg = f"{path}: its card says {card.encoder}, wanted {name}; install oncoweave again"
        raise ConfigError(msg)
    return path, card


def weights_file(weights: str, encoder: str) -> str:
    """Give the file that weights of an encoder ``file/variant`` name: their own path, or that of the built-in ones.

    Raises:
        ConfigError: there are no built-in ones for it.
    """
    return str(builtin_weights(encoder)[0]) if weights == BUILTIN else weights


def keep_as_builtin(weights: Path) -> Path:
    """Copy weights that a pretraining run left, with their card, to where built-in ones are looked for; returns the copy.

    Raises:
        ConfigError: there are no such weights, or no card beside them.
    """
    card = read_card(weights)
    path = _place(card.encoder)
    with publish(path) as partial:
        shutil.copyfile(weights, partial)
    write_card(path, card)
    return path


def _place(name: str) -> Path:
    return FOLDER / f"{name.replace('/', '-')}.safetensors"
