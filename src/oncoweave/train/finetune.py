"""Encoders that start from weights of a local file instead of random ones."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.train.weights import read_weights

_SHOWN = 6
"""Names listed of each kind of misfit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where an encoder's weights come from, and whether they are trained further."""

    path: Path
    sha256: str
    """Of the file, so that a run is not resumed from other weights."""
    frozen: bool = False


def load_start(encoder: nn.Module, path: Path) -> nn.Module:
    """Fill an encoder, or one of its parts, with the weights of a file; returns the part that they fill.

    The file may hold the encoder itself or what pretraining publishes: the network without its last projection. Names and shapes
    have to fit one of them exactly.

    Raises:
        ConfigError: there is no such file, or its weights fit neither; lists what is missing, unexpected and of another shape.
    """
    weights = read_weights(path)
    parts = {"": encoder, **dict(encoder.named_children())}
    name, part = max(parts.items(), key=lambda item: len(item[1].state_dict().keys() & weights.keys()))
    faults = _faults(part.state_dict(), weights)
    if faults:
        place = f"part {name!r} of the encoder" if name else "the encoder"
        msg = f"{path}: weights do not fit {place}, which comes nearest; {'; '.join(faults)}; choose the variant they belong to"
        raise ConfigError(msg)
    part.load_state_dict(weights)
    return part


def _faults(wanted: dict[str, Tensor], came: dict[str, Tensor]) -> list[str]:
    missing, unexpected = sorted(wanted.keys() - came.keys()), sorted(came.keys() - wanted.keys())
    other = [
        f"{key} {tuple(came[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & came.keys())
        if came[key].shape != wanted[key].shape
    ]
    listed = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return [f"{len(names)} {word}: {', '.join(names[:_SHOWN])}" for word, names in listed if names]
