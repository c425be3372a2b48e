"""Numbers, measures and lists in a reader's words."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import TypeGuard

import pandas as pd

from oncoweave.evaluate.metrics import ALL_PAIRS

SITE_ONLY = "site_only"
"""The model that knows the hospital and nothing else, as runs name it."""

_MEASURES = {
    "c_index": "C-index",
    "uno_c": "Uno’s C-index",
    "ordinal_c": "ordinal C-index",
    "auc": "time-dependent AUC",
    "brier": "Brier score",
    "ibs": "integrated Brier score",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "macro_auroc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "micro_auroc": "micro AUROC",
    "f1": "F1",
    "macro_f1": "macro F1",
    "kappa": "Cohen’s kappa",
    "ipa": "index of prediction accuracy",
    "ece": "expected calibration error",
    "ici": "integrated calibration index",
    "log_loss": "log loss",
    "quadratic_kappa": "quadratic kappa",
    "mae": "mean absolute error",
    "r2": "R²",
    "spearman": "Spearman correlation",
}
_MEANINGS = {
    "c_index": "the share of comparable pairs of patients in which the one given the higher risk had the event first",
    "auroc": "the share of pairs, one patient with the outcome and one without, that the model puts in the right order",
    "macro_auroc": "the share of pairs, one patient with a class and one without, put in the right order, averaged over classes",
    "balanced_accuracy": "the share of patients classified correctly, averaged over the classes",
    "ordinal_c": "the share of pairs of patients of different grades in which the higher grade is given the higher score",
    "quadratic_kappa": "agreement between predicted and true grade beyond chance, where far misses count more",
    "micro_auroc": "the share of pairs of a true and an untrue entry, over all patients and classes, put in the right order",
    "f1": "the balance of how many of the patients called positive are so, and how many of the positive are called",
    "macro_f1": "the balance of precision and recall of each class, averaged over the classes",
    "kappa": "agreement between predicted and true class beyond chance",
    "ipa": "the share of the Brier score that is saved over predicting the training patients’ average for everybody",
    "ece": "the average distance between predicted and observed shares in ten bins, less part of what chance gives",
    "ici": "the average distance between prediction and a smooth curve of what is observed, less part of what chance gives",
    "r2": "the share of the variation between patients that the predictions explain",
    "mae": "the average distance between prediction and measurement",
}
_IN_PAIRS = {
    "c_index": "Of two patients, it gives the higher risk to the one whose event comes first",
    "auroc": "Of two patients, one with the outcome and one without, it ranks the first higher",
    "macro_auroc": "Of two patients, one with a class and one without, it ranks the first higher for that class",
    "ordinal_c": "Of two patients of different grades, it gives the higher score to the one of the higher grade",
}

NOT_ESTIMABLE = "not estimable"
NOT_DEFINED = "not defined"


def known(value: object) -> TypeGuard[float]:
    """Say whether a cell of a table holds a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def number(value: object, digits: int = 3, *, sign: bool = False) -> str:
    """Write a number with fixed decimals and a true minus sign; a dash where there is none."""
    if not known(value):
        return "–"
    written = f"{float(value):+.{digits}f}" if sign else f"{float(value):.{digits}f}"
    if float(written) == 0:
        written = written.lstrip("+-")
    return written.replace("-", "−")


def count(value: object) -> str:
    """Write a count, thousands parted by a narrow space; a dash where there is none."""
    return f"{round(value):,}".replace(",", "\u202f") if known(value) else "–"


def interval(low: object, high: object, digits: int = 3, *, sign: bool = False) -> str:
    """Write an interval as ``low to high``."""
    if not (known(low) and known(high)):
        return "no interval"
    return f"{number(low, digits, sign=sign)} to {number(high, digits, sign=sign)}"


def estimate(value: object, low: object, high: object, digits: int = 3, *, sign: bool = False) -> str:
    """Write an estimate with its interval in brackets."""
    if not known(value):
        return NOT_ESTIMABLE
    return f"{number(value, digits, sign=sign)} ({interval(low, high, digits, sign=sign)})"


