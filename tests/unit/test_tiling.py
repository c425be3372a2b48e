import re
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.wsi.geometry import Mpp, Px0
from oncoweave.wsi.preview import COLOURS, PEN, draw_preview
from oncoweave.wsi.quality import QualityRecipe
from oncoweave.wsi.readers import open_slide
from oncoweave.wsi.tiling import TileRecipe, covered, lay_tiles, read_tile
from oncoweave.wsi.tissue import TissueRecipe

RECIPE = TileRecipe(mpp=0.5, tile=128, min_tissue=0.5)


def tiles_of(path, recipe=RECIPE):
    with closing(open_slide(path)) as slide:
        return lay_tiles(slide, level0=slide.mpp, recipe=recipe)


def test_tissue_is_found_where_it_is(write_slide):
    tiling = tiles_of(write_slide(boxes=((256, 128, 512, 384),)))
    assert sorted(map(tuple, tiling.coords.tolist())) == [(x, y) for x in range(256, 768, 128) for y in range(128, 512, 128)]
    np.testing.assert_allclose(tiling.tissue_fraction, 1.0, atol=0.15)  # smoothing moves the outline by about a mask pixel
    assert tiling.side == 128
    assert not tiling.dropped


def test_the_share_of_tissue_is_stored_per_tile(write_slide):
    tiling = tiles_of(write_slide(boxes=((320, 192, 384, 256),)), replace(RECIPE, min_tissue=0.05))
    share = {tuple(c): f for c, f in zip(tiling.coords.tolist(), tiling.tissue_fraction, strict=True)}
    assert share[256, 128] == pytest.approx(0.25, abs=0.08)
    assert share[384, 128] == pytest.approx(0.5, abs=0.12)
    assert share[384, 256] == pytest.approx(1.0, abs=0.01)
    assert len(tiling.coords) == 12


