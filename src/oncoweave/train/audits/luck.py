"""How likely luck alone would order patients so well: exact, for a column that has nothing to do with the outcome."""

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

_MOST_WORK = 30_000_000
"""Steps up to which the exact chance is worked out; larger samples are normal enough."""


def chance_of_order(blocks: Sequence[tuple[int, int]], wrong: int) -> float:
    """Probability that at most ``wrong`` pairs are in the wrong order, where the order is luck; NaN where it takes too long.

    Each block holds how many cases are compared with how many others: one block of positives and negatives for an AUROC (Mann
    and Whitney 1947), for a C-index one an event time, of those with the event then and those followed beyond. The pairs of the
    blocks, from the last event time on, are independent, and of k cases and m others they number as the Gaussian binomial
    coefficient says: the product over j = 1..k of (1 - x^(m + j)) / (1 - x^j). Pairs of equal values are to be counted as wrong:
    parted by lot, no more than these are, and the chance is then not too small.
    """
    factors = [(min(k, m), max(k, m)) for k, m in blocks if k and m]
    if not factors or sum(k for k, _ in factors) * (wrong + 1) > _MOST_WORK:
        return float("nan")
    chance = np.zeros(wrong + 1)
    chance[0] = 1.0
    for k, m in factors:
        for j in range(1, k + 1):
            _add_up(chance, j)
            if m + j <= wrong:
                chance[m + j :] = chance[m + j :] - chance[: -(m + j)]
            chance *= j / (m + j)
    return float(min(1.0, chance.sum()))


def _add_up(values: np.ndarray, step: int) -> None:
    """Divide a power series by 1 - x^step, in place: every value becomes the sum of those a number of steps before."""
    if step**2 < len(values):
        for start in range(step):
            values[start::step] = np.cumsum(values[start::step])
    else:
        for at in range(step, len(values), step):
            values[at : at + step] += values[at - step : at][: len(values) - at]


def chance_of_area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Two-sided chance of an AUROC as far from a half as that of these values of positive and of negative patients."""
    ordered = np.sort(negative)
    below, not_above = (int(np.searchsorted(ordered, positive, side=side).sum()) for side in ("left", "right"))
    wrong = min(not_above, len(positive) * len(negative) - below)
    return two_sided(chance_of_order([(len(positive), len(negative))], wrong))


def chance_of_correlation(correlation: float, n: int) -> float:
    """Two-sided chance of a rank correlation of ``n`` patients, by Student's t, and never below that of a perfect one."""
    if n < 3:
        return 1.0
    t = correlation * np.sqrt((n - 2) / max(1 - correlation**2, 1e-300))
    return float(max(2 * stats.t.sf(t, n - 2), min(1.0, 2 * np.exp(-special.gammaln(n + 1)))))


def two_sided(chance: float) -> float:
    """Double a chance of one direction."""
    return min(1.0, 2 * chance)
