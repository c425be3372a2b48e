"""Shapley values: what a set of players achieves together, divided by what each adds to the sets of the others (Shapley 1953).

The values sum to what all achieve less what nobody achieves; a player who adds nothing to any set gets 0; two who add the same to
every set get the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from oncoweave.core.errors import DataError

Subset = frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapley:
    """The value of each player, and the standard error of its estimate: 0 where every subset was valued."""

    values: Mapping[str, float]
    errors: Mapping[str, float]


def every_subset(names: Sequence[str]) -> Iterator[Subset]:
    """Yield all subsets, the empty one first."""
    for size in range(len(names) + 1):
        yield from map(frozenset, combinations(names, size))


def exact_shapley(worth: Mapping[Subset, float]) -> Shapley:
    """Divide by the definition: the mean of what a player adds, over sizes and over sets of a size.

    Raises:
        DataError: a subset has no worth, the empty one included.
    """
    names = sorted(frozenset[str]().union(*worth))
    missing = [s for s in every_subset(names) if s not in worth]
    if missing:
        msg = (
            f"Shapley values: wanted the worth of all {2 ** len(names)} subsets, {len(missing)} lack, first {sorted(missing[0])}"
        )
        raise DataError(msg)
    values = {}
    for name in names:
        others = [n for n in names if n != name]
        added = [(worth[s | {name}] - worth[s]) / comb(len(others), len(s)) for s in every_subset(others)]
        values[name] = float(np.sum(added)) / len(names)
    return Shapley(values=values, errors=dict.fromkeys(names, 0.0))


def draw_orders(names: Sequence[str], *, pairs: int, generator: np.random.Generator) -> tuple[tuple[str, ...], ...]:
    """Draw orders in which players may join, each followed by its reverse, which lowers the error (Mitchell et al. 2022)."""
    drawn = [[names[i] for i in generator.permutation(len(names))] for _ in range(pairs)]
    return tuple(tuple(order) for one in drawn for order in (one, one[::-1]))


def subsets_along(orders: Sequence[Sequence[str]]) -> list[Subset]:
    """List the subsets that arise as players join in these orders, each once, small ones first."""
    found = {frozenset(order[:size]) for order in orders for size in range(len(order) + 1)}
    return sorted(found, key=lambda s: (len(s), sorted(s)))


def sampled_shapley(worth: Mapping[Subset, float], orders: Sequence[Sequence[str]]) -> Shapley:
    """Estimate by what each player adds on joining, averaged over pairs of an order and its reverse (Castro et al. 2009).

    The estimates sum to what all achieve exactly; the standard error is that of the mean over pairs.

    Raises:
        DataError: fewer than two pairs, or a subset along an order without a worth.
    """
    missing = [s for s in subsets_along(orders) if s not in worth]
    if missing or len(orders) < 4 or len(orders) % 2:
        msg = (
            f"Shapley values: wanted two pairs of orders or more and each subset's worth, got {len(orders)} orders, {missing[:1]}"
        )
        raise DataError(msg)
    names = sorted(orders[0])
    added = np.empty((len(orders), len(names)))
    for row, order in enumerate(orders):
        for size, name in enumerate(order):
            added[row, names.index(name)] = worth[frozenset(order[: size + 1])] - worth[frozenset(order[:size])]
    paired = added.reshape(-1, 2, len(names)).mean(axis=1)
    errors = paired.std(axis=0, ddof=1) / np.sqrt(len(paired))
    return Shapley(
        values=dict(zip(names, paired.mean(axis=0).tolist(), strict=True)),
        errors=dict(zip(names, errors.tolist(), strict=True)),
    )
