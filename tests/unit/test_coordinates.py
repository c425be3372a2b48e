"""Views of a slide: windows, mirrors and shifts of its cells."""

import pytest
import torch

from oncoweave.nn.coordinates import SlideView, draw_view, inside_window, mirrored, nearest_tiles, shifted


def _square(side):
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def _draws(cells, view, count=400):
    return [draw_view(cells, view, torch.Generator().manual_seed(seed)) for seed in range(count)]


def test_a_full_grid_keeps_the_square_of_the_crop_ratio():
    cells = _square(16) + 5
    for moved, kept in _draws(cells, SlideView(), 20):
        assert len(kept) == 14 * 14  # .875 * 16
        assert (moved.amax(dim=0) - moved.amin(dim=0) == 13).all()


def test_windows_reach_every_place_where_they_fit_alike():
    cells = _square(8)
    corners = torch.stack([cells[kept].amin(dim=0) for _, kept in _draws(cells, SlideView(crop=0.75, flip=0.0))])
    counts = torch.bincount(corners[:, 0] * 3 + corners[:, 1], minlength=9)  # 6 of 8 cells fit in three places each way
    assert counts.min() > 400 / 9 * 0.5
    assert counts.max() < 400 / 9 * 1.6


def test_crop_one_keeps_every_tile():
    cells = torch.tensor([[3, 9], [500, 4], [77, 30]])
    moved, kept = draw_view(cells, SlideView(crop=1.0, flip=0.0), torch.Generator().manual_seed(0))
    assert kept.tolist() == [0, 1, 2]
    assert torch.equal(moved - moved[0], cells - cells[0])


def test_the_flip_mirrors_columns_half_of_the_time_and_never_rows():
    cells = torch.tensor([[0, 0], [1, 0], [5, 2]])
    view = SlideView(crop=1.0)
    mirrored_share = 0
    for moved, _ in _draws(cells, view):
        offset = moved - moved.amin(dim=0)
        is_mirrored = torch.equal(offset, torch.tensor([[5, 0], [4, 0], [0, 2]]))
        assert is_mirrored or torch.equal(offset, cells)
        mirrored_share += is_mirrored / 400
    assert 0.42 < mirrored_share < 0.58
    assert torch.equal(mirrored(mirrored(cells)), cells)


def test_shifts_are_uniform_over_the_grid_and_stay_inside_it():
    cells = _square(4)
    corners = torch.stack([moved.amin(dim=0) for moved, _ in _draws(cells, SlideView(crop=1.0, grid=7))])
    counts = torch.bincount(corners[:, 0], minlength=4)
    assert counts.shape == (4,)  # never beyond cell 3, where four cells still fit
    assert counts.min() > 70
    ends = [shifted(cells, grid=7, place=torch.tensor([p, p])) for p in (0.0, 1.0)]
    assert ends[0].min() == 0
    assert ends[1].max() == 6


def test_a_view_is_a_function_of_the_generator():
    cells = _square(9)
    first, again, other = (draw_view(cells, SlideView(), torch.Generator().manual_seed(s)) for s in (4, 4, 5))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_equally_many_numbers_are_drawn_for_any_slide():
    left = []
    for cells in (_square(2), _square(20)):
        generator = torch.Generator().manual_seed(3)
        draw_view(cells, SlideView(), generator)
        left.append(torch.rand(1, generator=generator))
    assert torch.equal(*left)


def test_a_window_between_two_fragments_moves_to_the_nearest():
    cells = torch.tensor([[0, 0], [1, 0], [100, 100], [101, 100]])
    inside = inside_window(cells, ratio=0.5, place=torch.tensor([0.5, 0.5]))
    assert inside.any()
    single = inside_window(torch.tensor([[7, 7]]), ratio=0.1, place=torch.tensor([0.9, 0.1]))
    assert single.all()


def test_nearest_tiles_are_a_square_around_the_middle_in_their_order():
    cells = _square(5)
    kept = nearest_tiles(cells, count=9, place=torch.tensor([12.5 / 25]))
    assert cells[kept].amin(dim=0).tolist() == [1, 1]
    assert cells[kept].amax(dim=0).tolist() == [3, 3]
    assert kept.tolist() == sorted(kept.tolist())
    assert len(nearest_tiles(cells, count=99, place=torch.tensor([0.0]))) == 25


def test_what_cannot_be_viewed_is_refused():
    with pytest.raises(ValueError, match=r"spans \[1000, 1\] tiles .* grid of 100"):
        draw_view(torch.tensor([[0, 0], [999, 0]]), SlideView(crop=1.0, grid=100), torch.Generator())
    with pytest.raises(ValueError, match="without tiles"):
        draw_view(torch.zeros(0, 2, dtype=torch.int64), SlideView(), torch.Generator())
    with pytest.raises(ValueError, match="crop above 0"):
        SlideView(crop=0.0)
