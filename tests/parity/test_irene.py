"""IRENE against the peer's own outputs; its weights and inputs are drawn again, by key and shape, as they were for those."""

import json
import os
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from torch.nn import functional

from oncoweave.core.errors import ConfigError
from oncoweave.nn.irene import Config, Irene
from oncoweave.nn.irene_weights import from_upstream, to_upstream
from oncoweave.nn.tokens import Tokens

TOLERANCE = 1e-6
FILES = Path(os.environ.get("ONCOWEAVE_REFS", Path(__file__).parents[3] / "shared" / "refs")) / "parity" / "irene"
SMALL = Config(outputs=4, image=32, patch=8, words=5, labs=7, width=32, depth=4, heads=4, ratio=2.0)
SMALL_LOSS = 0.7895958423614502
SMALL_LOGITS = [0.51356709, 0.81190437, -0.19018249, -0.38109818]
LOSS = 0.9390757083892822
LOGITS = [-0.91364598, -1.17773497, 0.65970296, -0.45696417]
IMAGE, CLINICAL = ("image",), ("complaint", "labs", "sex", "age")


def reference(name: str):
    if not (FILES / name).is_file():
        pytest.skip(f"no reference outputs: {FILES / name} is not a file (set ONCOWEAVE_REFS)")
    return torch.load(FILES / name, weights_only=True) if name.endswith("pt") else json.loads((FILES / name).read_text())


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = to_upstream(Irene(replace(config, upstream_compatible=True)))
    return {key: tuple(value.shape) for key, value in state.items()}


def drawn_weights(config: Config) -> dict[str, torch.Tensor]:
    weights = {}
    for key, shape in shapes(config).items():
        z = np.random.default_rng([0, crc32(key.encode())]).standard_normal(shape).astype(np.float32)
        if key.endswith("bias"):
            z = 0.05 * z
        elif "norm" in key:
            z = 1 + 0.1 * z
        elif key.endswith(".weight"):
            z = z / float(np.prod(shape[1:])) ** 0.5
        else:
            z = 0.1 * z
        weights[key] = torch.from_numpy(z)
    return weights


def drawn_inputs(config: Config, batch: int) -> tuple[torch.Tensor, dict[str, Tokens], torch.Tensor]:
    rng = np.random.default_rng([0, 12345])
    drawn = {
        "image": rng.random((batch, 3, config.image, config.image)),
        "complaint": 0.5 * rng.standard_normal((batch, config.words, config.word_width)),
        "labs": rng.standard_normal((batch, config.labs, 1)),
        "sex": rng.integers(0, 2, (batch, 1, 1)),
        "age": rng.random((batch, 1, 1)),
        "labels": rng.integers(0, 2, (batch, config.outputs)),
    }
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in drawn.items()}
    images, labels = tensors.pop("image"), tensors.pop("labels")
    return images, {name: Tokens(values=v, keep=torch.ones(v.shape[:2], dtype=torch.bool)) for name, v in tensors.items()}, labels


def worst(came: torch.Tensor, wanted: torch.Tensor) -> float:
    assert came.shape == wanted.shape
    return float((came.detach() - wanted).abs().max())


@pytest.fixture(params=[False, True], ids=["without the dead", "as released"])
def small(request) -> Irene:
    return from_upstream(drawn_weights(SMALL), replace(SMALL, upstream_compatible=request.param))[0].eval()


def test_released_size():
    wanted = shapes(Config())
    assert (len(wanted), sum(int(np.prod(shape)) for shape in wanted.values())) == (244, 100_678_664)
    assert wanted["transformer.encoder.layer.1.ffn_text.fc1.weight"] == (3072, 768)
    assert wanted["transformer.embeddings.lab_embeddings.weight"] == (768, 1)
    assert wanted["transformer.encoder.layer.0.att_norm_text.bias"] == (768,)


def test_keys_and_shapes_are_the_peers():
    assert {key: tuple(shape) for key, shape in reference("small.pt")["shapes"].items()} == shapes(SMALL)


