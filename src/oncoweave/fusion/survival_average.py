"""Mean of the survival curves, or of the cumulative hazards, that the modalities present predict."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.evaluate.curves import BaselineHazard, baselines_of_columns, breslow_baseline, survival_at
from oncoweave.nn.availability import present_scores

STAGE = "late"
KINDS = ("survival",)

_GRID = np.linspace(-20.0, 20.0, 801)
"""Log-risks between which the one that equals a mean curve is interpolated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What is averaged."""

    of: Literal["curve", "hazard"] = "curve"
    """curve: S(t), as of a mixture; one modality that sees long survival keeps the mean up. hazard: -log S(t), the geometric mean
    of curves; one that sees an early death brings it down."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitted:
    """Log-risks become curves by a Breslow baseline a modality, on the training event times.

    Beyond the time that anybody with a modality was followed, its baseline goes on as that of all patients does.

    The mean curve is told by its restricted mean survival time up to the last training event, and that as a log-risk: the one at
    which a proportional hazard from the marginal baseline has the same restricted mean. So the score of a patient with one
    modality follows that modality's order, and averaging curves differs from averaging log-risks where modalities disagree.
    """

    origin: np.ndarray
    """``[m]``: mean training log-risk."""
    baselines: tuple[BaselineHazard, ...]
    marginal: BaselineHazard
    of: str

    def combine(self, scores: np.ndarray) -> np.ndarray:
        """Average the curves behind log-risks ``[n, m, 1]``, ``[n, 1]``; NaN is an absent modality."""
        present = present_scores(scores, (len(self.origin), 1))
        return self._equivalent(self._restricted_mean(self.curves(scores, present)))

    def curves(self, scores: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Mean ``S(t)`` at the training event times, ``[n, t]``."""
        total = np.zeros((len(scores), len(self.marginal.times)))
        for m, baseline in enumerate(self.baselines):
            has = present[:, m]
            curve = survival_at(baseline, scores[has, m, 0] - self.origin[m], self.marginal.times)
            with np.errstate(divide="ignore"):
                total[has] += curve if self.of == "curve" else -np.log(curve)
        mean = total / present.sum(axis=1, keepdims=True)
        return mean if self.of == "curve" else np.exp(-mean)

    def _restricted_mean(self, curves: np.ndarray) -> np.ndarray:
        steps = np.diff(self.marginal.times, prepend=0.0)
        return np.hstack([np.ones((len(curves), 1)), curves[:, :-1]]) @ steps

    def _equivalent(self, restricted_mean: np.ndarray) -> np.ndarray:
        grid = _GRID[np.argsort(np.abs(_GRID), kind="stable")]
        reference = self._restricted_mean(survival_at(self.marginal, grid, self.marginal.times))
        # where the reference does not move, the log-risk nearest to none stands for its plateau
        falling, first = np.unique(-reference, return_index=True)
        return np.interp(-restricted_mean, falling, grid[first])[:, None]


def fit(scores: np.ndarray, target: Target, config: Config) -> Fitted:
    """Estimate the baselines on out-of-fold log-risks ``[n, m, 1]`` of the training patients.

    Raises:
        ConfigError: the endpoint is not survival.
        DataError: nobody had an event.
    """
    kind = target.endpoint.kind
    if kind not in KINDS:
        msg = f"survival_average averages survival curves and serves {KINDS[0]} endpoints; {target.endpoint.name!r} is {kind}"
        raise ConfigError(msg)
    present, known = present_scores(scores), target.known
    time, event = target.time[known], target.event[known]
    if not event.any():
        msg = f"wanted at least one event among {len(time)} patients with a known outcome, got none"
        raise DataError(msg)
    marginal = breslow_baseline(time, event, np.zeros(len(time)))
    origin, baselines = baselines_of_columns(time, event, np.where(present, scores[:, :, 0], np.nan)[known])
    # a modality that was seen with no event tells no hazard of its own
    own = tuple(baseline or marginal for baseline in baselines)
    return Fitted(origin=origin, baselines=own, marginal=marginal, of=config.of)
