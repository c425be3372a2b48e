import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from oncoweave.core.encoder_card import TileSource, card_path, read_card, sealed
from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.files import sha256
from oncoweave.encoders.longnet import VARIANTS, LongNet, lay
from oncoweave.train import builtin_weights
from oncoweave.train.slide_embedding import embed_bag
from oncoweave.train.slide_encoder import contributions, load_slide_encoder
from slide_pair import TILES, bag, network, write_weights


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "own.safetensors", network())


def cells_of(some):
    return some.coords // 512


@pytest.mark.parametrize(("readout", "layers"), [("mean", ()), ("cls", ()), ("layers", ()), ("layers", (1,)), ("cls", (0, 2))])
def test_what_is_read_out_is_the_networks_own_readout(weights, readout, layers):
    some, net = bag(), network()
    encoder = load_slide_encoder("longnet/tiny", weights=weights, readout=readout, layers=layers)
    came = encoder.encode(some.features, cells_of(some))
    values, grid = torch.from_numpy(some.features.astype(np.float32))[None], torch.from_numpy(cells_of(some))[None]
    slides = lay(values, grid, [(0, torch.arange(40))])
    with torch.no_grad():
        pool = "cls" if readout == "cls" else "mean"
        wanted = net.readouts(slides, pool=pool, layers=layers or ((0, 1, 2) if readout == "layers" else ()))
        every = net.readouts(slides, pool=pool, layers=(0, 1, 2))
        tokens = net.final(values, keep=torch.ones(1, 40, dtype=torch.bool), grid=grid)[0, 1:]
    np.testing.assert_allclose(came.vector, torch.cat(wanted, dim=1)[0], atol=2e-6)
    np.testing.assert_allclose(came.layers, torch.cat(every), atol=2e-6)
    np.testing.assert_allclose(came.tokens, tokens[torch.from_numpy(came.order)], atol=2e-6)
    assert len(encoder.columns) == encoder.dim == len(came.vector)
    assert encoder.columns[0] == {(): "e000", (1,): "l01_e000", (0, 2): "l00_e000"}.get(
        layers if layers or readout != "layers" else (0, 2)
    )


def test_shares_are_the_parts_of_the_vector_and_sum_to_it(weights):
    """By hand: with its deviation held, LayerNorm of a mean is the mean of what each token brings."""
    some, net = bag(tiles=7), network()
    with torch.no_grad():
        values, grid = torch.from_numpy(some.features.astype(np.float32))[None], torch.from_numpy(cells_of(some))[None]
        last = net.tokens(values, keep=torch.ones(1, 7, dtype=torch.bool), grid=grid)[-1][0, 1:]
        tokens = net.encoder.layer_norm(last).double()
    mean = tokens.mean(dim=0)
    brought = (tokens - tokens.mean(dim=1, keepdim=True)) / (mean.var(correction=0) + 1e-6).sqrt()
    brought = (brought * net.norm.weight.double() + net.norm.bias.double()) / 7
    vector = net.norm(mean.float()).double()
    torch.testing.assert_close(brought.sum(dim=0), vector, atol=1e-6, rtol=0)
    encoder = load_slide_encoder("longnet/tiny", weights=weights)
    came = encoder.encode(some.features, cells_of(some))
    wanted = (brought @ vector / (vector @ vector)).detach().numpy()
    np.testing.assert_allclose(came.shares, wanted[came.order], atol=1e-6)
    for readout, layers in (("mean", ()), ("layers", ()), ("mean", (1,))):
        encoder = load_slide_encoder("longnet/tiny", weights=weights, readout=readout, layers=layers)
        assert encoder.encode(some.features, cells_of(some)).shares.sum() == pytest.approx(1.0, abs=1e-5)
    assert load_slide_encoder("longnet/tiny", weights=weights, readout="cls").encode(some.features, cells_of(some)).shares is None