def test_small_network_gives_the_peers_numbers(small):
    images, clinical, labels = drawn_inputs(SMALL, 3)
    logits = small(images, clinical)
    assert worst(logits[0], torch.tensor(SMALL_LOGITS)) < TOLERANCE
    assert abs(float(functional.binary_cross_entropy_with_logits(logits.detach(), labels)) - SMALL_LOSS) < TOLERANCE


@torch.no_grad()
def test_default_network_gives_the_peers_numbers():
    config = replace(Config(), upstream_compatible=True)
    images, clinical, labels = drawn_inputs(config, 2)
    logits = from_upstream(drawn_weights(config), config)[0].eval()(images, clinical)
    assert worst(logits[0, :4], torch.tensor(LOGITS)) < TOLERANCE
    assert abs(float(functional.binary_cross_entropy_with_logits(logits.detach(), labels)) - LOSS) < TOLERANCE


def test_every_hidden_state_is_the_peers(small):
    file = reference("small.pt")
    images, clinical, _ = drawn_inputs(SMALL, 3)
    states = []
    for block in small.transformer.blocks:
        block.register_forward_hook(lambda _block, _given, came: states.append(came))
    film, own = small._embed(images, clinical, None)
    assert worst(film.values, file["embeddings"]["img"]) < TOLERANCE
    for name, theirs in zip(CLINICAL, ("cc", "lab", "sex", "age"), strict=True):
        assert worst(own[name].values, file["embeddings"][theirs]) < TOLERANCE
    assert worst(small.features(images, clinical), file["features"]) < TOLERANCE
    assert worst(small(images, clinical), file["logits"]) < TOLERANCE
    for came, wanted in zip(states[: SMALL.depth], file["hidden"], strict=True):
        assert len(came) == len(wanted)
        for one, other in zip(came, wanted, strict=True):
            assert worst(one, other) < TOLERANCE * float(other.abs().max())  # they grow to 6: of their size


def test_all_four_attention_maps_are_the_peers(small):
    file = reference("small.pt")
    images, clinical, _ = drawn_inputs(SMALL, 3)
    maps = small.attention(images, clinical)

    def joined(block: int, queries: tuple[str, ...], keys: tuple[str, ...]) -> torch.Tensor:
        return torch.cat([torch.cat([maps[f"{block}:{q}->{k}"] for k in keys], dim=3) for q in queries], dim=2)

    for block, wanted in enumerate(file["attention"]):
        if "self" in wanted:
            assert worst(joined(block, IMAGE + CLINICAL, IMAGE + CLINICAL), wanted["self"]) < TOLERANCE
            continue
        for name, queries, keys in (
            ("ii", IMAGE, IMAGE),
            ("it", IMAGE, CLINICAL),
            ("tt", CLINICAL, CLINICAL),
            ("ti", CLINICAL, IMAGE),
        ):
            assert worst(2 * joined(block, queries, keys), wanted[name]) < TOLERANCE  # ours are times the shares of 1/2


def test_gradients_are_the_peers():
    file = reference("small.pt")
    network = from_upstream(drawn_weights(SMALL), replace(SMALL, upstream_compatible=True))[0].eval()
    images, clinical, labels = drawn_inputs(SMALL, 3)
    functional.binary_cross_entropy_with_logits(network(images, clinical), labels).backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None]
    assert dead == [f"transformer.blocks.{i}.out_unused.{kind}" for i in (0, 1) for kind in ("weight", "bias")]
    for parameter in network.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for key, value in to_upstream(network).items():
        wanted = file["grads"][key]
        assert abs(float(value.norm()) - (wanted["norm"] if wanted else 0.0)) < TOLERANCE, key


def test_starts_are_the_peers():
    """Means and deviations of every parameter, to 5 standard errors of both draws."""
    stats = reference("small_native_init_stats.json")
    state = to_upstream(Irene(replace(SMALL, upstream_compatible=True)))
    assert set(state) == set(stats)
    for key, value in state.items():
        wanted, n = stats[key], value.numel()
        if wanted["std"] == 0 or n < 16:
            assert float(value.std(correction=0)) == pytest.approx(wanted["std"], abs=1.0), key
            assert wanted["std"] or float(value.mean()) == wanted["mean"], key
            continue
        allowed = 5 * (2 / n) ** 0.5
        assert abs(float(value.mean()) - wanted["mean"]) < allowed * wanted["std"], key
        assert float(value.std(correction=0)) == pytest.approx(wanted["std"], rel=min(allowed, 0.9)), key


