"""Which models differ from which: paired differences of the main metrics, by every test the folds allow, corrected together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.evaluate.compare import (
    FEW,
    Difference,
    benjamini_hochberg,
    corrected_resampled_t,
    holm,
    paired_difference,
)
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.measure import Measured, Resamples, measure
from oncoweave.evaluate.metrics import Metric
from oncoweave.evaluate.pooling import owner, pair_strata
from oncoweave.evaluate.significance import combined_f_5x2, detectable_difference
from oncoweave.evaluate.tables import PredictionTable

BOOTSTRAP = f"paired patient bootstrap (normal p where fewer than {FEW} samples lie beyond zero)"
RESAMPLED_T = "corrected resampled t over folds"
DELONG = "paired DeLong test"
COMBINED_F = "combined F test of five times two folds"
COMPARISONS = ["model", "reference", "metric", "difference", "low", "high", "p", "p_adjusted", "q"]
COMPARISONS += ["method", "detectable", "n", "events", "note"]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Compared:
    """What is compared: the models of a prediction table, measured under one set of bootstrap draws."""

    table: PredictionTable
    models: tuple[str, ...]
    metrics: tuple[Metric, ...]
    measured: Mapping[str, Mapping[str, Measured]]
    """By model and metric, on all its rows."""
    resamples: Resamples
    trained: Mapping[tuple[int, int], int] | None
    """Training patients of each (repeat, fold); None for those whom the same repeat tests in its other folds."""


def comparison_table(compared: Compared, references: tuple[str, ...]) -> pd.DataFrame:
    """Compare every model with every reference; columns are :data:`COMPARISONS`.

    ``detectable``, of the bootstrap, is the smallest difference that this comparison would have found with p < .05, uncorrected,
    in four of five studies of its size; one that was not found may be anything below.
    """
    rows: list[dict[str, object]] = []
    for reference in references:
        for model in compared.models:
            if model != reference:
                rows += _compare(compared, model, reference)
    frame = pd.DataFrame(rows, columns=[c for c in COMPARISONS if c not in ("p_adjusted", "q")])
    frame = frame.astype({"n": "Int64", "events": "Int64"})
    # Two references compared with each other stand in the table twice and are one question.
    pairs = [tuple(sorted(names)) for names in zip(frame["model"], frame["reference"], strict=True)]
    pair = pd.Series(pairs, index=frame.index, dtype=object)
    adjusted = {name: pd.Series(np.nan, index=frame.index) for name in ("p_adjusted", "q")}
    for _, family in frame.groupby(["metric", "method"]):
        questions = family.assign(pair=pair).drop_duplicates("pair").set_index("pair")["p"]
        for name, adjust in (("p_adjusted", holm), ("q", benjamini_hochberg)):
            answers = pd.Series(adjust(questions.to_numpy(dtype=float)), index=questions.index)
            adjusted[name][family.index] = pair[family.index].map(answers)
    return frame.assign(**adjusted)[COMPARISONS]


def _compare(compared: Compared, model: str, reference: str) -> list[dict[str, object]]:
    if not share_patients(compared.table, model, reference):
        return _apart(compared, model, reference)
    (shared, beside), first, second, left_out = _on_common_rows(compared, model, reference)
    rows: list[dict[str, object]] = []
    level = compared.resamples.level
    for metric in compared.metrics:
        one, other = first[metric.name], second[metric.name]
        apart = one.replicates - other.replicates
        boot = paired_difference(one.value - other.value, apart, level=level)
        resampled = over_folds(one.folds - other.folds, shared, compared.trained, level=level)
        tests = [(BOOTSTRAP, boot, ""), (RESAMPLED_T, *resampled)]
        if _is_five_by_two(shared):
            tests.append((COMBINED_F, *_combined(one.folds - other.folds)))
        if metric.name == "auroc":
            tests.append((DELONG, _paired_areas(shared, beside, level=level), ""))
        for method, difference, why in tests:
            row = {
                "model": model,
                "reference": reference,
                "metric": metric.name,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "p": difference.p,
                "method": method,
                "detectable": detectable_difference(apart) if method == BOOTSTRAP else float("nan"),
                "n": one.n,
                "events": one.events,
                "note": "; ".join(part for part in (left_out, why, difference.reason) if part),
            }
            rows.append(row)
    return rows


def share_patients(table: PredictionTable, first: str, second: str) -> bool:
    """Whether two models predict a patient in common, as models of modalities that nobody has together do not."""
    return not common_rows(table.of(first), table.of(second))[0].empty


def _apart(compared: Compared, model: str, reference: str) -> list[dict[str, object]]:
    """Rows of a comparison that cannot be made, one a metric."""
    nobody = {"model": model, "reference": reference, "method": BOOTSTRAP, "n": 0, "note": NOBODY}
    unknown = dict.fromkeys(("difference", "low", "high", "p", "detectable"), float("nan"))
    return [{**nobody, **unknown, "metric": metric.name, "events": None} for metric in compared.metrics]


def _on_common_rows(
    compared: Compared, model: str, reference: str
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], Mapping[str, Measured], Mapping[str, Measured], str]:
    """Measure two models on the rows that both predict; what is measured already is used where those are all rows."""
    first, second = compared.table.of(model), compared.table.of(reference)
    if first[_ROW].equals(second[_ROW]):
        return (first, second), compared.measured[model], compared.measured[reference], ""
    shared = common_rows(first, second)
    measured = [measure(rows, compared.metrics, compared.table.endpoint, compared.resamples) for rows in shared]
    note = f"on the rows that both models have: {len(shared[0])} of {len(first)} and {len(second)}"
    return shared, measured[0], measured[1], note


def _paired_areas(first: pd.DataFrame, second: pd.DataFrame, *, level: float) -> Difference:
    scores = np.column_stack([rows["p"].to_numpy(dtype=float) for rows in (first, second)])
    if (first.groupby(owner(first).to_numpy())["y"].nunique() > 1).any():
        unknown = float("nan")
        reason = "not done where a person has both outcomes"
        return Difference(value=unknown, low=unknown, high=unknown, p=unknown, reason=reason)
    strata, patients = pair_strata(first), owner(first).to_numpy()
    found = delong(first["y"].to_numpy(dtype=float), scores, strata=strata, patients=patients)
    return found.difference(level=level)


def _is_five_by_two(rows: pd.DataFrame) -> bool:
    """Whether a model's rows come from five repeats of two folds, each patient tested once a repeat."""
    folds = rows.groupby("repeat")["fold"].nunique()
    return len(folds) == 5 and bool((folds == 2).all()) and not rows.duplicated(["repeat", "patient_id"]).any()


