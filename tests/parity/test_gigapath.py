"""LongNet with released weights' numerics against the peer's own outputs, and against frozen numbers of a plain re-derivation."""

import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))

import plain_longnet as plain

from oncoweave.encoders.longnet import VARIANTS, Config, LongNet, from_upstream, segments
from oncoweave.nn.grid import sine_cosine
from oncoweave.nn.packed_slides import Slides

TOLERANCE = 1e-5
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "gigapath.json").read_text())
FILES = Path(os.environ.get("ONCOWEAVE_REFS", Path(__file__).parents[3] / "shared" / "refs")) / "parity" / "gigapath"
CASES = ("A_formula_L50", "B_multi_seg_h4", "D_batch2_h16", "G_vanilla")


def reference(name: str):
    if not (FILES / name).is_file():
        pytest.skip(f"no reference outputs: {FILES / name} is not a file (set ONCOWEAVE_REFS)")
    return (FILES / name).read_text() if name.endswith("txt") else torch.load(FILES / name, weights_only=True)


def peer(name: str) -> tuple[dict, LongNet, Slides]:
    """A reference file, its network, and its slides in the file's own order of tiles."""
    file = reference(f"small_{name}.pt")
    made = file["config"]
    config = Config(
        dim=made["dim"],
        depth=made["depth"],
        heads=made["heads"],
        ratio=made["ffn"] / made["dim"],
        segments=tuple(file["segment_length"]),
        dilations=tuple(file["dilated_ratio"]),
        grid=made["ngrids"],
    )
    tiles = file["tile_embeds"].clone().requires_grad_()
    own = torch.arange(tiles.shape[1])
    grid = torch.floor(file["coords"] / 256).long()
    slides = Slides(values=tiles, grid=grid, rows=tuple(range(len(tiles))), tiles=(own,) * len(tiles))
    return file, from_upstream({"model": file["state_dict"]}, config), slides


def worst(came: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((came.detach().reshape(wanted.shape) - wanted).abs().max())


@pytest.mark.parametrize("grad", [True, False], ids=["training path", "inference path"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_peers(name, grad):
    file, network, slides = peer(name)
    with torch.set_grad_enabled(grad):
        states = [x.clone() for x in network.eval().states(slides)]
        assert worst(states[0], file["tokens_in"]) < TOLERANCE
        assert worst(network.encoder.layers[0].self_attn(states[0], slides.packing), file["attn0"]) < TOLERANCE
        assert worst(network.encoder.layer_norm(states[-1]), file["encoder_out_tokens"]) < TOLERANCE
        for pool, key in (("cls", "gp0"), ("mean", "gp1")):
            assert worst(network.readouts(slides, pool=pool)[0], file[f"out_{key}"]) < TOLERANCE
            for came, wanted in zip(network.readouts(slides, pool=pool, layers=range(3)), file[f"all_layers_{key}"], strict=True):
                assert worst(came, wanted) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_peers(name):
    file, network, slides = peer(name)
    loss = (network.readouts(slides, pool="mean")[0] * file["grad_loss_weights"]).sum()
    loss.backward()
    assert worst(slides.values.grad, file["grad_tile_embeds"]) < TOLERANCE
    assert set(file["grads"]) == {key for key, _ in network.named_parameters()}
    for key, parameter in network.named_parameters():
        assert worst(parameter.grad, file["grads"][key]) < TOLERANCE, key


def test_segments_are_the_formulas():
    for (max_wsi, tile), wanted in reference("segment_formula.pt").items():
        assert list(segments(max_wsi, tile)) == json.loads(wanted), (max_wsi, tile)


def test_positions_are_the_peers_table():
    table = reference("pos_table.pt")["grid7_dim16"].reshape(50, 16)
    cells = torch.stack(torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij"), dim=-1).reshape(-1, 2)
    assert worst(sine_cosine(cells, dim=16).double(), table[1:]) < 1e-7


def test_keys_are_those_of_the_released_weights():
    with torch.device("meta"):
        state = LongNet(VARIANTS["base"], dim_in=1536).state_dict()
    wanted = [line.split("\t")[:2] for line in reference("full_keys.txt").splitlines() if line.count("\t") == 2]
    assert len(wanted) == 247
    assert {key: str(tuple(value.shape)) for key, value in state.items()} == dict(wanted)


def network_of(case: dict, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> LongNet:
    config = Config(
        dim=case["dim"], depth=2, heads=case["heads"], segments=tuple(case["segments"]), dilations=tuple(case["dilations"])
    )
    return from_upstream(weights, config).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, TOLERANCE)], ids=["float64", "float32"])
@pytest.mark.parametrize("name", GOLDEN)
def test_frozen_numbers_of_the_peers_numerics(name, dtype, tolerance):
    """The numbers come from tests/reference/make_gigapath.py, which holds its re-derivation against the peer's files."""
    case, wanted = plain.CASES[name], GOLDEN[name]
    weights, drawn, cells, loss = plain.draw(case)
    network = network_of(case, weights, dtype)
    tiles = drawn.to(dtype)[None].requires_grad_()
    order = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))
    slides = network.rows(tiles[:, order], torch.ones(1, len(drawn), dtype=torch.bool), cells[None, order])
    (mean,), (cls,) = (network.readouts(slides, pool=pool)[0] for pool in ("mean", "cls"))
    (mean * loss).sum().backward()
    assert worst(mean, torch.tensor(wanted["mean"], dtype=dtype)) < tolerance
    assert worst(cls, torch.tensor(wanted["cls"], dtype=dtype)) < tolerance
    for came, layer in zip(network.readouts(slides, pool="mean", layers=range(3)), wanted["layers"], strict=True):
        assert worst(came[0, :8], torch.tensor(layer, dtype=dtype)) < tolerance
    assert worst(tiles.grad[0].sum(dim=1), torch.tensor(wanted["tile_gradient"], dtype=dtype)) < tolerance
    for key, parameter in network.named_parameters():
        rms = float(parameter.grad.square().mean().sqrt())
        assert math.isclose(rms, wanted["gradients"][key], rel_tol=20 * tolerance, abs_tol=tolerance), key


def test_the_plain_re_derivation_gives_the_gradient_of_every_number():
    case = plain.CASES["segments that do not divide"]
    weights, tiles, cells, loss = plain.draw(case)
    network = network_of(case, weights, torch.float64)
    slides = network.rows(tiles[None].double(), torch.ones(1, len(tiles), dtype=torch.bool), cells[None])
    (network.readouts(slides, pool="cls")[0] * loss).sum().backward()
    wide = {key: value.double().requires_grad_() for key, value in weights.items()}
    (plain.readout(wide, plain.states(wide, case, tiles.double(), cells)[-1], mean=False, last=True) * loss).sum().backward()
    for key, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, wide[key].grad, rtol=1e-6, atol=1e-7, msg=key)