def test_equal_tiles_have_equal_shares():
    norm = torch.nn.LayerNorm(4)
    tokens = torch.tensor([[1.0, 2.0, 3.0, 7.0]]).repeat(5, 1)
    vector = norm(tokens[0])
    parts = contributions(tokens, tokens[0], vector, norm=norm)
    torch.testing.assert_close(parts, (vector.double() @ vector.double() / 5).expand(5), atol=1e-6, rtol=0)


def test_features_are_standardised_as_in_training(tmp_path, weights):
    some = bag()
    centre, scale = np.arange(6.0), np.arange(1.0, 7.0)
    tiles = replace(TILES, centre=tuple(centre), scale=tuple(scale))
    path = write_weights(tmp_path / "scaled.safetensors", network(), tiles)
    scaled, plain = load_slide_encoder("longnet/tiny", weights=path), load_slide_encoder("longnet/tiny", weights=weights)
    raw = some.features * scale + centre
    np.testing.assert_allclose(
        scaled.encode(raw, cells_of(some)).vector, plain.encode(some.features, cells_of(some)).vector, atol=1e-5
    )
    assert scaled.fingerprint != plain.fingerprint


def test_a_checkpoint_of_gigapaths_layout_keeps_its_numerics(tmp_path):
    config = replace(VARIANTS["tiny"], upstream_compatible=True, key_bias=True)
    torch.manual_seed(3)
    net = LongNet(config, dim_in=6).eval()
    path = tmp_path / "slide_encoder.pth"
    torch.save({"model": net.state_dict()}, path)
    encoder = load_slide_encoder("longnet/tiny", weights=path)
    assert encoder.module.config.upstream_compatible
    some = bag()
    values, grid = torch.from_numpy(some.features.astype(np.float32))[None], torch.from_numpy(cells_of(some))[None]
    with torch.no_grad():
        wanted = net.readouts(lay(values, grid, [(0, torch.arange(40))]), pool="mean")[0][0]
    np.testing.assert_allclose(encoder.encode(some.features, cells_of(some)).vector, wanted, atol=2e-6)
    for name in ("vit/gigapath", "gigapath"):  # TRIDENT writes the short one
        embed_bag(bag(source=TileSource(encoder=name, mpp=0.5)), encoder=encoder)
    with pytest.raises(
        ConfigError, match="trained on tiles of vit/gigapath, and the tiles in the bag of slide 's1' are of uni_v1"
    ):
        embed_bag(bag(source=TileSource(encoder="uni_v1", mpp=0.5)), encoder=encoder)
    said = []
    load_slide_encoder("longnet/tiny", weights=path, readout="cls", warn=said.append)
    assert "class token of these weights was not trained" in said[0]
    torch.save({"model": {**net.state_dict(), "more": torch.zeros(1)}}, path)
    with pytest.raises(ConfigError, match="unexpected: more"):
        load_slide_encoder("longnet/tiny", weights=path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (replace(TILES, fingerprint="a" * 64), "the same encoder with other weights, settings or precision"),
        (replace(TILES, fingerprint=None), r"are of colour/tiny \(without a fingerprint\)"),
        (
            TileSource(encoder="vit/tiny", fingerprint="b" * 64, mpp=0.5),
            r"colour/tiny \(fingerprint ffffffffffff\), and the tiles",
        ),
        (replace(TILES, mpp=1.0), "trained on tiles of 0.5 um/px, and the tiles in the bag of slide 's1' are of 1"),
    ],
)
def test_tiles_that_it_did_not_learn_on_are_refused_unless_meant(weights, source, message):
    encoder = load_slide_encoder("longnet/tiny", weights=weights)
    with pytest.raises(ConfigError, match=message):
        embed_bag(bag(source=source), encoder=encoder)
    assert len(embed_bag(bag(source=source), encoder=encoder, any_tiles=True)) == 40
    with pytest.raises(DataError, match="takes tiles of width 6, got 5"):
        embed_bag(bag(dim=5), encoder=encoder, any_tiles=True)


