"""Settings that a study gives its encoders: fields of their ``Config``, some of which name files of the user's own.

An encoder whose file states ``FILES`` reads those fields as paths, or as names of what comes with oncoweave. Its ``read_files``
gives what they hold as further fields, which are stored with a fitted network: that needs the files no more.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from oncoweave.core import shelf
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
