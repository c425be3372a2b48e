"""Settings that a study gives its encoders: fields of their ``Config``, some of which name files of the user's own.

An encoder whose file states ``FILES`` reads those fields as paths, or as names of what comes with oncoweave. Its ``read_files``
gives what they hold as further fields, which are stored with a fitted network: that needs the files no more.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.core.settings import configured


def check_settings(
    encoder: str, settings: Mapping[str, object], *, where: str, start: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Refuse settings that an encoder (``file/variant``) does not have or cannot take, and files that are not there.

    ``start`` holds the settings that its weights bring.

    Raises:
        UnknownNameError: the encoder has no such setting; names the nearest.
        ConfigError: a value is of another type than the encoder's own, or out of its range.
        DataError: a file cannot be read.
    """
    configured(shelf.variant("encoders", encoder), settings, of=f"encoder {encoder!r}", where=where, start=start)
    read_files(encoder, settings)


def check_encoder(encoder: str, kind: str, *, weights: object, where: str, key: str) -> None:
    """Refuse an encoder (``file/variant``) for a kind of modality that it does not read, or without the weights that it is.

    Args:
        encoder: as a study names it.
        kind: of the modality.
        weights: what the encoder starts from; None for random numbers.
        where: begins the message.
        key: how weights are given there.

    Raises:
        UnknownNameError: there is no such encoder or variant; names the nearest.
        ConfigError: it does not fit; names those that do, or the key to give.
    """
    shelf.variant("encoders", encoder)
    module = shelf.load("encoders", encoder)
    if kind not in module.KINDS:
        reading = [e.name for e in shelf.catalogue("encoders") if kind in cast("tuple[str, ...]", e.constants["KINDS"])]
        msg = f"{where}: encoder {encoder!r} reads {' or '.join(module.KINDS)}, not {kind}; choose one of {', '.join(reading)}"
        raise ConfigError(msg)
    if weights is None and "weights" in getattr(module, "NEEDS", ()):
        msg = (
            f"{where}: encoder {encoder!r} is made to start from released weights, and random ones never take their place; {key}"
        )
        raise ConfigError(msg)


def read_files(encoder: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Read the files that settings name; returns them with what the files hold, as fields of the encoder's ``Config``."""
    module, usual = shelf.load("encoders", encoder), shelf.variant("encoders", encoder)
    if not named_files(encoder, settings):
        return dict(settings)
    config: Any = usual
    return {**settings, **module.read_files(replace(config, **settings))}


def named_files(encoder: str, settings: Mapping[str, object]) -> dict[str, str]:
    """Pick those of the settings that name files."""
    fields_of_files = getattr(shelf.load("encoders", encoder), "FILES", ())
    return {key: str(value) for key, value in settings.items() if key in fields_of_files}


def placed(encoder: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Take the paths among settings from a folder; a name without an ending that is no file there stays a name."""
    paths = {
        key: str((folder / name).resolve())
        for key, name in named_files(encoder, settings).items()
        if Path(name).suffix or (folder / name).is_file()
    }
    return {**settings, **paths}
