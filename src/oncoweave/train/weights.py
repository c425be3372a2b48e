"""Weights from a file: safetensors, or a torch checkpoint read without running any code in it."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from oncoweave.core.errors import ConfigError


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by name.

    A file called ``.safetensors`` is read as that, any other (``.pth``, ``.pt``, ``.bin``) by ``torch.load(weights_only=True)``.
    Nested dictionaries are flattened with dots, as ``teacher.backbone.cls_token``; what is not a tensor is passed over.

    Raises:
        ConfigError: there is no such file, it cannot be read that way, it holds no tensor, or one that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file of weights (--weights); it is never replaced by random ones"
        raise ConfigError(msg)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    if not state:
        msg = f"{path}: no tensor in it; give a state dict"
        raise ConfigError(msg)
    _require_finite(state, path)
    return state


def _require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    spoilt = [key for key, value in state.items() if value.is_floating_point() and not _finite(value)]
    if spoilt:
        count = int((~state[spoilt[0]].float().isfinite()).sum())
        others = "" if len(spoilt) == 1 else f", and {len(spoilt) - 1} more tensors are alike"
        msg = (
            f"{path}: wanted finite weights, got {count} NaN or infinite values of {state[spoilt[0]].numel()} in"
            f" {spoilt[0]}{others}; take a checkpoint from before the training failed"
        )
        raise ConfigError(msg)


def _finite(value: Tensor) -> bool:
    if not value.numel():
        return True
    low, high = (value.float() if value.itemsize == 1 else value).aminmax()  # no copy of the tensor, and NaN comes through
    return bool(low.isfinite() and high.isfinite())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path}: not readable as safetensors: {error}"
        raise ConfigError(msg) from error


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    import pickle
    import zipfile

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        msg = (
            f"{path}: wanted a checkpoint of tensors alone, got {_found(str(error))}; code in a file is never run: where it was"
            " made, save its state dict as safetensors"
        )
        raise ConfigError(msg) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        msg = f"{path}: neither safetensors (by name) nor readable as a torch checkpoint: {str(error).partition(chr(10))[0]}"
        raise ConfigError(msg) from error
    return dict(_tensors(content, ""))


def _found(said: str) -> str:
    """What torch found instead of tensors, without its advice to read the file unsafely."""
    wanted = re.search(r"GLOBAL (\S+) was not an allowed global", said)
    return f"one that needs the code of {wanted[1]}" if wanted else "a file that is none, or that asks for code to be run"


def _tensors(content: object, prefix: str) -> "list[tuple[str, Tensor]]":
    if isinstance(content, Tensor):
        return [(prefix, content)]
    if not isinstance(content, Mapping):
        return []
    return [pair for key, value in content.items() for pair in _tensors(value, f"{prefix}.{key}" if prefix else str(key))]
