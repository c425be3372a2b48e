"""Layer-wise decay of the learning rate gives every parameter of every encoder the layer in which it first acts."""

import pytest
import torch
from drawn import build, images, shape, tile_encoder, tokens
from torch import nn

from oncoweave.core import shelf
from oncoweave.nn.optim import encoder_groups, layer_scales

KINDS = {entry.name: entry.constants["KINDS"] for entry in shelf.catalogue("encoders")}


def run(name: str) -> tuple[nn.Module, object]:
    module, kind = shelf.load("encoders", name), KINDS[name][0]
    if kind == "tile":
        return tile_encoder(module, shelf.variant("encoders", f"{name}/tiny")), images()[:2]
    return build(module, shelf.variant("encoders", f"{name}/tiny"), shape(kind), kind), tokens(kind)


def stack(network: nn.Module) -> list[nn.Module]:
    """The blocks that a layer-wise decay counts."""
    found = [m for n, m in network.named_modules() if isinstance(m, nn.ModuleList) and n.split(".")[-1] in ("blocks", "layers")]
    assert len(found) <= 1
    return list(found[0]) if found else []


def tensors(values) -> list[torch.Tensor]:
    return [v for v in values if isinstance(v, torch.Tensor) and v.requires_grad]


def seen_at(network: nn.Module, given: object) -> list[set[str]]:
    """Parameters that have acted by each point: the input of each block, and the output of the last."""
    points, blocks = [], stack(network)
    hooks = [
        b.register_forward_pre_hook(lambda _, args, kw: points.append(tensors((*args, *kw.values()))), with_kwargs=True)
        for b in blocks
    ]
    hooks.append(
        blocks[-1].register_forward_hook(lambda _, args, out: points.append(tensors(out if isinstance(out, tuple) else (out,))))
    )
    network(given)
    for hook in hooks:
        hook.remove()
    names, parameters = zip(*network.named_parameters(), strict=True)
    acted = []
    for point in points:
        total = sum((t * torch.linspace(1, 2, t.numel()).view_as(t)).sum() for t in point)
        gradients = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
        acted.append({n for n, g in zip(names, gradients, strict=True) if g is not None and g.abs().max() > 0})
    return acted


@pytest.mark.parametrize("name", list(KINDS))
def test_each_parameter_has_the_layer_in_which_it_first_acts(name):
    network, given = run(name)
    scales = layer_scales(network, decay=0.5)
    assert set(scales) == {key for key, _ in network.named_parameters()}
    if not stack(network):
        assert set(scales.values()) <= {1.0}
        return
    acted = seen_at(network, given)
    depth = len(acted) - 1
    for key, scale in scales.items():
        layer = next((point for point, names in enumerate(acted) if key in names), depth + 1)
        assert scale == 0.5 ** (depth + 1 - layer), (key, layer)


@pytest.mark.parametrize("name", list(KINDS))
def test_groups_hold_every_parameter_once(name):
    network, _ = run(name)
    grouped = [id(p) for group in encoder_groups(network, decay=0.9) for p in group.params]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_all_names_and_scales_of_a_vision_transformer():
    network, _ = run("vit")
    depth = shelf.variant("encoders", "vit/tiny").depth
    scales = layer_scales(network, decay=0.9)
    lowest = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert {key for key, scale in scales.items() if scale == 0.9 ** (depth + 1)} == lowest
    assert {key for key, scale in scales.items() if scale == 1.0} == {"norm.weight", "norm.bias"}
    for block in range(depth):
        mine = {key for key in scales if key.startswith(f"blocks.{block}.")}
        assert {scales[key] for key in mine} == {0.9 ** (depth - block)}
    assert len(scales) == len(lowest) + 2 + sum(key.startswith("blocks.") for key in scales)


def test_all_names_and_scales_of_the_released_slide_encoder_behind_a_wrapper():
    module = shelf.load("encoders", "longnet")
    with torch.device("meta"):
        network = module.build(module.VARIANTS["base"], dim_in=1536, num_tokens=None, dim_out=64)
    scales = layer_scales(network, decay=0.95)
    own = {key.partition(".")[2]: scale for key, scale in scales.items() if not key.startswith("out.")}
    assert len(own) == 247
    lowest = {"cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert {key for key, scale in own.items() if scale == 0.95**13} == lowest  # released code gives patch_embed the full rate
    full = {f"{norm}.{part}" for norm in ("norm", "encoder.layer_norm") for part in ("weight", "bias")}
    assert {key for key, scale in own.items() if scale == 1.0} == full
    for layer in range(12):
        mine = {scale for key, scale in own.items() if key.startswith(f"encoder.layers.{layer}.")}
        assert mine == {0.95 ** (12 - layer)}
    assert {scales[f"out.{part}"] for part in ("weight", "bias")} == {1.0}
