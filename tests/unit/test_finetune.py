"""Encoders that start from a file: weights arrive, the frozen stays, layers learn at their own rate, misfits are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oncoweave.core.encoder_card import UNNAMED, EncoderCard, TileSource, write_card
from oncoweave.core.errors import ConfigError
from oncoweave.model import ModalityShape, Model, ModelConfig, drop_modalities
from oncoweave.nn.tokens import Tokens
from oncoweave.train.encoder_settings import check_settings
from oncoweave.train.finetune import _say_unchecked, load_start, meet_scale, start_settings
from oncoweave.train.loop import LoopConfig, Source, train_network

N = 20
VALUES = torch.randn(N, 6, 4, generator=torch.Generator().manual_seed(0))
PLACES = torch.stack([torch.arange(6) % 3, torch.arange(6) // 3, torch.zeros(6)], dim=1).expand(N, -1, -1)
TOKENS = Tokens(values=VALUES, keep=torch.ones(N, 6, dtype=torch.bool), positions=PLACES)


class Squares:
    """Mean squared error."""

    num_outputs = 1

    def loss(self, outputs, values):
        return ((outputs[:, 0] - values) ** 2).mean()


def model(seed=0, encoder="longnet/tiny") -> Model:
    torch.manual_seed(seed)
    shape = ModalityShape(encoder=encoder, dim=4, num_tokens=None)
    return Model(ModelConfig(modalities={"slide": shape}, fusion="mean", num_outputs=1, width=8))


def trained(network: Model, *, layer_decay=1.0, epochs=2) -> dict[str, torch.Tensor]:
    rows = np.arange(N)
    return train_network(
        network,
        Squares(),
        Source(load=lambda index: ({"slide": TOKENS.take(torch.from_numpy(index))}, VALUES[index, 0, 0])),
        train_rows=rows[:15],
        validation_rows=rows[15:],
        config=LoopConfig(epochs=epochs, weight_decay=0.0),
        seed=1,
        groups=network.parameter_groups(layer_decay=layer_decay),
    )


@pytest.fixture
def published(tmp_path):
    """What pretraining publishes: the slide encoder without the projection that the network adds."""
    part = dict(model(seed=9).encoders["slide"].named_children())
    inner = next(p for name, p in part.items() if name != "out")
    save_file(inner.state_dict(), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors", {k: v.clone() for k, v in inner.state_dict().items()}


def test_weights_fill_the_part_they_belong_to_and_a_frozen_part_stays(published):
    path, wanted = published
    network = model()
    part = load_start(network.encoders["slide"], path)
    assert {k: torch.equal(v, wanted[k]) for k, v in part.state_dict().items()} == dict.fromkeys(wanted, True)
    network.freeze(part)
    network.train()
    assert not part.training
    assert network.head.training
    best = trained(network)
    prefix = next(name for name, module in network.named_modules() if module is part)
    for key, value in wanted.items():
        assert torch.equal(best[f"{prefix}.{key}"], value), key
    start = model().state_dict()
    assert not torch.equal(best["encoders.slide.out.weight"], start["encoders.slide.out.weight"])


def test_low_layers_move_less_under_layer_decay(published):
    moved = {}
    for decay in (1.0, 0.01):
        network = model()
        part = load_start(network.encoders["slide"], published[0])
        start = {k: v.clone() for k, v in part.state_dict().items()}
        prefix = next(name for name, module in network.named_modules() if module is part)
        best = trained(network, layer_decay=decay)
        moved[decay] = {k: float((best[f"{prefix}.{k}"] - v).abs().max()) for k, v in start.items()}
    lowest, deep = "patch_embed.proj.weight", "encoder.layers.1.ffn.fc2.weight"
    assert moved[0.01][lowest] < 1e-4 * moved[1.0][lowest]
    assert 1e-3 * moved[1.0][deep] < moved[0.01][deep] < 0.1 * moved[1.0][deep]


def test_weights_of_the_whole_encoder_fit_as_well(tmp_path):
    other = model(seed=3, encoder="abmil/tiny").encoders["slide"]
    save_file(other.state_dict(), tmp_path / "abmil.safetensors")
    network = model(encoder="abmil/tiny")
    assert load_start(network.encoders["slide"], tmp_path / "abmil.safetensors") is network.encoders["slide"]
    assert torch.equal(network.encoders["slide"].out.weight, other.out.weight)


def test_weights_that_are_missing_or_do_not_fit_are_an_error(published, tmp_path):
    path, weights = published
    with pytest.raises(ConfigError, match="no such file"):
        load_start(model().encoders["slide"], tmp_path / "none.safetensors")
    fewer = {k: v for k, v in weights.items() if k != "cls_token"} | {"head.weight": torch.zeros(2)}
    save_file(fewer, path)
    with pytest.raises(ConfigError, match=r"1 missing: cls_token; 1 unexpected: head.weight; choose the variant"):
        load_start(model().encoders["slide"], path)
    save_file(weights | {"patch_embed.proj.weight": torch.zeros(32, 5)}, path)
    with pytest.raises(ConfigError, match=r"1 of another shape: patch_embed.proj.weight \(32, 5\) for \(32, 4\)"):
        load_start(model().encoders["slide"], path)


CENTRE, SCALE = np.array([3.0, -1.0, 0.5, 0.0]), np.array([2.0, 0.5, 4.0, 1.0])


@pytest.mark.parametrize("stated", [True, False], ids=["scaled in pretraining", "raw in pretraining"])
def test_pretrained_weights_read_a_studys_tiles_as_they_read_their_own(published, stated):
    path, _ = published
    learnt = (np.array([1.0, 2.0, -3.0, 0.25]), np.array([0.5, 3.0, 1.5, 2.0])) if stated else (np.zeros(4), np.ones(4))
    scales = {"centre": tuple(learnt[0]), "scale": tuple(learnt[1])} if stated else {}
    tiles = TileSource(encoder="vit/tiny", fingerprint="a" * 64, **scales)
    write_card(path, EncoderCard(encoder="longnet/tiny", tiles=tiles))
    raw = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1)) * 3
    keep, grid = torch.ones(1, 6, dtype=torch.bool), PLACES[:1, :, :2].long()
    part = load_start(model().encoders["slide"], path)
    own = (raw - torch.from_numpy(learnt[0]).float()) / torch.from_numpy(learnt[1]).float()
    wanted = part.final(own, keep=keep, grid=grid)
    meet_scale(part, path, centre=CENTRE, scale=SCALE, source=TileSource(encoder="vit/tiny", fingerprint="a" * 64, mpp=0.5))
    studys = (raw - torch.from_numpy(CENTRE).float()) / torch.from_numpy(SCALE).float()
    torch.testing.assert_close(part.final(studys, keep=keep, grid=grid), wanted, rtol=1e-4, atol=1e-5)


BAGS = TileSource(encoder="vit/tiny", fingerprint="a" * 64, mpp=0.5)


@pytest.mark.parametrize(
    ("learnt", "bags", "fault"),
    [
        (
            {},
            {"fingerprint": "b" * 64},
            r"vit/tiny \(fingerprint a{12}\), and the cohort's bags are of vit/tiny \(fingerprint b{12}",
        ),
        ({}, {"fingerprint": None, "encoder": "uni/tiny"}, "vit/tiny, and the cohort's bags are of uni/tiny"),
        ({"fingerprint": None}, {"encoder": "vit/small"}, "vit/tiny, and the cohort's bags are of vit/small"),
        ({}, {"mpp": 1.0}, "0.5 um/px, and the cohort's bags are of 1"),
    ],
)
def test_weights_of_other_tiles_are_refused(published, learnt, bags, fault):
    write_card(published[0], EncoderCard(encoder="longnet/tiny", tiles=replace(BAGS, **learnt)))
    part = load_start(model().encoders["slide"], published[0])
    with pytest.raises(ConfigError, match=f"trained on tiles of {fault}"):
        meet_scale(part, published[0], centre=CENTRE, scale=SCALE, source=replace(BAGS, **bags))


@pytest.mark.parametrize(
    ("learnt", "bags", "lacking"),
    [
        ({}, {}, None),
        ({"fingerprint": None}, {}, "FINGERPRINT"),
        ({}, {"fingerprint": None, "encoder": "tiny"}, "FINGERPRINT"),
        ({"mpp": None}, {"fingerprint": None, "encoder": UNNAMED}, "RESOLUTION AND NO NAME AND NO FINGERPRINT"),
        (None, {}, "CARD STATES THE TILES THEY LEARNT ON"),
    ],
)
def test_what_tiles_cannot_be_checked_by_is_said_once(published, capsys, learnt, bags, lacking):
    _say_unchecked.cache_clear()
    if learnt is not None:
        write_card(published[0], EncoderCard(encoder="longnet/tiny", tiles=replace(BAGS, **learnt)))
    part = load_start(model().encoders["slide"], published[0])
    for _ in range(2):
        meet_scale(part, published[0], centre=CENTRE, scale=SCALE, source=replace(BAGS, **bags))
    said = capsys.readouterr().err
    assert said == "" if lacking is None else said.count(f"encoder.safetensors: NO {lacking}\n") == 1


def test_settings_come_from_the_card_and_released_weights_bring_the_peers_numerics(published, tmp_path):
    path, weights = published
    assert start_settings(path, "longnet/tiny") == {}
    write_card(path, EncoderCard(encoder="longnet/tiny", settings={"dim": 48, "depth": 3}))
    assert start_settings(path, "longnet/tiny") == {"dim": 48, "depth": 3}
    with pytest.raises(ConfigError, match="weights of longnet/tiny, and the study names longnet/small"):
        start_settings(path, "longnet/small")
    torch.save({"model": weights}, tmp_path / "slide_encoder.pth")
    assert start_settings(tmp_path / "slide_encoder.pth", "longnet/tiny") == {"upstream_compatible": True, "key_bias": True}
    assert load_start(model().encoders["slide"], tmp_path / "slide_encoder.pth") is not None
    assert start_settings(tmp_path / "slide_encoder.pth", "abmil/tiny") == {}


def test_dropping_modalities_leaves_everybody_one_and_never_invents_one():
    n, rates = 6000, {"a": 0.3, "b": 0.9, "c": 0.6}
    rng = torch.Generator().manual_seed(0)
    keep = {m: (torch.rand(n, 1, generator=rng) < 0.6) & (torch.rand(n, 3, generator=rng) < 0.9) for m in rates}
    keep["a"][~torch.stack([k.any(dim=1) for k in keep.values()]).any(dim=0)] = True
    tokens = {m: Tokens(values=torch.zeros(n, 3, 1), keep=k) for m, k in keep.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = drop_modalities(tokens, rates)
    had, has = ({m: t.present for m, t in of.items()} for of in (tokens, dropped))
    assert torch.stack(list(has.values())).any(dim=0).all()
    for m, given in tokens.items():
        assert (dropped[m].keep <= given.keep).all()
        assert ((dropped[m].keep == given.keep).all(dim=1) | ~has[m]).all()
    for held in ("a", "b", "c", "ab", "ac", "bc", "abc"):  # where all would go, each of those held stays as often
        rows = torch.stack([had[m] == (m in held) for m in rates]).all(dim=0)
        for m in held:
            wanted = rates[m] - math.prod(rates[other] for other in held) / len(held)
            error = (wanted * (1 - wanted) / int(rows.sum())) ** 0.5
            assert abs(float((~has[m])[rows].float().mean()) - wanted) <= 3 * error, (held, m)


def test_settings_of_a_study_are_held_against_those_that_weights_bring():
    asked = {"layers": (0, 3)}
    check_settings("longnet/tiny", asked, where="model 'm'", start={"depth": 3})
    with pytest.raises(ConfigError, match=r"layers \[3\] do not exist; there are 0 \(the embedded input\) to 2"):
        check_settings("longnet/tiny", asked, where="model 'm'")