@pytest.mark.parametrize(
    ("lacks", "lacking"),
    [
        ({"fingerprint": None}, "NO FINGERPRINT"),
        ({"mpp": None}, "NO RESOLUTION"),
        ({"fingerprint": None, "mpp": None}, "NO FINGERPRINT AND NO RESOLUTION"),
        ({}, None),
    ],
)
def test_a_card_that_leaves_tiles_unchecked_says_so_loudly(tmp_path, capsys, lacks, lacking):
    path = write_weights(tmp_path / "own.safetensors", network(), replace(TILES, **lacks))
    load_slide_encoder("longnet/tiny", weights=path)
    said = capsys.readouterr().err
    assert said == "" if lacking is None else f"longnet/tiny: {lacking} IS KNOWN OF THE TILES IT LEARNT ON" in said
    if "fingerprint" in lacks:
        heard = []
        encoder = load_slide_encoder("longnet/tiny", weights=path, warn=heard.append)
        assert heard == [said]
        with pytest.raises(
            ConfigError, match="trained on tiles of colour/tiny, and the tiles in the bag of slide 's1' are of vit"
        ):
            embed_bag(bag(source=replace(TILES, encoder="vit/tiny")), encoder=encoder)


def test_weights_are_never_random(tmp_path, weights, monkeypatch):
    with pytest.raises(ConfigError, match="no such file of weights"):
        load_slide_encoder("longnet/tiny", weights=tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match="no such file of weights"):
        load_slide_encoder("longnet/tiny", weights=tmp_path / "none.pth")
    monkeypatch.setattr(builtin_weights, "FOLDER", tmp_path / "weights")
    with pytest.raises(ConfigError, match=r"no built-in weights for longnet/tiny \(built in: none\)"):
        load_slide_encoder("longnet/tiny")
    with pytest.raises(UnknownNameError, match="did you mean 'longnet'"):
        load_slide_encoder("longnett/tiny", weights=weights)
    with pytest.raises(ConfigError, match="learns within a study"):
        load_slide_encoder("agata", weights=weights)
    with pytest.raises(UnknownNameError, match="no readout named 'max'"):
        load_slide_encoder("longnet/tiny", weights=weights, readout="max")
    with pytest.raises(ConfigError, match=r"layers \[3\] do not exist; there are 0 \(the embedded input\) to 2"):
        load_slide_encoder("longnet/tiny", weights=weights, layers=(1, 3))


def test_builtin_weights_are_found_by_name_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_weights, "FOLDER", tmp_path)
    path = write_weights(tmp_path / "longnet-tiny.safetensors", network())
    assert load_slide_encoder("longnet/tiny").name == "longnet/tiny"
    with pytest.raises(ConfigError, match=r"no built-in weights for longnet/small \(built in: longnet/tiny\)"):
        load_slide_encoder("longnet/small")
    path.with_name("longnet-base.safetensors").write_bytes(path.read_bytes())
    path.with_name("longnet-base.json").write_bytes(path.with_suffix(".json").read_bytes())
    with pytest.raises(ConfigError, match="its card says longnet/tiny, wanted longnet/base"):
        load_slide_encoder("longnet/base")


def test_a_runs_weights_become_built_in_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin_weights, "FOLDER", tmp_path / "weights")
    run = write_weights(tmp_path / "run" / "encoder.safetensors", network())
    kept = builtin_weights.keep_as_builtin(run)
    assert kept == tmp_path / "weights" / "longnet-tiny.safetensors"
    assert load_slide_encoder("longnet/tiny").fingerprint == load_slide_encoder("longnet/tiny", weights=run).fingerprint
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"not the weights that longnet-tiny\.json speaks of"):
        load_slide_encoder("longnet/tiny")


