"""What a new model changes over an old one on the same patients: net reclassification and integrated discrimination improvement.

Both are in fashion and both are faulty. The NRI is no proper measure: a recalibrated or merely noisier old model can have a
positive one, its continuous form rewards moves of any size, the event and non-event parts are not of one unit, and its usual p
value is wrong for models fitted on the same data (Hilden and Gerds 2014; Kerr et al. 2014; Pepe et al. 2015). Show its two parts
beside the difference of the C-index (:func:`oncoweave.evaluate.compare.paired_bootstrap` of two ``survival_pairs``), of the Brier
score and of net benefit, and never instead of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.evaluate.censoring import Censoring
from oncoweave.evaluate.concordance import inverse_weights
from oncoweave.evaluate.discrimination import as_positive
from oncoweave.evaluate.inputs import finite, outcome
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.weighted import ratio

Part = Literal["total", "events", "nonevents"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Improvement:
    """An improvement and its two parts, each positive where it is for the better; NaN where a class is absent."""

    total: float
    events: float
    nonevents: float
    num_events: int
    n: int


def reclassification(y: np.ndarray, old: np.ndarray, new: np.ndarray, *, cutoffs: Sequence[float] = ()) -> Improvement:
    """Net reclassification improvement of a 0/1 outcome; see the faults above and :func:`reclassification_of`."""
    return _improvement(y, [reclassification_of(y, old, new, cutoffs=cutoffs, part=p) for p in ("total", "events", "nonevents")])


def integrated_discrimination(y: np.ndarray, old: np.ndarray, new: np.ndarray) -> Improvement:
    """Integrated discrimination improvement of a 0/1 outcome; see :func:`integrated_discrimination_of`."""
    return _improvement(y, [integrated_discrimination_of(y, old, new, part=p) for p in ("total", "events", "nonevents")])


def reclassification_of(
    y: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    *,
    cutoffs: Sequence[float] = (),
    part: Part = "total",
    importance: np.ndarray | None = None,
) -> Statistic:
    """Net reclassification improvement (Pencina et al. 2008, 2011) as a function of row weights.

    The share of patients with the event whose probability goes up minus that of those where it goes down, plus the like with
    signs exchanged among the others. With ``cutoffs`` only a move into another category counts; a value at a cut-off is above.

    Args:
        y: ``[n]`` 0 or 1.
        old: ``[n]`` probabilities of the model in use.
        new: ``[n]`` probabilities of the model to judge.
        cutoffs: increasing borders between categories; none is the continuous form.
        part: both parts, or one.
        importance: ``[n]`` weight of each patient, of censored outcomes; see :func:`outcome_at`.

    Raises:
        DataError: a label that is not 0 or 1, NaN, another length, or cut-offs that do not increase.
    """
    borders = finite("cutoffs", np.asarray(cutoffs, dtype=np.float64))
    if (np.diff(borders) <= 0).any():
        msg = f"cutoffs: wanted increasing borders between categories, got {borders.tolist()}"
        raise DataError(msg)
    old, new = finite("old", old, len(y)), finite("new", new, len(y))
    if len(borders):
        old, new = (np.searchsorted(borders, values, side="right").astype(float) for values in (old, new))
    return _by_part(y, np.sign(new - old), part, importance)


def integrated_discrimination_of(
    y: np.ndarray, old: np.ndarray, new: np.ndarray, *, part: Part = "total", importance: np.ndarray | None = None
) -> Statistic:
    """Integrated discrimination improvement (Pencina et al. 2008) as a function of row weights.

    The rise of the mean probability of patients with the event plus its fall among the others. Not proper either: an
    overconfident model gains.

    Raises:
        DataError: a label that is not 0 or 1, NaN, or another length.
    """
    return _by_part(y, finite("new", new, len(y)) - finite("old", old, len(y)), part, importance)


def outcome_at(time: np.ndarray, event: np.ndarray, *, horizon: float, censoring: Censoring) -> tuple[np.ndarray, np.ndarray]:
    """Turn survival into a 0/1 outcome at a horizon and the importance of each patient, for the measures above.

    A patient with the event by the horizon counts 1 / G(his time), one followed beyond it 1 / G(horizon), one lost before 0
    (Uno et al. 2013); G is the censoring curve of the training patients.

    Raises:
        DataError: outcomes that cannot be used.
    """
    time, event = outcome(time, event)
    happened, beyond = event & (time <= horizon), time > horizon
    weight = happened * inverse_weights(censoring.at(time)) + beyond * inverse_weights(censoring.at(np.array([horizon])))
    return happened.astype(np.float64), weight


def _by_part(y: np.ndarray, gain: np.ndarray, part: Part, importance: np.ndarray | None) -> Statistic:
    positive = as_positive(y)
    weight = np.ones(len(positive)) if importance is None else finite("importance", importance, len(positive))
    columns = np.stack([weight * positive, weight * ~positive], axis=1)
    signed = columns * np.stack([gain, -gain], axis=1)
    counted = {"total": np.ones(2), "events": np.array([1.0, 0.0]), "nonevents": np.array([0.0, 1.0])}[part]

    def statistic(weights: np.ndarray) -> np.ndarray:
        shares = ratio(weights @ signed, weights @ columns)
        return shares[:, counted > 0].sum(axis=1)

    return statistic


def _improvement(y: np.ndarray, statistics: Sequence[Statistic]) -> Improvement:
    once = np.ones((1, len(y)), dtype=np.float32)
    total, events, nonevents = (float(statistic(once)[0]) for statistic in statistics)
    return Improvement(total=total, events=events, nonevents=nonevents, num_events=int(as_positive(y).sum()), n=len(y))
