"""Tile encoders by name, ready to use: weights loaded, and a fingerprint that says which ones."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, unknown_name

_SEED = 0
_RANDOM_WEIGHTS = """\
********************************************************************************
*** {name}: RANDOM WEIGHTS. Nothing was learnt: its features are good for
*** trying out the chain and as a null model, not for results. Give trained ones
*** with --weights FILE.safetensors, or use the encoder 'colour'.
********************************************************************************
"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileEncoder:
    """A tile encoder in evaluation mode."""

    name: str
    module: nn.Module
    dim: int
    fingerprint: str
    """Hash of name, settings and weights."""
    device: torch.device

    def encode(self, tiles: UInt8[Tensor, "tile 3 height width"]) -> Float[Tensor, "tile dim"]:
        """Encode 8-bit RGB tiles; the result is on the processor, in float32."""
        with torch.inference_mode():
            return self.module(tiles.to(self.device, torch.float32) / 255).float().cpu()


def load_tile_encoder(
    name: str, *, weights: Path | None = None, device: str = "cpu", warn: Callable[[str], object] | None = None
) -> TileEncoder:
    """Build the tile encoder ``file`` or ``file/variant`` from the encoders shelf.

    An encoder with parameters and no ``weights`` gets random ones, the same every time, and says so through ``warn`` (standard
    error, if not given).

    Raises:
        UnknownNameError: there is no such tile encoder; names the nearest.
        ConfigError: the weights are missing, not safetensors, or do not fit, or the device is not there.
    """
    where = _device(device)
    known = [entry.name for entry in shelf.catalogue("encoders") if entry.constants.get("KINDS") == ("tile",)]
    stem = name.partition("/")[0]
    if stem not in known:
        raise unknown_name("tile encoder", stem, known)
    module_file = shelf.load("encoders", name)
    config = shelf.variant("encoders", name)
    full_name = name if "/" in name else f"{stem}/{next(iter(module_file.VARIANTS))}"
    generator = torch.Generator().manual_seed(_SEED)
    takes_generator = "generator" in module_file.build.__annotations__
    module: nn.Module = module_file.build(config, generator=generator) if takes_generator else module_file.build(config)
    if weights is not None:
        _load_weights(module, Path(weights), full_name)
    elif any(True for _ in module.parameters()):
        (warn or sys.stderr.write)(_RANDOM_WEIGHTS.format(name=full_name))
    return TileEncoder(
        name=full_name,
        module=module.eval().to(where),
        dim=int(module.dim),  # type: ignore[arg-type]
        fingerprint=fingerprint((stem, module_file.REVISION, asdict(config)), module),  # type: ignore[call-overload]
        device=where,
    )


def fingerprint(settings: object, module: nn.Module) -> str:
    """Hash an encoder's settings (anything JSON can hold) and its weights, in the order of its state dict."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key, value in module.state_dict().items():
        digest.update(f"{key}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _device(name: str) -> torch.device:
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        reason = str(error).partition("\n")[0]
        msg = f"device {name!r} (--device) cannot be used: {reason}; there is {', '.join(there)}"
        raise ConfigError(msg) from error
    return torch.device(name)


def _load_weights(module: nn.Module, path: Path, name: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path}: not readable as safetensors ({error}); weights are never unpickled, convert the file first"
        raise ConfigError(msg) from error
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        msg = f"{path}: these weights do not fit the encoder {name}: {error}"
        raise ConfigError(msg) from error