def p_value(value: object) -> str:
    """Write a p value as journals do: two figures, never zero."""
    if not known(value):
        return NOT_DEFINED
    p = float(value)
    if p < 0.001:
        return "< 0.001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def p_equals(value: object) -> str:
    """Write ``p = 0.032`` or ``p < 0.001``."""
    written = p_value(value)
    return f"p {written}" if written.startswith("<") else f"p = {written}"


def percent(part: float, whole: float) -> str:
    """Write a share in whole per cent, one decimal below ten."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 or share == 0 else f"{share:.1f}%"


def plural(num: object, singular: str, many: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{count(num)} {singular if num == 1 else many or singular + 's'}"


def listed(words: Sequence[str], *, last: str = "and") -> str:
    """Join words as prose does."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def spaced(name: str) -> str:
    """Write a key as words."""
    return name.replace("_", " ")


def measure(name: str, time_unit: str | None = None) -> str:
    """Name a measure; ``auc@36`` is read as the AUC at 36 of the endpoint's unit, ``auroc@label`` as that of one label."""
    stem, _, at = name.partition("@")
    if stem.endswith(ALL_PAIRS):
        return f"{measure(stem.removesuffix(ALL_PAIRS), time_unit)} over all pairs"
    words = _MEASURES.get(stem, spaced(stem))
    if not at:
        return words
    return f"{words} at {number_of_time(at)} {time_unit}" if time_unit else f"{words}, {at}"


def number_of_time(written: str) -> str:
    """Write ``36.0`` as ``36``."""
    try:
        return f"{float(written):g}"
    except ValueError:
        return written


def meaning(name: str) -> str:
    """Explain a measure in one clause; empty where there is no short way."""
    return _MEANINGS.get(name.partition("@")[0], "")


def capital(sentence: str) -> str:
    """Begin a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def model(name: str) -> str:
    """Name a model of a study for a reader: the ones every study adds get words, the others keep their name."""
    if name == SITE_ONLY:
        return "hospital only"
    if name.startswith("only_"):
        return f"{name.removeprefix('only_')} only"
    if name.startswith("permuted_"):
        return f"{name.removeprefix('permuted_')}, outcomes permuted"
    return name


def modalities_of(pattern: object) -> list[str]:
    """Part a pattern such as ``clinical+rna`` into its modalities."""
    return [part for part in str(pattern).split("+") if part]


def pattern(written: object) -> str:
    """Write a pattern with spaces around its joints."""
    return " + ".join(modalities_of(written)) or "no modality"


def combination(written: object, every: Sequence[str]) -> str:
    """Name a pattern by what it holds or, where that is shorter, by what it lacks of ``every`` modality."""
    present = modalities_of(written)
    lacks = [modality for modality in every if modality not in present]
    if not lacks and len(every) > 1:
        return "every modality"
    if len(lacks) <= 3 and len(present) > 2 * len(lacks):
        return f"all but {listed(lacks)}"
    return pattern(written)


def count_headers(table: pd.DataFrame) -> tuple[str, ...]:
    """Name the columns that :func:`counts` writes for a table."""
    return ("n", "Events") if table["events"].notna().any() else ("n",)


def counts(table: pd.DataFrame, row: pd.Series) -> tuple[str, ...]:
    """Write patients and, where a table has any, events of one of its rows."""
    return (count(row["n"]), count(row["events"])) if table["events"].notna().any() else (count(row["n"]),)


def in_hundred(name: str, value: float, chance: float | None) -> str:
    """Say what a value of a measure means for patients, as a sentence; empty where there is no such way."""
    pairs = _IN_PAIRS.get(name.partition("@")[0])
    if pairs is None:
        return ""
    guess = f"; guessing gives {100 * chance:.0f}" if chance is not None else ""
    return f"{pairs} in {100 * value:.0f} of 100 pairs{guess}."
