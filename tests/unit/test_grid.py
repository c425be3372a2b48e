"""Cells of tiles, their order, and positions."""

import numpy as np
import pytest
import torch

from oncoweave.nn.grid import cells, require_cells, row_major, sine_cosine


def test_corners_on_whole_pixels_keep_their_cell():
    pitch = 483.02
    corners = torch.tensor([[round(x * pitch) / pitch, 0.0] for x in range(200)])
    assert cells(corners, grid=1000)[:, 0].tolist() == list(range(200))


def test_a_corner_between_cells_is_rounded_down():
    assert cells(torch.tensor([[3.9, 0.5], [4.2, 1.0]]), grid=10).tolist() == [[3, 0], [4, 1]]


@pytest.mark.parametrize(
    ("corner", "message"),
    [
        (
            [51200.0, 2048.0],
            r"tile 1 lies in cell \(x, y\) = \(51200, 2048\), wanted 0 to 999: divide level-0 pixels by the tile's pitch",
        ),
        ([-3.0, 2.0], r"tile 1 lies in cell \(x, y\) = \(-3, 2\), wanted 0 to 999: .*subtract its smallest x and y"),
        ([torch.nan, 2.0], r"tile 1 has position \[nan, 2.0\]; every kept tile needs a finite"),
    ],
)
def test_corners_that_are_no_cells_name_the_fix(corner, message):
    with pytest.raises(ValueError, match=message):
        cells(torch.tensor([[0.0, 0.0], corner]), grid=1000)


def test_a_section_beyond_the_grid_that_fits_is_moved_to_its_origin_and_a_larger_one_refused():
    corners = torch.tensor([[903.0, 40.0], [1002.0, 41.0], [950.0, 139.0]])
    assert cells(corners, grid=100).tolist() == [[0, 0], [99, 1], [47, 99]]
    assert cells(corners, grid=1003).tolist() == corners.tolist()
    with pytest.raises(ValueError, match=r"cell \(x, y\) = \(1002, 41\)|\(99, 1\), wanted 0 to 98.*the section is larger"):
        cells(corners, grid=99)


def test_coordinates_normalised_to_a_range_are_refused():
    spread = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 3.9
    with pytest.raises(ValueError, match="300 tiles share 16 cells: positions are not in tiles"):
        cells(spread, grid=1000)


def test_the_last_cell_is_inside():
    require_cells(torch.tensor([[999, 999], [0, 0]]), grid=1000)


def test_order_is_by_rows_from_the_left():
    found = torch.tensor([[2, 0], [0, 1], [1, 0], [0, 0], [1, 1]])
    kept = torch.arange(5)
    assert found[row_major(found, torch.zeros(5, 3), kept)].tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1]]


def test_tiles_of_one_cell_are_ordered_by_what_they_hold(rng):
    values = torch.from_numpy(rng.normal(size=(40, 3)))
    found = torch.from_numpy(rng.integers(0, 3, size=(40, 2)))
    order = torch.from_numpy(rng.permutation(40))
    first = values[row_major(found, values, torch.arange(40))]
    second = values[order][row_major(found[order], values[order], torch.arange(40))]
    assert torch.equal(first, second)


def test_only_kept_tiles_are_ordered():
    kept = torch.tensor([4, 1])
    assert row_major(torch.tensor([[1, 0], [0, 0]]), torch.zeros(6, 2), kept).tolist() == [1, 4]


def test_positions_are_sine_and_cosine_of_y_then_of_x():
    came = sine_cosine(torch.tensor([[3, 5]]), dim=8)[0].double().numpy()
    wanted = [f(t * w) for t in (5, 3) for f in (np.sin, np.cos) for w in (1, 0.01)]
    np.testing.assert_allclose(came, wanted, atol=1e-7)


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="divides by 4, got 6"):
        sine_cosine(torch.zeros(1, 2, dtype=torch.int64), dim=6)
