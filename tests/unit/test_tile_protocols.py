"""Tile-level protocols: closed forms, what cannot matter, and tiles that nothing can be told from."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import DataError
from oncoweave.train.tile_protocols import k_shot, linear_probe, neighbours, retrieval, simpleshot
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, accuracy, difference, measured
from oncoweave.train.tile_protocols.tables import tile_duel

EVALUATE = {
    "linear probe": lambda train, test, rng: linear_probe.evaluate(train, test, rng=rng, cost=0.1),
    "k-NN": lambda train, test, rng: neighbours.evaluate(train, test, rng=rng),
    "SimpleShot": lambda train, test, rng: simpleshot.evaluate(train, test, rng=rng),
    "k-shot": lambda train, test, rng: k_shot.evaluate(train, test, rng=rng, shots=(1, 4), episodes=200),
    "retrieval": lambda train, test, rng: retrieval.evaluate(train, test, rng=rng),
}


@pytest.fixture(params=EVALUATE)
def evaluate(request):
    return EVALUATE[request.param]


def tiles(features, label, group=None) -> Embedded:
    features, label = np.asarray(features, dtype=float), np.asarray(label)
    return Embedded(features=features, label=label, group=np.arange(len(label)) if group is None else np.asarray(group))


def clouds(rng, count: int, *, apart: float, dim: int = 6) -> Embedded:
    label = np.arange(count) % 3
    return tiles(rng.normal(size=(count, dim)) + apart * np.eye(3, dim)[label], label)


def values(scores: TileScores) -> np.ndarray:
    return np.array([s.value for s in scores.scores])


def seeded() -> np.random.Generator:
    return np.random.default_rng(7)


def duel_table(test: Embedded, hits: dict[str, np.ndarray]) -> pd.DataFrame:
    one = {"label": test.label, "group": test.group, "tile": np.arange(len(test.label)), "grouped": test.grouped}
    return pd.concat([pd.DataFrame({**one, "encoder": name, "balanced": True, "value": h}) for name, h in hits.items()])


def test_a_duel_is_the_paired_difference_over_slides(rng):
    slides = np.repeat(np.arange(30), 6)
    test = tiles(np.zeros((180, 1)), slides % 3, group=slides)
    hits = {"a": (rng.random(180) < 0.8).astype(float), "b": np.repeat(rng.random(30) < 0.5, 6).astype(float)}
    table = duel_table(test, hits)
    found = tile_duel(table, "a", "b", rng=seeded(), replicates=400)
    recalls = [np.mean([h[test.label == c].mean() for c in range(3)]) for h in hits.values()]
    assert found.difference == pytest.approx(recalls[0] - recalls[1])
    assert (found.n, found.note) == (30, "slides or patients")
    scores = [measured(h, test, metric="balanced accuracy", rng=seeded()) for h in hits.values()]
    interval = difference(*scores, test, rng=seeded())
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.04)
    mixed = tile_duel(table.sample(frac=1, random_state=1), "b", "a", rng=seeded(), replicates=400)
    assert mixed.difference == pytest.approx(-found.difference)
    alone = tile_duel(duel_table(tiles(np.zeros((180, 1)), slides % 3), hits), "a", "b", rng=seeded(), replicates=400)
    assert alone.n == 180 and alone.note.startswith("tiles, as which")
    assert alone.high - alone.low < found.high - found.low  # tiles of a slide fail together: taken as independent they look surer


def test_far_classes_are_told_apart(evaluate, rng):
    found = evaluate(clouds(rng, 60, apart=40.0), clouds(rng, 30, apart=40.0), seeded())
    np.testing.assert_allclose(values(found), 1.0)


def test_noise_is_at_chance(evaluate, rng):
    draws = [evaluate(clouds(rng, 90, apart=0.0), clouds(rng, 90, apart=0.0), seeded()) for _ in range(6)]
    for found in zip(*(d.scores for d in draws), strict=True):
        plain = found[0].metric in ("mean average precision", "majority accuracy")
        assert np.mean([s.value for s in found]) == pytest.approx(1 / 3 if plain else found[0].chance, abs=0.08)


def test_the_order_of_tiles_is_of_no_account(evaluate, rng):
    train, test = clouds(rng, 60, apart=1.5), clouds(rng, 30, apart=1.5)
    plain = evaluate(train, test, seeded())
    mixed = evaluate(train.take(rng.permutation(60)), test.take(rng.permutation(30)), seeded())
    draws = plain.protocol == "k-shot"  # other tiles are drawn
    np.testing.assert_allclose(values(mixed), values(plain), rtol=0, atol=0.03 if draws else 1e-9)


def test_the_names_of_classes_are_of_no_account(evaluate, rng):
    train, test = clouds(rng, 60, apart=1.5), clouds(rng, 30, apart=1.5)
    renamed = [tiles(t.features, np.array([40, 2, 17])[t.label]) for t in (train, test)]
    plain, other = evaluate(train, test, seeded()), evaluate(*renamed, seeded())
    np.testing.assert_allclose(values(other), values(plain), rtol=0, atol=0.03 if plain.protocol == "k-shot" else 1e-9)


def test_a_shift_of_all_embeddings_is_of_no_account(evaluate, rng):
    train, test = clouds(rng, 60, apart=1.5), clouds(rng, 30, apart=1.5)
    far = [tiles(t.features + 100.0, t.label) for t in (train, test)]
    np.testing.assert_allclose(values(evaluate(*far, seeded())), values(evaluate(train, test, seeded())), atol=1e-9)


def test_a_class_without_training_tiles_is_refused(evaluate, rng):
    train, test = clouds(rng, 60, apart=1.5), clouds(rng, 30, apart=1.5)
    with pytest.raises(DataError, match=r"class 2 has test tiles and none to train on; add such tiles"):
        evaluate(train.take(train.label < 2), test, seeded())
    with pytest.raises(DataError, match=r"two classes or more .* got only class \[0\]"):
        evaluate(train.take(train.label == 0), test.take(test.label == 0), seeded())


def test_other_widths_are_refused(evaluate, rng):
    with pytest.raises(DataError, match="training embeddings are 6 wide, test embeddings 4"):
        evaluate(clouds(rng, 60, apart=1.0), clouds(rng, 30, apart=1.0, dim=4), seeded())


def test_the_penalty_is_chosen_without_the_test_tiles(rng):
    train, test = clouds(rng, 90, apart=0.8), clouds(rng, 60, apart=0.8)
    wrong = tiles(rng.normal(size=(45, 6)) * 50, np.resize([2, 0, 1], 45))
    plain, other = (linear_probe.evaluate(train, t, rng=seeded()) for t in (test, wrong))
    assert plain.note == other.note != ""
    assert plain.scores[0].value != other.scores[0].value


def test_inner_folds_keep_slides_together_else_stains(rng):
    features, label = rng.normal(size=(12, 2)), np.arange(12) % 2
    alone, slides, stains = np.arange(12), np.arange(12) // 4, np.arange(12) // 6
    known = Embedded(features=features, label=label, group=slides, stain=stains)
    unknown = Embedded(features=features, label=label, group=alone, stain=stains)
    np.testing.assert_array_equal(known.together, slides)
    np.testing.assert_array_equal(unknown.together, stains)
    assert tiles(features, label).together is None


def test_votes_may_be_weighted_by_closeness():
    """Two tiles at cosine .96 against three at .6: three votes win, but not when a vote weighs exp(cosine / .07)."""
    x = np.array([[0.96, 0.28], [0.96, -0.28], [0.6, 0.8], [0.6, -0.8], [0.6, 0.8], [-3.72, -0.8]])
    label = np.array([5, 5, 3, 3, 3, 9])
    assert np.allclose(x.mean(axis=0), 0)  # so that centring moves nothing
    z = np.array([[1.0, 0.0]])
    assert neighbours.nearest_neighbours(x, label, z, k=5).tolist() == [3]
    assert neighbours.nearest_neighbours(x, label, z, k=5, temperature=0.07).tolist() == [5]


def test_simpleshot_by_hand():
    """Means of unit vectors lie at (.5, .5) and (-.5, -.5), plain means at (5, .5) and (-5, -.5): they disagree on (-1, 3)."""
    train = tiles([[10, 0], [0, 1], [-10, 0], [0, -1]], [1, 1, 0, 0])
    test = tiles([[-1, 3], [1, -3]], [1, 0])
    found = simpleshot.evaluate(train, test, rng=seeded())
    assert found.scores[0].per_tile.tolist() == [1.0, 1.0]
    assert simpleshot.nearest_mean(train.features, train.label, test.features).tolist() == [0, 1]


def test_k_shot_is_simpleshot_of_the_tiles_drawn(rng):
    train, test = clouds(rng, 60, apart=1.0), clouds(rng, 20, apart=1.0)
    drawn = k_shot.draw_shots(train.label, shots=3, episodes=150, rng=seeded())
    assert drawn.shape == (150, 3, 3)
    for episode, found in zip(drawn[:20], k_shot.classify(train.features[drawn], test.features)[:20], strict=True):
        support = train.take(episode.ravel())
        assert (support.label.reshape(3, 3) == [[0], [1], [2]]).all()
        assert len(set(episode.ravel())) == 9
        wanted = simpleshot.evaluate(support, test, rng=seeded()).scores[0].per_tile
        np.testing.assert_array_equal(found == test.label, wanted == 1)


def test_k_shot_with_all_tiles_is_simpleshot(rng):
    train, test = clouds(rng, 24, apart=1.0), clouds(rng, 30, apart=1.0)
    (score,) = k_shot.evaluate(train, test, rng=seeded(), shots=(8,), episodes=5).scores
    whole = simpleshot.evaluate(train, test, rng=seeded()).scores[0].value
    assert score.value == score.low == score.high == pytest.approx(whole, rel=1e-12)
    assert score.resampled == "episodes"


def test_more_shots_are_better_and_differ_less(rng):
    train, test = clouds(rng, 90, apart=2.0), clouds(rng, 60, apart=2.0)
    few, many = k_shot.evaluate(train, test, rng=seeded(), shots=(1, 16), episodes=300).scores
    assert many.value > few.value + 0.05
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert few.value == pytest.approx(np.mean([few.per_tile[test.label == c].mean() for c in range(3)]))


def test_embeddings_of_any_width_get_the_same_episodes(rng, monkeypatch):
    train, test = clouds(rng, 60, apart=1.0), clouds(rng, 30, apart=1.0)
    wide = [tiles(np.hstack([t.features, np.zeros((len(t.label), 50))]), t.label) for t in (train, test)]
    plain = k_shot.evaluate(train, test, rng=seeded(), shots=(2,), episodes=250)
    monkeypatch.setattr(k_shot, "_VALUES", 2000)  # a few episodes at a time
    np.testing.assert_allclose(values(k_shot.evaluate(*wide, rng=seeded(), shots=(2,), episodes=250)), values(plain), atol=1e-12)


def test_fewer_tiles_than_shots_or_neighbours_are_refused(rng):
    train, test = clouds(rng, 17, apart=1.0), clouds(rng, 30, apart=1.0)
    with pytest.raises(DataError, match=r"k = 16, got 5 of class 2; leave out the k above 5"):
        k_shot.evaluate(train, test, rng=seeded())
    with pytest.raises(DataError, match=r"k-NN: wanted 20 training tiles or more, as k = 20, got 17"):
        neighbours.evaluate(train, test, rng=seeded())
    with pytest.raises(DataError, match=r"retrieval: wanted 5 training tiles or more, got 4"):
        retrieval.evaluate(train.take(np.arange(4)), test, rng=seeded())


def test_average_precision_by_hand():
    same = np.array([[True, False, True, False], [False, True, False, False], [True, True, False, False]])
    closeness = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.5, 0.1]])
    # the first: hits at places 1 and 3; the second: at place 2; the third: both within a tie of three
    np.testing.assert_allclose(retrieval.average_precision(same, closeness), [(1 + 2 / 3) / 2, 1 / 2, 2 / 3])


def test_retrieval_by_hand():
    """A circle of six tiles: what stands at which place is told by the angle to the query."""
    angles = np.deg2rad([0, 60, 120, 180, 240, 300])
    train = tiles(np.stack([np.cos(angles), np.sin(angles)], axis=1), [0, 1, 1, 1, 0, 0])
    query = np.deg2rad([10.0, 70.0])
    test = tiles(np.stack([np.cos(query), np.sin(query)], axis=1), [1, 0])
    # from 10 degrees: 0 (0), 60 (1), 300 (0), 120 (1), 240 (0), 180 (1); from 70: 60 (1), 120 (1), 0 (0), 180 (1), 300 (0), ...
    found = {(s.metric, s.setting): s.per_tile.tolist() for s in retrieval.evaluate(train, test, rng=seeded()).scores}
    assert found["top-k accuracy", "k=1"] == [0, 0]
    assert found["top-k accuracy", "k=3"] == [1, 1]
    assert found["majority accuracy", "k=5"] == [0, 0]
    precision = [(1 / 2 + 2 / 4 + 3 / 6) / 3, (1 / 3 + 2 / 5 + 3 / 6) / 3]
    assert found["mean average precision", ""] == pytest.approx(precision)


def test_luck_of_retrieval():
    """Of 8 tiles 2 are of the class: a draw of one misses it in 6 of 8 cases, and so on without putting back."""
    scores = retrieval.evaluate(tiles(np.eye(8), [0, 0, 1, 1, 1, 1, 1, 1]), tiles(np.eye(8)[:1], [0]), rng=seeded()).scores
    found = {s.setting: s.chance for s in scores if s.metric == "top-k accuracy"}
    assert found == pytest.approx(
        {"k=1": 2 / 8, "k=3": 1 - 6 * 5 * 4 / (8 * 7 * 6), "k=5": 1 - (6 * 5 * 4 * 3 * 2) / (8 * 7 * 6 * 5 * 4)}
    )


def test_scores_are_means_within_classes_where_they_say_so():
    test = tiles(np.zeros((4, 1)), [0, 0, 0, 1])
    per_tile = np.array([1.0, 1.0, 1.0, 0.0])
    assert measured(per_tile, test, metric="", rng=seeded()).value == 0.5
    assert measured(per_tile, test, metric="", rng=seeded(), balanced=False).value == 0.75


def test_intervals_resample_slides_where_these_are_known(rng):
    hits = np.repeat(rng.random(20) < 0.5, 20).astype(float)
    alone, by_slide = (
        tiles(np.zeros((400, 1)), np.zeros(400, int)),
        tiles(np.zeros((400, 1)), np.zeros(400, int), np.arange(400) // 20),
    )
    narrow, wide = (measured(hits, t, metric="", rng=seeded()) for t in (alone, by_slide))
    assert (narrow.resampled, wide.resampled) == ("tiles", "slides")
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_differences_are_of_the_same_tiles(rng):
    test = clouds(rng, 60, apart=1.0)
    one = accuracy(np.where(rng.random(60) < 0.7, test.label, 0), test, rng=seeded())
    same = difference(one, one, test, rng=seeded())
    assert same.value == 0 and np.isnan(same.high)  # no spread, and so no interval
    better = accuracy(np.where(np.arange(60) < 30, test.label, 99), test, rng=seeded())
    worse = accuracy(np.full(60, 99), test, rng=seeded())
    found = difference(better, worse, test, rng=seeded())
    assert found.value == better.value == 0.5
    assert found.low < 0.5 < found.high


def test_embeddings_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="1 of 2 have NaN or infinite values, the first is 1"):
        tiles([[0.0], [np.nan]], [0, 1])
