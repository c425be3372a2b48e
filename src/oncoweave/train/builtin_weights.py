"""Weights that come with the package: a tiny pair of encoders, so that a slide has an embedding without any download."""

from pathlib import Path

from oncoweave.core.encoder_card import EncoderCard, read_card
from oncoweave.core.errors import ConfigError

BUILTIN = "builtin"
"""Stands for the weights that come with the package, wherever a file of weights is asked for."""
FOLDER = Path(__file__).parents[1] / "weights"


def builtin_weights(name: str) -> tuple[Path, EncoderCard]:
    """Find the built-in weights of an encoder ``file/variant``, and its card.

    Raises:
        ConfigError: there are none for it (lists those there are), or they are not what their card says.
    """
    path = FOLDER / f"{name.replace('/', '-')}.safetensors"
    if not path.is_file():
        there = ", ".join(sorted(p.stem.replace("-", "/", 1) for p in FOLDER.glob("*.safetensors"))) or "none"
        msg = f"no built-in weights for {name} (built in: {there}); give a file of weights, random ones never take their place"
        raise ConfigError(msg)
    card = read_card(path)
    if card.encoder != name:
        msg = f"{path}: its card says {card.encoder}, wanted {name}; install oncoweave again"
        raise ConfigError(msg)
    return path, card
