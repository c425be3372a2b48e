"""Weights of vision transformers under other projects' names: timm, DINOv2 and Hugging Face to the names of timm.

Nothing is approximated. What only regroups numbers is done: separate queries, keys and values are stacked, as are gate and value
of SwiGLU, and positions of class token and registers move into these tokens, or out of them, whose sums are all that is used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oncoweave.core.errors import ConfigError

_RENAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
        (r"^(?:embeddings\.)?register_tokens$", "reg_token"),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
        (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # DINOv2 in chunks numbers blocks throughout
        (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
        (r"\.attention\.q_proj\.", ".attn.query."),
        (r"\.attention\.k_proj\.", ".attn.key."),
        (r"\.attention\.v_proj\.", ".attn.value."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"\.mlp\.(?:w12|weights_in)\.", ".mlp.fc1."),
        (r"\.mlp\.(?:w3|weights_out|down_proj)\.", ".mlp.fc2."),
        (r"\.mlp\.(?:gate_proj|fc1_g)\.", ".mlp.gate."),
        (r"\.mlp\.(?:up_proj|fc1_x)\.", ".mlp.value."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"^layernorm\.", "norm."),
    )
)
_STACKS = (("attn", ("query", "key", "value"), "qkv"), ("mlp", ("gate", "value"), "fc1"))
_HEADS = re.compile(r"^(?:pooler|classifier|head|fc_norm|dino_head|ibot_head)\.|^mask_token$")
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """Weights under timm's names, and the names that were left out because they are not the encoder's."""

    state: dict[str, Tensor]
    left_out: tuple[str, ...]


def convert_vit(state: Mapping[str, Any], *, wanted: Mapping[str, torch.Size], patches: int) -> Converted:
    """Convert the state dict of a vision transformer in any of the formats, and check it against the one ``wanted``.

    The encoder is found by its class token; what stands before that name is taken off every key, and the teacher is taken where
    there are teacher and student. Heads, and a mask token that is not wanted, are left out. ``patches`` is the number of stored
    positions of patches. Weights come out in float32. What is no tensor, as the epoch of a checkpoint, is passed over.

    Raises:
        ConfigError: keys are missing, left over or of another shape (one error lists all), or there is no class token or more
            than one encoder.
    """
    own, left_out = _find_encoder({key: value for key, value in state.items() if isinstance(value, Tensor)})
    if any(key.startswith(("rope_embed", "rope_embeddings")) for key in own):
        raise ConfigError("these weights are of a transformer with rotary positions (as DINOv3), which is not supported")
    renamed = _stack({_rename(key): value.float() for key, value in own.items()})
    heads = tuple(key for key in renamed if key not in wanted and _HEADS.match(key))
    renamed = {key: value for key, value in renamed.items() if key not in heads}
    registers = wanted["reg_token"][1] if "reg_token" in wanted else 0
    _move_positions(renamed, prefix=wanted["pos_embed"][1] - patches, registers=registers, patches=patches)
    _require_equal(renamed, wanted)
    return Converted(state=renamed, left_out=(*left_out, *heads))


def _find_encoder(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    found = [match[1] for key in state if (match := re.fullmatch(r"(.*?)(?:embeddings\.)?cls_token", key))]
    if len(found) > 1:
        found = [prefix for prefix in found if "teacher" in prefix] or found
    if len(found) != 1:
        what = f"wanted one class token, found {len(found)} ({', '.join(repr(p) for p in found[:_SHOWN]) or 'none'})"
        msg = f"these are not the weights of one vision transformer: {what} among {len(state)} keys: {_first(state)}"
        raise ConfigError(msg)
    prefix = found[0]
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return own, tuple(key for key in state if not key.startswith(prefix))


def _rename(key: str) -> str:
    for pattern, name in _RENAMES:
        key = pattern.sub(name, key)
    return key


def _stack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stack the rows of layers that are one here."""
    stacked = dict(state)
    for group, parts, whole in _STACKS:
        for key in state:
            first = re.fullmatch(rf"(blocks\.\d+\.{group})\.{parts[0]}\.(weight|bias)", key)
            names = [f"{first[1]}.{part}.{first[2]}" for part in parts] if first else []
            if first and all(name in state for name in names):
                stacked[f"{first[1]}.{whole}.{first[2]}"] = torch.cat([stacked.pop(name) for name in names])
    return stacked


def _move_positions(state: dict[str, Tensor], *, prefix: int, registers: int, patches: int) -> None:
    """Give class token and registers as many positions as wanted: into the tokens, or zeros out of them."""
    if not {"pos_embed", "cls_token"} <= state.keys() or (registers and "reg_token" not in state):
        return
    positions = state["pos_embed"]
    have = positions.shape[1] - patches
    if have == prefix or have not in (0, 1, 1 + registers):
        return
    if prefix == 0:
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        if have > 1:
            state["reg_token"] = state["reg_token"] + positions[:, 1:have]
        state["pos_embed"] = positions[:, have:]
    else:
        zeros = positions.new_zeros(1, prefix - have, positions.shape[2])
        state["pos_embed"] = torch.cat([positions[:, :have], zeros, positions[:, have:]], dim=1)


def _require_equal(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> None:
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    other = [
        f"{key} {tuple(state[key].shape)} where {tuple(shape)} is wanted"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    faults = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    faults += [f"{len(other)} of another shape: {_first(other)}"] if other else []
    if faults:
        raise ConfigError("; ".join(faults))


def _first(keys: "Mapping[str, Tensor] | list[str]") -> str:
    names = list(keys)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
