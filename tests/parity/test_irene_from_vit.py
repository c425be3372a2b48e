"""IRENE's image stream started from a ViT's arrays, against that ViT written out in numpy from the arrays' own layouts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oncoweave.core.errors import ConfigError
from oncoweave.nn.irene import Config, Irene, resize_positions
from oncoweave.nn.irene_weights import start_from_vit
from oncoweave.nn.tokens import Tokens

SMALL = Config(outputs=4, image=32, patch=8, words=5, word_width=6, labs=7, width=32, depth=3, heads=4, ratio=2.0)
BLOCKS = SMALL.depth + 1
"""The ViT is one block deeper than the network."""


def arrays_of_a_vit(rng: np.random.Generator, *, side: int = 4) -> dict[str, np.ndarray]:
    """Arrays under the names of Google's files, with a head."""
    sizes = {"embedding/kernel": (8, 8, 3, 32), "embedding/bias": (32,), "cls": (1, 1, 32), "head/kernel": (32, 10)}
    sizes["Transformer/posembed_input/pos_embedding"] = (1, 1 + side**2, 32)
    blocks = [f"Transformer/encoderblock_{i}/" for i in range(BLOCKS)]
    for norm in ["Transformer/encoder_norm", *(f"{block}LayerNorm_{j}" for block in blocks for j in (0, 2))]:
        sizes |= {f"{norm}/scale": (32,), f"{norm}/bias": (32,)}
    for block in blocks:
        attention, feed = block + "MultiHeadDotProductAttention_1/", block + "MlpBlock_3/Dense_"
        for part in ("query", "key", "value"):
            sizes |= {f"{attention}{part}/kernel": (32, 4, 8), f"{attention}{part}/bias": (4, 8)}
        sizes |= {f"{attention}out/kernel": (4, 8, 32), f"{attention}out/bias": (32,)}
        sizes |= {f"{feed}0/kernel": (32, 64), f"{feed}0/bias": (64,), f"{feed}1/kernel": (64, 32), f"{feed}1/bias": (32,)}
    return {name: rng.normal(0, 0.2, size).astype(np.float32) for name, size in sizes.items()}


def plain_vit(arrays: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    def norm(x, name):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return scaled * arrays[f"{name}/scale"] + arrays[f"{name}/bias"]

    def linear(x, name, equation):
        return np.einsum(equation, x, arrays[f"{name}/kernel"]) + arrays[f"{name}/bias"]

    patches = images.reshape(len(images), 3, 4, 8, 4, 8).transpose(0, 2, 4, 3, 5, 1)
    x = linear(patches, "embedding", "bijhwc,hwcd->bijd").reshape(len(images), 16, 32)
    x = np.concatenate([np.repeat(arrays["cls"], len(images), 0), x], 1)
    x = x + arrays["Transformer/posembed_input/pos_embedding"]
    for block in (f"Transformer/encoderblock_{i}/" for i in range(SMALL.depth)):
        attention, feed = block + "MultiHeadDotProductAttention_1/", block + "MlpBlock_3/Dense_"
        h = norm(x, block + "LayerNorm_0")
        q, k, v = (linear(h, attention + part, "btd,dhe->bthe") for part in ("query", "key", "value"))
        scores = np.exp(np.einsum("bqhe,bkhe->bhqk", q, k) / 8**0.5)
        mixed = np.einsum("bhqk,bkhe->bqhe", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear(mixed, attention + "out", "bqhe,hed->bqd")
        h = linear(norm(x, block + "LayerNorm_2"), feed + "0", "btd,de->bte")
        x = x + linear(0.5 * h * (1 + erf(h / 2**0.5)), feed + "1", "btd,de->bte")
    return norm(x, "Transformer/encoder_norm")


def no_clinical_tokens(batch: int) -> dict[str, Tokens]:
    return {
        name: Tokens(values=torch.full((batch, count, dim), torch.nan), keep=torch.zeros(batch, count, dtype=torch.bool))
        for name, (count, dim) in SMALL.clinical.items()
    }


@pytest.mark.parametrize("compatible", [False, True])
def test_a_film_alone_through_a_network_started_from_a_vit_is_that_vit(rng, tmp_path, compatible):
    np.savez(tmp_path / "vit.npz", **arrays_of_a_vit(rng))
    network = Irene(replace(SMALL, upstream_compatible=compatible)).eval()
    images = rng.random((2, 3, 32, 32))
    with np.load(tmp_path / "vit.npz", allow_pickle=False) as arrays:
        left_out = start_from_vit(network, arrays)
        wanted = plain_vit(dict(arrays), images).mean(axis=1)
    came = network.features(torch.from_numpy(images).float(), no_clinical_tokens(2))
    np.testing.assert_allclose(came.detach().numpy(), wanted, atol=1e-5)
    unused = 0 if compatible else SMALL.depth  # biases of keys
    assert len(left_out) == 1 + 16 + unused
    assert {"head/kernel", "Transformer/encoderblock_3/LayerNorm_0/scale"} <= set(left_out)


@pytest.mark.parametrize("copied", [True, False])
def test_the_clinical_stream_starts_as_the_films_where_asked(rng, copied):
    network = Irene(SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_vit(network, arrays_of_a_vit(rng), clinical_too=copied)
    after = network.state_dict()
    own = [key for key in after if ".streams.1." in key]
    assert len(own) == 2 * 10
    for key in own:
        wanted = after[key.replace("streams.1", "streams.0")] if copied else before[key]
        torch.testing.assert_close(after[key], wanted, rtol=0, atol=0)
    assert torch.equal(after["projections.labs.weight"], before["projections.labs.weight"])


def test_positions_of_another_size_are_resampled(rng):
    arrays = arrays_of_a_vit(rng, side=6)
    network = Irene(SMALL)
    start_from_vit(network, arrays)
    stored = torch.from_numpy(arrays["Transformer/posembed_input/pos_embedding"])
    torch.testing.assert_close(network.image_positions.detach(), resize_positions(stored, (4, 4)), rtol=0, atol=0)


def test_arrays_that_do_not_fit_are_refused_with_every_fault(rng):
    arrays = arrays_of_a_vit(rng)
    del arrays["cls"]
    arrays["embedding/bias"] = np.zeros(7, dtype=np.float32)
    with pytest.raises(ConfigError, match=r"2 fault\(s\): cls is missing, embedding/bias: makes \(7,\) where \(32,\) is wanted"):
        start_from_vit(Irene(SMALL), arrays)


def test_pickled_arrays_are_refused(rng, tmp_path):
    arrays = arrays_of_a_vit(rng)
    np.savez(tmp_path / "vit.npz", **(arrays | {"cls": np.array([{}], dtype=object)}))
    with np.load(tmp_path / "vit.npz", allow_pickle=False) as file, pytest.raises(ValueError, match="allow_pickle=False"):
        start_from_vit(Irene(SMALL), file)


@pytest.mark.parametrize("grid", [(3, 3), (6, 6), (4, 7)])
def test_positions_are_resampled_as_scipy_does(rng, grid):
    from scipy.ndimage import zoom

    stored = rng.normal(size=(1, 17, 5))
    wanted = zoom(stored[0, 1:].reshape(4, 4, 5), (grid[0] / 4, grid[1] / 4, 1), order=1).reshape(-1, 5)
    came = resize_positions(torch.from_numpy(stored), grid)
    np.testing.assert_allclose(came[0, 1:].numpy(), wanted, atol=1e-12)
    np.testing.assert_array_equal(came[0, 0].numpy(), stored[0, 0])