@torch.no_grad()
@pytest.mark.parametrize(("words", "labs"), [(2, 3), (0, 7), (0, 0)])
def test_masked_equals_deleted_at_the_peers_weights(small, words, labs):
    images, clinical, _ = drawn_inputs(SMALL, 3)
    counts = {"complaint": words, "labs": labs, "sex": int(labs > 0), "age": 0}
    hidden, cut = {}, []
    for name, embedded in small._embed(images, clinical, None)[1].items():
        keep = torch.arange(embedded.keep.shape[1]).expand(3, -1) < counts[name]
        hidden[name] = Tokens(values=torch.where(keep.unsqueeze(-1), clinical[name].values, torch.nan), keep=keep)
        cut.append(embedded.values[:, : counts[name]])
    film, deleted = small._embed(images, clinical, None)[0], torch.cat(cut, dim=1)
    streams = [film, Tokens(values=deleted, keep=torch.ones(deleted.shape[:2], dtype=torch.bool))]
    wanted = small.transformer(streams).values.mean(dim=1)
    assert worst(small.features(images, hidden), wanted) < 1e-6
    nan = torch.full_like(images, torch.nan)
    without = small(nan, clinical, has_image=torch.zeros(3, dtype=torch.bool))
    assert without.isfinite().all()
    assert worst(without, small(images, clinical)) > 0.01


def test_patients_with_nothing_and_films_that_do_not_divide_are_refused(small):
    images, clinical, _ = drawn_inputs(SMALL, 3)
    nothing = {name: Tokens(values=t.values, keep=torch.zeros_like(t.keep)) for name, t in clinical.items()}
    with pytest.raises(ValueError, match="row 1 of the batch has no modality"):
        small(images, nothing, has_image=torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match=r"whole patches of 8 px, got 3 of 30 x 32 px"):
        small(images[..., :30], clinical)
    narrow = Tokens(values=clinical["labs"].values[:, :1], keep=clinical["labs"].keep[:, :1])
    with pytest.raises(ValueError, match="labs: wanted 7 tokens of width 1 a patient, got 1"):
        small(images, clinical | {"labs": narrow})
    assert small(torch.rand(3, 3, 48, 40), clinical).isfinite().all()


def test_weights_that_have_no_effect_are_named():
    _, left_out = from_upstream(drawn_weights(SMALL), SMALL)
    biases = [f"transformer.encoder.layer.{i}.attn.key.bias" for i in range(4)]
    biases += [f"transformer.encoder.layer.{i}.attn.key_text.bias" for i in (0, 1)]
    never_called = [f"transformer.encoder.layer.{i}.attn.out_text.{kind}" for i in (0, 1) for kind in ("weight", "bias")]
    assert set(left_out) == {*biases, *never_called}
    network, left_out = from_upstream(drawn_weights(SMALL), replace(SMALL, upstream_compatible=True))
    assert left_out == ()
    torch.testing.assert_close(to_upstream(network), drawn_weights(SMALL), rtol=0, atol=0)


def test_weights_saved_by_data_parallel_load():
    weights = {f"module.{key}": value for key, value in drawn_weights(SMALL).items()}
    torch.testing.assert_close(
        to_upstream(from_upstream(weights, replace(SMALL, upstream_compatible=True))[0]), drawn_weights(SMALL), rtol=0, atol=0
    )


def test_weights_that_do_not_fit_are_refused_with_every_fault():
    weights = drawn_weights(SMALL)
    weights["transformer.embeddings.pe_ecg"] = weights.pop("transformer.embeddings.pe_lab")
    weights["head.bias"] = torch.zeros(14)
    with pytest.raises(
        ConfigError, match=r"1 missing: \S+pe_lab; 1 unexpected: \S+pe_ecg; 1 of another shape: head.bias \(14,\)"
    ):
        from_upstream(weights, SMALL)
    with pytest.raises(ConfigError, match="upstream_compatible"):
        to_upstream(Irene(SMALL))
