"""What tile and slide encoders share when they are loaded: the device by name, and the settings that a fingerprint hashes."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TypeVar

import torch

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
