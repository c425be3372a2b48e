"""k-NN: the class of the nearest training tiles, by cosine of centred embeddings.

Plain votes are UNI's protocol (Chen et al., Nature Medicine 2024, k = 20), votes weighted by exp(cosine / 0.07) are DINO's (Caron
et al., ICCV 2021), there of embeddings that are not centred.
"""

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.core.errors import DataError
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, accuracy, require_classes, unit

NEIGHBOURS = 20
TEMPERATURE = 0.07
SETTINGS: tuple[tuple[int, float | None], ...] = ((1, None), (NEIGHBOURS, None), (NEIGHBOURS, TEMPERATURE))
"""Number of neighbours and temperature of the votes; None for plain ones."""


def evaluate(train: Embedded, test: Embedded, *, rng: np.random.Generator) -> TileScores:
    """Classify the test tiles by their neighbours among the training tiles; the metric is balanced accuracy.

    Raises:
        DataError: there are fewer training tiles than neighbours are asked for.
    """
    require_classes(train, test)
    most = max(k for k, _ in SETTINGS)
    if len(train.label) < most:
        msg = f"k-NN: wanted {most} training tiles or more, as k = {most}, got {len(train.label)}"
        raise DataError(msg)
    scores = []
    for k, temperature in SETTINGS:
        nearest = nearest_neighbours(train.features, train.label, test.features, k=k, temperature=temperature)
        setting = f"k={k}" + ("" if temperature is None else f", T={temperature:g}")
        scores.append(accuracy(nearest, test, setting=setting, rng=rng))
    return TileScores(protocol="k-NN", scores=tuple(scores))


def nearest_neighbours(
    x: Float[np.ndarray, "tile dim"],
    label: Int64[np.ndarray, " tile"],
    z: Float[np.ndarray, "test dim"],
    *,
    k: int = NEIGHBOURS,
    temperature: float | None = None,
) -> Int64[np.ndarray, " test"]:
    """Give each row of ``z`` the class that most of its ``k`` nearest rows of ``x`` have, ties to the nearer.

    With a ``temperature`` a vote weighs exp(cosine / temperature).
    """
    cosines = centred_cosines(x, z)
    k = min(k, len(x))
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    nearest = np.take_along_axis(cosines, order, axis=1)
    # a nearer tile counts a trifle more: enough to break ties, too little to outvote one tile
    plain = np.broadcast_to(1 + (k - np.arange(k)) / (2 * k * k), nearest.shape)
    weight = plain if temperature is None else np.exp((nearest - nearest[:, :1]) / temperature)
    classes, code = np.unique(label, return_inverse=True)
    votes = np.zeros((len(z), len(classes)))
    for rank in range(k):
        np.add.at(votes, (np.arange(len(z)), code[order[:, rank]]), weight[:, rank])
    return classes[votes.argmax(axis=1)]


def centred_cosines(x: Float[np.ndarray, "tile dim"], z: Float[np.ndarray, "test dim"]) -> Float[np.ndarray, "test tile"]:
    """Cosines of the rows of ``z`` with those of ``x``, both less the mean of ``x``."""
    centre = x.mean(axis=0)
    return unit(z - centre) @ unit(x - centre).T
