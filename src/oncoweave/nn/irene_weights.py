"""Weights of IRENE: released ones to and from ``nn.irene``, and a start from ViT weights of Google's ``.npz`` files.

Nothing is approximated: queries, keys and values are stacked. What the released weights hold to no effect is left out and named:
``out_text``, which was never called, and biases of keys, which cancel in the softmax; ``upstream_compatible`` keeps them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oncoweave.core.errors import ConfigError
from oncoweave.nn.irene import Config, Irene, resize_positions

_CLINICAL = {"complaint": "cc", "labs": "lab", "sex": "sex", "age": "age"}
_NAMES = (
    ("image_positions", "transformer.embeddings.position_embeddings"),
    ("cls", "transformer.embeddings.cls_token"),
    ("patches.", "transformer.embeddings.patch_embeddings."),
    *((f"positions.{own}", f"transformer.embeddings.pe_{theirs}") for own, theirs in _CLINICAL.items()),
    *((f"projections.{own}.", f"transformer.embeddings.{theirs}_embeddings.") for own, theirs in _CLINICAL.items()),
    ("transformer.norm.", "transformer.encoder.encoder_norm."),
    ("head.", "head."),
)
_BLOCK_NAMES = (
    ("streams.0.norm_attention.", "attention_norm."),
    ("streams.0.norm_feed.", "ffn_norm."),
    ("streams.0.feed.0.", "ffn.fc1."),
    ("streams.0.feed.3.", "ffn.fc2."),
    ("streams.1.norm_attention.", "att_norm_text."),
    ("streams.1.norm_feed.", "ffn_norm_text."),
    ("streams.1.feed.0.", "ffn_text.fc1."),
    ("streams.1.feed.3.", "ffn_text.fc2."),
    ("out.", "attn.out."),
    ("out_unused.", "attn.out_text."),
)
_BLOCK = re.compile(r"^transformer\.blocks\.(\d+)\.(.+)$")
_STACK = re.compile(r"^streams\.(\d)\.qkv\.(weight|bias)$")
_SHOWN = 8


def _upstream(key: str) -> list[str]:
    """Name the peer's keys of one of ours; three where queries, keys and values are stacked."""
    in_block = _BLOCK.match(key)
    if in_block is None:
        return [theirs + key.removeprefix(own) for own, theirs in _NAMES if key.startswith(own)]
    prefix = f"transformer.encoder.layer.{in_block[1]}."
    stack = _STACK.match(in_block[2])
    if stack:
        end = "_text" if stack[1] == "1" else ""
        return [f"{prefix}attn.{part}{end}.{stack[2]}" for part in ("query", "key", "value")]
    return [prefix + theirs + in_block[2].removeprefix(own) for own, theirs in _BLOCK_NAMES if in_block[2].startswith(own)]


def to_upstream(network: Irene) -> dict[str, Tensor]:
    """Return the weights under the peer's names.

    Raises:
        ConfigError: the network is not ``upstream_compatible``, or exchanges otherwise than by the average.
    """
    if not network.config.upstream_compatible or network.config.exchange != "average":
        raise ConfigError("only a network built with upstream_compatible, which exchanges by the average, has the peer's weights")
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        names = _upstream(key)
        state.update(zip(names, value.chunk(len(names)), strict=True))
    return state


def from_upstream(state: Mapping[str, Tensor], config: Config | None = None) -> tuple[Irene, tuple[str, ...]]:
    """Load released weights; return the network, and the keys that were left out because they have no effect.

    Args:
        state: weights, as ``torch.load(path, weights_only=True)`` returns them; what stands before every key, as ``module.`` of
            DataParallel, is taken off.
        config: the network, where it is not the released one with as many outputs as ``head.weight`` has rows.

    Raises:
        ConfigError: keys are missing, unexpected or of another shape (one error lists all), or ``config`` asks for another
            exchange than the average, which is what the weights were trained with.
    """
    before = next((key.removesuffix("head.weight") for key in state if key.endswith("head.weight")), "")
    if all(key.startswith(before) for key in state):
        state = {key.removeprefix(before): value for key, value in state.items()}
    if config is None:
        config = Config(outputs=len(state["head.weight"])) if "head.weight" in state else Config()
    with torch.device("meta"):
        network = Irene(config)
        complete = to_upstream(Irene(replace(config, upstream_compatible=True)))
    _require_equal(state, complete)
    weights, used = {}, set()
    for key, own in network.state_dict().items():
        names = [name for name in _upstream(key) if len(own) == 3 * config.width or not _is_key_bias(name)]
        used |= set(names)
        weights[key] = torch.cat([state[name].float() for name in names])
    network.load_state_dict({key: nn.Parameter(value) for key, value in weights.items()}, assign=True)
    return network, tuple(key for key in complete if key not in used)


