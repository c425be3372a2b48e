"""A model with everything that was fixed on its training rows: recalibration, cut-off, baseline hazard, horizons."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.curves import survival_at_own
from oncoweave.evaluate.survival import BaselineHazard, breslow_baseline, survival_at
from oncoweave.evaluate.tables import DECIDED_BY, OWN_SURVIVAL
from oncoweave.train.certainty import Certainty, fit_certainty
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fitted, Fold
from oncoweave.train.late_learner import FittedLate
from oncoweave.train.panel import Planned
from oncoweave.train.recalibration import Recalibration, Rescaling, fit_recalibration
from oncoweave.train.study import Study


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class LockedModel:
    """A fitted model that can be applied to patients it has not seen; stored by ``core.state``.

    Recalibration, baseline hazard, cut-offs and prediction sets come from scores of training rows by models that were not fitted
    to them, whatever the kind of model (see :class:`oncoweave.train.fold.Trained`); of a network, by the member that they told
    when to stop, which flatters them a little.
    """

    name: str
    endpoint: Endpoint
    modalities: tuple[str, ...]
    kinds: dict[str, str]
    fitted: Fitted
    horizons: tuple[float, ...]
    """Survival: times, in the endpoint's unit, at which probabilities are given."""
    recalibration: Recalibration | Rescaling
    """Applied to all predictions but ``risk``, which only ranks."""
    baseline: BaselineHazard | None
    """Survival: Breslow's cumulative baseline hazard of the training rows, at their recalibrated out-of-fold scores."""
    cutoff: float | None
    """Survival: the median out-of-fold score of the training rows; above it is high risk."""
    average: np.ndarray
    """``[c]``: the mean out-of-fold score of the training rows, for patients of whom the model knows nothing."""
    certainty: Certainty = field(default_factory=Certainty)
    """Cut-offs, prediction sets and flags; models that were locked before there were any have none."""

    def frame(self, data: Dataset, *, averaged: np.ndarray | None = None) -> pd.DataFrame:
        """Predict, one row a patient who has at least one of the modalities; the outcome beside it where it is known.

        Of those who have none, the ``averaged`` (``Bool[n]``) are given the mean score of the training patients.
        """
        output = self.fitted.predict(data)
        unknown = np.isnan(output).any(axis=1)
        if averaged is not None:
            output = np.where((unknown & averaged)[:, None], self.average, output)
            unknown &= ~averaged
        rows = np.flatnonzero(~unknown)
        kept, output = data.take(rows), output[rows]
        frame = pd.DataFrame({"patient_id": kept.patient_ids, "site": kept.site, "model": self.name, "pattern": kept.patterns})
        truth = {} if kept.target is None else self._truth(kept.target.values)
        columns = {**self._columns(output), **self._own_survival(output, kept)}
        if isinstance(self.fitted, FittedLate) and (told := self.fitted.decisions(kept)) is not None:
            columns[DECIDED_BY] = np.array(told, dtype=object)
        sure = self.certainty.columns(self.endpoint, self.recalibration.apply(output))
        return frame.assign(**truth, **columns, **sure, **self.certainty.examine(kept, self.fitted.preparations))

    def _truth(self, values: np.ndarray) -> dict[str, np.ndarray]:
        kind, classes = self.endpoint.kind, self.endpoint.classes
        if kind == "survival":
            return {"time": values[:, 0], "event": values[:, 1] > 0.5}
        if kind == "multilabel":
            return {f"y@{label}": values[:, i] for i, label in enumerate(self.labels)}
        if kind in ("multiclass", "ordinal"):
            return {"y": np.array(classes, dtype=object)[values.astype(int)]}
        return {"y": values}

    @property
    def labels(self) -> tuple[str, ...]:
        """Multilabel: the names of the labels."""
        return self.endpoint.classes or self.endpoint.columns

    def _own_survival(self, output: np.ndarray, data: Dataset) -> dict[str, np.ndarray]:
        """Survival: predicted S at the follow-up of each patient, where that is known for all."""
        if self.baseline is None or data.target is None or not data.target.known.all():
            return {}
        return {OWN_SURVIVAL: survival_at_own(self.baseline, self.recalibration.apply(output)[:, 0], data.target.time)}

    def _columns(self, output: np.ndarray) -> dict[str, np.ndarray]:
        kind = self.endpoint.kind
        if kind == "survival":
            risk = output[:, 0]
            assert self.baseline is not None, "a survival model is locked with its baseline hazard"
            curves = survival_at(self.baseline, self.recalibration.apply(output)[:, 0], np.array(self.horizons))
            at = {f"survival@{h:g}": curves[:, i] for i, h in enumerate(self.horizons)}
            return {"risk": risk, "high_risk": risk > self.cutoff, **at}
        return score_columns(self.endpoint, self.recalibration.apply(output))


def score_columns(endpoint: Endpoint, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Name the columns of scores ``[n, c]`` as the prediction table does."""
    if endpoint.kind in ("multilabel", "multiclass", "ordinal"):
        return {f"p@{name}": scores[:, i] for i, name in enumerate(endpoint.classes or endpoint.columns)}
    return {{"survival": "risk", "binary": "p", "regression": "yhat"}[endpoint.kind]: scores[:, 0]}


def mean_score(out_of_fold: np.ndarray) -> np.ndarray:
    """``[c]``: the mean of training scores ``[n, c]``, without rows that have none."""
    return np.nanmean(out_of_fold, axis=0)


def lock(model: Planned, fold: Fold, study: Study) -> LockedModel | None:
    """Fit a planned model on a fold's training rows and fix what is derived from their out-of-fold scores.

    None where the rows can teach none of the model's modalities.
    """
    trained = model.fit(fold)
    if trained is None:
        return None
    target = fold.train.outcome
    recalibration = fit_recalibration(trained.out_of_fold, target, how=study.recalibration)
    baseline, cutoff = None, None
    if target.endpoint.kind == "survival":
        rows = ~np.isnan(trained.out_of_fold[:, 0]) & target.known
        stretched = recalibration.apply(trained.out_of_fold[rows])[:, 0]
        baseline = breslow_baseline(target.time[rows], target.event[rows], stretched)
        cutoff = float(np.median(trained.out_of_fold[rows, 0]))
    return LockedModel(
        name=model.name,
        endpoint=target.endpoint,
        modalities=model.modalities,
        kinds={m: fold.train.kinds[m] for m in model.modalities},
        fitted=trained.fitted,
        horizons=study.protocol.horizons or (),
        recalibration=recalibration,
        baseline=baseline,
        cutoff=cutoff,
        average=mean_score(trained.out_of_fold),
        certainty=fit_certainty(
            fold, recalibration.apply(trained.out_of_fold), trained.fitted if model.name == study.main else None
        ),
    )
