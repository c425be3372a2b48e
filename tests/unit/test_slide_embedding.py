import re
from dataclasses import fields, replace

import numpy as np
import pytest

from oncoweave import SlideEmbedding, embed, embed_bag, load_slide_encoder, read_slide_embedding, write_slide_embedding
from oncoweave.core.encoder_card import TileSource
from oncoweave.core.errors import ConfigError, DataError, SlideError
from oncoweave.data.bags import read_bag, write_bag
from oncoweave.train import builtin_weights
from oncoweave.train.slide_embedding import Work, load_trained_tile_encoder, tile_side
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.wsi.files import SlideFile
from oncoweave.wsi.tiling import TileRecipe
from slide_pair import bag, network, write_weights


@pytest.fixture
def encoder(tmp_path):
    return load_slide_encoder("longnet/tiny", weights=write_weights(tmp_path / "own.safetensors", network()))


def shuffled(some, rng):
    order = rng.permutation(len(some))
    return replace(some, features=some.features[order], coords=some.coords[order], tissue_fraction=some.tissue_fraction[order])


def assert_equal(a: SlideEmbedding, b: SlideEmbedding) -> None:
    for field in fields(SlideEmbedding):
        came, wanted = getattr(a, field.name), getattr(b, field.name)
        if isinstance(wanted, np.ndarray):
            assert came.dtype == wanted.dtype
            np.testing.assert_array_equal(came, wanted)
        else:
            assert came == wanted, field.name


def test_the_order_of_tiles_does_not_change_a_bit(encoder, rng):
    some = bag()
    assert_equal(embed_bag(shuffled(some, rng), encoder=encoder), embed_bag(some, encoder=encoder))


def test_tiles_come_row_by_row_with_their_own_corners(encoder):
    some = bag()
    found = embed_bag(some, encoder=encoder)
    assert [tuple(c) for c in found.coords[:, ::-1]] == sorted(tuple(c) for c in some.coords[:, ::-1])
    alone = next(i for i in range(40) if (some.coords[i] == found.coords[7]).all())
    changed = replace(some, features=some.features.copy())
    changed.features[alone] += 3
    moved = np.abs(embed_bag(changed, encoder=encoder).tokens - found.tokens).max(axis=1)
    assert moved.argmax() == 7  # the tile whose features changed, changed most


def test_where_tiles_lie_matters_and_where_the_slide_lies_on_its_scanner_does_not_scale_it(encoder):
    some = bag()
    mirrored = replace(some, coords=np.stack([9 * 512 - some.coords[:, 0], some.coords[:, 1]], axis=1))
    first = embed_bag(some, encoder=encoder).vector
    assert np.abs(embed_bag(mirrored, encoder=encoder).vector - first).max() > 1e-3
    finer = replace(some, coords=2 * some.coords, attrs=replace(some.attrs, patch_size_level0=1024.0, level0_mpp=0.125))
    np.testing.assert_array_equal(embed_bag(finer, encoder=encoder).vector, first)


def test_tiles_of_a_fine_grid_beyond_the_positions_are_refused_with_the_way_out(encoder):
    some = bag()
    with pytest.raises(DataError, match=r"bag of slide 's1': tile \d+ lies in cell .* divide level-0 pixels by the tile's pitch"):
        embed_bag(replace(some, coords=some.coords * 300), encoder=encoder)


def test_an_embedding_survives_its_file(encoder, tmp_path):
    for readout in ("mean", "cls"):
        found = embed_bag(bag(), encoder=replace(encoder, readout=readout), dropped={"pen": 3})
        path = tmp_path / "a" / f"{readout}.safetensors"
        write_slide_embedding(path, found)
        assert_equal(read_slide_embedding(path), found)
        first = path.read_bytes()
        write_slide_embedding(path, found)
        assert path.read_bytes() == first
    assert not list(tmp_path.rglob("*.partial"))
    path.write_bytes(first[:200])
    with pytest.raises(DataError, match="not readable as an embedding"):
        read_slide_embedding(path)
    with pytest.raises(DataError, match="no such embedding"):
        read_slide_embedding(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="holds no embedding of a slide of schema"):
        read_slide_embedding(tmp_path / "own.safetensors")
    with pytest.raises(DataError, match="vector of slide 's1' hold values that are not finite"):
        write_slide_embedding(path, replace(found, vector=found.vector * np.float32("nan")))
    with pytest.raises(DataError, match="32 values and 31 names"):
        replace(found, columns=found.columns[1:])


def test_what_decides_the_vector_decides_the_fingerprint(encoder, tmp_path):
    some = bag()
    other = load_slide_encoder("longnet/tiny", weights=write_weights(tmp_path / "b.safetensors", network(seed=1)))
    marks = [
        embed_bag(b, encoder=e).fingerprint
        for b, e in (
            (some, encoder),
            (bag(seed=1), encoder),
            (some, other),
            (some, replace(encoder, readout="cls")),
            (some, replace(encoder, layers=(1,))),
            (replace(some, attrs=replace(some.attrs, fingerprint=None)), encoder),
            (replace(bag(seed=1), attrs=replace(some.attrs, fingerprint=None)), encoder),
        )
    ]
    assert len(set(marks)) == len(marks)


