"""Stains and scanners: versions that are what they say, and what robustness and drop make of planted embeddings."""

import numpy as np
import pytest
import torch

from oncoweave.core.errors import DataError
from oncoweave.nn.colour import to_stains
from oncoweave.train.tile_protocols import out_of_distribution, robustness
from oncoweave.train.tile_protocols.embedded import Embedded
from oncoweave.train.tile_protocols.perturb import SCANNERS, STAINS, scans
from oncoweave.train.tile_protocols.robustness import Versions

KINDS = ("across scanners", "across stains", "across both")


def images(rng, count: int = 3, side: int = 16) -> torch.Tensor:
    return torch.from_numpy(rng.integers(40, 230, (count, 3, side, side), dtype=np.uint8))


def versions(features: np.ndarray, label: np.ndarray | None = None) -> Versions:
    count = features.shape[2]
    label = np.arange(count) % 2 if label is None else label
    return Versions(features=features, label=label, group=np.arange(count))


def found(made: Versions) -> dict[tuple[str, str], float]:
    scores = robustness.evaluate(made, rng=np.random.default_rng(0)).scores
    return {(s.setting, s.metric): s.value for s in scores}


def test_there_are_13_stains_and_7_scanners_and_the_first_changes_nothing(rng):
    assert (len(STAINS), len(SCANNERS)) == (13, 7)
    assert len({s.name for s in STAINS}) == 13
    tiles = images(rng)
    first, *others = scans(tiles, STAINS[0])
    assert torch.equal(first, tiles)
    assert all(not torch.equal(other, tiles) for other in others)
    assert all(not torch.equal(next(scans(tiles, stain)), tiles) for stain in STAINS[1:])


def test_versions_are_the_same_each_time_and_tile_by_tile(rng):
    tiles = images(rng)
    for one, again, alone in zip(scans(tiles, STAINS[9]), scans(tiles, STAINS[9]), scans(tiles[1:2], STAINS[9]), strict=True):
        assert torch.equal(one, again)
        assert torch.equal(one[1:2], alone)


def test_a_stronger_stain_has_as_much_more_of_it():
    grid = torch.stack(torch.meshgrid(torch.linspace(0.05, 0.35, 8), torch.linspace(0.05, 0.35, 8), indexing="ij"))
    vectors = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    tile = (255 * torch.pow(10.0, -torch.einsum("shw,sc->chw", grid, vectors))).round().to(torch.uint8)[None]
    strong = next(s for s in STAINS if s.name == "strong haematoxylin")
    amounts = to_stains(next(scans(tile, strong)).float() / 255)[0]
    torch.testing.assert_close(amounts[0], 1.45 * grid[0], atol=0.01, rtol=0)
    torch.testing.assert_close(amounts[1], grid[1], atol=0.01, rtol=0)


def test_scanners_blur_balance_and_bend():
    tile = torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)
    made = dict(zip((s.name for s in SCANNERS), scans(tile, STAINS[0]), strict=True))
    red, _, blue = made["warm"].float().mean(dim=(0, 2, 3)).tolist()
    assert red > blue + 8
    assert made["bright"].float().mean() > 140
    assert made["dim"].float().mean() < 112
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 200
    edges = checks.to(torch.uint8).expand(1, 3, 16, 16).contiguous()
    sharp, soft = (list(scans(edges, STAINS[0]))[i].float().std() for i in (0, 5))
    assert soft < 0.3 * sharp


def test_embeddings_that_no_version_moves_are_perfect(rng):
    features = np.broadcast_to(rng.normal(size=(20, 8)), (3, 2, 20, 8))
    scores = found(versions(features))
    for kind in KINDS:
        assert scores[kind, "cosine, same tile"] == pytest.approx(1, abs=1e-5)
        assert scores[kind, "cosine, other tiles"] < 0.5
        assert scores[kind, "top-1 same tile"] == 1


def test_an_encoder_that_says_the_same_of_all_tiles_retrieves_none():
    scores = found(versions(np.ones((3, 2, 20, 4))))
    assert scores["across both", "cosine, same tile"] == pytest.approx(1, abs=1e-5)
    assert scores["across both", "cosine, other tiles"] == pytest.approx(1, abs=1e-5)
    assert scores["across both", "top-10 same tile"] == 0


def test_pairs_are_told_apart_by_what_differs(rng):
    """A scanner that exchanges tiles spoils retrieval across scanners and both, not across stains."""
    plain = rng.normal(size=(20, 8))
    features = np.stack([np.stack([np.roll(plain, 3 * j, axis=0) for j in range(4)])] * 3)
    scores = found(versions(features))
    assert [scores[kind, "top-1 same tile"] for kind in KINDS] == [0, 1, 0]
    reverse = found(versions(features.transpose(1, 0, 2, 3)))
    assert [reverse[kind, "top-1 same tile"] for kind in KINDS] == [1, 0, 0]


def test_cosines_and_ranks_are_those_of_a_loop(rng):
    features = rng.normal(size=(2, 3, 12, 5)) + 2 * rng.normal(size=(12, 5))
    scores = found(versions(features))
    cosines, hits = [], []
    for i in range(2):
        for j in range(3):
            for other in (k for k in range(3) if k != j):
                for t in range(12):
                    a, b = features[i, j, t], features[i, other]
                    c = b @ a / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
                    cosines.append(c[t])
                    hits.append((c > c[t]).sum() < 3)
    assert scores["across scanners", "cosine, same tile"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert scores["across scanners", "top-3 same tile"] == pytest.approx(np.mean(hits), abs=1e-9)


def test_the_order_of_tiles_is_of_no_account(rng):
    features = rng.normal(size=(2, 2, 15, 5)) + rng.normal(size=(15, 5))
    mixed = found(versions(features[:, :, rng.permutation(15)]))
    assert mixed == pytest.approx(found(versions(features)), abs=1e-6)


def test_too_few_tiles_are_refused():
    with pytest.raises(DataError, match="robustness: wanted more than 10 tiles to retrieve one of them, got 10"):
        robustness.evaluate(versions(np.ones((2, 2, 10, 3))), rng=np.random.default_rng(0))


def test_the_drop_is_that_of_planted_versions(rng):
    """Where scanner 1 turns every embedding round all is wrong there; stains change nothing: 1 less the mean over the others."""
    label = np.arange(40) % 2
    x = rng.normal(size=(40, 3)) + 9 * np.where(label, 1.0, -1.0)[:, None]
    features = np.broadcast_to(x, (3, 2, 40, 3)).copy()
    features[:, 1] *= -1
    train = Embedded(features=x, label=label, group=np.arange(40))
    made = versions(features, label)
    scores = out_of_distribution.evaluate(train, made, rng=np.random.default_rng(0)).scores
    by_setting = {(s.setting, s.metric): s.value for s in scores}
    accuracy = "balanced accuracy"
    assert by_setting["as they are", accuracy] == by_setting["other stains", accuracy] == 1
    assert by_setting["other scanners", accuracy] == by_setting["both other", accuracy] == 0
    assert by_setting["all other", "drop of balanced accuracy"] == pytest.approx(3 / 5)
    np.testing.assert_array_equal(out_of_distribution.by_version(train, made, cost=0.1), [[1, 0]] * 3)
    np.testing.assert_allclose(robustness.to_original(made), [[1, -1]] * 3)
