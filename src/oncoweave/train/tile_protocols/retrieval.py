"""Retrieval: training tiles ranked by their cosine with each test tile, both centred on the training tiles.

Top-k accuracy asks for one tile of the query's class among the first k, the majority for most of the first five (ties go to the
nearer, never to a hit as such), mean average precision for all of the class before the others.
"""

import numpy as np
from jaxtyping import Bool, Float

from oncoweave.core.errors import DataError
from oncoweave.evaluate.discrimination import auprc
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, measured, require_classes
from oncoweave.train.tile_protocols.neighbours import centred_cosines, nearest_neighbours

TOP = (1, 3, 5)
MAJORITY = 5


def evaluate(train: Embedded, test: Embedded, *, rng: np.random.Generator) -> TileScores:
    """Retrieve training tiles for every test tile; every metric is a mean within classes first.

    Raises:
        DataError: there are fewer training tiles than are retrieved.
    """
    require_classes(train, test)
    if len(train.label) < max(*TOP, MAJORITY):
        msg = f"retrieval: wanted {max(*TOP, MAJORITY)} training tiles or more, got {len(train.label)}"
        raise DataError(msg)
    cosines = centred_cosines(train.features, test.features)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : max(TOP)]
    right = train.label[order] == test.label[:, None]
    scores = [
        measured(right[:, :k].any(axis=1), test, setting=f"k={k}", metric="top-k accuracy", chance=_luck(train, test, k), rng=rng)
        for k in TOP
    ]
    voted = nearest_neighbours(train.features, train.label, test.features, k=MAJORITY)
    scores.append(measured(voted == test.label, test, setting=f"k={MAJORITY}", metric="majority accuracy", rng=rng))
    precision = average_precision(train.label == test.label[:, None], cosines)
    scores.append(measured(precision, test, metric="mean average precision", rng=rng))
    return TileScores(protocol="retrieval", scores=tuple(scores))


def _luck(train: Embedded, test: Embedded, k: int) -> float:
    """Chance that one of k tiles drawn at random is of the query's class, a mean over the classes."""
    asked, total = np.unique(test.label), len(train.label)
    others = total - np.array([(train.label == c).sum() for c in asked])
    drawn = np.arange(k)
    return float(1 - np.prod(np.maximum(others[:, None] - drawn, 0) / (total - drawn), axis=1).mean())


def average_precision(
    same: Bool[np.ndarray, "query tile"], closeness: Float[np.ndarray, "query tile"]
) -> Float[np.ndarray, " query"]:
    """Average precision of each query; equally close tiles enter together."""
    return np.array([auprc(mine.astype(float), close) for mine, close in zip(same, closeness, strict=True)])
