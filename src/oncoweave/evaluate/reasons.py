"""Why a metric is not defined on some patients, and which classes an average over classes is silent about."""

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.metrics import ALL_PAIRS, Metric
from oncoweave.evaluate.pooling import pair_strata

_AVERAGED = ("macro_auroc", "macro_auprc", "balanced_accuracy", "macro_f1")
_SHOWN = 5
"""Classes named; more are counted."""


def undefined(metric: Metric, rows: pd.DataFrame, endpoint: Endpoint) -> str:
    """Say why a metric is NaN on some rows, in words that stand after ``not defined:``."""
    stem, _, at = metric.name.partition("@")
    if metric.label is not None:
        rows = rows[rows[f"y@{metric.label}"].notna()]
    if rows.empty:
        return "no patient with a known outcome"
    if endpoint.kind == "survival":
        return _survival(stem, at, rows)
    if endpoint.kind == "regression":
        return _regression(stem, rows)
    if stem in ("ici", "ipa"):
        return _fitted(stem, rows)
    if stem in ("kappa", "quadratic_kappa"):
        return "true and predicted classes are all one class"
    if "f1" in stem:
        return "no positive patient, true or predicted"
    return _ranked(rows, endpoint, metric.label)


def silent(metric: Metric, rows: pd.DataFrame, endpoint: Endpoint, fold: np.ndarray) -> str:
    """Name the classes without a patient, over all rows or in some folds, where a metric averages over classes; else empty.

    ``fold`` numbers the (repeat, fold) of each row.
    """
    average = metric.name.removesuffix(ALL_PAIRS)
    if average not in _AVERAGED:
        return ""
    if endpoint.kind == "binary":
        positive = rows["y"].to_numpy(dtype=float) > 0.5
        if positive.any() and not positive.all():
            return ""
        return f"recall of the {'positive' if positive.all() else 'negative'} patients alone: there are no others"
    belongs, folds = _membership(rows, endpoint), int(fold.max()) + 1
    nowhere = [f"{name!r}" for name, inside in belongs.items() if not inside.any()]
    partly = []
    for name, inside in belongs.items():
        lacking = folds - len(np.unique(fold[inside]))
        partly += [f"{name!r} in {lacking}"] if inside.any() and lacking else []
    what = "counted as 0 where predicted" if average == "macro_f1" else "left out of the average"
    said = [f"no patient has {_listed(nowhere)}, {what}"] if nowhere else []
    said += [f"no patient in some of {folds} folds: {_listed(partly)}"] if partly else []
    return "; ".join(said)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _membership(rows: pd.DataFrame, endpoint: Endpoint) -> dict[str, np.ndarray]:
    """``Bool[row]`` of each class or label: who has it."""
    if endpoint.kind == "multilabel":
        return {label: rows[f"y@{label}"].to_numpy(dtype=float) == 1 for label in endpoint.classes or endpoint.columns}
    if endpoint.kind == "binary":
        return {"positive": rows["y"].to_numpy(dtype=float) == 1, "negative": rows["y"].to_numpy(dtype=float) == 0}
    return {name: (rows["y"] == name).to_numpy() for name in endpoint.classes}


def _ranked(rows: pd.DataFrame, endpoint: Endpoint, label: str | None) -> str:
    """AUROC, average precision, ordinal C and their averages: classes that are lacking, or never meet in a fold."""
    if label is not None:
        positive = rows[f"y@{label}"].to_numpy(dtype=float) == 1
        belongs = {"positive": positive, "negative": ~positive}
    else:
        belongs = _membership(rows, endpoint)
    patient = rows["patient_id"].to_numpy()
    counts = {name: len(np.unique(patient[inside])) for name, inside in belongs.items()}
    if label is not None or endpoint.kind == "binary":
        told = f"got {counts['positive']} positive and {counts['negative']} negative patients"
        if not counts["positive"]:
            return f"it needs a positive patient, {told}"
        return f"it needs both classes, {told}" if not counts["negative"] else f"no fold tests both classes, {told}"
    if endpoint.kind != "multilabel" and sum(num > 0 for num in counts.values()) < 2:
        return f"all {len(np.unique(patient))} patients have one class"
    return "no fold tests patients of two classes" if endpoint.kind != "multilabel" else "no fold tests both classes of any label"


def _fitted(stem: str, rows: pd.DataFrame) -> str:
    positive = rows["y"].to_numpy(dtype=float) > 0.5
    told = f"{int(positive.sum())} of {len(positive)} predictions are of positive patients"
    if stem == "ipa":
        return f"the prevalence in training is right for every patient, so there is no error to save ({told})"
    return f"no calibration curve can be fitted, as outcomes are of one class or predictions separate them ({told})"


def _survival(stem: str, at: str, rows: pd.DataFrame) -> str:
    time, event = rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float) > 0.5
    if stem == "ipa":
        return f"the survival curve of the training patients is without error at {at}, so there is none to save"
    if stem == "auc":
        case, control = event & (time <= float(at)), time > float(at)
        told = f"{int(case.sum())} with an event by {at}, {int(control.sum())} followed beyond, in all rows"
        return f"no fold has both a patient with the event and one followed beyond ({told})"
    told = f"{int(event.sum())} event(s) in {len(rows)} rows of {len(np.unique(pair_strata(rows)))} fold(s) or strata"
    beyond = " early enough for its weight to be known" if stem == "uno_c" else ""
    return f"no event{beyond} is followed by anyone of its fold to be compared with ({told})"


def _regression(stem: str, rows: pd.DataFrame) -> str:
    if rows["y"].nunique() < 2:
        return f"all {rows['patient_id'].nunique()} patients have one outcome"
    return "in no fold do outcomes and predictions both vary" if stem == "spearman" else "the outcomes do not vary"
