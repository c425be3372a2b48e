"""A published tile encoder, cut to one block, from a torch checkpoint to bags."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from oncoweave.cli.main import _add_verbs, app
from oncoweave.data.bags import read_bag
from oncoweave.encoders import vit


@pytest.fixture
def embed(write_slide, tmp_path, monkeypatch):
    if not app.registered_groups:
        _add_verbs()
    config = replace(vit.VARIANTS["gigapath-flash"], depth=1)
    monkeypatch.setitem(vit.VARIANTS, "gigapath-flash", config)
    network = vit.build(config, generator=torch.Generator().manual_seed(0))
    state = {f"module.{key}": value.half() for key, value in network.state_dict().items()}
    torch.save({"model": state, "epoch": 7}, tmp_path / "tile.pth")
    slide = write_slide(boxes=((0, 0, 1024, 768),))

    def run(*arguments, out="out"):
        given = ["slides", "embed", str(slide), "--out", str(tmp_path / out), "--encoder", "vit/gigapath-flash", "--no-previews"]
        done = CliRunner().invoke(app, [*given, *arguments])
        return done, list((tmp_path / out / "bags").glob("*.h5"))

    return run, str(tmp_path / "tile.pth")


def test_tiles_are_cut_as_the_card_says_and_the_bag_tells_the_precision_apart(embed):
    run, weights = embed
    done, bags = run("--weights", weights)
    assert done.exit_code == 0, done.output
    bag = read_bag(bags[0])
    assert (bag.attrs.patch_size, bag.attrs.mpp, bag.features.shape[1]) == (256, 0.5, 384)
    assert "TRAINED ON OTHER TILES" not in done.output
    rounded = read_bag(run("--weights", weights, "--precision", "bf16", out="bf16")[1][0])
    assert rounded.attrs.encoder_fingerprint != bag.attrs.encoder_fingerprint
    again = read_bag(run("--weights", weights, out="again")[1][0])
    assert again.attrs.encoder_fingerprint == bag.attrs.encoder_fingerprint
    assert torch.equal(torch.from_numpy(again.features), torch.from_numpy(bag.features))


def test_other_tiles_are_warned_of_and_done(embed):
    run, weights = embed
    done, bags = run("--weights", weights, "--tile", "128")
    assert "vit/gigapath-flash WAS TRAINED ON OTHER TILES: 256 px at 0.5 um/px" in done.output
    assert read_bag(bags[0]).attrs.patch_size == 128


@pytest.mark.parametrize("arguments", [(), ("--weights", "missing.bin")])
def test_without_its_weights_nothing_is_embedded(embed, arguments):
    done, bags = embed[0](*arguments)
    assert done.exit_code == 1
    assert "random ones" in str(done.exception)
    assert bags == []
