"""Vision transformers against timm and transformers: frozen numbers of tests/reference/make_vit_parity.py, and timm itself."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))

import analytic

from oncoweave.encoders import vit

CASES = json.loads((Path(__file__).parents[1] / "golden" / "vit_parity.json").read_text())
TOLERANCE = 1e-5
"""Of values near 1, through two blocks in float32."""


def state_of(case) -> dict[str, torch.Tensor]:
    shapes = {key: tuple(shape) for key, shape in case["shapes"].items()}
    return {key: torch.from_numpy(value) for key, value in analytic.weights(shapes).items()}


def assert_tokens(model: vit.VisionTransformer, case) -> None:
    for side, rows in case["tokens"].items():
        with torch.no_grad():
            tokens = model.eval().tokens(torch.from_numpy(analytic.images(int(side))))[1]
        came = torch.stack([tokens[0], tokens[model.prefix :].mean(dim=0), tokens[-1]])
        np.testing.assert_allclose(came.numpy(), np.array(rows), rtol=0, atol=TOLERANCE, err_msg=f"{side} px")


@pytest.mark.parametrize("name", CASES)
def test_weights_of_others_give_their_tokens(name):
    case = CASES[name]
    model, left_out = vit.from_upstream(state_of(case), vit.Config(**case["config"]))
    assert_tokens(model, case)
    assert set(left_out) <= {"mask_token", "pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize("name", ["dinov2", "dinov2-swiglu-registers"])
def test_a_checkpoint_of_training_gives_its_teacher(name):
    """Teacher and student side by side, blocks in chunks as they are sharded, heads beside the backbone."""
    case = CASES[name]
    state = state_of(case)
    chunked = {key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): v for key, v in state.items()}
    whole = {f"teacher.backbone.{key}": value for key, value in chunked.items()}
    whole |= {f"student.backbone.{key}": torch.zeros_like(value) for key, value in chunked.items()}
    whole["teacher.dino_head.last_layer.weight"] = torch.ones(3, 3)
    model, left_out = vit.from_upstream(whole, vit.Config(**case["config"]))
    assert_tokens(model, case)
    assert len(left_out) == len(state) + 2  # the student, a head, and the mask token


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.encoder.vit."])
def test_what_stands_before_every_key_is_taken_off(prefix):
    case = CASES["timm-swiglu-registers"]
    state = {prefix + key: value for key, value in state_of(case).items()}
    assert_tokens(vit.from_upstream(state, vit.Config(**case["config"]))[0], case)


@pytest.mark.parametrize("name", ["dinov2-swiglu-registers", "timm-swiglu-registers", "timm-swiglu-registers-no-embed"])
@pytest.mark.parametrize("prefix_positions", [True, False])
def test_positions_move_between_tokens_and_table(name, prefix_positions):
    case = CASES[name]
    config = vit.Config(**(case["config"] | {"prefix_positions": prefix_positions}))
    assert_tokens(vit.from_upstream(state_of(case), config)[0], case)


@pytest.mark.parametrize("old", [False, True])
def test_names_that_transformers_uses_in_memory_are_read_too(old):
    """Version 5 names layers otherwise in memory than on disk; SwiGLU's halves and timm's unpacked ones are apart there."""
    case = CASES["hf-dinov2-swiglu"]
    state = {}
    for key, value in state_of(case).items():
        key = key.replace("attention.attention.query", "attention.q_proj").replace("attention.attention.key", "attention.k_proj")
        key = key.replace("attention.attention.value", "attention.v_proj").replace("attention.output.dense", "attention.o_proj")
        if "weights_in" in key:
            gate, value_rows = value.chunk(2)
            names = ("fc1_g", "fc1_x") if old else ("gate_proj", "up_proj")
            state |= {key.replace("weights_in", names[0]): gate, key.replace("weights_in", names[1]): value_rows}
        else:
            state[key.replace("weights_out", "down_proj")] = value
    assert_tokens(vit.from_upstream(state, vit.Config(**case["config"]))[0], case)


def test_against_timm_itself():
    """A published shape cut to one block, through timm, where timm can be imported."""
    try:
        from timm.layers import SwiGLUPacked
        from timm.models.vision_transformer import VisionTransformer
    except (ImportError, RuntimeError) as error:  # torchvision for another torch fails with RuntimeError
        pytest.skip(f"timm cannot be imported: {error}")
    theirs = VisionTransformer(
        img_size=224, patch_size=16, embed_dim=384, depth=1, num_heads=6, mlp_ratio=2048 / 384, num_classes=0, init_values=1e-5,
        mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU, dynamic_img_size=True,
    ).eval()  # fmt: skip
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in analytic.weights(shapes).items()})
    from dataclasses import replace

    model, _ = vit.from_upstream(theirs.state_dict(), replace(vit.VARIANTS["gigapath-flash"], depth=1))
    for side in (224, 96):
        image = torch.from_numpy(analytic.images(side))
        with torch.no_grad():
            wanted = theirs.forward_features((image - model.mean) / model.deviation)
            torch.testing.assert_close(model.tokens(image), wanted, rtol=0, atol=TOLERANCE)
