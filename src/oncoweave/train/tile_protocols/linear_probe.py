"""Linear probe: multinomial logistic regression on standardised embeddings, its penalty chosen on training tiles alone.

The grid of penalties is judged on inner folds that keep the tiles of a slide together; where slides are not known, those of a
cluster of stain, as tiles of one slide on both sides of a fold would speak for weak penalties, which learn slides.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from oncoweave.evaluate.intervals import bootstrap
from oncoweave.evaluate.weighted import mean_recall
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, accuracy, column_scale, require_classes

COSTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the ridge penalty that are tried."""
_FOLDS = 3
_DRAWS = 200
_ONE_ERROR = 0.6827
"""Level of an interval of one standard error to either side."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Linear:
    """A fitted logistic regression of raw embeddings."""

    mean: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    weight: Float[np.ndarray, "output dim"]
    """Of standardised embeddings; one output, the log-odds of the second class, where there are two, else one a class."""
    bias: Float[np.ndarray, " output"]
    classes: Int64[np.ndarray, " class"]

    def predict(self, z: Float[np.ndarray, "*test dim"]) -> Int64[np.ndarray, "*test"]:
        """Classify tiles."""
        scores = (z - self.mean) / self.scale @ self.weight.T + self.bias
        return self.classes[(scores[..., 0] > 0).astype(int) if len(self.bias) == 1 else scores.argmax(axis=-1)]


def evaluate(train: Embedded, test: Embedded, *, rng: np.random.Generator, cost: float | None = None) -> TileScores:
    """Classify the test tiles; the metric is balanced accuracy. ``cost`` is chosen on the training tiles where not given."""
    require_classes(train, test)
    cost = choose_cost(train, seed=int(rng.integers(2**31))) if cost is None else cost
    predicted = linear(train.features, train.label, test.features, cost=cost)
    return TileScores(protocol="linear probe", scores=(accuracy(predicted, test, rng=rng),), note=f"cost {cost:g}")


def fit_linear(x: Float[np.ndarray, "tile dim"], label: Int64[np.ndarray, " tile"], *, cost: float) -> Linear:
    """Fit a logistic regression on ``x``, standardised by its own mean and deviation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = column_scale(x)
    model = LogisticRegression(C=cost, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a classifier stopped early is a weaker one, not a wrong one
        model.fit((x - mean) / scale, label)
    return Linear(mean=mean, scale=scale, weight=model.coef_, bias=model.intercept_, classes=model.classes_)


def linear(
    x: Float[np.ndarray, "tile dim"], label: Int64[np.ndarray, " tile"], z: Float[np.ndarray, "test dim"], *, cost: float
) -> Int64[np.ndarray, " test"]:
    """Fit a logistic regression on ``x`` and classify ``z``."""
    return fit_linear(x, label, cost=cost).predict(z)


def choose_cost(train: Embedded, *, seed: int = 0) -> float:
    """Choose the cost by balanced accuracy on inner folds of the training tiles.

    It is the smallest whose accuracy is within a standard error, over slides or stains, of the best one's (Breiman et al. 1984):
    folds differ less from each other than new slides do, so that of costs which folds cannot tell apart the smaller is safer.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    x, label = train.features, train.label
    classes, counts = np.unique(label, return_counts=True)
    folds = min(_FOLDS, int(counts.min()))
    if folds < 2:
        return 1e-2
    slides = train.together
    together = slides is not None and len(np.unique(slides)) >= _FOLDS
    splitter = (StratifiedGroupKFold if together else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    correct = {cost: np.zeros(len(x)) for cost in COSTS}
    for fit, held in splitter.split(x, label, slides if together else None):
        if len(np.unique(label[fit])) < len(classes):
            continue  # a class whose slides all fell into one fold
        for cost in COSTS:
            correct[cost][held] = linear(x[fit], label[fit], x[held], cost=cost) == label[held]
    draw = np.random.default_rng(seed)
    drawn = slides if slides is not None and together else np.arange(len(x))
    once = np.ones((1, len(x)), dtype=np.float32)
    scores = {cost: float(mean_recall(label, hits)(once)[0]) for cost, hits in correct.items()}
    best = max(COSTS, key=lambda cost: scores[cost])
    interval = bootstrap(mean_recall(label, correct[best]), drawn, replicates=_DRAWS, generator=draw, level=_ONE_ERROR)
    least = scores[best] - (interval.high - interval.low) / 2
    return next(cost for cost in COSTS if cost == best or scores[cost] >= least)
