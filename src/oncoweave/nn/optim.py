"""Groups of parameters that learn at their own pace: layer-wise learning rates, no weight decay for scales and biases."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import nn

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:patch_embed|pos_embed|cls_token|reg_token|mask_token)(?:\.|$)")
_PATCH = re.compile(r"(?:^|\.)patch_embed(?:\.|$)")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Group:
    """Parameters that share a learning rate and whether they decay."""

    params: tuple[nn.Parameter, ...]
    name: str
    """Unique within an objective; a stored optimiser finds its group by it."""
    lr_scale: float = 1.0
    """Factor on the learning rate of the schedule."""
    weight_decay: bool = True
    frozen_until: int = 0
    """First step at which the parameters move; before it they get no gradient."""


def layer_scale(name: str, *, depth: int, decay: float, patch: float = 1.0, first: Collection[str] = ()) -> float:
    """Factor on the learning rate of one parameter of a transformer (BEiT, Bao et al. 2022; DINOv2).

    Embeddings (patches, positions, class, register and mask tokens) are layer 0, block i is layer i + 1, everything after the
    last block is layer ``depth + 1``; the factor of layer l is ``decay ** (depth + 1 - l)``, and ``patch`` times that for the
    patch projection. Names are matched anywhere, so that a wrapper's prefix cannot turn the lowest layer into the highest.
    ``first`` names further modules and parameters that come before the first block.
    """
    block = _BLOCK.search(name)
    lowest = _EMBEDDING.search(name) or any(name == part or name.startswith(f"{part}.") for part in first)
    layer = 0 if lowest else int(block.group(1)) + 1 if block else depth + 1
    return decay ** (depth + 1 - layer) * (patch if _PATCH.search(name) else 1.0)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether a parameter is decayed: not biases, nor the weights of norms and scales, which have one dimension."""
    return parameter.ndim > 1 and not name.endswith("bias")


def layer_scales(encoder: nn.Module, *, decay: float, patch: float = 1.0) -> dict[str, float]:
    """Factor on the learning rate of every parameter of an encoder; see :func:`layer_scale`.

    A module whose input layers have other names than a vision transformer's lists them in its class attribute ``INPUT``. An
    encoder without numbered blocks has one layer, at the full rate.
    """
    names = [key for key, _ in encoder.named_parameters()]
    blocks = [int(found.group(1)) for key in names if (found := _BLOCK.search(key))]
    if not blocks:
        return dict.fromkeys(names, 1.0)
    first = [f"{path}.{part}".lstrip(".") for path, module in encoder.named_modules() for part in getattr(module, "INPUT", ())]
    return {key: layer_scale(key, depth=1 + max(blocks), decay=decay, patch=patch, first=first) for key in names}


def encoder_groups(encoder: nn.Module, *, decay: float = 1.0, patch: float = 1.0, name: str = "encoder") -> list[Group]:
    """Group the trainable parameters of an encoder by learning rate and weight decay; see :func:`layer_scales`."""
    scales = layer_scales(encoder, decay=decay, patch=patch)
    return _grouped(((key, scales[key], p) for key, p in encoder.named_parameters() if p.requires_grad), name, 0)


def head_groups(module: nn.Module, *, name: str, frozen_until: int = 0) -> list[Group]:
    """Group the trainable parameters of a head, all at the full learning rate."""
    return _grouped(((key, 1.0, p) for key, p in module.named_parameters() if p.requires_grad), name, frozen_until)


def _grouped(parameters: Iterable[tuple[str, float, nn.Parameter]], name: str, frozen_until: int) -> list[Group]:
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for key, scale, parameter in parameters:
        found.setdefault((scale, decays(key, parameter)), []).append(parameter)
    return [
        Group(
            params=tuple(found[scale, decay]),
            name=f"{name}, x {scale:.6g}, {'decayed' if decay else 'not decayed'}",
            lr_scale=scale,
            weight_decay=decay,
            frozen_until=frozen_until,
        )
        for scale, decay in sorted(found)
    ]