def _combined(differences: np.ndarray) -> tuple[Difference, str]:
    """Alpaydin's test of differences in the folds of five repeats, in order; it gives no interval."""
    defined = differences[~np.isnan(differences)]
    unknown, mean = float("nan"), float(defined.mean()) if len(defined) else float("nan")
    if len(defined) < len(differences):
        return Difference(value=mean, low=unknown, high=unknown, p=unknown), "not defined in every fold"
    found = combined_f_5x2(differences.reshape(5, 2))
    return Difference(value=mean, low=unknown, high=unknown, p=found.p), found.reason


_ROW = ["repeat", "fold", "patient_id"]
NOBODY = "the two models predict no patient in common"


def common_rows(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the rows of two models that both predict, in the same order; there may be none."""
    common = first[_ROW].merge(second[_ROW], on=_ROW)
    one, other = (rows.merge(common, on=_ROW).sort_values(_ROW, ignore_index=True) for rows in (first, second))
    return one, other


def over_folds(
    differences: np.ndarray, rows: pd.DataFrame, counts: Mapping[tuple[int, int], int] | None, *, level: float
) -> tuple[Difference, str]:
    """Test differences within folds by the corrected resampled t test; also says why that cannot be done, or what it leaves out.

    Args:
        differences: of a metric, one a (repeat, fold) of ``rows``, in order; NaN where not defined.
        rows: the predictions of one of the models.
        counts: training patients of each (repeat, fold); None for those whom the same repeat tests in its other folds.
        level: of the interval.
    """
    tested = rows.groupby(["repeat", "fold"]).size()
    trained = tested.groupby("repeat").transform("sum") - tested
    if counts is not None:
        trained = pd.Series([counts[fold] for fold in tested.index], index=tested.index)
    defined = differences[~np.isnan(differences)]
    if len(defined) < 2 or (trained == 0).any():
        reason = (
            "fewer than two folds in which both models can be measured"
            if len(defined) < 2
            else "number of training patients not known"
        )
        value = float(defined.mean()) if len(defined) else float("nan")
        return Difference(value=value, low=float("nan"), high=float("nan"), p=float("nan")), reason
    reason = f"{len(differences) - len(defined)} fold(s) not defined" if len(defined) < len(differences) else ""
    return corrected_resampled_t(defined, test_to_train=float((tested / trained).mean()), level=level), reason
