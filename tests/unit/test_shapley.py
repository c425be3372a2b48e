"""Shapley values: the axioms, the definition by orders, and what sampling costs."""

from itertools import permutations

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.shapley import draw_orders, every_subset, exact_shapley, sampled_shapley, subsets_along

NAMES = ("clinical", "rna", "slide", "useless")


@pytest.fixture
def worth(rng):
    """Any worths, but ``useless`` adds nothing to any subset, and rna and slide stand in for each other."""
    drawn = {}
    for subset in every_subset(NAMES):
        like = (len(subset & {"rna", "slide"}), "clinical" in subset)
        drawn[subset] = drawn.setdefault(like, 0.5 + 0.1 * like[0] + 0.05 * rng.random())
    return {s: v for s, v in drawn.items() if isinstance(s, frozenset)}


def test_values_are_the_mean_gain_of_joining_over_all_orders(rng):
    worth = {s: rng.random() for s in every_subset(NAMES)}
    joined = dict.fromkeys(NAMES, 0.0)
    for order in permutations(NAMES):
        for size, name in enumerate(order):
            joined[name] += (worth[frozenset(order[: size + 1])] - worth[frozenset(order[:size])]) / 24
    assert exact_shapley(worth).values == pytest.approx(joined)


@pytest.mark.parametrize(
    "orders", [(), draw_orders(NAMES, pairs=5, generator=np.random.default_rng(0))], ids=["exact", "sampled"]
)
def test_values_sum_to_the_gain_and_who_adds_nothing_gets_nothing(worth, orders):
    found = sampled_shapley(worth, orders) if orders else exact_shapley(worth)
    assert sum(found.values.values()) == pytest.approx(worth[frozenset(NAMES)] - worth[frozenset()])
    assert found.values["useless"] == pytest.approx(0.0, abs=1e-12)


def test_who_adds_the_same_to_every_subset_gets_the_same(worth):
    found = exact_shapley(worth).values
    assert found["rna"] == pytest.approx(found["slide"])


def test_sampled_values_lie_within_their_standard_errors_of_the_exact_ones(rng):
    names = [f"m{i}" for i in range(9)]
    weights, pair = rng.random(9), rng.normal(size=(9, 9))
    worth = {}
    for subset in every_subset(names):
        inside = np.array([n in subset for n in names], dtype=float)
        worth[subset] = inside @ weights + inside @ pair @ inside / 4 + inside.prod()
    exact = exact_shapley(worth)
    found = sampled_shapley(worth, draw_orders(names, pairs=40, generator=rng))
    for name in names:
        assert abs(found.values[name] - exact.values[name]) < 4 * found.errors[name] + 1e-9
    assert max(exact.errors.values()) == 0


def test_additive_worth_is_found_exactly_from_any_orders(rng):
    worth = {s: sum(0.1 * (NAMES.index(n) + 1) for n in s) for s in every_subset(NAMES)}
    found = sampled_shapley(worth, draw_orders(NAMES, pairs=2, generator=rng))
    assert found.values == pytest.approx({n: 0.1 * (i + 1) for i, n in enumerate(NAMES)})
    assert max(found.errors.values()) == pytest.approx(0.0, abs=1e-12)


def test_subsets_along_orders_are_listed_once_with_none_and_all(rng):
    orders = draw_orders(NAMES, pairs=2, generator=rng)
    found = subsets_along(orders)
    assert len(found) == len(set(found))
    assert found[0] == frozenset() and found[-1] == frozenset(NAMES)
    assert orders[1] == orders[0][::-1]


def test_a_subset_without_a_worth_is_refused(worth, rng):
    with pytest.raises(DataError, match="wanted the worth of all 16 subsets, 1 lack"):
        exact_shapley({s: v for s, v in worth.items() if s != frozenset({"rna"})})
    with pytest.raises(DataError, match="two pairs of orders or more"):
        sampled_shapley(worth, draw_orders(NAMES, pairs=1, generator=rng))
