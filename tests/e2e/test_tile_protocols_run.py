"""A run of every tile-level protocol: tables, page and picture, the controls in them, and going on where it stopped."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.train.builtin_weights import builtin_weights
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_protocols import contenders, fine_tune, perturb
from oncoweave.train.tile_protocols.run import TileProtocolOptions, run_tile_protocols

PROTOCOLS = {"linear probe", "k-NN", "SimpleShot", "k-shot", "retrieval", "fine-tuning", "robustness", "out of distribution"}


def shard(path, count: int, *, seed: int, slides: int):
    """Tiles of two classes: coarse and fine stripes, each slide with its own tint."""
    rng = np.random.default_rng(seed)
    label, slide = np.arange(count) % 2, np.arange(count) * slides // count
    tint = rng.integers(120, 220, (slides, 3))[slide]
    stripes = np.where((np.arange(64) // np.where(label == 1, 16, 4)[:, None]) % 2, 1.0, 0.6)
    images = tint[:, None, None] * stripes[:, :, None, None] + rng.normal(0, 6, (count, 64, 64, 3))
    names = [f"{path.stem} {s}" for s in slide]
    write_tiles(path, np.clip(images, 0, 255).astype(np.uint8), labels=[("fine", "coarse")[c] for c in label], groups=names)
    return path


@pytest.fixture
def few_versions(monkeypatch):
    monkeypatch.setattr(perturb, "STAINS", perturb.STAINS[:2])
    monkeypatch.setattr(perturb, "SCANNERS", perturb.SCANNERS[:2])
    monkeypatch.setattr(contenders, "SIDE", 112)


def test_a_run_writes_every_protocol_beside_its_controls(tmp_path, few_versions, monkeypatch):
    train, test = shard(tmp_path / "a.h5", 24, seed=1, slides=6), shard(tmp_path / "b.h5", 16, seed=2, slides=4)
    weights, _ = builtin_weights("vit/nano")
    encoders = {"built in": load_tile_encoder("vit/nano", weights=weights)}
    options = TileProtocolOptions(title="Stripes", episodes=20, perturbed_tiles=12, tuning_epochs=1)
    made = run_tile_protocols(encoders, train, test, tmp_path / "out", options=options)

    scores = pd.read_parquet(made.scores)
    assert set(scores["protocol"]) == PROTOCOLS
    names = ["built in", "vit/nano, random weights", "colour statistics"]
    by_encoder = scores.groupby("encoder")["protocol"].agg(set)
    assert by_encoder["built in"] == by_encoder[names[1]] == PROTOCOLS
    assert by_encoder["colour statistics"] == PROTOCOLS - {"fine-tuning"}
    sure = scores[scores["low"].notna()]  # all right is the same in every sample and has no interval
    assert (sure["low"] <= sure["value"] + 1e-9).all()
    assert (sure["value"] <= sure["high"] + 1e-9).all()
    near = pd.read_parquet(made.sides)
    assert near["encoder"].tolist() == names
    assert (near[["tested", "trained"]] == [16, 24]).all(axis=None)
    assert set(scores["n"]) == {16, 12}
    assert set(scores.loc[scores["protocol"] != "k-shot", "resampled"]) == {"slides"}
    assert set(scores.loc[scores["n"] == 16, "groups"]) == {4}
    assert scores.loc[scores["protocol"] == "k-shot", "setting"].unique().tolist() == ["k=1", "k=2", "k=4", "k=8"]

    differences = pd.read_parquet(made.differences)
    assert list(differences["control"].unique()) == names[1:]
    linear = scores[scores["protocol"] == "linear probe"].set_index("encoder")["value"]
    found = differences[differences["protocol"] == "linear probe"].set_index("control")["difference"]
    assert found["colour statistics"] == pytest.approx(linear["built in"] - linear["colour statistics"])

    versions = pd.read_parquet(made.versions)
    assert len(versions) == 3 * 2 * 2
    as_is = versions[(versions["stain"] == "as it is") & (versions["scanner"] == "as it is")]
    np.testing.assert_allclose(as_is["cosine"], 1.0)

    page = made.page.read_text()
    assert "Left out: k-shot for k = 16, as a class has 12 training tiles." in page
    assert "16 test tiles of 4 slides or patients" in page
    assert "Both sides: " in page
    assert all(f"| {name} |" in page for name in names)
    assert made.figure.read_text().count("<circle") > 2 * 15

    monkeypatch.setattr(contenders, "embed_tiles", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr(fine_tune, "tuned_classes", lambda *_, **__: pytest.fail("tuned again"))
    again = run_tile_protocols(encoders, train, test, tmp_path / "out", options=options)
    pd.testing.assert_frame_equal(pd.read_parquet(again.scores), scores)


def test_too_few_perturbed_tiles_are_refused_before_anything_is_embedded():
    with pytest.raises(ConfigError, match=r"wanted 0, or more than 10 .* got 10"):
        TileProtocolOptions(perturbed_tiles=10)


def test_what_was_not_asked_for_is_named(tmp_path, few_versions):
    train, test = shard(tmp_path / "a.h5", 40, seed=1, slides=40), shard(tmp_path / "b.h5", 16, seed=2, slides=16)
    options = TileProtocolOptions(episodes=20, perturbed_tiles=0, tuning_epochs=0)
    made = run_tile_protocols({"colours": load_tile_encoder("colour/tiny")}, train, test, tmp_path / "out", options=options)
    scores = pd.read_parquet(made.scores)
    assert set(scores["protocol"]) == PROTOCOLS - {"fine-tuning", "robustness", "out of distribution"}
    assert set(scores["encoder"]) == {"colours", "colour statistics"}
    assert set(scores.loc[scores["protocol"] != "k-shot", "resampled"]) == {"tiles"}
    assert made.versions is None
    page = made.page.read_text()
    assert "Left out, as asked: robustness and out-of-distribution drop." in page
    assert "Left out, as asked: fine-tuning." in page
    assert "taken as independent; those of a slide are not, so the intervals are too narrow" in page


def test_patients_that_paths_tell_are_what_is_drawn(tmp_path, few_versions):
    train, test = shard(tmp_path / "a.h5", 40, seed=1, slides=40), shard(tmp_path / "b.h5", 16, seed=2, slides=16)
    colours = {"colours": load_tile_encoder("colour/tiny")}
    options = TileProtocolOptions(episodes=20, perturbed_tiles=0, tuning_epochs=0, patient=r"^[ab] \d")
    made = run_tile_protocols(colours, train, test, tmp_path / "out", options=options)
    scores = pd.read_parquet(made.scores)
    assert set(scores.loc[scores["protocol"] != "k-shot", "resampled"]) == {"slides"}
    assert set(scores["groups"]) == {10}
    assert "40 training tiles of 10 slides or patients, 16 test tiles of 10 slides or patients" in made.page.read_text()
    mistaken = TileProtocolOptions(title="Stripes", perturbed_tiles=0, tuning_epochs=0, patient=r"^a \d")
    with pytest.raises(DataError, match=r"'Stripes': no patient \(\^a \\d\) in the path 'b 0' of a test tile"):
        run_tile_protocols(colours, train, test, tmp_path / "out", options=mistaken)
