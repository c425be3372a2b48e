import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncoweave.core.errors import ConfigError
from oncoweave.wsi.geometry import (
    Box0,
    Mpp,
    Px0,
    TilePx,
    Um,
    best_level,
    check_mpp,
    grid,
    magnification,
    plan_read,
    px0_to_um,
    read_mpp,
    tile_to_px0,
    um_to_px0,
)

resolutions = st.floats(0.02, 10.0)
lengths = st.floats(0.0, 1e6)


@given(length=lengths, level0=resolutions)
def test_level0_pixels_and_micrometres_round_trip(length, level0):
    assert um_to_px0(px0_to_um(Px0(length), level0=Mpp(level0)), level0=Mpp(level0)) == pytest.approx(length, rel=1e-12)
    assert px0_to_um(um_to_px0(Um(length), level0=Mpp(level0)), level0=Mpp(level0)) == pytest.approx(length, rel=1e-12)


@pytest.mark.parametrize(
    ("level0", "wanted"),
    [(0.25, 512.0), (0.5, 256.0), (1.0, 128.0), (0.265, 128 / 0.265), (0.499, 128 / 0.499)],
)
def test_a_tile_is_as_many_level0_pixels_as_its_micrometres_need(level0, wanted):
    assert tile_to_px0(TilePx(256), target=Mpp(0.5), level0=Mpp(level0)) == pytest.approx(wanted, rel=1e-12)


def test_a_scanner_of_0_265_is_not_rounded_to_40x():
    assert tile_to_px0(TilePx(512), target=Mpp(0.5), level0=Mpp(0.265)) == pytest.approx(966.04, abs=0.01)


@pytest.mark.parametrize(("mpp", "power"), [(0.25, 40), (0.5, 20), (1.0, 10)])
def test_magnification_by_convention(mpp, power):
    assert magnification(Mpp(mpp)) == power


@pytest.mark.parametrize(
    ("wanted", "level"),
    [(1.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 2), (4.1, 2), (100.0, 2), (0.5, 0)],
)
def test_best_level_is_the_coarsest_fine_enough(wanted, level):
    """Levels of 2.0005 and 4.016 count as 2 and 4; what is finer than level 0 comes from level 0."""
    assert best_level([1.0, 2.0005, 4.016], wanted=wanted) == level


def test_a_plan_reads_whole_pixels_around_the_box():
    box = Box0(x=Px0(10), y=Px0(21), width=Px0(30), height=Px0(30))
    plan = plan_read(box, downsamples=[1.0, 4.0], size=(5, 5))
    assert plan.level == 1
    assert plan.corner_px0 == (8, 20)
    assert plan.size == (8, 8)
    assert plan.crop == (0.5, 0.25, 8.0, 7.75)


@given(x=st.integers(0, 10**6), side=st.floats(8, 5000), down=st.floats(1.01, 40), tile=st.integers(8, 512))
def test_a_plan_covers_the_box_exactly(x, side, down, tile):
    plan = plan_read(
        Box0(x=Px0(float(x)), y=Px0(0.0), width=Px0(side), height=Px0(side)), downsamples=[1.0, down], size=(tile, tile)
    )
    used = [1.0, down][plan.level]
    first = round(plan.corner_px0[0] / used)
    assert (first + plan.crop[0]) * used == pytest.approx(x, abs=1e-4 * used)
    assert (plan.crop[2] - plan.crop[0]) * used == pytest.approx(side, rel=1e-6)
    assert plan.crop[0] > -1e-5
    assert plan.crop[2] < plan.size[0] + 1e-5


def test_grid_holds_every_whole_tile_once():
    corners = grid((1000, 600), side=Px0(256.0), stride=256)
    assert corners.tolist() == [[x, y] for y in (0, 256) for x in (0, 256, 512)]


@given(width=st.integers(1, 900), height=st.integers(1, 900), side=st.floats(8, 700), stride=st.integers(20, 700))
def test_grid_never_leaves_the_slide_and_misses_no_tile(width, height, side, stride):
    corners = grid((width, height), side=Px0(side), stride=stride)
    for axis, length in enumerate((width, height)):
        wanted = [k * stride for k in range(length // stride + 1) if k * stride + side <= length + 1e-6]
        assert sorted(set(corners[:, axis].tolist())) == (wanted if len(corners) else [])
    assert len(corners) == len(np.unique(corners, axis=0))


def test_stated_resolutions_are_judged():
    assert read_mpp(0.25, 0.2502) == (pytest.approx(0.2501), "")
    for stated, why in (
        ((None, None), "it states none"),
        ((352.78, 352.78), "352.78 x 352.78 um/px, which no slide scanner has"),
        ((0.25, 0.5), "not square pixels"),
        ((math.nan, math.nan), "no slide scanner has"),
    ):
        mpp, note = read_mpp(*stated)
        assert mpp is None
        assert why in note


@pytest.mark.parametrize("mpp", [0.0, -0.5, math.nan, math.inf, 250.0])
def test_a_resolution_nobody_can_mean_is_refused(mpp):
    with pytest.raises(ConfigError, match=r"--mpp: wanted micrometres a pixel between 0\.02 and 10\.0, got"):
        check_mpp(mpp, what="--mpp")
