"""k-shot: SimpleShot with k training tiles a class, drawn anew in each of many episodes.

Embeddings are centred on the tiles drawn and brought to length one, as nothing else is known of the task. The interval holds the
middle 95 % of episodes: how far one draw of k tiles may be from the mean. Episodes share training tiles, and all their test
tiles, so they are not independent: the spread of their mean over new slides is that of :func:`~.embedded.difference`, not theirs.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.core.errors import DataError
from oncoweave.train.tile_protocols.embedded import Embedded, TileScore, TileScores, require_classes, unit

SHOTS = (1, 2, 4, 8, 16)
EPISODES = 1000
_VALUES = 1 << 22
"""Values of the drawn tiles that are in memory at once."""
_DRAWN = 100
"""Episodes that are drawn at once; fixed, so that embeddings of any width get the same episodes."""


def evaluate(
    train: Embedded, test: Embedded, *, rng: np.random.Generator, shots: Sequence[int] = SHOTS, episodes: int = EPISODES
) -> TileScores:
    """Classify the test tiles in every episode; the metric is the mean over episodes of balanced accuracy.

    Raises:
        DataError: a class has fewer training tiles than a number of shots.
    """
    require_classes(train, test)
    classes, counts = np.unique(train.label, return_counts=True)
    few = int(counts.argmin())
    if counts[few] < max(shots):
        msg = (
            f"k-shot: wanted {max(shots)} training tiles or more of every class, as k = {max(shots)}, got {counts[few]} of class"
            f" {classes[few]}; leave out the k above {counts[few]}"
        )
        raise DataError(msg)
    # equal shifts of all embeddings change nothing but rounding, which a large common mean would spoil
    centre = train.features.mean(axis=0)
    x, z = train.features - centre, test.features - centre
    return TileScores(
        protocol="k-shot",
        scores=tuple(_score(x, z, train.label, test.label, shots=k, episodes=episodes, rng=rng) for k in shots),
        note=f"{episodes} episodes, which share tiles; the interval holds 95 % of them",
    )


def _score(
    x: np.ndarray, z: np.ndarray, label: np.ndarray, truth: np.ndarray, *, shots: int, episodes: int, rng: np.random.Generator
) -> TileScore:
    classes, code = np.unique(label, return_inverse=True)
    tested, place = np.unique(truth, return_inverse=True)
    member = np.eye(len(tested))[place] / np.bincount(place)
    drawn = draw_shots(code, shots=shots, episodes=episodes, rng=rng)
    step = max(1, _VALUES // (len(classes) * shots * x.shape[1] + len(z) * len(classes)))
    recalls, hits = [], np.zeros(len(z))
    for start in range(0, episodes, step):
        right = classes[classify(x[drawn[start : start + step]], z)] == truth
        recalls.append((right @ member).mean(axis=1))
        hits += right.sum(axis=0)
    found = np.concatenate(recalls)
    low, high = np.quantile(found, [0.025, 0.975])
    return TileScore(
        setting=f"k={shots}",
        metric="balanced accuracy",
        value=float(found.mean()),
        low=float(low),
        high=float(high),
        resampled="episodes",
        chance=1 / len(tested),
        per_tile=hits / episodes,
        balanced=True,
    )


def draw_shots(
    code: Int64[np.ndarray, " tile"], *, shots: int, episodes: int, rng: np.random.Generator
) -> Int64[np.ndarray, "episode class shot"]:
    """Draw tiles of every class without putting any back, anew for each episode; ``code`` numbers the classes from 0."""
    members = [np.flatnonzero(code == number) for number in range(int(code.max()) + 1)]
    drawn = np.empty((episodes, len(members), shots), dtype=np.int64)
    for start in range(0, episodes, _DRAWN):
        block = drawn[start : start + _DRAWN]
        for number, tiles in enumerate(members):
            chance = rng.random((len(block), len(tiles)))
            block[:, number] = tiles[np.argpartition(chance, shots - 1, axis=1)[:, :shots]]
    return drawn


def classify(
    support: Float[np.ndarray, "episode class shot dim"], z: Float[np.ndarray, "test dim"]
) -> Int64[np.ndarray, "episode test"]:
    """Number, in every episode, the class whose mean is nearest to each row of ``z``.

    With m the mean of the support and c a class's mean, the nearest c of u = (z - m) / |z - m| has the largest u.c - |c|^2 / 2.
    """
    middle = support.mean(axis=(1, 2))
    means = unit(support - middle[:, None, None]).mean(axis=2)
    episodes, num_classes, dim = means.shape
    along = (z @ means.reshape(-1, dim).T).reshape(len(z), episodes, num_classes) - np.einsum("ecd,ed->ec", means, middle)
    far = (z**2).sum(axis=1)[:, None] - 2 * z @ middle.T + (middle**2).sum(axis=1)
    length = np.sqrt(np.maximum(far, np.finfo(float).tiny))
    return (along / length[..., None] - (means**2).sum(axis=2) / 2).argmax(axis=2).T
