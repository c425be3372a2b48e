"""What each modality adds: the same model fitted on subsets of the modalities, compared on the same patients.

``adds`` is the metric with all modalities minus the metric without this one (positive = it helps). Where two modalities tell the
same, both add little: ``share``, the Shapley value, divides the whole gain over chance fairly between them (Shapley 1953).
"""

from collections.abc import Mapping
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import paired_difference
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import CHANCE, MAIN, Curves, metrics_of, training_curves
from oncoweave.evaluate.tables import PredictionTable, check_predictions

_COLUMNS = ["modality", "adds", "low", "high", "share", "note"]


def contributions(
    predictions: pd.DataFrame | PredictionTable,
    endpoint: Endpoint,
    *,
    models: Mapping[frozenset[str], str],
    generator: np.random.Generator,
    replicates: int = 1000,
    train_censoring: Curves | None = None,
) -> pd.DataFrame:
    """Say what each modality adds to the endpoint's main metric.

    Args:
        predictions: the prediction table, with a model for each subset.
        endpoint: what is predicted.
        models: which model was fitted on which modalities; the largest subset holds all of them.
        generator: draws the bootstrap of patients.
        replicates: how many bootstrap replicates.
        train_censoring: see :func:`oncoweave.evaluate.summary.summarise`.

    Returns:
        ``modality, adds, low, high, share, note``; ``share`` is a part of the gain over chance and may be negative. It needs
        every subset (or enough of them; the note says when it is approximate) and a gain above zero.

    Raises:
        DataError: no model was fitted on all modalities.
    """
    table = predictions if isinstance(predictions, PredictionTable) else check_predictions(predictions, endpoint)
    everything = frozenset[str]().union(*models)
    if everything not in models:
        msg = f"contributions: wanted a model of all modalities {sorted(everything)}, got {[sorted(s) for s in models]}"
        raise DataError(msg)
    survival = endpoint.kind == "survival"
    curves = train_censoring if train_censoring is not None else training_curves(table) if survival else {}
    metric = next(m for m in metrics_of(table, curves) if m.name == MAIN[endpoint.kind][0])
    resamples = draw(table, replicates=replicates, level=0.95, generator=generator)
    common = _common_keys(table, list(models.values()))
    measured = {s: measure(table.of(m).merge(common), [metric], endpoint, resamples)[metric.name] for s, m in models.items()}
    sign = 1.0 if metric.higher_is_better else -1.0
    shares, reason = shapley_shares({s: sign * r.value for s, r in measured.items()}, chance=CHANCE.get(metric.name))
    full, rows = measured[everything], []
    for modality in sorted(everything):
        without = measured.get(everything - {modality})
        note = f"{metric.name} on the {full.n} patients whom every subset compared can predict" + (
            f"; {reason}" if reason else ""
        )
        row: dict[str, object] = {"modality": modality, "share": shares.get(modality, float("nan"))}
        if without is None:
            row |= dict.fromkeys(("adds", "low", "high"), float("nan")) | {"note": f"{note}; no model without {modality}"}
        else:
            found = paired_difference(sign * (full.value - without.value), sign * (full.replicates - without.replicates))
            row |= {"adds": found.value, "low": found.low, "high": found.high, "note": note}
        rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def shapley_shares(values: Mapping[frozenset[str], float], *, chance: float | None) -> tuple[dict[str, float], str]:
    """Divide the gain of all modalities over chance between them, and say what was wrong or approximate.

    Solves the weighted least squares problem whose solution on all subsets is the Shapley value (Lundberg and Lee 2017,
    theorem 2); on fewer subsets it is the closest additive explanation of those, if they determine one.
    """
    everything = frozenset[str]().union(*values)
    names = sorted(everything)
    if chance is None or not all(np.isfinite(v) for v in values.values()):
        return {}, "no share: the metric has no value at chance, or is not defined for every subset"
    gain = values[everything] - chance
    if gain <= 0:
        return {}, f"no share: all modalities together gain {gain:.3g} over chance"
    if len(names) == 1:
        return {names[0]: 1.0}, ""
    subsets = [s for s in values if 0 < len(s) < len(names)]
    design = np.array([[name in s for name in names] for s in subsets], dtype=float).reshape(-1, len(names))
    weight = np.array([(len(names) - 1) / (comb(len(names), len(s)) * len(s) * (len(names) - len(s))) for s in subsets])
    # The parts must sum to the gain: the last one is eliminated.
    reduced = design[:, :-1] - design[:, -1:]
    wanted = np.array([values[s] - chance for s in subsets]) - design[:, -1] * gain
    if np.linalg.matrix_rank(reduced) < len(names) - 1:
        return {}, f"no share: {len(values)} of {2 ** len(names) - 1} subsets were run, too few to tell"
    root = np.sqrt(weight)
    solved = np.linalg.lstsq(reduced * root[:, None], wanted * root, rcond=None)[0]
    parts = np.append(solved, gain - solved.sum()) / gain
    complete = all(frozenset(c) in values for k in range(1, len(names)) for c in combinations(names, k))
    reason = "" if complete else f"share approximate: {len(values)} of {2 ** len(names) - 1} subsets were run"
    return dict(zip(names, parts.tolist(), strict=True)), reason


def _common_keys(table: PredictionTable, models: list[str]) -> pd.DataFrame:
    keys = ["repeat", "fold", "patient_id"]
    rows = table.frame[table.frame["model"].isin(models)]
    shared = rows.groupby(keys)["model"].nunique().rename("models").reset_index()
    common = shared.loc[shared["models"] == len(set(models)), keys].reset_index(drop=True)
    if common.empty:
        msg = f"contributions: no patient is predicted by all of the models {models}"
        raise DataError(msg)
    return common
