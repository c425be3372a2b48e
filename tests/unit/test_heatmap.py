import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.wsi.colours import from_oklab, paint, scale, to_oklab
from oncoweave.wsi.heatmap import (
    ABSENT,
    Caption,
    Thumbnail,
    TileGrid,
    draw_components,
    draw_values,
    principal_components,
    read_slide_thumbnail,
    spread,
    ticks,
    write_png,
)

CAPTION = Caption(title="title", unit="unit", note="note")


def blank(width=60, height=80, *, scale=4.0) -> Thumbnail:
    return Thumbnail(pixels=np.full((height, width, 3), 243, dtype=np.uint8), scale=scale)


def test_oklab_of_known_colours(rng):
    np.testing.assert_allclose(to_oklab(np.ones(3)), [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(to_oklab(np.array([1.0, 0, 0])), [0.6279, 0.2249, 0.1258], atol=1e-3)
    np.testing.assert_allclose(to_oklab(np.array([0, 0, 1.0])), [0.4520, -0.0324, -0.3115], atol=1e-3)
    some = rng.random((50, 3))
    np.testing.assert_allclose(from_oklab(to_oklab(some)), some, atol=1e-9)


def test_equal_steps_of_the_scale_look_equal():
    lab = to_oklab(scale() / 255)
    steps = np.linalg.norm(lab[32:] - lab[:-32], axis=1)
    assert steps.max() / steps.min() < 1.1  # what rounding to 8 bits leaves
    assert (np.diff(lab[::4, 0]) > 0).all()
    assert len(np.unique(scale(), axis=0)) == 256
    np.testing.assert_allclose(np.diff(lab[::51, 0]), np.diff(lab[::51, 0]).mean(), rtol=0.12)


def test_values_find_their_colour():
    np.testing.assert_array_equal(paint(np.array([-1.0, 0.0, 1.0, 2.0, 5.0]), low=0, high=2), scale()[[0, 0, 128, 255, 255]])
    np.testing.assert_array_equal(paint(np.array([3.0]), low=3, high=3), scale()[[128]])


def test_a_tile_lies_on_exactly_the_pixels_whose_centres_it_covers():
    tiles = TileGrid(coords=np.array([[40, 80], [72, 80]]), side=32.0)
    mean, covered = spread(blank(), tiles, np.array([[1.0], [2.0]]))
    assert covered.sum() == 2 * 8 * 8
    assert (mean[20:28, 10:18, 0] == 1).all()
    assert (mean[20:28, 18:26, 0] == 2).all()
    # a side that is no whole number of pixels: 30.2 level-0 px from 41.3 on are centres 42 to 70, pixels 10 to 17
    mean, covered = spread(blank(), TileGrid(coords=np.array([[41, 80]]), side=30.2), np.ones((1, 1)))
    assert np.flatnonzero(covered.any(axis=0)).tolist() == list(range(10, 18))


@pytest.mark.parametrize("side", [33.0, 34.7, 31.25])
def test_neighbours_leave_no_gap_and_no_overlap(side):
    corners = np.array([[round(x * side), round(y * side)] for y in range(5) for x in range(5)])
    values = np.arange(25.0)[:, None]
    mean, covered = spread(blank(scale=2.9), TileGrid(coords=corners, side=float(side)), values)
    reach = int(5 * side / 2.9)
    assert covered[: reach - 1, : reach - 1].all()
    assert np.isin(mean[covered][:, 0], values).mean() > 0.9  # the rest are shared by rounding of corners to whole pixels


def test_where_tiles_overlap_their_mean_is_shown():
    mean, covered = spread(blank(), TileGrid(coords=np.array([[0, 0], [16, 0]]), side=32.0), np.array([[1.0], [3.0]]))
    assert mean[0, :12, 0].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert covered[:, :12].sum() == 8 * 12


def test_tiles_smaller_than_a_pixel_are_not_lost():
    mean, covered = spread(
        blank(scale=100.0), TileGrid(coords=np.array([[110, 510], [250, 220]]), side=20.0), np.array([[1.0], [2.0]])
    )
    assert sorted(map(tuple, np.argwhere(covered).tolist())) == [(2, 2), (5, 1)]
    assert mean[5, 1, 0] == 1


def test_tiles_of_another_slide_are_refused():
    with pytest.raises(DataError, match=r"1 of 2 tiles lie outside the slide of 240 x 320 level-0 px, first at \(400, 0\)"):
        spread(blank(), TileGrid(coords=np.array([[0, 0], [400, 0]]), side=32.0), np.zeros((2, 1)))


def test_colours_can_be_read_off_the_picture(rng):
    """The map stands right of the slide; the middle pixel of each tile has the very colour of its value."""
    corners = np.array([[x * 32, y * 32] for y in range(10) for x in range(7)])
    values = rng.normal(size=70)
    values[3] = np.nan
    image = np.asarray(draw_values(blank(), TileGrid(coords=corners, side=32.0), values, caption=CAPTION))
    faded = np.argwhere((image == image[-30, 24 + 60 + 24 + 58]).all(axis=2))
    assert len(faded)
    left, top = 24 + 60 + 24, 48 + 21 + 14
    low, high = np.percentile(values[np.isfinite(values)], (1, 99))
    wanted = paint(np.nan_to_num(values), low=low, high=high)
    wanted[3] = ABSENT
    middle = (corners + 16) // 4
    np.testing.assert_array_equal(image[top + middle[:, 1], left + middle[:, 0]], wanted)
    np.testing.assert_array_equal(image[top + middle[:, 1], 24 + middle[:, 0]], 243)  # the slide itself is left as it is


def test_a_wide_slide_has_its_map_below(rng):
    tiles = TileGrid(coords=np.array([[0, 0]]), side=32.0)
    image = draw_values(blank(width=200, height=50), tiles, np.array([1.0]), caption=CAPTION)
    pixels = np.asarray(image)
    assert (pixels[48 + 35 + 50 + 24 + 2, 24 + 2] == scale()[128]).all()


def test_no_value_is_an_error():
    with pytest.raises(DataError, match="title: none of 1 tiles has a value"):
        draw_values(blank(), TileGrid(coords=np.array([[0, 0]]), side=32.0), np.array([np.nan]), caption=CAPTION)


def test_components_of_tiles_with_known_axes(rng):
    """Three orthogonal axes of different spread come back in order, whatever the order of tiles."""
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0][:3]
    scores = rng.normal(size=(200, 3))
    scores = np.linalg.qr(scores - scores.mean(axis=0))[0] * [5.0, 3.0, 1.0]
    found, parts = principal_components(scores @ axes + 7.0)
    np.testing.assert_allclose(np.abs(found), np.abs(scores), atol=1e-8)
    np.testing.assert_allclose(parts, np.array([25, 9, 1]) / 35, atol=1e-9)
    assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()
    order = rng.permutation(200)
    np.testing.assert_allclose(principal_components((scores @ axes + 7.0)[order])[0], found[order], atol=1e-8)
    lone, parts = principal_components(np.ones((4, 2)))
    assert not lone.any()
    assert parts == (0.0, 0.0, 0.0)


def test_like_tiles_get_like_colours(rng):
    corners = np.array([[x * 32, 0] for x in range(6)])
    components = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    image = draw_components(blank(), TileGrid(coords=corners, side=32.0), components, caption=CAPTION, parts=(0.5, 0.3, 0.2))
    row = np.asarray(image)[48 + 35 + 4, 24 + 60 + 24 + 4 :: 8][:6]
    assert (row[0] == row[1]).all()
    assert (row[2] == row[3]).all()
    assert len(np.unique(row, axis=0)) == 3


@pytest.mark.parametrize(
    ("limits", "first", "last"), [((-0.0082, 1.7), 0.0, 1.6), ((0, 100000), 0, 100000), ((-3, -1), -3, -1), ((2, 2), 2, 2)]
)
def test_ticks_are_round_numbers_within_the_bar(limits, first, last):
    found = ticks(*limits)
    assert (found[0], found[-1]) == (first, last)
    assert 1 <= len(found) <= 9


def test_the_thumbnail_of_a_file_has_the_scale_it_says(write_slide, tmp_path):
    from contextlib import closing

    from oncoweave.wsi.readers import open_slide

    with closing(open_slide(write_slide())) as source:  # 1024 x 768, tissue from (256, 128), 512 x 384
        thumbnail = read_slide_thumbnail(source, longest=128)
    assert thumbnail.scale == 8.0
    tissue = thumbnail.pixels[..., 1] < 160
    assert (np.argwhere(tissue).min(axis=0) == [16, 32]).all()
    assert (np.argwhere(tissue).max(axis=0) == [63, 95]).all()
    image = draw_values(thumbnail, TileGrid(coords=np.array([[256, 128]]), side=512.0), np.array([1.0]), caption=CAPTION)
    write_png(tmp_path / "a" / "map.png", image)
    assert (tmp_path / "a" / "map.png").read_bytes()[:4] == b"\x89PNG"
