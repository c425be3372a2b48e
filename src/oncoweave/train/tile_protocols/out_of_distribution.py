"""Out-of-distribution drop: a linear probe of tiles as they are, tested on other stains and scanners.

As Virchow is tested on CRC tiles with and without stain normalisation (Vorontsov et al., Nature Medicine 2024), with the same
test tiles on both sides, so that the drop is paired. Nothing of the perturbed tiles is known to the probe.
"""

import numpy as np
from jaxtyping import Bool, Float

from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, measured, require_classes
from oncoweave.train.tile_protocols.linear_probe import choose_cost, fit_linear
from oncoweave.train.tile_protocols.robustness import Versions


def evaluate(train: Embedded, versions: Versions, *, rng: np.random.Generator, cost: float | None = None) -> TileScores:
    """Classify every version of the test tiles; the metric is balanced accuracy, a mean over the versions of a kind.

    ``cost`` of the probe is chosen on the training tiles where it is not given.
    """
    require_classes(train, versions.original)
    cost = choose_cost(train, seed=int(rng.integers(2**31))) if cost is None else cost
    right = _right(train, versions, cost=cost)
    stains, scanners = right.shape[:2]
    other = np.ones((stains, scanners), dtype=bool)
    other[0, 0] = False
    kinds = {"other stains": (slice(1, None), slice(1)), "other scanners": (slice(1), slice(1, None))}
    means = {name: right[part].mean(axis=(0, 1)) for name, part in kinds.items()}
    means["both other"] = right[1:, 1:].mean(axis=(0, 1))
    means["all other"] = right[other].mean(axis=0)
    original = right[0, 0].astype(np.float64)
    tested, chance = versions.original, 1 / len(np.unique(versions.label))
    scores = [
        measured(per_tile, tested, setting=name, metric="balanced accuracy", chance=chance, rng=rng)
        for name, per_tile in {"as they are": original, **means}.items()
    ]
    drop = original - means["all other"]
    scores.append(measured(drop, tested, setting="all other", metric="drop of balanced accuracy", rng=rng))
    note = f"cost {cost:g}; the same {len(original)} test tiles in every version"
    return TileScores(protocol="out of distribution", scores=tuple(scores), note=note)


def by_version(train: Embedded, versions: Versions, *, cost: float) -> Float[np.ndarray, "stain scanner"]:
    """Balanced accuracy of each version."""
    right = _right(train, versions, cost=cost)
    return np.mean([right[:, :, versions.label == c].mean(axis=2) for c in np.unique(versions.label)], axis=0)


def _right(train: Embedded, versions: Versions, *, cost: float) -> Bool[np.ndarray, "stain scanner tile"]:
    return fit_linear(train.features, train.label, cost=cost).predict(versions.features) == versions.label
