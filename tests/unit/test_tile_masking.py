"""Which tiles are hidden: how many, where, and that padding has no say."""

import torch

from oncoweave.nn.tile_masking import hide_tiles, num_hidden


def _batch(sizes, side=20):
    keep = torch.zeros(len(sizes), max(sizes), dtype=torch.bool)
    cells = torch.zeros(len(sizes), max(sizes), 2, dtype=torch.int64)
    for row, size in enumerate(sizes):
        keep[row, :size] = True
        index = torch.arange(size)
        cells[row, :size] = torch.stack([index % side, index // side], dim=1)
    return cells, keep


def _hide(cells, keep, seed=0, **settings):
    return hide_tiles(cells, keep, generator=torch.Generator().manual_seed(seed), **settings)


def test_counts_are_rounded_and_leave_something_on_both_sides():
    sizes = torch.tensor([0, 1, 2, 3, 4, 100])
    assert num_hidden(sizes, ratio=0.75).tolist() == [0, 0, 1, 2, 3, 75]
    assert num_hidden(sizes, ratio=0.99).tolist() == [0, 0, 1, 2, 3, 99]
    assert num_hidden(sizes, ratio=0.01).tolist() == [0, 0, 1, 1, 1, 1]


def test_each_slide_hides_its_number_and_nothing_that_is_not_kept():
    cells, keep = _batch([7, 1, 90, 33])
    keep = torch.cat([keep, torch.zeros(1, 90, dtype=torch.bool)])
    cells = torch.cat([cells, cells[:1]])
    for block in (1, 4):
        hidden = _hide(cells, keep, ratio=0.5, block=block)
        assert hidden.sum(dim=1).tolist() == [4, 0, 45, 17, 0]
        assert not (hidden & ~keep).any()


def test_every_tile_is_hidden_equally_often():
    cells, keep = _batch([20, 12])
    for block in (1, 3):
        often = torch.stack([_hide(cells, keep, seed=s, ratio=0.25, block=block) for s in range(600)]).float().mean(dim=0)
        assert (often[keep] > 0.16).all()
        assert (often[keep] < 0.34).all()


def test_padding_and_absent_slides_do_not_change_what_is_hidden():
    cells, keep = _batch([30, 44])
    for block in (1, 3):
        plain = _hide(cells, keep, ratio=0.6, block=block)
        absent = torch.zeros(1, 44, dtype=torch.bool)
        padded = _hide(
            torch.nn.functional.pad(torch.cat([cells[:1], cells[:1], cells[1:]]), (0, 0, 0, 9), value=77),
            torch.nn.functional.pad(torch.cat([keep[:1], absent, keep[1:]]), (0, 9)),
            ratio=0.6,
            block=block,
        )
        assert torch.equal(padded[[0, 2], :44], plain)


def test_squares_are_hidden_whole_but_for_the_last():
    side, block = 24, 4
    cells, keep = _batch([side * side], side=side)
    hidden = _hide(cells, keep, ratio=0.5, block=block)[0].reshape(side, side)
    corners = [(y, x) for y in range(block) for x in range(block)]
    partial = []
    for y, x in corners:  # the corner of the squares is drawn: with the right one all but one square are uniform
        shown = torch.nn.functional.pad(hidden.float(), (x, block - x, y, block - y), value=torch.nan)
        squares = shown.unfold(0, block, block).unfold(1, block, block).flatten(2)
        partial.append(int(((squares.nansum(dim=2) > 0) & ((1 - squares).nansum(dim=2) > 0)).sum()))
    assert min(partial) <= 1
    alone = _hide(cells, keep, ratio=0.5)[0].reshape(side, side)
    assert (hidden[1:] == hidden[:-1]).float().mean() > 0.75 > (alone[1:] == alone[:-1]).float().mean()