def _is_key_bias(name: str) -> bool:
    return name.endswith((".attn.key.bias", ".attn.key_text.bias"))


def _require_equal(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    other = [
        f"{key} {tuple(state[key].shape)} where {tuple(value.shape)} is wanted"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    lists = {"missing": sorted(wanted.keys() - state.keys()), "unexpected": sorted(state.keys() - wanted.keys())}
    lists["of another shape"] = other
    faults = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in lists.items() if keys]
    if faults:
        raise ConfigError("weights do not fit IRENE; " + "; ".join(faults))


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


@torch.no_grad()
def start_from_vit(network: Irene, arrays: Mapping[str, Any], *, clinical_too: bool = True) -> tuple[str, ...]:
    """Copy the weights of a ViT into the image stream and the joint blocks, in place; return the arrays that were not needed.

    Args:
        network: as wide as the ViT, and no deeper.
        arrays: Google's names, as ``numpy.load(path, allow_pickle=False)`` returns them. Positions are resampled to the film's
            grid. Its head and blocks beyond the network's depth are not needed.
        clinical_too: give the clinical stream of the blocks that exchange the same weights; otherwise it stays as it is.

    Raises:
        ConfigError: arrays are missing or of another shape; all are listed.
    """
    copied: dict[str, Tensor] = {}
    faults: list[str] = []
    used: set[str] = set()
    own = dict(network.named_parameters())
    for key, names in _vit_names(network):
        absent = [name for name in names if name not in arrays]
        used |= set(names)
        if absent:
            faults += [f"{name} is missing" for name in absent]
            continue
        value = _vit_value(key, [arrays[name] for name in names], network)
        if value.shape != own[key].shape:
            faults.append(f"{', '.join(names)}: makes {tuple(value.shape)} where {tuple(own[key].shape)} is wanted")
        copied[key] = value
    if faults:
        raise ConfigError(f"these arrays do not fit the network, {len(faults)} fault(s): {_first(faults)}")
    for key, value in copied.items():
        own[key].copy_(value)
        twin = key.replace(".streams.0.", ".streams.1.")
        if clinical_too and twin != key and twin in own:
            own[twin].copy_(value)
    return tuple(name for name in arrays if name not in used)


def _vit_names(network: Irene) -> Iterator[tuple[str, list[str]]]:
    """List our parameters and the arrays that make them."""
    yield from (("cls", ["cls"]), ("image_positions", ["Transformer/posembed_input/pos_embedding"]))
    yield from (("patches.weight", ["embedding/kernel"]), ("patches.bias", ["embedding/bias"]))
    norms = [("transformer.norm", "Transformer/encoder_norm")]
    for index in range(network.config.depth):
        theirs, own = f"Transformer/encoderblock_{index}/", f"transformer.blocks.{index}."
        attention = theirs + "MultiHeadDotProductAttention_1/"
        norms += [
            (own + "streams.0.norm_attention", theirs + "LayerNorm_0"),
            (own + "streams.0.norm_feed", theirs + "LayerNorm_2"),
        ]
        parts = ("query", "key", "value")
        biases = parts if network.config.upstream_compatible else ("query", "value")
        yield own + "streams.0.qkv.weight", [f"{attention}{part}/kernel" for part in parts]
        yield own + "streams.0.qkv.bias", [f"{attention}{part}/bias" for part in biases]
        for ours, layer in (
            ("out", attention + "out"),
            ("streams.0.feed.0", theirs + "MlpBlock_3/Dense_0"),
            ("streams.0.feed.3", theirs + "MlpBlock_3/Dense_1"),
        ):
            yield from ((f"{own}{ours}.weight", [f"{layer}/kernel"]), (f"{own}{ours}.bias", [f"{layer}/bias"]))
    for ours, norm in norms:
        yield from ((f"{ours}.weight", [f"{norm}/scale"]), (f"{ours}.bias", [f"{norm}/bias"]))


def _vit_value(key: str, arrays: list[np.ndarray], network: Irene) -> Tensor:
    """Bring arrays into the layout of one parameter: inputs last, heads flattened, stacks of rows."""
    tensors = [torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays]
    if key == "image_positions":
        side = network.config.image // network.config.patch
        return resize_positions(tensors[0], (side, side))
    if key == "cls":
        return tensors[0]
    if key == "patches.weight":
        return tensors[0].permute(3, 2, 0, 1)
    if key.endswith("bias") or ".norm" in key:
        return torch.cat([tensor.flatten() for tensor in tensors])
    # queries, keys and values are [input, head, dim], the output's projection is [head, dim, output]
    flat = [tensor.flatten(0, -2) if key.endswith(".out.weight") else tensor.flatten(1) for tensor in tensors]
    return torch.cat([t.T for t in flat])
