"""Masks have the share that was asked for, in rectangles, and depend on the generator alone."""

import numpy as np
import pytest
import torch

from oncoweave.nn.masking import Blocks, block_masks, random_visible


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_half_the_tiles_are_masked_and_each_ratio_comes_from_a_part_of_its_own():
    masks = block_masks(16, (14, 14), blocks=Blocks(), generator=generator())
    counts = np.sort(masks.sum(axis=1))
    assert (counts[:8] == 0).all()
    edges = np.linspace(0.1, 0.5, 9) * 196
    assert (counts[8:] >= np.floor(edges[:-1])).all()
    assert (counts[8:] <= np.ceil(edges[1:])).all()


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("grid", [(14, 14), (7, 14), (2, 2), (3, 3)])
def test_the_number_of_patches_is_met_exactly(grid, ratio):
    masks = block_masks(6, grid, blocks=Blocks(share=1.0, ratio=(ratio, ratio)), generator=generator())
    assert (masks.sum(axis=1) == int(grid[0] * grid[1] * ratio)).all()


def test_patches_are_hidden_in_rectangles_of_every_place():
    masks = block_masks(400, (14, 14), blocks=Blocks(share=1.0, ratio=(0.3, 0.3)), generator=generator()).reshape(-1, 14, 14)
    alike = (masks[:, 1:] == masks[:, :-1]).mean()
    scattered = random_visible(400, 196, hidden=0.3, generator=generator())[1]
    single = np.zeros((400, 196), dtype=bool)
    np.put_along_axis(single, scattered.numpy(), values=True, axis=1)
    single = single.reshape(-1, 14, 14)
    assert alike > 0.8 > 0.65 > (single[:, 1:] == single[:, :-1]).mean()
    assert masks.any(axis=0).all()
    assert masks.mean(axis=0).min() > 0.02  # corners are hidden least


def test_nothing_is_masked_where_the_share_is_none():
    assert not block_masks(8, (4, 4), blocks=Blocks(share=0.0), generator=generator()).any()


def test_equal_generators_draw_equal_masks():
    a, b, c = (block_masks(8, (8, 8), blocks=Blocks(), generator=generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_visible_and_hidden_patches_are_a_partition_in_rising_order():
    visible, hidden = random_visible(5, 16, hidden=0.75, generator=generator())
    assert visible.shape == (5, 4)
    assert hidden.shape == (5, 12)
    assert torch.equal(torch.cat([visible, hidden], dim=1).sort(dim=1).values, torch.arange(16).expand(5, -1))
    assert (visible.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in visible.tolist()}) > 1
