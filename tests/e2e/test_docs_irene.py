"""The page on IRENE: its code runs in the order of the page on a checkpoint of the released keys and shapes, drawn at random."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oncoweave.nn.irene import Config, Irene
from oncoweave.nn.irene_weights import to_upstream

PAGE = Path(__file__).parents[2] / "docs" / "irene.md"


def released_keys(generator: torch.Generator) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        wanted = to_upstream(Irene(Config(upstream_compatible=True)))
    return {
        key: torch.empty(v.shape, dtype=torch.float16).uniform_(-0.03, 0.03, generator=generator) for key, v in wanted.items()
    }


def arrays_of_a_vit(rng: np.random.Generator, *, width: int, heads: int, depth: int) -> dict[str, np.ndarray]:
    """Arrays under the names of Google's files, for images of 384 pixels."""
    sizes = {"embedding/kernel": (16, 16, 3, width), "embedding/bias": (width,), "cls": (1, 1, width), "head/bias": (9,)}
    sizes["Transformer/posembed_input/pos_embedding"] = (1, 1 + 24**2, width)
    blocks = [f"Transformer/encoderblock_{i}/" for i in range(depth)]
    for norm in ["Transformer/encoder_norm", *(f"{block}LayerNorm_{j}" for block in blocks for j in (0, 2))]:
        sizes |= {f"{norm}/scale": (width,), f"{norm}/bias": (width,)}
    for block in blocks:
        attention, feed = block + "MultiHeadDotProductAttention_1/", block + "MlpBlock_3/Dense_"
        for part in ("query", "key", "value"):
            sizes |= {
                f"{attention}{part}/kernel": (width, heads, width // heads),
                f"{attention}{part}/bias": (heads, width // heads),
            }
        sizes |= {f"{attention}out/kernel": (heads, width // heads, width), f"{attention}out/bias": (width,)}
        sizes |= {f"{feed}0/kernel": (width, 4 * width), f"{feed}0/bias": (4 * width,)}
        sizes |= {f"{feed}1/kernel": (4 * width, width), f"{feed}1/bias": (width,)}
    return {name: rng.normal(0, 0.02, size).astype(np.float16) for name, size in sizes.items()}


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    weights = released_keys(torch.Generator().manual_seed(0))
    assert len(weights) == 244
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "irene.pth")
    np.savez(tmp_path / "ViT-S_16.npz", **arrays_of_a_vit(rng, width=384, heads=6, depth=12))
    for name, size in (("p1", (300, 260)), ("p2", (400, 512))):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0]), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    has_word = np.arange(40) < np.array([[40], [3]])
    labs = rng.normal(size=(2, 92))
    labs[1, 5:] = np.nan
    words = np.where(has_word[..., None], rng.normal(size=(2, 40, 768)), 0.0)
    np.savez(tmp_path / "patients.npz", words=words, has_word=has_word, labs=labs, sex=np.array([0, 1]), age=np.array([0.4, 0.7]))
    monkeypatch.chdir(tmp_path)
    return weights


def test_the_code_of_the_page_runs_on_a_checkpoint_of_the_released_keys(folder):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    probabilities, network, fresh = names["probabilities"], names["network"], names["fresh"]
    assert probabilities.shape == (2, 8)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert not torch.allclose(probabilities[0], probabilities[1], atol=1e-4)
    torch.testing.assert_close(network.head.weight.detach(), folder["head.weight"].float())
    assert f"({len(names['without_effect'])} tensors" in PAGE.read_text(encoding="utf-8")
    assert names["not_needed"] == (
        "head/bias",
        *(f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/key/bias" for i in range(12)),
    )
    assert fresh.image_positions.shape == (1, 1 + 14**2, 384)
    assert float(fresh.image_positions.detach().abs().max()) > 0
