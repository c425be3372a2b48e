"""Fine-tuning, and what is compared and kept in a run of the tile-level protocols."""

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.train.tile_encoder import TileEncoder, fingerprint, load_tile_encoder, random_twin
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_protocols import contenders as module
from oncoweave.train.tile_protocols import fine_tune
from oncoweave.train.tile_protocols.contenders import contenders, kept, spread_over_classes
from oncoweave.train.tile_protocols.embedded import Embedded
from oncoweave.train.tile_protocols.linear_probe import fit_linear
from oncoweave.train.tile_protocols.run import run_tile_protocols

SIDE = 4


class Corner(nn.Module):
    """Sees a pixel that says nothing; weights of those that do are zero until they are tuned."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIDE * SIDE, 2, bias=False)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[0, 0] = 1.0
            self.linear.weight[1, 1] = 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1))


def encoder() -> TileEncoder:
    network = Corner()
    return TileEncoder(name="corner", module=network, dim=2, fingerprint=fingerprint([], network), device=torch.device("cpu"))


def labelled(rng, count: int, encoder: TileEncoder, *, classes: int = 2) -> tuple[Embedded, torch.Tensor]:
    """Tiles whose lower half is as bright as their class says, and whose first pixels are noise."""
    label = np.arange(count) % classes
    images = rng.integers(0, 256, (count, 3, SIDE, SIDE))
    images[:, :, 2:] = (40 + 150 * label / (classes - 1))[:, None, None, None] + rng.integers(0, 20, (count, 3, 2, SIDE))
    tiles = torch.from_numpy(images.astype(np.uint8))
    features = encoder.encode(tiles).double().numpy()
    return Embedded(features=features, label=label + 3, group=np.arange(count)), tiles


@pytest.mark.parametrize("classes", [2, 3])
def test_tuning_learns_what_the_frozen_encoder_does_not_see(rng, monkeypatch, classes):
    monkeypatch.setattr(fine_tune, "_RATE", 0.05)
    made = encoder()
    before = made.module.linear.weight.detach().clone()
    train, test = labelled(rng, 60, made, classes=classes), labelled(rng, 30, made, classes=classes)
    found = fine_tune.evaluate(made, train, test, rng=np.random.default_rng(0), epochs=8, cost=0.1)
    frozen, tuned, gain = found.scores
    assert frozen.value < 0.7
    assert tuned.value > 0.95
    assert gain.value == pytest.approx(tuned.value - frozen.value)
    assert torch.equal(made.module.linear.weight, before)  # a copy is tuned


@pytest.mark.parametrize("classes", [2, 3])
def test_tuning_starts_as_the_linear_probe(rng, monkeypatch, classes):
    """With a rate of 0, the probe fitted on what is not held out, though the objective weights classes."""
    monkeypatch.setattr(fine_tune, "_RATE", 0.0)
    made = encoder()
    (known, images), test = labelled(rng, 61, made, classes=classes), labelled(rng, 40, made, classes=classes)
    uneven = np.flatnonzero((known.label > 3) | (np.arange(61) < 20))
    train = known.take(uneven), images[torch.from_numpy(uneven)]
    predicted = fine_tune.tuned_classes(made, train, test, seed=1, epochs=1, cost=0.3)
    fit, _ = fine_tune.inner_split(train[0], seed=1)
    wanted = fit_linear(train[0].features[fit], train[0].label[fit], cost=0.3).predict(test[0].features)
    np.testing.assert_array_equal(predicted, wanted)


def test_whole_slides_are_held_out(rng):
    label = np.tile([0, 1], 30)
    train = Embedded(features=rng.normal(size=(60, 2)), label=label, group=np.arange(60) // 4)
    fit, held = fine_tune.inner_split(train, seed=0)
    assert sorted([*fit, *held]) == list(range(60))
    assert not set(train.group[fit]) & set(train.group[held])
    # of one slide a class none can be held out whole
    alone = Embedded(features=rng.normal(size=(60, 2)), label=label, group=label)
    fit, held = fine_tune.inner_split(alone, seed=0)
    assert set(label[fit]) == set(label[held]) == {0, 1}


def test_a_single_tile_of_a_class_cannot_be_held_out(rng):
    made = encoder()
    (known, images), test = labelled(rng, 20, made), labelled(rng, 10, made)
    rows = np.flatnonzero((known.label == 3) | (np.arange(20) == 1))
    train = known.take(rows), images[torch.from_numpy(rows)]
    with pytest.raises(DataError, match=r"two training tiles or more of every class, one to stop by, got 1 of class 4"):
        fine_tune.evaluate(made, train, test, rng=np.random.default_rng(0), cost=0.1)


def test_every_encoder_has_its_random_twin_and_colour_beside_it(tmp_path):
    learnt = load_tile_encoder("vit/nano", warn=lambda _: None)
    with torch.no_grad():
        learnt.module.norm.bias.fill_(1.0)
    learnt = TileEncoder(
        name=learnt.name, module=learnt.module, dim=learnt.dim, fingerprint="other", device=learnt.device, card=learnt.card
    )
    found = contenders({"mine": learnt})
    assert [(c.name, c.role, c.twin) for c in found] == [
        ("mine", "encoder", "vit/nano, random weights"),
        ("vit/nano, random weights", "random", ""),
        ("colour statistics", "colour", ""),
    ]
    twin = random_twin(learnt)
    given = contenders({"mine": learnt, "random": twin, "colours": load_tile_encoder("colour")})
    assert [(c.name, c.role, c.twin) for c in given] == [
        ("mine", "encoder", "random"), ("random", "random", ""), ("colours", "colour", "")
    ]  # fmt: skip
    assert twin.fingerprint == load_tile_encoder("vit/nano", warn=lambda _: None).fingerprint
    with pytest.raises(ConfigError, match="encoders 'one' and 'two' are the same; leave one out"):
        contenders({"one": learnt, "two": learnt})
    with pytest.raises(ConfigError, match="at least one encoder, got none"):
        contenders({})


def test_what_is_kept_is_not_made_again_unless_it_is_damaged(tmp_path):
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3.0)

    path = tmp_path / "kept.npz"
    for _ in range(2):
        np.testing.assert_array_equal(kept(path, make), [0, 1, 2])
    assert len(made) == 1
    path.write_bytes(b"no archive")
    np.testing.assert_array_equal(kept(path, make), [0, 1, 2])
    assert len(made) == 2


def test_kept_embeddings_are_found_by_encoder_and_tiles(tmp_path, rng, monkeypatch):
    tiles = torch.from_numpy(rng.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8))
    (colour,) = contenders({"c": load_tile_encoder("colour/tiny")})[:1]
    first = module.embed(colour, tiles, tmp_path)
    monkeypatch.setattr(module, "embed_tiles", lambda *_: pytest.fail("embedded again"))
    np.testing.assert_array_equal(module.embed(colour, tiles, tmp_path), first)
    with pytest.raises(pytest.fail.Exception, match="embedded again"):
        module.embed(colour, tiles.flip(0), tmp_path)


def test_tiles_are_drawn_evenly_from_the_classes(rng):
    label = np.repeat([0, 1, 2], [30, 10, 2])
    chosen = spread_over_classes(label, 12, rng)
    assert np.bincount(label[chosen]).tolist() == [5, 5, 2]
    assert (np.diff(chosen) > 0).all()
    assert len(spread_over_classes(label, 100, rng)) == 42
    assert len(spread_over_classes(label, 0, rng)) == 0


def test_a_slide_on_both_sides_is_refused(tmp_path, rng):
    images = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    for side, slides in (("train", ["a", "a", "b", "b"]), ("test", ["b", "b", "c", "c"])):
        write_tiles(tmp_path / f"{side}.h5", np.repeat(images, 2, axis=0)[:8], labels=["x", "y"] * 4, groups=slides * 2)
    with pytest.raises(DataError, match=r"1 slide\(s\) or patient\(s\) have tiles both in .*train\.h5 and in .*test\.h5"):
        run_tile_protocols({"c": load_tile_encoder("colour")}, tmp_path / "train.h5", tmp_path / "test.h5", tmp_path / "out")
