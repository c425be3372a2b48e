"""Views of tiles: exact where they can be, and drawn from the generator alone."""

import colorsys
import math

import numpy as np
import pytest
import torch

from oncoweave.nn.augment import Crop, Views, crop_box, draw, multi_crop, orient
from oncoweave.nn.colour import STAINS, blur, from_stains, to_grey, to_stains, turn_hue, vary_colours, vary_stains

PLAIN = {"flip": 0.0, "flip_vertical": 0.0, "rotate": False, "stain": 0.0, "colour": 0.0, "grey": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tile(side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def image(side: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.05, 1, (3, side, side)).astype(np.float32))


def whole(*, side: int = 64, **settings) -> Views:
    """One crop that is the tile itself."""
    crop = Crop(name="image", count=1, side=side, scale=(1.0, 1.0), aspect=(1.0, 1.0), blur=(0.0,))
    return Views(crops=(crop,), **{**PLAIN, **settings})


def test_stains_go_there_and_back():
    given = image()
    torch.testing.assert_close(from_stains(to_stains(given)), given, rtol=1e-5, atol=1e-6)


def test_stains_agree_with_scikit_image():
    color = pytest.importorskip("skimage.color")
    given = image()
    vectors = np.array(STAINS)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # scikit-image's separate_stains divides both densities by log(1e-6), which cancels in the unmixing up to that factor
    wanted = color.separate_stains(given.permute(1, 2, 0).numpy().astype(float), np.linalg.inv(vectors)) * 6
    ours = to_stains(given.double()).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours.clip(min=0), wanted, atol=1e-6)  # scikit-image cuts negative amounts off


def test_pure_haematoxylin_is_only_haematoxylin():
    vector = torch.tensor(STAINS[0]) / torch.tensor(STAINS[0]).norm()
    given = torch.pow(10.0, -0.7 * vector)[:, None, None].expand(3, 4, 4)
    amounts = to_stains(given)[:, 0, 0]
    torch.testing.assert_close(amounts, torch.tensor([0.7, 0.0, 0.0]), atol=1e-5, rtol=0)
    doubled = to_stains(vary_stains(given, torch.tensor([2.0, 1.0, 1.0]), torch.zeros(3)))[:, 0, 0]
    torch.testing.assert_close(doubled, torch.tensor([1.4, 0.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("turns", [0.0, 0.1, -0.25, 0.5])
def test_hue_agrees_with_the_standard_library(turns):
    given = image(4)
    turned = turn_hue(given, turns)
    for i in range(4):
        for j in range(4):
            hue, saturation, value = colorsys.rgb_to_hsv(*given[:, i, j].tolist())
            wanted = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
            np.testing.assert_allclose(turned[:, i, j], wanted, atol=1e-5)


def test_grey_has_no_hue_to_turn():
    given = torch.full((3, 4, 4), 0.4)
    torch.testing.assert_close(turn_hue(given, 0.3), given)


def test_colours_in_closed_form():
    given = image()
    neutral = {"turns": 0.0, "order": (2, 0, 3, 1)}
    torch.testing.assert_close(vary_colours(given, factors=(1.0, 1.0, 1.0), **neutral), given, atol=1e-5, rtol=0)
    torch.testing.assert_close(vary_colours(given, factors=(0.5, 1.0, 1.0), turns=0.0, order=(0,)), given * 0.5)
    torch.testing.assert_close(vary_colours(given, factors=(1.0, 1.0, 0.0), turns=0.0, order=(2,)), to_grey(given))
    flat = vary_colours(given, factors=(1.0, 0.0, 1.0), turns=0.0, order=(1,))
    torch.testing.assert_close(flat, to_grey(given).mean().expand_as(given))


def test_blur_keeps_a_flat_image_and_follows_the_gaussian():
    torch.testing.assert_close(blur(torch.full((3, 9, 9), 0.3), 1.5), torch.full((3, 9, 9), 0.3))
    spot = torch.zeros(3, 21, 21)
    spot[:, 10, 10] = 1.0
    line = blur(spot, 1.0)[0, 10]
    torch.testing.assert_close(line[11] / line[10], torch.tensor(math.exp(-0.5)))
    assert blur(torch.rand(3, 3, 3, generator=seeded()), 2.0).shape == (3, 3, 3)


def test_orientations_are_the_eight_symmetries_of_a_square():
    given = torch.arange(9.0).view(3, 3)
    turned = [orient(given, n) for n in range(8)]
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    for a in range(8):  # closed under composition
        for b in range(8):
            both = orient(turned[a], b)
            assert any(torch.equal(both, t) for t in turned)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"flip": 0.5, "flip_vertical": 0.5, "rotate": True}, 8),
        ({"flip": 0.5, "flip_vertical": 0.5}, 4),
        ({"flip": 0.5}, 2),
        ({"rotate": True}, 4),
        ({}, 1),
    ],
)
def test_views_reach_every_orientation_alike_often(settings, count):
    given, views = tile(8), whole(side=8, **settings)
    plain = given.permute(2, 0, 1).float() / 255
    generator, found = seeded(), []
    for _ in range(120):
        view = draw(given, views, generator=generator)["image"][0]
        found.append(next(n for n in range(8) if torch.allclose(orient(plain, n), view, atol=1e-6)))
    numbers, counts = np.unique(found, return_counts=True)
    assert len(numbers) == count
    assert counts.min() > 120 / count * 0.4


