import numpy as np
import pytest
from scipy import ndimage

from oncoweave.wsi.geometry import Mpp
from oncoweave.wsi.quality import QualityRecipe, blood_mask, fold_mask, pen_mask, sharpness
from oncoweave.wsi.tissue import TissueRecipe, find_tissue, glass_colour, optical_density, otsu

GLASS = np.full(3, 245.0)
RECIPE = TissueRecipe()


def picture(rng, *patches, glass=(243, 240, 243), noise=1.5) -> np.ndarray:
    """A thumbnail of 120 x 160 px with patches ``(rows, columns, colour)`` and the noise of a scanner."""
    image = np.full((120, 160, 3), glass, dtype=float)
    for rows, columns, colour in patches:
        image[rows, columns] = colour
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def tissue_of(image, recipe=RECIPE, mpp=8.0, exclude=None):
    return find_tissue(optical_density(image, glass_colour(image)), mpp=Mpp(mpp), recipe=recipe, exclude=exclude)


MIDDLE = (slice(30, 90), slice(40, 120))


@pytest.mark.parametrize(
    "colour",
    [(180, 90, 160), (225, 190, 220), (228, 205, 222), (150, 110, 80), (170, 180, 210)],
    ids=["h&e", "pale", "very pale", "dab", "counterstain only"],
)
@pytest.mark.parametrize("glass", [(243, 240, 243), (255, 255, 255), (225, 222, 215)], ids=["white", "blank", "yellowish"])
def test_stained_tissue_is_found_on_any_glass(rng, colour, glass):
    wanted = np.zeros((120, 160), dtype=bool)
    wanted[MIDDLE] = True
    found = tissue_of(picture(rng, (*MIDDLE, colour), glass=glass))
    assert (found & wanted).sum() / (found | wanted).sum() > 0.9


@pytest.mark.parametrize("glass", [(243, 240, 243), (255, 255, 255), (225, 222, 215)])
@pytest.mark.parametrize("noise", [0.0, 1.5, 4.0])
def test_an_empty_slide_has_no_tissue(rng, glass, noise):
    assert not tissue_of(picture(rng, glass=glass, noise=noise)).any()


def test_dust_pencil_and_bubbles_are_not_tissue(rng):
    grey = picture(rng, (slice(20, 60), slice(20, 60), (120, 120, 122)), (slice(70, 72), slice(0, 160), (60, 60, 60)))
    assert not tissue_of(grey).any()


def test_a_slide_that_is_all_tissue_is_kept_whole(rng):
    image = picture(rng, (slice(0, 120), slice(0, 80), (170, 80, 150)), (slice(0, 120), slice(80, 160), (215, 150, 195)))
    assert tissue_of(image).mean() > 0.98


def test_pale_tissue_stays_with_its_dark_part(rng):
    """Otsu's threshold alone would keep the dark half only."""
    image = picture(rng, (slice(30, 90), slice(20, 80), (120, 50, 130)), (slice(30, 90), slice(80, 140), (232, 215, 230)))
    assert tissue_of(image)[35:85, 90:130].mean() > 0.95


def test_small_holes_are_filled_large_ones_and_the_margin_are_not(rng):
    tissue = (slice(10, 110), slice(10, 150), (180, 90, 160))
    image = picture(
        rng, tissue, (slice(20, 30), slice(20, 30), (243, 240, 243)), (slice(40, 100), slice(60, 120), (243, 240, 243))
    )
    found = tissue_of(image)
    assert found[20:30, 20:30].all()
    assert not found[45:95, 65:115].any()
    assert not found[:8].any()


def test_glass_at_the_edge_of_a_small_image_is_not_a_hole(rng):
    image = picture(rng, (slice(40, 80), slice(50, 110), (180, 90, 160)))
    found = tissue_of(image, mpp=1.5)  # the whole image is smaller than the largest hole
    assert found[50:70, 60:100].all()
    assert found.mean() < 0.2


def test_debris_is_dropped(rng):
    image = picture(rng, (slice(10, 14), slice(10, 14), (180, 90, 160)), (*MIDDLE, (180, 90, 160)))
    assert not tissue_of(image)[:20, :20].any()


def test_what_is_excluded_is_neither_tissue_nor_filled(rng):
    image = picture(rng, (*MIDDLE, (180, 90, 160)))
    ink = np.zeros((120, 160), dtype=bool)
    ink[50:54, 60:64] = True
    assert not tissue_of(image, exclude=ink)[ink].any()


