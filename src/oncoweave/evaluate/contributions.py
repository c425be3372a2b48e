"""What each modality adds: the same model fitted on subsets of the modalities, compared on the same patients.

The worth of a subset is the main metric over all patients who have at least one of all the modalities; a patient who has none of
the subset is given the mean score of the training patients. ``adds`` is the worth of all modalities minus that of all but one
(positive = it helps). Where two modalities tell the same, both add little: the Shapley value divides the whole gain over knowing
nothing fairly between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import paired_difference
from oncoweave.evaluate.intervals import percentile_interval
from oncoweave.evaluate.measure import Measured, draw, measure
from oncoweave.evaluate.metrics import CHANCE, MAIN, Metric, metrics_of
from oncoweave.evaluate.shapley import Shapley, Subset, every_subset, exact_shapley, sampled_shapley
from oncoweave.evaluate.tables import PredictionTable, check_predictions
from oncoweave.evaluate.training_outcomes import Curves, training_curves

_COLUMNS = ["modality", "adds", "low", "high", "share", "shapley", "shapley_se", "note"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Worths:
    """The metric of each subset of the modalities that was evaluated, the empty one among them."""

    values: Mapping[Subset, float]
    orders: tuple[tuple[str, ...], ...] = ()
    """Orders along which subsets were sampled; empty where every subset was evaluated."""


def contributions(
    predictions: pd.DataFrame | PredictionTable,
    endpoint: Endpoint,
    *,
    models: Mapping[Subset, str],
    generator: np.random.Generator,
    worths: Worths | None = None,
    replicates: int = 1000,
    train_censoring: Curves | None = None,
) -> pd.DataFrame:
    """Say what each modality adds to the endpoint's main metric.

    Args:
        predictions: the prediction table, with a model for each subset; each predicts for whoever the model of all predicts for.
        endpoint: what is predicted.
        models: which model was fitted on which modalities; the largest subset holds all of them.
        generator: draws the bootstrap of patients.
        worths: the worth of more subsets than have a model in the table; else that of the models is taken, if all subsets have
            one, and knowing nothing is worth the metric's value at chance.
        replicates: how many bootstrap replicates.
        train_censoring: see :func:`oncoweave.evaluate.summary.summarise`.

    Returns:
        ``modality, adds, low, high, share, shapley, shapley_se, note``. ``shapley`` is on the scale of the metric, turned so that
        more is better, and sums to the gain of all modalities over none; ``share`` is that part of the gain, may be negative, and
        needs a gain whose interval over patients lies above zero: parts of what may be nothing have no size. ``note``
        says on whom, and by which rule.

    Raises:
        DataError: no model was fitted on all modalities, or one lacks patients.
    """
    table = predictions if isinstance(predictions, PredictionTable) else check_predictions(predictions, endpoint)
    everything = frozenset[str]().union(*models)
    if everything not in models:
        msg = f"contributions: wanted a model of all modalities {sorted(everything)}, got {[sorted(s) for s in models]}"
        raise DataError(msg)
    curves = train_censoring if train_censoring is not None else training_curves(table) if endpoint.kind == "survival" else {}
    metric = main_metric(table, curves)
    resamples = draw(table, replicates=replicates, level=0.95, generator=generator)
    rows = _same_rows(table, models, everything)
    measured = {s: measure(of_model, [metric], endpoint, resamples)[metric.name] for s, of_model in rows.items()}
    sign = 1.0 if metric.higher_is_better else -1.0
    divided, gain, rule = _divide(worths or _worths_of(measured, metric), everything, sign=sign)
    full, out = measured[everything], []
    over_none = percentile_interval(gain, gain + sign * (full.replicates - full.value), level=resamples.level)
    if divided is not None and gain > 0 and not over_none.low > 0:
        rule += f"; no share: the gain of all over none, {gain:.3g} ({over_none.low:.3g} to {over_none.high:.3g}), may be zero"
    for modality in sorted(everything):
        without = measured.get(everything - {modality})
        note = f"{metric.name} on the {full.n} patients who have any of the modalities; {rule}"
        row: dict[str, object] = {
            "modality": modality,
            "shapley": float("nan"),
            "shapley_se": float("nan"),
            "share": float("nan"),
        }
        if divided is not None:
            row |= {"shapley": divided.values[modality], "shapley_se": divided.errors[modality]}
            row |= {"share": divided.values[modality] / gain} if over_none.low > 0 else {}
        if without is None:
            row |= dict.fromkeys(("adds", "low", "high"), float("nan")) | {"note": f"{note}; no model without {modality}"}
        else:
            found = paired_difference(sign * (full.value - without.value), sign * (full.replicates - without.replicates))
            row |= {"adds": found.value, "low": found.low, "high": found.high, "note": note}
        out.append(row)
    return pd.DataFrame(out, columns=_COLUMNS)


def main_metric(table: PredictionTable, curves: Curves) -> Metric:
    """Give the metric in which contributions are counted."""
    return next(m for m in metrics_of(table, curves) if m.name == MAIN[table.endpoint.kind][0])


def _worths_of(measured: Mapping[Subset, Measured], metric: Metric) -> Worths:
    chance = CHANCE.get(metric.name, float("nan"))
    return Worths(values={frozenset[str](): chance} | {s: m.value for s, m in measured.items()})


def _divide(worths: Worths, everything: Subset, *, sign: float) -> tuple[Shapley | None, float, str]:
    """Divide the gain of all over none; returns the Shapley values, the gain, and the rule in words."""
    values = {s: sign * v for s, v in worths.values.items()}
    num, of = len(values) - 1, 2 ** len(everything) - 1
    if not all(np.isfinite(v) for v in values.values()):
        return None, float("nan"), "no share: the metric has no value at chance, or is not defined for every subset"
    gain = values[everything] - values[frozenset()]
    if worths.orders:
        divided = sampled_shapley(values, worths.orders)
        error = max(divided.errors.values())
        rule = (
            f"Shapley values estimated from {len(worths.orders)} orders of the {len(everything)} modalities, {num} of {of}"
            f" subsets (standard error {error:.4f} at most)"
        )
    elif all(s in values for s in every_subset(sorted(everything))):
        divided, rule = exact_shapley(values), f"Shapley values exact, from all {of} subsets"
    else:
        reason = f"no share: the model was fitted on {num} of {of} subsets, and leaving each modality out once would credit those"
        return None, gain, f"{reason} that add nothing"
    return divided, gain, rule if gain > 0 else f"{rule}; no share: all modalities together gain {gain:.3g} over none"


def _same_rows(table: PredictionTable, models: Mapping[Subset, str], everything: Subset) -> dict[Subset, pd.DataFrame]:
    """Rows of each model for the patients whom the model of everything predicts."""
    keys = ["repeat", "fold", "patient_id"]
    wanted = table.of(models[everything])[keys]
    rows = {}
    for subset, model in models.items():
        rows[subset] = wanted.merge(table.of(model), on=keys, how="inner")
        if len(rows[subset]) < len(wanted):
            msg = (
                f"contributions: model {model!r} lacks {len(wanted) - len(rows[subset])} of the {len(wanted)} rows that"
                f" {models[everything]!r} predicts; give patients without its modalities the mean score of the training patients"
            )
            raise DataError(msg)
    return rows
