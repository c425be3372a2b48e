"""Rows that are copies of each other but for noise: nearer to one another than the cohort's own neighbours ever are by chance.

Among neighbours of a point at even density in k dimensions, the ratio of the distances to the nearest and to a farther one, to
the power of k, is that of uniform draws (Facco et al., Sci Rep 7:12140, 2017). How many dimensions the rows of a cohort really
fill is read off their own third and fifth neighbours, so that columns which say the same twice count once. A pair is a copy where
such a ratio must be expected less than once in a thousand cohorts, and is small.
"""

import numpy as np

NEIGHBOURS = 5
LEAST_COLUMNS = 4
"""Of fewer numbers, near ones may be near by chance."""
_THIRD = 0.6143
"""Median of the third smallest of four uniform draws (beta 3, 2)."""
_BY_CHANCE = 1e-3
_MOST_RATIO = 0.15
"""Of the distances to a copy and to the fifth neighbour; images that show nothing lie near each other without being copies."""
_MOST_COLUMNS = 512
_AT_ONCE = 512
"""Rows whose distances are in memory together."""


def near_pairs(values: np.ndarray, owner: np.ndarray | None = None) -> set[tuple[int, int]]:
    """List the pairs of rows ``[n, d]`` (missing values are NaN) that are near-copies, lower row first.

    Distances are taken over the columns that both rows have. Rows of one ``owner`` (``[n]``) are not held against each other. Of
    many columns some hundred, evenly spaced, tell enough. A copy that more than five share has no other neighbour and is not
    found. Fewer than seven rows, or than four columns that vary, tell nothing.
    """
    z = scaled(values[:, :: max(1, values.shape[1] // _MOST_COLUMNS)])
    if len(z) < NEIGHBOURS + 2 or z.shape[1] < LEAST_COLUMNS:
        return set()
    whose = np.arange(len(z)) if owner is None else np.unique(owner, return_inverse=True)[1]
    place, distance, shared = _neighbours(z, whose)
    far, third = distance[:, -1], distance[:, 2]
    usable = np.isfinite(far) & (far > 0)
    ordinary = usable & (third > 0)
    if not ordinary.any():
        return set()
    slope = -float(np.median(np.log(third[ordinary] / far[ordinary])))
    dimensions = -np.log(_THIRD) / max(slope, 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usable[:, None], distance[:, :-1] / far[:, None], 1.0)
        surprise = dimensions * shared[:, :-1] * np.log(ratio)
    wanted = np.log(_BY_CHANCE / ((NEIGHBOURS - 1) * len(z)))
    near = (surprise <= wanted) & (ratio <= _MOST_RATIO)
    return {(min(i, j), max(i, j)) for i, k in np.argwhere(near).tolist() for j in [int(place[i, k])]}


def scaled(values: np.ndarray) -> np.ndarray:
    """Columns that vary, ``[n, varying]``, about their median in units of their spread; long tails are drawn in (arcsinh)."""
    values = np.asarray(values, dtype=np.float32)
    varies = np.array([len(np.unique(c[~np.isnan(c)][:_AT_ONCE])) > 1 for c in values.T], dtype=bool)
    values = values[:, varies]
    if not values.size:
        return values
    centre = np.nanmedian(values, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(values - centre), axis=0)
    spread = np.where(spread > 0, spread, np.nanstd(values, axis=0))
    return np.arcsinh((values - centre) / np.where(spread > 0, spread, 1.0))


def _neighbours(z: np.ndarray, whose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest rows of others, their distance a column, and the share of a row's columns that both have: each ``[n, 5]``."""
    known = ~np.isnan(z)
    filled, has = np.where(known, z, 0.0), known.astype(np.float32)
    square, gaps = filled**2, not known.all()
    place = np.zeros((len(z), NEIGHBOURS), dtype=int)
    distance, share = np.zeros(place.shape), np.zeros(place.shape)
    for start in range(0, len(z), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(z)))
        both = has[rows] @ has.T if gaps else np.full((len(rows), len(z)), z.shape[1], dtype=np.float32)
        sizes = square[rows] @ has.T + has[rows] @ square.T if gaps else square[rows].sum(1)[:, None] + square.sum(1)
        apart = sizes - 2 * filled[rows] @ filled.T
        apart = np.maximum(apart, 0.0) / np.maximum(both, 1.0)
        apart[(both < LEAST_COLUMNS) | (whose[rows][:, None] == whose)] = np.inf
        nearest = np.argpartition(apart, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        square_of = np.take_along_axis(apart, nearest, axis=1)
        order = np.argsort(square_of, axis=1)
        place[rows] = np.take_along_axis(nearest, order, axis=1)
        # once more from the differences, as products of like rows lose all digits
        there = known[rows][:, None] & known[place[rows]]
        gap = np.where(there, filled[rows][:, None] - filled[place[rows]], 0.0)
        count = there.sum(axis=2)
        distance[rows] = np.sqrt((gap**2).sum(axis=2) / count.clip(1))
        distance[rows] = np.where(np.isinf(np.sort(square_of, axis=1)), np.inf, distance[rows])
        share[rows] = count / known[rows].sum(axis=1, keepdims=True).clip(1)
    return place, distance, share
