"""What encoders share when they are loaded: the device by name, the settings that a fingerprint hashes, tiles that are alike."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TypeVar

import torch

from oncoweave.core.encoder_card import UNNAMED, TileSource
from oncoweave.core.errors import ConfigError
from oncoweave.core.shelf import Configuration

Config = TypeVar("Config", bound=Configuration)


def device_named(name: str) -> torch.device:
    """Find a device, and try it.

    Raises:
        ConfigError: it is not there; lists those that are.
    """
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).partition("\n")[0]
        msg = f"device {name!r} (--device) cannot be used: {reason}; there is {', '.join(devices_there())}"
        raise ConfigError(msg) from error
    return torch.device(name)


def devices_there() -> list[str]:
    """List the devices of this machine."""
    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]


def first_fault(error: Exception) -> str:
    """Shorten what ``load_state_dict`` lists, a line a tensor, to the first one and how many follow."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("Error(s) in loading")]
    first, *rest = lines or [repr(error)]
    keys, comma, others = first.partition(", ") if "key(s)" in first else (first, "", "")
    shown = keys.rstrip(". ") + (f" and {others.count(',') + 1} more" if comma else "")
    return shown + (f"; and {len(rest)} more faults" if rest else "")


def changed(config: Config, settings: Mapping[str, object]) -> Config:
    """Give a configuration the settings that a plan or a card states; raises TypeError for one that it does not have."""
    return replace(config, **settings)


def told(config: Configuration) -> dict[str, object]:
    """List the settings that are not the usual ones, so that a setting added later changes no fingerprint."""
    pairs = ((f.name, getattr(config, f.name), f.default) for f in fields(config))
    return {name: value for name, value, default in pairs if value != default}


def unlike(wanted: TileSource, came: TileSource, *, what: str) -> str | None:
    """Say in what tiles differ from those that weights learnt on, by all that both state; None where in nothing.

    Fingerprints decide; where either is missing, whole names do, and other projects may write ``gigapath`` for ``vit/gigapath``.

    Args:
        wanted: what the weights learnt on.
        came: where the tiles come from.
        what: the tiles, in words.
    """
    if wanted.fingerprint is not None and came.fingerprint is not None:
        if came.fingerprint != wanted.fingerprint:
            same = ": the same encoder with other weights, settings or precision" if came.encoder == wanted.encoder else ""
            return (
                f"trained on tiles of {wanted.encoder} (fingerprint {wanted.fingerprint[:12]}), and {what} are of"
                f" {came.encoder} (fingerprint {came.fingerprint[:12]}){same}"
            )
    elif came.encoder != UNNAMED and not _same_name(came.encoder, wanted.encoder):
        return f"trained on tiles of {wanted.encoder}, and {what} are of {came.encoder}"
    if wanted.mpp is not None and came.mpp is not None and abs(came.mpp / wanted.mpp - 1) > 0.05:
        return f"trained on tiles of {wanted.mpp:g} um/px, and {what} are of {came.mpp:g}"
    return None


def unstated(source: TileSource) -> list[str]:
    """Name what tiles cannot be checked by because nobody stated it."""
    named = None if source.encoder == UNNAMED else source.encoder
    stated = {"NAME": named, "FINGERPRINT": source.fingerprint, "RESOLUTION": source.mpp}
    return [name for name, value in stated.items() if value is None]


def _same_name(first: str, second: str) -> bool:
    bare = "/" not in first or "/" not in second
    return first == second or (bare and first.rpartition("/")[2] == second.rpartition("/")[2])