def test_a_whole_crop_without_changes_is_the_tile():
    given = tile()
    torch.testing.assert_close(draw(given, whole(), generator=seeded())["image"][0], given.permute(2, 0, 1).float() / 255)


def test_boxes_lie_inside_and_cover_the_shares_asked_for():
    rng = np.random.default_rng(0)
    crop = Crop(name="local", count=1, side=32, scale=(0.05, 0.32))
    boxes = np.array([crop_box((224, 180), crop, method="resize", chance=rng.random((10, 4)).tolist()) for _ in range(1000)])
    left, top, width, height = boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 224).all()
    assert (top + height <= 180).all()
    share = width * height / (224 * 180)
    assert 0.045 < share.min() < 0.06
    assert 0.3 < share.max() < 0.33
    assert abs(np.mean(share) - 0.185) < 0.02  # uniform in area
    assert abs(np.mean(np.log(width / height))) < 0.02  # as often wide as tall
    assert (left + width > 220).any()
    assert (left < 4).any()


def test_a_box_that_never_fits_falls_back_to_the_middle():
    crop = Crop(name="wide", count=1, side=8, scale=(1.0, 1.0), aspect=(1.5, 1.5))
    assert crop_box((100, 100), crop, method="resize", chance=[[0.5] * 4] * 10) == (0, 16, 100, 67)


def test_translated_crops_keep_the_resolution():
    crop = Crop(name="global", count=1, side=64, scale=(0.9, 1.1), aspect=(0.95, 1.05))
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box((112, 112), crop, method="translate", chance=rng.random((10, 4)).tolist()) for _ in range(500)])
    assert boxes[:, 2:].min() >= 58
    assert boxes[:, 2:].max() <= 70
    assert np.ptp(boxes[:, 0]) > 40


def test_a_field_too_small_to_translate_in_is_refused():
    views = Views(crops=(Crop(name="global", count=1, side=96, scale=(0.9, 1.1)),), method="translate")
    with pytest.raises(ValueError, match=r"64 x 64 px is too small for crop 'global'.*wanted a field of 117 px"):
        draw(tile(64), views, generator=seeded())


def test_views_depend_on_the_generator_alone():
    views = Views(crops=multi_crop(side=32, local_side=16, locals_=3))
    torch.manual_seed(1)
    first = draw(tile(), views, generator=seeded(5))
    torch.manual_seed(2)
    again = draw(tile(), views, generator=seeded(5))
    other = draw(tile(), views, generator=seeded(6))
    assert {k: tuple(v.shape) for k, v in first.items()} == {"global": (2, 3, 32, 32), "local": (3, 3, 16, 16)}
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])
        assert value.min() >= 0
        assert value.max() <= 1


@pytest.mark.parametrize(("changed", "what"), [({"stain": 1.0}, "stain"), ({"colour": 1.0}, "colour"), ({"grey": 1.0}, "grey")])
def test_each_change_of_colour_is_switched_by_its_probability(changed, what):
    plain = draw(tile(), whole(), generator=seeded())["image"]
    varied = draw(tile(), whole(**changed), generator=seeded())["image"]
    assert not torch.allclose(plain, varied, atol=1e-3), what


def test_the_draws_of_a_crop_do_not_depend_on_settings():
    """Switching an augmentation off leaves the boxes of all later crops as they were."""
    crops = (Crop(name="image", count=3, side=16, scale=(0.2, 0.9), blur=(0.0,)),)
    off = draw(tile(), Views(crops=crops, **PLAIN), generator=seeded())["image"]
    grey = draw(tile(), Views(crops=crops, **{**PLAIN, "grey": 1.0}), generator=seeded())["image"]
    torch.testing.assert_close(to_grey(off), grey)


def test_solarised_only_where_asked():
    dark = torch.zeros(16, 16, 3, dtype=torch.uint8)
    dark[:8] = 255
    crop = {"name": "image", "count": 2, "side": 16, "scale": (1.0, 1.0), "aspect": (1.0, 1.0), "blur": (0.0,)}
    kept = draw(dark, Views(crops=(Crop(**crop),), **PLAIN), generator=seeded())["image"]
    assert kept[:, :, :8].eq(1).all()
    second = draw(dark, Views(crops=(Crop(**crop, solarise=(0.0, 1.0)),), **PLAIN), generator=seeded())["image"]
    assert second[0, :, :8].eq(1).all()
    assert second[1].eq(0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(name="a", count=0, side=8, scale=(0.1, 1.0)), "crop 'a': wanted a count and a side of at least 1, got 0"),
        (lambda: Crop(name="a", count=1, side=8, scale=(0.5, 0.1)), "crop 'a': scale wanted 0 < least <= most"),
        (lambda: Views(crops=()), "wanted crops of different names, got"),
        (lambda: whole(grey=2.0), "grey is a probability, wanted 0 to 1, got 2.0"),
    ],
)
def test_views_that_cannot_be_drawn_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
