"""How much better than chance scores order patients: one number for every kind of endpoint."""

import numpy as np

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import NoComparablePairsError
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.discrimination import auroc, macro_auroc, ordinal_c


def skill(target: Target, scores: np.ndarray) -> float:
    """Concordance minus one half: 0 is chance, 0.5 perfect, NaN where these patients do not define it.

    Survival: Harrell's C. Binary: AUROC. Multiclass: one-vs-rest AUROC averaged. Multilabel: AUROC averaged over labels. Ordinal:
    concordance of the expected class. Regression: concordance of values. Patients with an unknown outcome are left out.

    Args:
        target: n patients.
        scores: ``[n, c]`` in the convention of late fusion, finite.
    """
    rows, kind = target.known, target.endpoint.kind
    target, scores = target.take(rows), scores[rows]
    if not len(target):
        return float("nan")
    if kind == "multilabel":
        known = ~np.isnan(target.values)
        areas = [auroc(target.values[k, i], scores[k, i]) for i, k in enumerate(known.T) if k.any()]
        defined = [float(a) for a in areas if not np.isnan(a)]
        return float(np.mean(defined)) - 0.5 if defined else float("nan")
    if kind == "survival":
        try:
            return harrell_c(target.time, target.event, scores[:, 0]) - 0.5
        except NoComparablePairsError:
            return float("nan")
    if kind == "binary":
        return float(auroc(target.values, scores[:, 0])) - 0.5
    if kind == "multiclass":
        return float(macro_auroc(target.values, scores)) - 0.5
    value = scores @ np.arange(scores.shape[1]) if kind == "ordinal" else scores[:, 0]
    return float(ordinal_c(target.values, value)) - 0.5
