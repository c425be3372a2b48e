"""Prov-GigaPath's slide encoder once more, plainly: padding written out, explicit masks, dense scores, autograd throughout.

It shares no code with the library, so that the two can be held against each other; ``make_gigapath.py`` holds it against outputs
of the peer's own code.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NEVER = -1e8


def branch(qkv: list[Tensor], segment: int, dilation: int) -> tuple[Tensor, Tensor]:
    """One branch over ``[token, head, dim]``: output and log-sum-exp by token and head, absent cells ``NEVER``."""
    length, heads, dim = qkv[0].shape
    segment = min(segment, length)
    padded = -(-segment // dilation) * dilation
    count = -(-length // segment)
    outs, lses = (
        torch.zeros(count * padded, heads, dim, dtype=qkv[0].dtype),
        torch.full((count * padded, heads), NEVER).to(qkv[0]),
    )
    group = -(-heads // dilation)
    for number in range(count):
        cut = [functional.pad(x[number * segment : (number + 1) * segment].movedim(0, -1), (0, padded)) for x in qkv]
        query, key, value = (x[..., :padded].movedim(-1, 0) for x in cut)
        for head in range(heads):
            slots = torch.arange(head // group, padded, dilation)
            scores = query[slots, head] @ key[slots, head].T / dim**0.5
            outs = outs.index_put((number * padded + slots, torch.tensor(head)), scores.softmax(dim=-1) @ value[slots, head])
            lses = lses.index_put((number * padded + slots, torch.tensor(head)), scores.logsumexp(dim=-1))
    return outs[:length], torch.where(lses[:length] == 0, NEVER, lses[:length])


def attention(qkv: list[Tensor], segments: list[int], dilations: list[int]) -> Tensor:
    """Merge the branches with weights that no gradient flows through."""
    outs, lses = zip(*(branch(qkv, w, r) for w, r in zip(segments, dilations, strict=True)), strict=True)
    shares = torch.stack(lses).detach().softmax(dim=0)
    return (torch.stack(outs) * shares.unsqueeze(-1)).sum(dim=0)


def states(weights: dict[str, Tensor], case: dict, tiles: Tensor, cells: Tensor) -> list[Tensor]:
    """What enters the first layer, then what each layer returns, class token first, for one slide."""

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    embedded = linear(tiles, "patch_embed.proj") + positions(cells, case["dim"]).to(tiles)
    x = torch.cat([weights["cls_token"][0], embedded])
    found = [x]
    for number in range(case["depth"]):
        name = f"encoder.layers.{number}"
        normed = norm(x, f"{name}.self_attn_layer_norm")
        qkv = [linear(normed, f"{name}.self_attn.{p}_proj").unflatten(1, (case["heads"], -1)) for p in "qkv"]
        mixed = attention(qkv, case["segments"], case["dilations"]).flatten(1)
        x = x + linear(norm(mixed, f"{name}.self_attn.inner_attn_ln"), f"{name}.self_attn.out_proj")
        hidden = functional.gelu(linear(norm(x, f"{name}.final_layer_norm"), f"{name}.ffn.fc1"))
        x = x + linear(norm(hidden, f"{name}.ffn.ffn_layernorm"), f"{name}.ffn.fc2")
        found.append(x)
    return found


def readout(weights: dict[str, Tensor], x: Tensor, *, mean: bool, last: bool) -> Tensor:
    """Pool one slide's tokens, through the encoder's LayerNorm at its end, and the last one always."""
    dim = x.shape[1:]
    if last:
        x = functional.layer_norm(x, dim, weights["encoder.layer_norm.weight"], weights["encoder.layer_norm.bias"], 1e-5)
    pooled = x[1:].mean(dim=0) if mean else x[0]
    return functional.layer_norm(pooled, dim, weights["norm.weight"], weights["norm.bias"], 1e-6)


def positions(cells: Tensor, dim: int) -> Tensor:
    """Sine and cosine of y, then of x."""
    rate = 10000.0 ** (-np.arange(dim // 4) / (dim / 4))
    parts = []
    for axis in (1, 0):
        angle = cells[:, axis].numpy()[:, None] * rate
        parts += [np.sin(angle), np.cos(angle)]
    return torch.from_numpy(np.concatenate(parts, axis=1))


def draw(case: dict) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Draw weights, tiles, cells in row-major order, and the weights of a loss, for a case."""
    rng = np.random.default_rng(case["seed"])
    dim, wide = case["dim"], 4 * case["dim"]
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj": (dim, case["dim_in"]), "encoder.layer_norm": (dim,), "norm": (dim,)}
    for number in range(case["depth"]):
        name = f"encoder.layers.{number}"
        shapes |= {f"{name}.self_attn.{p}_proj": (dim, dim) for p in ("k", "v", "q", "out")}
        shapes |= {f"{name}.{n}": (dim,) for n in ("self_attn.inner_attn_ln", "self_attn_layer_norm", "final_layer_norm")}
        shapes |= {f"{name}.ffn.fc1": (wide, dim), f"{name}.ffn.fc2": (dim, wide), f"{name}.ffn.ffn_layernorm": (wide,)}
    weights = {"cls_token": rng.normal(size=(1, 1, dim))}
    for name, shape in shapes.items():
        if len(shape) == 2:
            weights[f"{name}.weight"] = rng.normal(size=shape) * (2 / sum(shape)) ** 0.5
        else:
            weights[f"{name}.weight"] = 1 + 0.3 * rng.normal(size=shape)
        weights[f"{name}.bias"] = 0.3 * rng.normal(size=shape[:1])
    tiles, count = rng.normal(size=(case["tiles"], case["dim_in"])), case["side"] ** 2
    flat = np.sort(rng.permutation(count)[: case["tiles"]])
    cells = np.stack([flat % case["side"], flat // case["side"]], axis=1)
    loss = rng.normal(size=dim)
    made = {key: torch.from_numpy(value.astype(np.float32)) for key, value in weights.items()}
    return made, torch.from_numpy(tiles.astype(np.float32)), torch.from_numpy(cells), torch.from_numpy(loss.astype(np.float32))


CASES: dict[str, dict] = {
    "several segments": {"segments": [16, 32, 64], "dilations": [1, 2, 4], "heads": 4, "tiles": 75},
    "more dilation than heads": {"segments": [8, 16, 32, 64, 128], "dilations": [1, 2, 4, 8, 16], "heads": 4, "tiles": 90},
    "heads that do not divide": {"segments": [16, 24], "dilations": [1, 4], "heads": 6, "tiles": 41},
    "segments that do not divide": {"segments": [10, 21, 33], "dilations": [1, 2, 4], "heads": 4, "tiles": 70},
    "shorter than a segment": {"segments": [1024, 5792, 32768], "dilations": [1, 2, 4], "heads": 4, "tiles": 18},
    "plain": {"segments": [10000000], "dilations": [1], "heads": 4, "tiles": 30},
}
for seed, made in enumerate(CASES.values()):
    made.update(dim=24, dim_in=10, depth=2, side=14, seed=seed)