def test_glass_is_estimated_from_bright_pixels(rng):
    image = picture(rng, (*MIDDLE, (180, 90, 160)), glass=(231, 228, 226), noise=0)
    np.testing.assert_array_equal(glass_colour(image), [231, 228, 226])
    np.testing.assert_array_equal(glass_colour(np.full((50, 50, 3), (180, 90, 160), dtype=np.uint8)), [245, 245, 245])


def test_optical_density_is_beer_lambert():
    tenth = np.full((1, 1, 3), 23, dtype=np.uint8)  # (23 + 1) / (239 + 1) = 0.1
    np.testing.assert_allclose(optical_density(tenth, np.full(3, 239.0)), 1.0, rtol=1e-6)
    assert (optical_density(np.full((1, 1, 3), 255, dtype=np.uint8), GLASS) == 0).all()


def test_otsu_agrees_with_scikit_image(rng):
    from skimage.filters import threshold_otsu

    values = np.concatenate([rng.normal(0.2, 0.05, 3000), rng.normal(0.8, 0.1, 2000)]).astype(np.float32)
    # between the classes lie empty bins that separate equally well: ours takes their middle, theirs the first
    assert abs(int((values > otsu(values)).sum()) - int((values > threshold_otsu(values)).sum())) <= 5


COLOURS = {
    "haematoxylin": (90, 60, 140),
    "eosin": (225, 140, 180),
    "h&e": (180, 90, 160),
    "dab": (120, 80, 50),
    "counterstain": (150, 165, 205),
    "dense counterstain": (85, 105, 160),
    "dense haematoxylin": (75, 45, 115),
    "blue pen over tissue": (43, 47, 126),
    "black pen over tissue": (62, 43, 60),
    "green pen over tissue": (60, 81, 85),
    "fat": (240, 235, 240),
    "blue pen": (30, 60, 190),
    "blue pen on glass": (65, 100, 170),
    "green pen": (40, 150, 90),
    "cyan pen": (60, 170, 200),
    "red pen": (230, 30, 45),
    "black pen": (25, 25, 28),
    "blood": (215, 90, 105),
}


@pytest.mark.parametrize("name", COLOURS)
def test_ink_and_blood_are_told_from_tissue(name):
    density = optical_density(np.full((4, 4, 3), COLOURS[name], dtype=np.uint8), GLASS)
    assert pen_mask(density).all() == ("pen" in name)
    assert blood_mask(density).any() == (name == "blood" or name == "red pen")


def test_a_fold_is_twice_as_dense_as_the_rest():
    density = np.full((20, 20, 3), 0.3, dtype=np.float32)
    density[5:8] = 0.8
    fold = fold_mask(density, np.ones((20, 20), dtype=bool), recipe=QualityRecipe())
    assert fold[5:8].all()
    assert fold.sum() == 60
    assert not fold_mask(density, np.zeros((20, 20), dtype=bool), recipe=QualityRecipe()).any()


def texture(rng, scale):
    """Structure of three sizes, the finest ``scale`` pixels wide."""
    layers = [ndimage.gaussian_filter(rng.normal(size=(128, 128)), s, mode="wrap") for s in (scale, 3 * scale, 9 * scale)]
    grain = sum(layer / layer.std() for layer in layers)
    grain = (grain - grain.min()) / np.ptp(grain)
    return (np.array([200, 120, 180]) - grain[..., None] * [80, 60, 40]).astype(np.uint8)


def test_blur_lowers_sharpness_and_contrast_does_not(rng):
    sharp = texture(rng, 1.0)
    soft = ndimage.gaussian_filter(sharp, (2, 2, 0))
    pale = (0.3 * sharp.astype(float) + 0.7 * np.array([220, 170, 205])).astype(np.uint8)
    assert sharpness(sharp) > 0.1
    assert sharpness(soft) < 0.05
    assert sharpness(pale) == pytest.approx(sharpness(sharp), rel=0.35)  # rounding adds noise to the pale one


def test_glass_beside_tissue_does_not_count_as_blur(rng):
    half = texture(rng, 1.0)
    whole = sharpness(half)
    half[:, 64:] = 243
    assert sharpness(half) > 0.6 * whole


def test_sharpness_reduces_finer_tiles_to_one_scale(rng):
    tile = texture(rng, 1.0)
    assert sharpness(np.repeat(np.repeat(tile, 2, axis=0), 2, axis=1), reduce=2) == pytest.approx(sharpness(tile), rel=0.05)
    assert sharpness(np.full((64, 64, 3), 200, dtype=np.uint8)) == 0.0
