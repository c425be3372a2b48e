import numpy as np
import pytest

from oncoweave.core.errors import SlideError
from oncoweave.wsi.stain import Macenko, Reinhard, fit_stain, normalise

STAINS = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])


def stained_tile(rng, vectors=STAINS, strength=1.0, size=64):
    """Pixels of two stains in gamma-distributed amounts, under a light of 240."""
    vectors = vectors / np.linalg.norm(vectors, axis=0)
    amounts = rng.gamma(2.0, 0.35 * strength, (2, size * size))
    amounts[0, rng.random(size * size) < 0.3] = 0.02
    amounts[1, rng.random(size * size) < 0.3] = 0.02
    return np.clip(240 * np.exp(-vectors @ amounts).T - 1, 0, 255).astype(np.uint8).reshape(size, size, 3)


def test_macenko_is_torchstains_on_one_tile(rng):
    """Fitted on the tile itself, the mapping is torchstain's, but rounded where that one truncates and clipped below zero."""
    from torchstain.numpy.normalizers.macenko import NumpyMacenkoNormalizer

    tile = stained_tile(rng)
    density = -np.log((tile.reshape(-1, 3).astype(float) + 1) / 240)
    tile.reshape(-1, 3)[(density < 0.15).any(axis=1)] = (150, 80, 150)  # all stained, so that both fit the same pixels
    theirs, _, _ = NumpyMacenkoNormalizer().normalize(tile, stains=False)
    ours = normalise(tile, fit_stain("macenko", [tile]))
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_macenko_finds_the_stains_of_the_slide(rng):
    fitted = fit_stain("macenko", [stained_tile(rng) for _ in range(4)])
    assert isinstance(fitted, Macenko)
    wanted = STAINS / np.linalg.norm(STAINS, axis=0)
    for i in range(2):
        assert wanted[:, i] @ fitted.vectors[:, i] / np.linalg.norm(fitted.vectors[:, i]) > 0.98


@pytest.mark.parametrize(("kind", "rest"), [("macenko", 0.5), ("reinhard", 0.9)])
def test_one_tissue_under_two_stainings_comes_together(rng, kind, rest):
    """Reinhard's statistics are no physics of two stains: it comes less close."""
    other = np.array([[0.55, 0.15], [0.75, 0.95], [0.40, 0.25]])
    state = rng.bit_generator.state
    a = stained_tile(rng)
    rng.bit_generator.state = state
    b = stained_tile(rng, other, strength=1.3)
    before = np.abs(a.astype(float) - b).mean()
    after = np.abs(normalise(a, fit_stain(kind, [a])).astype(float) - normalise(b, fit_stain(kind, [b]))).mean()
    assert after < rest * before


@pytest.mark.parametrize("kind", ["macenko", "reinhard"])
def test_extremes_do_not_wrap_around(rng, kind):
    fitted = fit_stain(kind, [stained_tile(rng)])
    extremes = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 255], [0, 255, 0]]] * 4, dtype=np.uint8)
    out = normalise(extremes, fitted).astype(int)
    assert out[0, 1].min() > 200  # glass stays bright
    assert out[0, 0].max() < 60  # black stays dark
    levels = np.repeat(np.arange(0, 256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert (np.diff(normalise(levels, fitted)[0].astype(int).sum(axis=1)) >= -3).all()  # brighter in, brighter out


def test_reinhard_moves_the_slide_to_the_targets_statistics(rng):
    from torchstain.numpy.utils import lab_split, rgb2lab

    tiles = [stained_tile(rng) for _ in range(4)]
    fitted = fit_stain("reinhard", tiles)
    assert isinstance(fitted, Reinhard)
    again = fit_stain("reinhard", [normalise(tile, fitted) for tile in tiles])
    np.testing.assert_allclose(again.mean, [41.9, 29.1, -14.4], atol=4)  # colours outside 8 bits are clipped
    assert len(lab_split(rgb2lab(tiles[0] / np.float32(255)))) == 3


@pytest.mark.parametrize("kind", ["macenko", "reinhard"])
@pytest.mark.parametrize(
    ("tile", "why"),
    [
        (np.full((64, 64, 3), 240, dtype=np.uint8), r"0 stained pixels in a sample of 1 tiles, wanted 2000"),
        (np.full((64, 64, 3), (150, 80, 150), dtype=np.uint8), r"a sample of 1 tiles has one colour"),
    ],
    ids=["empty", "one colour"],
)
def test_a_slide_that_cannot_be_fitted_says_so(kind, tile, why):
    with pytest.raises(SlideError, match=rf"stain \({kind}\) cannot be fitted: {why}.*--stain none"):
        fit_stain(kind, [tile])


def test_a_nearly_empty_tile_is_mapped_like_its_slide(rng):
    """Fitted by itself it would fail or be painted with a stain it lacks."""
    fitted = fit_stain("macenko", [stained_tile(rng) for _ in range(3)])
    tile = np.full((64, 64, 3), 239, dtype=np.uint8)
    tile[:2, :2] = (150, 80, 150)
    out = normalise(tile, fitted)
    assert np.abs(out[10:].astype(int) - 239).max() <= 3
