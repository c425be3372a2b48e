"""From slides to one vector each on the command line, into a cohort, through a study, and onto a picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from oncoweave.cli.main import _add_verbs, app
from oncoweave.core.encoder_card import TileSource
from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError
from oncoweave.data.bags import read_bag, write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, verify, write_cohort
from oncoweave.train.slide_embedding import embed_bag
from oncoweave.train.slide_encoder import load_slide_encoder
from oncoweave.train.slide_vectors import embed_bags, lay_vectors
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study
from oncoweave.train.tile_encoder import load_tile_encoder
from slide_pair import TILES, bag, network, write_weights


@pytest.fixture
def cli():
    if not app.registered_groups:
        _add_verbs()
    runner = CliRunner()
    return lambda *args: runner.invoke(app, ["slides", *map(str, args)])


@pytest.fixture
def weights(tmp_path) -> Path:
    tiles = load_tile_encoder("colour/tiny")
    source = TileSource(encoder=tiles.name, fingerprint=tiles.fingerprint, mpp=0.5)
    return write_weights(tmp_path / "weights" / "own.safetensors", network(tiles.dim), source)


def test_vectors_are_made_after_the_bags_and_kept(write_slide, tmp_path, cli, weights):
    write_slide("in/a.tiff")
    write_slide("in/b.tiff", seed=1)
    (tmp_path / "in" / "broken.svs").write_bytes(b"nothing")
    command = ("embed", tmp_path / "in", "--out", tmp_path / "out", "--tile", 128)
    command = (*command, "--slide-encoder", "longnet/tiny", "--slide-weights", weights)
    result = cli(*command)
    assert result.exit_code == 0, result.output
    assert "12 tiles" not in result.output
    assert "24 tiles of colour/tiny" in result.output  # the tile encoder that the slide encoder learnt with
    assert (
        "3 slide vectors of longnet/tiny (32 wide, readout mean): 2 made, 0 kept from an earlier run, 1 failed" in result.output
    )
    table = pd.read_parquet(tmp_path / "out" / "slide_embeddings.parquet")
    assert table["slide_id"].tolist() == ["a", "b"]
    assert table.shape == (2, 3 + 32)
    assert "2 kept from an earlier run, 1 failed" in cli(*command).output
    result = cli(*command, "--readout", "layers")
    assert "(96 wide, readout layers): 2 made" in result.output
    assert "taken out: 2 vector(s) of another slide encoder, its weights or readout" in result.output
    result = cli(*command, "--encoder", "colour/plain")
    assert result.exit_code == 1
    assert "trained on tiles of colour/tiny" in str(result.exception)


def test_a_cohort_gets_a_modality_of_vectors(write_slide, tmp_path, cli, weights):
    for name in ("s1", "s2"):
        write_slide(f"slides/{name}.tiff")
    rows = pd.DataFrame({"patient_id": ["p1", "p2"], "sample_id": ["x", "y"], "slide_id": ["s1", "s2"]})
    rows["slide_path"] = [str(tmp_path / "slides" / f"{name}.tiff") for name in rows["slide_id"]]
    patients = pd.DataFrame({"dead": [0, 1]}, index=pd.Index(["p1", "p2"], name="patient_id"))
    endpoint = Endpoint(name="dead", kind="binary", columns=("dead",))
    spec = ModalitySpec(name="he", kind="slide")
    cohort = Cohort(name="c", patients=patients, tables={"he": rows}, modalities={"he": spec}, endpoints={"dead": endpoint})
    write_cohort(cohort, tmp_path / "cohort")
    result = cli("embed", tmp_path / "cohort", "--tile", 128, "--slide-encoder", "longnet/tiny", "--slide-weights", weights)
    assert result.exit_code == 0, result.output
    assert "modality he_embedding holds the vectors" in result.output
    filled = read_cohort(tmp_path / "cohort")
    assert filled.tables["he_embedding"]["sample_id"].tolist() == ["s1", "s2"]
    assert filled.availability().to_numpy().all()
    assert (tmp_path / "cohort" / "slides-he.json").is_file()
    assert verify(tmp_path / "cohort") == []


def test_a_study_learns_from_the_vectors(tmp_path):
    """Half of the patients have tiles that are shifted; the vector of an untrained encoder shows it and a study finds it."""
    encoder = load_slide_encoder("longnet/tiny", weights=write_weights(tmp_path / "own.safetensors", network(), TILES))
    names = [f"s{i:02d}" for i in range(24)]
    ill = np.arange(24) % 2
    for number, name in enumerate(names):
        write_bag(tmp_path / "out" / "bags" / f"{name}.h5", bag(name, tiles=20, seed=number, shift=1.0 * ill[number]))
    patients = pd.DataFrame({"ill": ill}, index=pd.Index([f"p{i}" for i in range(24)], name="patient_id"))
    rows = pd.DataFrame({"patient_id": patients.index, "sample_id": names, "slide_id": names})
    cohort = Cohort(
        name="c",
        patients=patients,
        tables={"he": rows},
        modalities={"he": ModalitySpec(name="he", kind="slide")},
        endpoints={"ill": Endpoint(name="ill", kind="binary", columns=("ill",))},
    )
    cohort = read_cohort(write_cohort(cohort, tmp_path / "cohort"))
    lay_vectors(cohort, "he", embed_bags(names, tmp_path / "out", encoder=encoder))
    study = Study(
        name="s",
        cohort=str(tmp_path / "cohort"),
        endpoint="ill",
        main="early",
        modalities=("he_embedding",),
        models=(ModelSpec(name="early", fusion="concat"),),
        protocol=Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False),
    )
    run = run_study(study, tmp_path / "run")
    metrics = pd.read_parquet(run / "metrics.parquet").query("metric == 'auroc'").set_index("model")["value"]
    assert metrics["only_he_embedding"] > 0.9


def test_pictures_of_a_slide(write_slide, tmp_path, cli, weights):
    path = write_slide("in/a.tiff")
    made = cli("embed", path, "--out", tmp_path / "out", "--tile", 128, "--encoder", "colour/tiny")
    assert made.exit_code == 0, made.output
    command = ("heatmap", path, "--bags", tmp_path / "out", "--out", tmp_path / "maps", "--slide-weights", weights)
    for show in ("share", "context", "tiles"):
        result = cli(*command, "--show", show)
        assert result.exit_code == 0, result.output
        with Image.open(tmp_path / "maps" / f"a-{show}.png") as picture:
            assert picture.size[0] > 1024  # slide and map
    kept = read_bag(tmp_path / "out" / "bags" / "a.h5")
    values = pd.DataFrame({"slide_id": "a", "x": kept.coords[:, 0], "y": kept.coords[:, 1], "risk": np.arange(12.0)})
    values.iloc[1:].to_csv(tmp_path / "values.csv", index=False)
    result = cli(*command, "--show", "values", "--values", tmp_path / "values.csv", "--column", "risk")
    assert result.exit_code == 0, result.output
    for change, message in (
        (values.assign(x=values["x"] + 1), "12 of 12 values where the bag has no tile, first at (257, 128)"),
        (pd.concat([values, values.iloc[:1]]), "two values for the tile at (256, 128)"),
        (values.assign(slide_id="b"), "no row of it, but of 1 other slides"),
    ):
        change.to_parquet(tmp_path / "values.parquet")
        result = cli(*command, "--show", "values", "--values", tmp_path / "values.parquet", "--column", "risk")
        assert result.exit_code == 1
        assert message in result.output
    result = cli(*command, "--show", "values", "--values", tmp_path / "values.csv")
    assert "it lacks value; it has ['slide_id', 'x', 'y', 'risk']" in str(result.exception)
    for options, message in (
        (("--show", "share", "--readout", "cls"), "the class token is no mean of tiles"),
        (("--show", "shares"), "no picture of tiles named 'shares'; did you mean 'share'?"),
    ):
        result = cli(*command, *options)
        assert result.exit_code != 0
        assert message in result.output + str(result.exception)
    other = write_slide("other/a.tiff", size=(512, 512), boxes=((128, 128, 256, 256),))
    result = cli("heatmap", other, "--bags", tmp_path / "out", "--out", tmp_path / "maps", "--show", "tiles")
    assert "a.tiff has 512 x 512 px, and the bag was made of a slide of 1024 x 768 px" in result.output


def test_what_a_pretraining_run_leaves_is_ready_to_use(tmp_path):
    from oncoweave.recipes.longnet_tiny_cpu import plan
    from oncoweave.train.pretrain import pretrain

    for number in range(3):
        write_bag(tmp_path / "bags" / f"s{number}.h5", bag(f"s{number}", seed=number, shift=5.0))
    small = {"dim": 16, "depth": 1, "segments": (16,), "dilations": (1,)}
    short = replace(plan(steps=2), encoder_settings=small, batch=2, watch_every=0)
    run = pretrain(short, tmp_path / "run", data=[tmp_path / "bags"])
    encoder = load_slide_encoder("longnet/tiny", weights=run.weights)
    assert (encoder.dim, encoder.module.config.depth) == (16, 1)
    np.testing.assert_allclose(encoder.card.tiles.centre, 5.0, atol=0.5)
    assert len(embed_bag(bag(shift=5.0), encoder=encoder)) == 40
    with pytest.raises(ConfigError, match="the same encoder with other weights"):
        embed_bag(bag(source=replace(TILES, fingerprint="a" * 64)), encoder=encoder)