def test_a_card_that_does_not_belong_is_refused(tmp_path, weights):
    with pytest.raises(ConfigError, match="these are weights of longnet/tiny, wanted longnet/small"):
        load_slide_encoder("longnet/small", weights=weights)
    card = card_path(weights)
    content = json.loads(card.read_text())
    for change, message in (
        ({"sha256": "0"}, "not the weights that own.json speaks of"),
        ({"schema": "else"}, "wanted a card of schema 'oncoweave.encoder' version 2, got 'else' 2"),
        ({"tiles": {"encoder": "x"}}, "not a usable card"),
        ({"settings": {"depht": 3}}, "do not fit the encoder longnet/tiny: .*depht"),
        (
            {"settings": {"depth": 3}},
            r'do not fit the encoder longnet/tiny: Missing key.*"encoder\.layers\.2[^ ]*" and \d+ more$',
        ),
        ({"settings": {"dim": 48}}, r"longnet/tiny: size mismatch for [^;\n]*; and \d+ more faults$"),
        ({"tiles": {**content["tiles"], "centre": [0.0], "scale": [1.0]}}, "standardises 1 features, and the network takes 6"),
        ({"tiles": {**content["tiles"], "centre": [0.0], "scale": [0.0]}}, "scales above 0"),
    ):
        card.write_text(json.dumps(sealed(content | change)))
        with pytest.raises(ConfigError, match=message):
            load_slide_encoder("longnet/tiny", weights=weights)
    card.unlink()
    with pytest.raises(ConfigError, match=r"no card own\.json beside these weights"):
        load_slide_encoder("longnet/tiny", weights=weights)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"segments": [8, 16, 32]}},  # fits the weights, and gives other numbers
        {"tiles": {"encoder": "colour/tiny", "fingerprint": None, "mpp": None, "centre": [], "scale": []}},
        {"tiles": {"encoder": "colour/tiny", "fingerprint": "f" * 64, "mpp": 0.5, "centre": [1.0] * 6, "scale": [2.0] * 6}},
        {"seal": "0"},
    ],
)
def test_a_card_changed_by_hand_is_refused(weights, change):
    card = card_path(weights)
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(
        ConfigError, match=r"own\.json: this card was changed since it was written; .*; copy weights and card again"
    ):
        load_slide_encoder("longnet/tiny", weights=weights)


def test_the_card_of_a_pretraining_run_is_read(tmp_path):
    path = write_weights(tmp_path / "encoder.safetensors", network())
    path.with_suffix(".json").unlink()
    source = {"encoder": "colour/tiny", "fingerprint": "f" * 64, "mpp": 0.5, "centre": [0.0] * 6, "scale": [2.0] * 6}
    run = {
        "schema": "oncoweave.pretraining",
        "version": 2,
        "recipe": "longnet_tiny_cpu",
        "encoder": "longnet/tiny",
        "plan": {"encoder_settings": {"segments": [8, 16, 32]}},
        "data": {"slides": 3, "tiles_of": source},
        "sha256": sha256(path),
    }
    (tmp_path / "card.json").write_text(json.dumps(sealed(run)))
    card = read_card(path)
    assert card.settings == {"segments": (8, 16, 32)}
    assert (card.data, card.recipe, card.tiles.scale) == ({"slides": 3}, "longnet_tiny_cpu", (2.0,) * 6)
    assert len(embed_bag(bag(), encoder=load_slide_encoder("longnet/tiny", weights=path))) == 40
    (tmp_path / "card.json").write_text(json.dumps(sealed(run | {"data": {}})))
    encoder = load_slide_encoder("longnet/tiny", weights=path)
    with pytest.raises(ConfigError, match="its card does not say which tiles it was trained on"):
        embed_bag(bag(), encoder=encoder)
    (tmp_path / "card.json").write_text(json.dumps(sealed(run) | {"plan": {"encoder_settings": {}}}))
    with pytest.raises(
        ConfigError, match=r"card\.json: this card was changed .*; remove it and give the command of the finished run"
    ):
        read_card(path)
    (tmp_path / "card.json").write_text(json.dumps(run | {"version": 1}))
    with pytest.raises(
        ConfigError, match=r"schema 'oncoweave\.pretraining' version 2, got 'oncoweave\.pretraining' 1; remove it"
    ):
        read_card(path)
    (tmp_path / "card.json").write_text(json.dumps(sealed(run)))
    write_weights(tmp_path / "encoder.safetensors", network(seed=1)).with_suffix(".json").unlink()
    with pytest.raises(ConfigError, match=r"not the weights that card\.json speaks of"):
        read_card(path)
