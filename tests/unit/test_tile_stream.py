"""Batches of tiles: pure functions of seed, data and step, spread over slides, shared by processes."""

import numpy as np
import pytest
import torch

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.nn.augment import Crop, Views
from oncoweave.train.tile_sources import TileIndex
from oncoweave.train.tile_stream import Order, TileData, TileStream, resized, spread

VIEWS = Views(
    crops=(
        Crop(name="global", count=2, side=16, scale=(0.5, 1.0)),
        Crop(name="local", count=1, side=8, scale=(0.1, 0.5)),
    )
)


class Numbered:
    """Tiles whose every pixel is the tile's number; some cannot be read."""

    def __init__(self, sizes: tuple[int, ...] = (5, 9, 16), *, broken: tuple[int, ...] = ()) -> None:
        group = np.repeat(np.arange(len(sizes)), sizes)
        self.index = TileIndex(
            group=group,
            groups=tuple(f"S{i}" for i in range(len(sizes))),
            label=np.full(len(group), -1),
            classes=(),
            fingerprint="ab" * 32,
        )
        self.broken = broken

    def read(self, number: int) -> np.ndarray:
        if number in self.broken:
            msg = f"tile {number} is broken"
            raise DataError(msg)
        return np.full((16, 16, 3), number, dtype=np.uint8)

    def close(self) -> None:
        pass


def stream(source=None, *, batch: int = 6, seed: int = 0, rank: int = 0, world: int = 1, readers: int = 0) -> TileStream:
    data = TileData(side=8, readers=readers)
    return TileStream(source or Numbered(), data, views=VIEWS, batch=batch, seed=seed, rank=rank, world=world)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_every_tile_is_visited_once_an_epoch():
    order = Order(Numbered().index, seed=0)
    for epoch in range(3):
        visited = order.at(np.arange(30) + 30 * epoch)
        assert sorted(visited.tolist()) == list(range(30))
    assert order.epoch(0).tolist() != order.epoch(1).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_tiles_of_a_slide_are_spread_over_the_epoch(seed):
    sizes = np.array([1, 7, 40, 200, 752])
    group = np.repeat(np.arange(5), sizes)
    dealt = group[spread(group, np.random.default_rng(seed))].reshape(20, 50)
    for number, size in enumerate(sizes):
        counts = (dealt == number).sum(axis=1)
        assert counts.sum() == size
        assert abs(counts - size / 20).max() <= 2 + 0.15 * size / 20


def test_spread_is_even_where_shuffling_is_not():
    """A plain shuffle of 200 tiles in 20 batches leaves some batch with far more or fewer than 10 of a slide."""
    group = np.repeat(np.arange(20), 50)
    even, shuffled = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        even.append((group[spread(group, rng)].reshape(50, 20) == 3).sum(axis=1).var())
        shuffled.append((group[rng.permutation(1000)].reshape(50, 20) == 3).sum(axis=1).var())
    assert np.mean(even) < 0.5 * np.mean(shuffled)


def test_a_batch_is_a_function_of_seed_and_step():
    first = stream()
    wanted = [first.batch(step) for step in range(8)]
    again = stream(readers=2)
    for step in (7, 0, 1, 2, 6, 3):  # in any order, from threads
        assert same(again.batch(step), wanted[step])
    again.close()
    assert not same(stream(seed=1).batch(0), wanted[0])
    assert wanted[0]["global"].shape == (12, 3, 16, 16)
    assert wanted[0]["local"].shape == (6, 3, 8, 8)


def test_views_come_view_by_view():
    plain = Views(
        crops=(Crop(name="image", count=3, side=16, scale=(1.0, 1.0), aspect=(1.0, 1.0), blur=(0.0,)),),
        stain=0.0,
        colour=0.0,
        grey=0.0,
    )
    given = TileStream(Numbered(), TileData(side=8, readers=0), views=plain, batch=4, seed=0)
    numbers = (given.batch(0)["image"][:, 0, 0, 0] * 255).round().long()
    assert numbers.tolist() == given.order.at(np.arange(4)).tolist() * 3


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_batch(world):
    whole = stream().batch(4)
    parts = [stream(rank=rank, world=world).batch(4) for rank in range(world)]
    for name, value in whole.items():
        views = value.unflatten(0, (-1, 6))
        for rank, part in enumerate(parts):
            assert torch.equal(part[name].unflatten(0, (-1, 6 // world)), views[:, rank::world])


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="a batch of 6 tiles cannot be shared by 4 processes alike"):
        stream(world=4)


def test_smaller_parts_make_the_same_batches():
    """What gradient accumulation rests on: twice as many steps of half the size show the same tiles in the same order."""
    whole, halves = stream(batch=6).batch(2)["local"], [stream(batch=3).batch(step)["local"] for step in (4, 5)]
    assert torch.equal(whole, torch.cat(halves))


def test_broken_tiles_are_drawn_again_and_counted():
    broken = (3, 4, 17)
    given = stream(Numbered(broken=broken), batch=10)
    redrawn = sum(given.notes(step)["redrawn"] for step in range(3) if given.batch(step) is not None)
    assert redrawn >= 3
    told = given.describe()
    assert told["redrawn_since_start"] == redrawn
    assert "tile 3 is broken" in given.faults()["redrawn"]
    assert "tile 3" not in str(told)
    again = stream(Numbered(broken=broken), batch=10, readers=2)
    assert same(again.batch(1), stream(Numbered(broken=broken), batch=10).batch(1))
    again.close()


def test_nothing_but_broken_tiles_is_an_error():
    with pytest.raises(DataError, match=r"20 tiles in a row could not be read, last: tile \d+ is broken"):
        stream(Numbered(broken=tuple(range(30)))).batch(0)


def test_an_error_in_a_thread_reaches_the_caller():
    given = stream(Numbered(broken=tuple(range(30))), readers=2)
    with pytest.raises(DataError, match="20 tiles in a row"):
        given.batch(0)
    given.close()


def test_the_sample_is_the_same_every_time():
    given = stream()
    first = given.sample(9)["image"]
    given.batch(20)
    assert first.shape == (9, 3, 8, 8)
    assert torch.equal(given.sample(9)["image"], first)
    assert len(given.sample(500)["image"]) == 30


def test_resizing_averages():
    tile = np.zeros((32, 32, 3), dtype=np.uint8)
    tile[:, ::2] = 200
    assert abs(int(resized(tile, 8).float().mean()) - 100) <= 2
    assert torch.equal(resized(tile, 32), torch.from_numpy(tile).permute(2, 0, 1))
