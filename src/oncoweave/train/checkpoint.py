"""Where a pretraining run stands, in one safetensors file that appears whole or not at all.

The file holds the objective's tensors by name and, by the same names, what the optimiser remembers of each parameter; plan, data
and step stand as JSON in its head. Generators have no state to keep: theirs is a function of seed and step. Sharded parameters
(``DTensor``) are gathered, so that a run can go on with another number of processes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import publish

_VERSION = 1
_KEY = "oncoweave_pretraining"
"""Key of the file's head; a second one would stand before or after it by chance, and equal runs have equal files."""
_MODULE, _OPTIMISER = "module/", "optimiser/"


def save(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, *, head: Mapping[str, object], write: bool = True
) -> None:
    """Save objective and optimiser; every process takes part in gathering, and the one with ``write`` writes."""
    from safetensors.torch import save_file

    tensors = {_MODULE + name: _whole(value) for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{_OPTIMISER}{name}/{key}"] = _whole(value)
    if write:
        content = {"version": _VERSION, **head, "sha256": _digest(tensors)}
        with publish(path) as partial:
            save_file(tensors, partial, metadata={_KEY: json.dumps(content)})


def read_head(path: Path) -> dict:
    """Read what :func:`save` was given as ``head``.

    Raises:
        DataError: the file is not a checkpoint of this version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except SafetensorError as error:
        msg = f"{path}: not a readable checkpoint ({error}); remove it to start anew"
        raise DataError(msg) from error
    head = json.loads(metadata.get(_KEY, "{}"))
    if head.get("version") != _VERSION:
        msg = (
            f"{path}: not a checkpoint of this oncoweave (version {head.get('version')}, wanted {_VERSION}); choose another --out"
        )
        raise DataError(msg)
    return head


def load(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Bring objective and optimiser to where a checkpoint left them.

    Raises:
        DataError: its tensors are not those that were written.
        ConfigError: the checkpoint is of another network.
    """
    from safetensors.torch import load_file

    tensors = load_file(path)
    if read_head(path).get("sha256") != _digest(tensors):
        msg = f"{path}: this checkpoint was changed since the run wrote it; remove it to start anew"
        raise DataError(msg)
    own = module.state_dict()
    saved = {key.removeprefix(_MODULE): value for key, value in tensors.items() if key.startswith(_MODULE)}
    if own.keys() != saved.keys() or any(own[k].shape != v.shape for k, v in saved.items()):
        differing = sorted(own.keys() ^ saved.keys()) or [k for k, v in saved.items() if own[k].shape != v.shape]
        msg = f"{path}: a checkpoint of another network, it differs in {differing[:5]}; choose another --out"
        raise ConfigError(msg)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(_alike(saved[name], value))
    for name, parameter in module.named_parameters():
        prefix = f"{_OPTIMISER}{name}/"
        kept = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if kept:
            optimiser.state[parameter] = {
                key: _alike(value, parameter) if value.shape == parameter.shape else value for key, value in kept.items()
            }


def export(path: Path, part: nn.Module, *, write: bool = True) -> None:
    """Write the weights of one part of the objective by that part's own names; every process takes part in gathering."""
    from safetensors.torch import save_file

    tensors = {name: _whole(value).contiguous() for name, value in part.state_dict().items()}
    if write:
        with publish(path) as partial:
            save_file(tensors, partial)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _whole(value: Tensor) -> Tensor:
    tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return tensor.detach().cpu().clone()  # tensors that share memory cannot be written


def _alike(value: Tensor, like: Tensor) -> Tensor:
    """Bring a whole tensor to the device, and where it is sharded to the shard, of another."""
    moved = value.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements) if isinstance(like, DTensor) else moved