def test_the_side_of_a_tile_is_exact_where_it_can_be():
    some = bag()
    assert tile_side(replace(some, attrs=replace(some.attrs, level0_mpp=0.265))) == pytest.approx(256 * 0.5 / 0.265)
    assert tile_side(replace(some, attrs=replace(some.attrs, level0_mpp=None))) == 512.0
    bare = replace(some.attrs, level0_mpp=None, patch_size_level0=None)
    assert tile_side(replace(some, attrs=bare)) == 512.0


@pytest.fixture
def colour(tmp_path):
    """A slide encoder that learnt on tiles of ``colour/tiny``."""
    tiles = load_tile_encoder("colour/tiny")
    source = TileSource(encoder=tiles.name, fingerprint=tiles.fingerprint, mpp=0.5)
    return write_weights(tmp_path / "colour.safetensors", network(tiles.dim), source)


def test_one_call_from_slide_to_embedding(write_slide, tmp_path, colour):
    recipe = TileRecipe(tile=128)
    call = {"tile_encoder": "colour/tiny", "slide_weights": colour, "recipe": recipe}
    found = embed(write_slide(), **call, work=Work(bags=tmp_path / "kept"))
    assert (found.slide_id, len(found), found.tile_side) == ("slide", 12, 128.0)
    assert found.dropped == {"pen": 0, "blood": 0, "fold": 0, "blur": 0}
    kept = read_bag(tmp_path / "kept" / "bags" / "slide.h5")
    again = embed_bag(kept, encoder=load_slide_encoder("longnet/tiny", weights=colour))
    assert_equal(replace(again, dropped=found.dropped), found)
    assert_equal(embed(str(write_slide()), **call), found)
    with pytest.raises(SlideError, match="no usable resolution"):
        embed(write_slide("b.tiff", mpp=None), **call)
    assert len(embed(write_slide("b.tiff", mpp=None), **call, slide_mpp=0.5)) == 12


@pytest.mark.parametrize("mpp", [0, -0.5, float("nan"), 1e9])
def test_a_resolution_that_nobody_can_mean_is_refused_before_the_slide_is_opened(tmp_path, mpp):
    path = tmp_path / "no slide"
    wanted = rf"\(slide_mpp\): wanted micrometres a pixel between 0\.02 and 10.*, got {re.escape(repr(mpp))}$"
    with pytest.raises(ConfigError, match=wanted):
        embed(path, slide_mpp=mpp)
    with pytest.raises(ConfigError, match=wanted):
        embed(SlideFile(slide_id="a", path=path, mpp=mpp))


def test_a_pair_that_does_not_fit_is_refused_before_the_slide_is_opened(tmp_path, colour, monkeypatch):
    with pytest.raises(ConfigError, match=r"trained on tiles of colour/tiny .* and the tiles to be made are of colour/plain"):
        embed(tmp_path / "no slide", tile_encoder="colour/plain", slide_weights=colour)
    with pytest.raises(ConfigError, match=r"trained on tiles of 0\.5 um/px, and the tiles to be made are of 1"):
        embed(tmp_path / "no slide", tile_encoder="colour/tiny", slide_weights=colour, recipe=TileRecipe(mpp=1.0))
    monkeypatch.setattr(builtin_weights, "FOLDER", tmp_path / "weights")
    with pytest.raises(ConfigError, match="no built-in weights for vit/tiny"):
        load_trained_tile_encoder("vit")
    with pytest.raises(ConfigError, match="no such file of weights"):
        embed(tmp_path / "no slide", tile_weights=tmp_path / "none.safetensors", slide_weights=colour)


def test_bags_of_others_are_embedded_when_meant(encoder, tmp_path):
    """A bag that states no encoder and no tile side: its tiles are known by their steps."""
    some = bag()
    bare = replace(
        some.attrs,
        encoder=None,
        encoder_fingerprint=None,
        mpp=None,
        level0_mpp=None,
        patch_size_level0=None,
        patch_size=None,
        overlap=None,
        fingerprint=None,
    )
    write_bag(tmp_path / "s1.h5", replace(some, attrs=bare))
    with pytest.raises(ConfigError, match=r"are of unknown \(without a fingerprint\)"):
        embed_bag(tmp_path / "s1.h5", encoder=encoder)
    found = embed_bag(tmp_path / "s1.h5", encoder=encoder, any_tiles=True)
    np.testing.assert_array_equal(found.vector, embed_bag(bag(), encoder=encoder).vector)


def test_the_weights_that_come_with_the_package_embed_a_slide_without_any_file(write_slide):
    found = embed(write_slide(mpp=0.5))
    assert (found.tile_encoder, found.slide_encoder, found.tile_side) == ("vit/nano", "longnet/tiny", 224.0)
    assert len(found.vector) == 48
    assert np.isfinite(found.vector).all()
    np.testing.assert_allclose(found.shares.sum(), 1.0, rtol=1e-5)
    plain = load_slide_encoder("longnet/tiny")
    assert plain.card.tiles.fingerprint == found.tile_fingerprint


def test_an_encoder_that_comes_with_weights_never_has_random_ones_at_the_command_line():
    from oncoweave.cli.parts.slide_vectors import load_pair

    alone, _ = load_pair(("vit/nano", None, "fp32"), (None, "builtin", "mean"), device="cpu")
    beside, _ = load_pair((None, None, "fp32"), ("longnet/tiny", "builtin", "mean"), device="cpu")
    assert alone.fingerprint == beside.fingerprint == load_trained_tile_encoder("vit/nano").fingerprint
