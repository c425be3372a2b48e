"""A late fusion on subsets of its modalities: cheap, as the modalities' own models and out-of-fold scores are there already."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.evaluate.contributions import Worths, main_metric
from oncoweave.evaluate.shapley import Subset, draw_orders, every_subset, subsets_along
from oncoweave.evaluate.tables import PredictionTable
from oncoweave.evaluate.training_outcomes import Curves
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.late_learner import combine_present, fit_late
from oncoweave.train.locked import mean_score, score_columns
from oncoweave.train.panel import late_bases, learned_part, scored_apart
from oncoweave.train.recalibration import fit_recalibration
from oncoweave.train.study import Study
from oncoweave.train.unread import average_outcome

EXACT_LIMIT = 8
"""Up to this many modalities every subset is fitted: 255 stackings of 490 patients, 2.4 s a fold (of thirteen, 8191: 150 s)."""
ORDER_PAIRS = 32
"""With more, subsets are those along this many random orders of the modalities and their reverses (of thirteen, 593: 11 s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetPlan:
    """Which subsets of the main model's modalities are fitted."""

    subsets: tuple[Subset, ...]
    """The empty one among them."""
    orders: tuple[tuple[str, ...], ...]
    """Along which they were drawn; empty where they are all."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SubsetScores:
    """Scores of a fold's test patients by the main model fitted on each subset; stored by ``core.state``."""

    patient_ids: tuple[str, ...]
    scores: np.ndarray
    """``[subset, n, c]``, in the order of the plan."""


def plan_subsets(study: Study) -> SubsetPlan | None:
    """Choose the subsets of a resolved study's main model; None where it has one modality, or they are not scored apart."""
    main = next(m for m in study.models or () if m.name == study.main)
    modalities = main.modalities or ()
    if not scored_apart(main) or len(modalities) < 2:
        return None
    if len(modalities) <= EXACT_LIMIT:
        return SubsetPlan(subsets=tuple(every_subset(modalities)), orders=())
    rng = np.random.default_rng([study.protocol.seed, 6])
    orders = draw_orders(modalities, pairs=ORDER_PAIRS, generator=rng)
    return SubsetPlan(subsets=tuple(subsets_along(orders)), orders=orders)


def score_subsets(plan: SubsetPlan, study: Study, fold: Fold, test: Dataset) -> SubsetScores:
    """Fit the main model on each subset and score the test patients.

    A patient with none of the subset gets the mean score of the training patients, and with no modality at all (or none that the
    fold can teach) everybody gets what is known of the outcome alone.
    """
    main = next(m for m in study.models or () if m.name == study.main)
    learned, target = learned_part(main, fold), fold.train.outcome
    names = () if learned is None else learned.modalities or ()
    bases = [] if learned is None else late_bases(fold, learned, study)
    tested = [base.fitted.predict(test) for base in bases]
    average = average_outcome(target)
    scores = np.empty((len(plan.subsets), len(test), len(average)))
    for row, subset in enumerate(plan.subsets):
        chosen = [i for i, name in enumerate(names) if name in subset]
        if not chosen:
            scores[row] = average
            continue
        trained, fused = fit_late(
            fold, [names[i] for i in chosen], [bases[i] for i in chosen], fusion=main.fusion, settings=main.settings
        )
        combined = combine_present(fused, np.stack([tested[i] for i in chosen], axis=1))
        lacking = np.isnan(combined).any(axis=1)
        combined[lacking] = mean_score(trained.out_of_fold)
        survival = target.endpoint.kind == "survival"
        how = study.recalibration
        scores[row] = combined if survival else fit_recalibration(trained.out_of_fold, target, how=how).apply(combined)
    return SubsetScores(patient_ids=tuple(str(p) for p in test.patient_ids), scores=scores)


def worths_of(
    plan: SubsetPlan, scored: Sequence[tuple[int, int, SubsetScores]], table: PredictionTable, main: str, curves: Curves
) -> Worths:
    """Measure every subset on the rows that the main model predicts; ``scored`` holds repeat, fold and scores."""
    rows, metric = table.of(main), main_metric(table, curves)
    place = pd.concat(list(_places(scored)), ignore_index=True)
    found = rows[["repeat", "fold", "patient_id"]].merge(place, how="left", validate="one_to_one")["place"].to_numpy(dtype=int)
    scores = np.concatenate([s.scores for _, _, s in scored], axis=1)[:, found]
    once = np.ones((1, len(rows)), dtype=np.float32)
    values = {}
    for subset, of_subset in zip(plan.subsets, scores, strict=True):
        statistic = metric.build(rows.assign(**score_columns(table.endpoint, of_subset)))
        values[subset] = float(statistic(once)[0])
    return Worths(values=values, orders=plan.orders)


def _places(scored: Sequence[tuple[int, int, SubsetScores]]) -> Iterator[pd.DataFrame]:
    start = 0
    for repeat, fold, part in scored:
        where = np.arange(start, start + len(part.patient_ids))
        yield pd.DataFrame({"repeat": repeat, "fold": fold, "patient_id": list(part.patient_ids), "place": where})
        start += len(part.patient_ids)
