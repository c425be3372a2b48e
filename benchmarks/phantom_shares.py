"""What each modality contributes by the planted hazard, by an oracle that reads it without noise, and by the fitted models.

Called by ``phantom_truth.py``. A subset of modalities has a value: the variance of the planted hazard that its modalities show
(patient by patient, by who has what), the C-index of that visible hazard, and the C-index of the stacking model fitted on the
subset. Each is divided by the same Shapley code. All patients count in every subset: who has none of it is given one risk.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from oncoweave.data.cohort import Cohort
from oncoweave.evaluate.intervals import draw_weights, percentile_interval, replicate
from oncoweave.evaluate.pairs import survival_pairs
from oncoweave.evaluate.shapley import exact_shapley
from oncoweave.phantom.biology import EFFECTS
from oncoweave.phantom.truth_folder import read_truth
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, Study, resolve

Subset = frozenset[str]


def subsets(modalities: tuple[str, ...]) -> list[Subset]:
    """Every subset but the empty one."""
    return [Subset(c) for size in range(1, len(modalities) + 1) for c in combinations(modalities, size)]


def visible_hazard(truth: pd.DataFrame, subset: Subset) -> np.ndarray:
    """Sum of the planted effects that the patient's own modalities of the subset show; a synergy needs all that show it."""
    total = np.zeros(len(truth))
    for effect in EFFECTS:
        term = effect.coefficient * (truth[effect.factor].to_numpy(dtype=float) - effect.centre) / effect.scale
        shown = [truth[f"has_{m}"].to_numpy() if m in subset else np.zeros(len(truth), dtype=bool) for m in effect.shown_by
                 if f"has_{m}" in truth]  # fmt: skip
        if shown:
            sees = np.all(shown, axis=0) if effect.kind == "synergistic" else np.any(shown, axis=0)
            total += np.where(sees, term, 0.0)
    return total


def fitted_risks(cohort: Cohort, study: Study, splits: pd.DataFrame) -> dict[Subset, pd.Series]:
    """Cross-validated risk of the stacking model on every subset, on given splits; NaN for patients without any of it."""
    every = subsets(study.modalities or ())
    models = tuple(ModelSpec(name="+".join(sorted(s)), fusion="stacking", modalities=tuple(sorted(s))) for s in every)
    asked = resolve(study.model_copy(update={"models": models, "main": models[-1].name}), cohort)
    planned = {p.name: p for p in plan(asked, has_sites=False) if p.role == "fusion"}
    data = load_dataset(cohort, study.endpoint, study.modalities or ())
    fold_of = splits.set_index("patient_id")["fold"].reindex(data.patient_ids).to_numpy()
    data, fold_of = data.take(fold_of >= 0), fold_of[fold_of >= 0]
    risks = {s: pd.Series(np.nan, index=data.patient_ids) for s in every}
    for k in np.unique(fold_of):
        fold = Fold(train=data.take(fold_of != k), seed=int(k), inner_folds=5, group_by_site=False)
        tested = data.take(fold_of == k)
        for subset, model in zip(every, models, strict=True):
            risks[subset].loc[tested.patient_ids] = lock(planned[model.name], fold, asked).fitted.predict(tested)[:, 0]
    return risks


def shares(values: Mapping[Subset, float], *, chance: float) -> pd.DataFrame:
    """What each modality adds to all the others, and its Shapley share."""
    everything = max(values, key=len)
    divided, gain = exact_shapley({Subset(): chance} | dict(values)).values, values[everything] - chance
    return pd.DataFrame({
        m: {"adds": values[everything] - values.get(everything - {m}, chance), "share": divided[m] / gain if gain > 0 else np.nan}
        for m in sorted(everything)
    }).T  # fmt: skip


