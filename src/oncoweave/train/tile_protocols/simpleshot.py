"""SimpleShot: the class whose mean is nearest, of embeddings centred on the training tiles and brought to length one.

Wang et al. 2019 (arXiv:1911.04623), "CL2N". There is nothing to choose.
"""

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, accuracy, require_classes, unit


def evaluate(train: Embedded, test: Embedded, *, rng: np.random.Generator) -> TileScores:
    """Classify the test tiles by the nearest mean of all training tiles of a class; the metric is balanced accuracy."""
    require_classes(train, test)
    centre = train.features.mean(axis=0)
    predicted = nearest_mean(unit(train.features - centre), train.label, unit(test.features - centre))
    return TileScores(protocol="SimpleShot", scores=(accuracy(predicted, test, rng=rng),))


def nearest_mean(
    x: Float[np.ndarray, "tile dim"], label: Int64[np.ndarray, " tile"], z: Float[np.ndarray, "test dim"]
) -> Int64[np.ndarray, " test"]:
    """Give each row of ``z`` the class of ``x`` whose mean is nearest."""
    classes = np.unique(label)
    means = np.stack([x[label == c].mean(axis=0) for c in classes])
    return classes[(z @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)]
