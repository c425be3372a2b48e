"""What a locked model says of how sure it is of a patient, fixed on out-of-fold scores and blocks of its training rows.

Operating points of a yes-or-no outcome, conformal sets of classes and intervals of values, and whether a patient is unlike those
of the training set. There is no conformal set of a survival time (see ``evaluate.conformal``) nor of several labels at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.certainty import ALPHA, LEVEL
from oncoweave.evaluate.conformal import IntervalCalibration, SetCalibration, calibrate_intervals, calibrate_sets
from oncoweave.evaluate.novelty import Novelty, fit_novelty
from oncoweave.evaluate.operating import threshold_at_sensitivity, threshold_at_specificity
from oncoweave.evaluate.tables import CALLED, IN_SET, INTERVAL, NOVEL, NOVELTY_P, class_names
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fitted, Fold, Preparation

_POINTS = (0.9, 0.95)
Column = np.ndarray | pd.api.extensions.ExtensionArray


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Certainty:
    """Cut-offs, calibrations and what training patients look like, by modality; stored with the model."""

    cutoffs: dict[str, float] = field(default_factory=dict)
    """Binary: operating point to the probability from which a patient is called; NaN where training rows were of one class."""
    sets: SetCalibration | None = None
    intervals: IntervalCalibration | None = None
    novelty: dict[str, Novelty] = field(default_factory=dict)

    def columns(self, endpoint: Endpoint, scores: np.ndarray) -> dict[str, Column]:
        """Name what follows from recalibrated scores ``[n, c]``, as the prediction table does."""
        found: dict[str, Column] = {}
        for point, cutoff in self.cutoffs.items():
            called = pd.array(scores[:, 0] >= cutoff, dtype="boolean")
            found[f"{CALLED}{point}"] = pd.array([pd.NA] * len(scores), dtype="boolean") if np.isnan(cutoff) else called
        if self.sets is not None:
            inside = self.sets.sets(scores[:, 0] if endpoint.kind == "binary" else scores)
            found |= {f"{IN_SET}{name}": inside[:, i] for i, name in enumerate(class_names(endpoint))}
        if self.intervals is not None:
            found |= dict(zip(INTERVAL, self.intervals.intervals(scores[:, 0]), strict=True))
        return found

    def examine(self, data: Dataset, preparations: Mapping[str, Preparation]) -> dict[str, Column]:
        """Say how strange patients are: p of the strangest modality times those asked, and in which that is below 5 %.

        Of a patient's modalities as many are asked as training patients allow, those that most of them have first: with more,
        even the smallest p, times their number, would stay above 5 %. A patient of whom none can be asked has a p of NaN.
        """
        if not self.novelty:
            return {}
        p = np.stack([self.novelty[m].examine(preparations[m].block(data.samples[m])).p for m in self.novelty], axis=1)
        asked = np.zeros(len(data), dtype=int)
        for place in sorted(range(p.shape[1]), key=lambda i: -self._trained[i]):
            ask = ~np.isnan(p[:, place]) & ((self._trained[place] + 1) * ALPHA >= asked + 1)
            p[~ask, place] = np.nan
            asked += ask
        adjusted = np.minimum(1.0, p * np.maximum(asked, 1)[:, None])
        least = np.where(asked > 0, np.nan_to_num(adjusted, nan=2.0).min(axis=1), np.nan)
        names = np.array(list(self.novelty))
        strange = ["+".join(names[row <= ALPHA]) if any_ else None for row, any_ in zip(adjusted, asked > 0, strict=True)]
        return {NOVELTY_P: least, NOVEL: np.array(strange, dtype=object)}

    @property
    def _trained(self) -> list[int]:
        return [len(novelty.held_out) for novelty in self.novelty.values()]


def fit_certainty(fold: Fold, scores: np.ndarray, fitted: Fitted | None) -> Certainty:
    """Fix all this on training rows.

    Args:
        fold: the training rows.
        scores: ``[n, c]`` their recalibrated out-of-fold scores, NaN where there are none.
        fitted: the model whose modalities new patients are to be held against; None for no flags.
    """
    rows = ~np.isnan(scores).any(axis=1) & fold.train.outcome.known
    target, scores = fold.train.outcome.take(rows), scores[rows]
    kind = target.endpoint.kind
    sets, intervals, cutoffs = None, None, {}
    if kind == "binary":
        cutoffs = _cutoffs(target.values, scores[:, 0])
        sets = calibrate_sets(target.values, scores[:, 0], level=LEVEL, by_class=True)
    elif kind in ("multiclass", "ordinal"):
        sets = calibrate_sets(target.values, scores, level=LEVEL, by_class=True)
    elif kind == "regression":
        intervals = calibrate_intervals(target.values, scores[:, 0], level=LEVEL)
    novelty = {} if fitted is None else {m: n for m, p in fitted.preparations.items() if (n := _novelty(fold, m, p)) is not None}
    return Certainty(cutoffs=cutoffs, sets=sets, intervals=intervals, novelty=novelty)


def _cutoffs(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    found = {}
    for wanted in _POINTS:
        try:
            found[f"specificity{wanted:g}"] = threshold_at_specificity(y, p, specificity=wanted).value
            found[f"sensitivity{wanted:g}"] = threshold_at_sensitivity(y, p, sensitivity=wanted).value
        except DataError:  # rows of one class only, which the table of operating points counts
            found |= {f"{fixed}{wanted:g}": float("nan") for fixed in ("specificity", "sensitivity")}
    return dict(sorted(found.items(), key=lambda item: item[0], reverse=True))


def _novelty(fold: Fold, modality: str, preparation: Preparation) -> Novelty | None:
    """Learn what training patients look like in a modality; None with too few of them."""
    block = preparation.block(fold.train.samples[modality])
    try:
        return fit_novelty(block, generator=fold.rng("novelty", modality), alpha=ALPHA)
    except DataError:  # fewer patients than can say what is strange: nobody is judged
        return None
