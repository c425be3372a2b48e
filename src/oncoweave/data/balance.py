"""Groups of patients to folds, as evenly as they allow: dealing, and greedy assignment with local search.

Imbalance is the sum over folds and columns of (count - even share)^2 / column total; patients, and what every fold must hold,
count four times as much as a stratum.
"""

from collections.abc import Collection, Iterator

import numpy as np

_RESTARTS = 8
_MOVES = 500
_UNEVEN = 1.25
"""How many times larger the largest fold may become for the sake of another grouping."""
_SWAP_LIMIT = 800
"""Most groups for which every pair is tried as a swap; more groups are fine-grained enough to balance by moves."""


def deal(strata: np.ndarray, *, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal shuffled patients out like cards, stratum after stratum: no stratum, and no two folds, differ by more than one."""
    order = np.lexsort((rng.random(len(strata)), strata))
    fold = np.empty(len(strata), dtype=np.int64)
    fold[order] = rng.permutation(folds)[np.arange(len(strata)) % folds]
    return fold


def assign(
    strata: np.ndarray,
    groups: np.ndarray,
    *,
    needed: np.ndarray,
    folds: int,
    rng: np.random.Generator,
    avoid: Collection[bytes] = (),
) -> np.ndarray:
    """Give each group one fold; returns the fold of each patient, ``Int[n]``.

    ``strata`` is ``Float[n, stratum]``, what is to be even; ``needed`` is ``Float[n, need]``, what every fold must hold. Of
    several random starts the most even one that holds everything needed is kept, or the most even one if none does. Where that
    is a grouping to ``avoid`` (see :func:`grouping`), the most even one that is a move or a swap away is taken, if any is.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    wanted = _per_group(needed, groups)
    counts = np.column_stack([2.0 * np.bincount(groups), 2.0 * wanted, _per_group(strata, groups)])
    totals = np.concatenate([[len(groups)], needed.sum(axis=0), strata.sum(axis=0)])
    scaled = counts / np.sqrt(np.maximum(totals, 1.0))
    best: tuple[int, float] | None = None
    for _ in range(_RESTARTS):
        fold = _improve(scaled, _greedy(scaled, folds, rng), folds)
        lacking = int((_per_group(wanted, fold, folds) == 0).sum())
        score = (lacking, float((_per_group(scaled, fold, folds) ** 2).sum().round(9)))
        if best is None or score < best:
            best, chosen = score, fold
    if grouping(chosen[groups]) in avoid:
        chosen = _another(chosen, groups, scaled, wanted, avoid)
    return chosen[groups]


def grouping(fold: np.ndarray) -> bytes:
    """Who is with whom, whatever the folds are called: equal for equal groupings of the same patients in the same order."""
    _, first, name = np.unique(fold, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[name.reshape(-1)].astype(np.int64).tobytes()


def _another(
    chosen: np.ndarray, groups: np.ndarray, scaled: np.ndarray, wanted: np.ndarray, avoid: Collection[bytes]
) -> np.ndarray:
    """Give the most even grouping beside ``chosen`` that is not to be avoided and lacks nothing; ``chosen`` if there is none."""
    folds, size = int(chosen.max()) + 1, np.bincount(groups)
    largest = _UNEVEN * np.bincount(chosen, weights=size).max()
    best, found = np.inf, chosen
    for fold in _neighbours(chosen, folds):
        holds = (_per_group(wanted, fold, folds) > 0).all()
        uneven = float((_per_group(scaled, fold, folds) ** 2).sum())
        fits = holds and np.bincount(fold, weights=size, minlength=folds).max() <= largest and len(np.unique(fold)) == folds
        if fits and uneven < best and grouping(fold[groups]) not in avoid:
            best, found = uneven, fold
    return found


def _neighbours(chosen: np.ndarray, folds: int) -> Iterator[np.ndarray]:
    """Yield the groupings that one move of a group, or one swap of two, makes."""
    for group in range(len(chosen)):
        for to in range(folds):
            fold = chosen.copy()
            fold[group] = to
            yield fold
        for other in range(group):
            fold = chosen.copy()
            fold[group], fold[other] = chosen[other], chosen[group]
            yield fold


def _per_group(columns: np.ndarray, groups: np.ndarray, num_groups: int = 0) -> np.ndarray:
    totals = np.zeros((max(num_groups, int(groups.max()) + 1), columns.shape[1]))
    np.add.at(totals, groups, columns)
    return totals


def _greedy(scaled: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Largest groups first (sizes blurred by a random tenth), each to the fold that stays lowest."""
    size = np.linalg.norm(scaled, axis=1) * rng.uniform(0.9, 1.1, len(scaled))
    load = np.zeros((folds, scaled.shape[1]))
    fold = np.empty(len(scaled), dtype=np.int64)
    for group in np.argsort(-size):
        cost = load @ scaled[group]
        fold[group] = rng.choice(np.flatnonzero(cost <= cost.min() + 1e-12))
        load[fold[group]] += scaled[group]
    return fold


def _improve(scaled: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """Move a group, or swap two, as long as that lowers the imbalance."""
    fold = fold.copy()
    rows = np.arange(len(fold))
    products = scaled @ scaled.T if len(fold) <= _SWAP_LIMIT else None
    norms = (scaled**2).sum(axis=1)
    for _ in range(_MOVES):
        fits = scaled @ _per_group(scaled, fold, folds).T
        own = fits[rows, fold]
        move = fits - own[:, None] + norms[:, None]
        move[rows, fold] = 0.0
        group, to = np.unravel_index(move.argmin(), move.shape)
        if move[group, to] < -1e-9:
            fold[group] = to
            continue
        if products is None:
            return fold
        swap = fits[:, fold] - own[:, None] - own[None, :] + fits[:, fold].T + norms[:, None] + norms[None, :] - 2 * products
        swap[fold[:, None] == fold[None, :]] = 0.0
        one, other = np.unravel_index(swap.argmin(), swap.shape)
        if swap[one, other] >= -1e-9:
            return fold
        fold[one], fold[other] = fold[other], fold[one]
    return fold