def test_tiles_of_one_place_agree_whatever_the_scan(write_slide):
    """The same tissue scanned at 0.25, 0.5 and 1 um/px gives the same tiles at 1 um/px."""
    recipe = replace(RECIPE, mpp=1.0, tile=64)
    seen = []
    for mpp, factor in ((0.25, 4), (0.5, 2), (1.0, 1)):
        box = tuple(v * factor for v in (128, 64, 256, 192))
        path = write_slide(f"{mpp}.tiff", size=(512 * factor, 384 * factor), boxes=(box,), mpp=mpp, levels=3)
        tiling = tiles_of(path, recipe)
        assert tiling.side == 64 * factor
        seen.append((tiling.coords // factor).tolist())
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 12


def test_an_odd_resolution_keeps_the_physical_size(write_slide):
    tiling = tiles_of(write_slide(mpp=0.265), replace(RECIPE, min_tissue=0.9))
    assert tiling.side == pytest.approx(128 * 0.5 / 0.265)
    assert tiling.stride == 242
    assert (tiling.coords % 242 == 0).all()


def test_neighbours_overlap_as_asked(write_slide):
    tiling = tiles_of(write_slide(), replace(RECIPE, overlap=0.5, min_tissue=0.99))
    assert tiling.stride == 64
    assert len(tiling.coords) == 7 * 5


def test_a_tile_holds_the_pixels_of_its_place(write_slide):
    path = write_slide(boxes=((256, 128, 512, 384),))
    with closing(open_slide(path)) as slide:
        tile = read_tile(slide, np.array([192, 64]), side=Px0(128.0), recipe=RECIPE)
        assert (tile[:64] == 243).all()
        assert (tile[:, :64] == 243).all()
        assert (tile[64:, 64:] < 200).all()


def test_covered_is_exact_at_fractions_of_a_pixel():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    corners = np.array([[20, 10], [25, 15], [0, 0], [40, 20], [50, 30]])
    share = covered(mask, corners, side=Px0(10.0), pixel=Px0(10.0))
    np.testing.assert_allclose(share, [1.0, 1.0, 0.0, 1.0, 0.0])
    share = covered(mask, np.array([[15, 5], [45, 25]]), side=Px0(10.0), pixel=Px0(10.0))
    np.testing.assert_allclose(share, [0.25, 0.25])
    assert covered(mask, np.array([[0, 0]]), side=Px0(40.0), pixel=Px0(10.0))[0] == pytest.approx(4 / 16)


def test_covered_agrees_with_counting(rng):
    mask = rng.random((30, 40)) < 0.5
    corners = rng.integers(0, 20, (50, 2))
    wanted = [mask[y : y + 7, x : x + 7].mean() for x, y in corners]
    np.testing.assert_allclose(covered(mask, corners, side=Px0(7.0), pixel=Px0(1.0)), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("slide", "recipe", "why"),
    [
        ({"boxes": ()}, {}, r"no tissue found on a thumbnail of 8 um/px; look at the preview"),
        (
            {"size": (100, 90), "boxes": ()},
            {},
            r"the slide has 100 x 90 px, less than one tile of 128 px at 0.5 um/px.*\(64 um\)",
        ),
        (
            {"boxes": ((320, 160, 192, 192),)},
            {"min_tissue": 0.9},
            r"at most \d+\.\d% of any tile, and 90% is wanted; see --min-tissue",
        ),
        ({"colour": (20, 60, 190)}, {}, r"no tissue found.*of it is pen"),
    ],
)
def test_no_tile_says_why(write_slide, slide, recipe, why):
    tiling = tiles_of(write_slide(**slide), replace(RECIPE, **recipe))
    assert len(tiling.coords) == 0
    assert re.search(why, tiling.reason), tiling.reason


def test_a_tile_with_much_pen_is_dropped_whatever_tissue_it_has(write_slide):
    import tifffile

    path = write_slide(boxes=((256, 128, 512, 384),), levels=1)
    image = tifffile.imread(path)
    image[200:300, 256:384] = (30, 40, 120)  # 78 % of the upper left tile is ink, 34 % of the one below
    image[300:400, 640:660] = (30, 40, 120)  # some on the right: 13 %
    scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", metadata=None, **scale)
    tiling = tiles_of(path, replace(RECIPE, min_tissue=0.1))
    assert tiling.dropped["pen"].tolist() == [[256, 128], [256, 256]]
    assert len(tiling.coords) == 10
    assert tiling.tissue_fraction.min() < 0.95  # where some ink was taken out


def test_a_spot_of_ink_colour_is_not_a_stroke(write_slide):
    import tifffile

    path = write_slide(boxes=((256, 128, 512, 384),), levels=1)
    image = tifffile.imread(path)
    image[300:332, 400:432] = (30, 40, 120)  # 16 um wide
    scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", metadata=None, **scale)
    tiling = tiles_of(path)
    assert not tiling.overview.pen.any()
    assert len(tiling.coords) == 12


def test_blood_is_dropped_and_counted(write_slide):
    path = write_slide(colour=(215, 90, 105))
    tiling = tiles_of(path)
    assert len(tiling.dropped["blood"]) == 12
    assert "dropped as an artefact (12 blood); see --no-blood" in tiling.reason
    assert len(tiles_of(path, replace(RECIPE, quality=QualityRecipe(blood=False))).coords) == 12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mpp": 0.0}, r"resolution of the tiles \(--mpp\): wanted micrometres"),
        ({"tile": 4}, r"--tile\): wanted at least 8 px, got 4"),
        ({"overlap": 1.0}, r"0 <= overlap < 1, got 1.0"),
        ({"min_tissue": 0.0}, r"0 < share <= 1, got 0.0"),
    ],
)
def test_a_recipe_that_cannot_be_cut_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TileRecipe(**wrong)


def test_the_preview_frames_kept_tiles_and_paints_pen(write_slide):
    path = write_slide(boxes=((256, 128, 512, 384),))
    tiling = tiles_of(path)
    ink = np.zeros_like(tiling.overview.pen)
    ink[:3, :3] = True
    picture = np.asarray(draw_preview(replace(tiling, overview=replace(tiling.overview, pen=ink)), blurred=tiling.coords[:1]))
    scale = picture.shape[1] / 1024
    assert tuple(picture[1, 1]) == PEN
    for corner, colour in ((tiling.coords[0], COLOURS["blur"]), (tiling.coords[5], COLOURS["kept"])):
        x, y = np.rint(corner * scale).astype(int)
        assert tuple(picture[y, x + 20]) == colour
    assert tuple(picture[-5, -5]) == (243, 243, 243)


def test_the_thumbnail_of_a_huge_slide_stays_small(write_slide, monkeypatch):
    monkeypatch.setattr("oncoweave.wsi.tiling._LARGEST_THUMBNAIL", 1000)
    tiling = tiles_of(write_slide(), replace(RECIPE, tissue=TissueRecipe(mpp=2.0)))
    assert tiling.overview.tissue.size < 1200
    assert tiling.overview.mpp > 2.0
    assert isinstance(tiling.overview.mpp, float)
    assert tiling.level0 == Mpp(0.5)