def compare(cohort: Cohort, study: Study, splits: pd.DataFrame, contributions: pd.DataFrame, *, replicates: int) -> pd.DataFrame:
    """One row a modality: planted and oracle shares beside what the models found, with intervals over patients."""
    risks = fitted_risks(cohort, study, splits)
    patients = next(iter(risks.values())).index
    truth = read_truth(cohort.root)[1].loc[patients]
    fold = splits.set_index("patient_id")["fold"].loc[patients].to_numpy()
    target = cohort.target(study.endpoint).take(cohort.patients.index.get_indexer(patients))
    variance = {s: float(visible_hazard(truth, s).var()) for s in risks}
    planted = shares(variance, chance=0.0)
    weights = draw_weights(len(patients), replicates=replicates, generator=np.random.default_rng(5))

    def indices(risk_of: Callable[[Subset], np.ndarray]) -> tuple[dict[Subset, float], dict[Subset, np.ndarray]]:
        pairs = {"+".join(sorted(s)): survival_pairs(target.time, target.event, risk_of(s), fold) for s in risks}
        once, drawn = np.ones((1, len(patients)), dtype=np.float32), replicate(pairs, weights, np.arange(len(patients)))
        return {s: float(pairs["+".join(sorted(s))](once)[0]) for s in risks}, {s: drawn["+".join(sorted(s))] for s in risks}

    oracle, _ = indices(lambda s: visible_hazard(truth, s))
    model, drawn = indices(lambda s: _filled(risks[s], fold))
    ideal, found = shares(oracle, chance=0.5), shares(model, chance=0.5)
    resampled = [shares({s: float(d[i]) for s, d in drawn.items()}, chance=0.5) for i in range(replicates)]
    run = contributions.set_index("modality")
    table = pd.DataFrame({"planted variance: share": planted["share"].round(2), "oracle C: share": ideal["share"].round(2)})
    table["all 31 subsets: share"] = [_interval(found, resampled, m, "share") for m in table.index]
    table["run's table: share"] = run["share"].reindex(table.index).round(2)
    table["oracle: adds to C"] = ideal["adds"].round(3)
    table["all 31 subsets: adds"] = [_interval(found, resampled, m, "adds") for m in table.index]
    table["run's table: adds"] = [
        f"{run.loc[m, 'adds']:.3f} ({run.loc[m, 'low']:.3f} to {run.loc[m, 'high']:.3f})" for m in table.index
    ]
    table["alone: oracle C"] = [round(oracle[Subset([m])], 3) for m in table.index]
    table["alone: model's C"] = [round(model[Subset([m])], 3) for m in table.index]
    everything = max(risks, key=len)
    table.attrs["all"] = f"All together: the oracle's C-index {oracle[everything]:.3f}, the model's {model[everything]:.3f}."
    table.attrs["rank"] = _ranks(planted, ideal, found, run)
    return table.reset_index(names="modality")


def _ranks(planted: pd.DataFrame, ideal: pd.DataFrame, found: pd.DataFrame, run: pd.DataFrame) -> str:
    def rank(a: pd.Series, b: pd.Series) -> str:
        return f"{spearmanr(a, b.reindex(a.index)).statistic:.2f}"

    return (
        f"Rank correlation over {len(found)} modalities (Spearman): planted variance and the model's share"
        f" {rank(planted['share'], found['share'])}; oracle's and model's share {rank(ideal['share'], found['share'])};"
        f" oracle's and model's adds {rank(ideal['adds'], found['adds'])}; run's table and planted variance"
        f" {rank(planted['share'], run['share'])}."
    )


def _filled(risk: pd.Series, fold: np.ndarray) -> np.ndarray:
    filled = risk.groupby(fold).transform(lambda r: r.fillna(r.mean()))
    return filled.to_numpy()


def _interval(found: pd.DataFrame, resampled: list[pd.DataFrame], modality: str, column: str) -> str:
    draws = np.array([r.loc[modality, column] for r in resampled])
    interval = percentile_interval(float(found.loc[modality, column]), draws)
    digits = 2 if column == "share" else 3
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
