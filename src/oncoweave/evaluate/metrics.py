"""Which metrics a kind of endpoint has, and each as a statistic of one model's rows of the prediction table.

Metrics that only rank (C-index, AUROC, average precision, Spearman) compare patients within a fold, see ``pooling``; means of
errors and classifications are taken over all rows. Calibration errors are debiased, see ``calibration_error``; the index of
prediction accuracy (IPA) is one minus the Brier score over that of the training patients' marginal prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate import pairs, weighted
from oncoweave.evaluate.calibration_error import (
    Distance,
    binned_distance,
    calibration_index,
    expected_error,
    smooth_distance,
)
from oncoweave.evaluate.censoring import Censoring
from oncoweave.evaluate.discrimination import PROBABILITY_FLOOR, Weighting
from oncoweave.evaluate.intervals import Method
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.pooling import STRATUM, pair_strata
from oncoweave.evaluate.survival import brier_terms, integrate
from oncoweave.evaluate.tables import PredictionTable, horizon_column
from oncoweave.evaluate.training_outcomes import Curves, Prevalence, training_prevalence

MAIN: dict[str, tuple[str, ...]] = {
    "survival": ("c_index",),
    "binary": ("auroc", "auprc"),
    "multiclass": ("macro_auroc", "balanced_accuracy"),
    "multilabel": ("macro_auroc",),
    "ordinal": ("ordinal_c", "quadratic_kappa"),
    "regression": ("r2", "mae"),
}
"""Metrics of each kind that are compared between models and shown by group; the first decides which model is best.

It ranks where it can: quadratic kappa is exactly 0, with no interval, for any model that never leaves the most frequent grade."""

ALL_PAIRS = "_all_pairs"
"""Ends the name of a metric that ranks over all pairs of a fold, where the table has strata."""
_RANKING = frozenset({"c_index", "auroc", "auprc", "macro_auroc", "ordinal_c"})

CHANCE: dict[str, float] = {
    "c_index": 0.5,
    "auroc": 0.5,
    "macro_auroc": 0.5,
    "micro_auroc": 0.5,
    "ordinal_c": 0.5,
    "quadratic_kappa": 0.0,
    "kappa": 0.0,
    "ipa": 0.0,
    "r2": 0.0,
}
"""Value of a metric when nothing is known of the patients."""

ScoreStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray], Statistic]
"""From 0/1 labels, scores and strata to a statistic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric, its direction, and how to make a statistic of it from one model's rows."""

    name: str
    higher_is_better: bool
    build: Callable[[pd.DataFrame], Statistic]
    label: str | None = None
    """Multilabel only: the label whose known patients the metric is about."""
    interval: Method = "percentile"
    """How its interval is read from the replicates: areas under the ROC curve, skewed near 1, by BCa; average precision, whose
    replicates lie above it, on the logit scale; means over all rows, which draws within folds vary too little, by expanded
    percentiles."""
    distance: Callable[[pd.DataFrame], Distance] | None = None
    """Calibration errors: what their interval is simulated with instead."""
    remark: Callable[[pd.DataFrame], str] | None = None
    """What else must be known to read its value on some rows."""


def metrics_of(table: PredictionTable, curves: Curves, prevalence: Prevalence | None = None) -> list[Metric]:
    """List the metrics of a table's endpoint, the main one first.

    ``prevalence`` is that of the training patients of a binary endpoint, by default :func:`training_prevalence`. Where the table
    has strata, main metrics that rank come twice: within strata, and, named with :data:`ALL_PAIRS`, over all pairs of a fold.
    """
    listed = {
        "survival": lambda: _survival(table.horizons, curves),
        "binary": lambda: _binary(training_prevalence(table) if prevalence is None else prevalence),
        "multiclass": lambda: _multiclass(table.endpoint),
        "ordinal": lambda: _ordinal(table.endpoint),
        "multilabel": lambda: _multilabel(table.endpoint),
        "regression": _regression,
    }[table.endpoint.kind]()
    if STRATUM not in table.frame.columns:
        return listed
    return [each for metric in listed for each in (metric, *_over_all_pairs(metric, MAIN[table.endpoint.kind]))]


def _over_all_pairs(metric: Metric, main: tuple[str, ...]) -> list[Metric]:
    """Give a main metric that ranks once more, over the pairs of a fold whatever their stratum."""
    if metric.name not in main or metric.name not in _RANKING:
        return []
    remark = metric.remark
    return [
        replace(
            metric,
            name=metric.name + ALL_PAIRS,
            build=lambda rows: metric.build(rows.drop(columns=STRATUM, errors="ignore")),
            remark=None if remark is None else lambda rows: remark(rows.drop(columns=STRATUM, errors="ignore")),
        )
    ]


def strata(rows: pd.DataFrame) -> np.ndarray:
    """Number the (repeat, fold) of each row."""
    return np.unique(_folds(rows), axis=0, return_inverse=True)[1].reshape(-1)


def predicted_survival(rows: pd.DataFrame, horizons: tuple[float, ...]) -> np.ndarray:
    """Read predicted survival ``Float[row, horizon]``.

    Raises:
        DataError: the model predicts none.
    """
    survival = rows[[horizon_column(h) for h in horizons]].to_numpy(dtype=float)
    if np.isnan(survival).any():
        msg = "the model predicts a risk but no survival probabilities"
        raise DataError(msg)
    return survival


def _survival(horizons: tuple[float, ...], curves: Curves) -> list[Metric]:
    def uno(rows: pd.DataFrame) -> Statistic:
        within = pair_strata(rows)
        return pairs.uno_pairs(*_outcome(rows), _column(rows, "risk"), within, _local(rows, curves, within))

    def auc(rows: pd.DataFrame, horizon: float) -> Statistic:
        within = pair_strata(rows)
        local = _local(rows, curves, within)
        return pairs.horizon_pairs(*_outcome(rows), _column(rows, "risk"), within, horizon=horizon, censoring=local)

    def brier(rows: pd.DataFrame, horizon: float) -> Statistic:
        return weighted.mean_of(_brier_terms(rows, (horizon,), curves)[:, 0])

    def known(rows: pd.DataFrame) -> tuple[float, ...]:
        local = _local(rows, curves, strata(rows)).values()
        return tuple(h for h in horizons if all(curve.knows(np.array([h]))[0] for curve in local))

    def integrated(rows: pd.DataFrame) -> Statistic:
        inside = known(rows)
        if len(inside) < 2:
            msg = f"of the horizons {list(horizons)} training patients of every fold are followed to {list(inside)}; give earlier"
            raise DataError(msg)
        return weighted.mean_of(integrate(_brier_terms(rows, inside, curves), np.array(inside)))

    def range_of(rows: pd.DataFrame) -> str:
        inside = known(rows)
        beyond = ", ".join(f"{h:g}" for h in horizons if h not in inside)
        only = f"from {inside[0]:g} to {inside[-1]:g} only: no training patient of some fold is followed to {beyond}"
        return only if beyond else ""

    def accuracy(rows: pd.DataFrame, horizon: float) -> Statistic:
        null = _brier_terms(rows, (horizon,), curves, knows_nothing=True)
        return weighted.improvement_over(null[:, 0], _brier_terms(rows, (horizon,), curves)[:, 0])

    harrell = _higher("c_index", lambda r: pairs.survival_pairs(*_outcome(r), _column(r, "risk"), pair_strata(r)), "percentile")
    aucs = [_higher(f"auc@{h:g}", partial(auc, horizon=h), "percentile") for h in horizons]
    briers = [_lower(f"brier@{h:g}", partial(brier, horizon=h)) for h in horizons]
    scaled = [_higher(f"ipa@{h:g}", partial(accuracy, horizon=h)) for h in horizons]
    whole = [replace(_lower("ibs", integrated), remark=range_of)] if len(horizons) > 1 else []
    return [harrell, _higher("uno_c", uno, "percentile"), *aucs, *briers, *whole, *scaled]


def _binary(prevalence: Prevalence) -> list[Metric]:
    def both(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return _column(rows, "y"), _column(rows, "p")

    def log_losses(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        return -np.log(np.where(y > 0.5, p, 1 - p).clip(PROBABILITY_FLOOR, 1))

    def recall(y: np.ndarray, p: np.ndarray) -> Statistic:
        return weighted.mean_recall(y, (p >= 0.5) == (y > 0.5))

    def accuracy(rows: pd.DataFrame) -> Statistic:
        y, p = both(rows)
        null, code = np.empty(len(y)), strata(rows)
        for stratum, (repeat, fold) in enumerate(np.unique(_folds(rows), axis=0).tolist()):
            if (repeat, fold) not in prevalence:
                msg = f"repeat {repeat}, fold {fold}: the table holds no other fold, so the prevalence in training is not known"
                raise DataError(msg)
            null[code == stratum] = prevalence[repeat, fold]
        return weighted.improvement_over((y - null) ** 2, (y - p) ** 2)

    return [
        _area("auroc", lambda r: pairs.ordered_pairs(*both(r), pair_strata(r))),
        _precision(
            "auprc",
            lambda r: weighted.average_precision(*both(r), pair_strata(r)),
            lambda r: [(_column(r, "y"), pair_strata(r))],
        ),
        _higher("balanced_accuracy", lambda r: recall(*both(r))),
        _higher("f1", lambda r: weighted.f1(_column(r, "y"), _column(r, "p") >= 0.5, (1,))),
        _higher("kappa", lambda r: weighted.kappa(_column(r, "y"), _column(r, "p") >= 0.5, 2, weighting="none")),
        _lower("brier", lambda r: weighted.mean_of(np.subtract(*both(r)) ** 2)),
        _higher("ipa", accuracy),
        _lower("log_loss", lambda r: weighted.mean_of(log_losses(*both(r)))),
        _lower("ece", lambda r: expected_error(*both(r), _repeats(r)), lambda r: binned_distance(*both(r), _repeats(r))),
        _lower("ici", lambda r: calibration_index(*both(r), _repeats(r)), lambda r: smooth_distance(*both(r), _repeats(r))),
    ]


def _multiclass(endpoint: Endpoint) -> list[Metric]:
    def one_vs_rest(rows: pd.DataFrame, make: ScoreStatistic) -> Statistic:
        y, p = _classes(rows, endpoint)
        return weighted.MeanOver(
            [make((y == index).astype(float), p[:, index], pair_strata(rows)) for index in range(p.shape[1])]
        )

    def micro(rows: pd.DataFrame) -> Statistic:
        y, p = _classes(rows, endpoint)
        return weighted.micro_area(np.eye(p.shape[1])[y], p, pair_strata(rows))

    def outcomes(rows: pd.DataFrame) -> list[weighted.Outcome]:
        y, p = _classes(rows, endpoint)
        return [((y == index).astype(float), pair_strata(rows)) for index in range(p.shape[1])]

    return [
        _area("macro_auroc", partial(one_vs_rest, make=pairs.ordered_pairs)),
        _precision("macro_auprc", partial(one_vs_rest, make=weighted.average_precision), outcomes),
        _area("micro_auroc", micro),
        *_chosen_class(endpoint, "none"),
    ]


def _ordinal(endpoint: Endpoint) -> list[Metric]:
    def concordance(rows: pd.DataFrame) -> Statistic:
        y, p = _classes(rows, endpoint)
        return pairs.ordered_pairs(y.astype(float), p @ np.arange(p.shape[1]), pair_strata(rows))

    return [_higher("ordinal_c", concordance, "percentile"), *_chosen_class(endpoint, "quadratic")]


def _chosen_class(endpoint: Endpoint, weighting: Weighting) -> list[Metric]:
    def correct(rows: pd.DataFrame) -> np.ndarray:
        y, p = _classes(rows, endpoint)
        return (p.argmax(axis=1) == y).astype(float)

    def log_losses(rows: pd.DataFrame) -> np.ndarray:
        y, p = _classes(rows, endpoint)
        return -np.log(p[np.arange(len(y)), y].clip(PROBABILITY_FLOOR, 1))

    def kappa(rows: pd.DataFrame) -> Statistic:
        y, p = _classes(rows, endpoint)
        return weighted.kappa(y, p.argmax(axis=1), p.shape[1], weighting=weighting)

    def f1(rows: pd.DataFrame) -> Statistic:
        y, p = _classes(rows, endpoint)
        return weighted.f1(y, p.argmax(axis=1), range(p.shape[1]))

    def confidence(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return correct(rows), _classes(rows, endpoint)[1].max(axis=1), _repeats(rows)

    return [
        _higher("kappa" if weighting == "none" else f"{weighting}_kappa", kappa),
        _higher("balanced_accuracy", lambda r: weighted.mean_recall(_classes(r, endpoint)[0], correct(r))),
        _higher("macro_f1", f1),
        _higher("accuracy", lambda r: weighted.mean_of(correct(r))),
        _lower("log_loss", lambda r: weighted.mean_of(log_losses(r))),
        _lower("ece", lambda r: expected_error(*confidence(r)), lambda r: binned_distance(*confidence(r))),
    ]


def _multilabel(endpoint: Endpoint) -> list[Metric]:
    labels = endpoint.classes or endpoint.columns

    def known(rows: pd.DataFrame, label: str) -> np.ndarray:
        return np.flatnonzero(rows[f"y@{label}"].notna().to_numpy())

    def single(rows: pd.DataFrame, label: str, make: ScoreStatistic) -> Statistic:
        inside = rows.iloc[known(rows, label)]
        strata = pair_strata(rows)[known(rows, label)]
        found = make(_column(inside, f"y@{label}"), _column(inside, f"p@{label}"), strata)
        return weighted.on_rows(found, known(rows, label))

    def macro(rows: pd.DataFrame, make: ScoreStatistic) -> Statistic:
        return weighted.MeanOver([single(rows, label, make) for label in labels])

    def micro(rows: pd.DataFrame) -> Statistic:
        y, p = (rows[[f"{column}@{label}" for label in labels]].to_numpy(dtype=float) for column in ("y", "p"))
        return weighted.micro_area(y, p, pair_strata(rows))

    def outcomes(rows: pd.DataFrame, wanted: Sequence[str]) -> list[weighted.Outcome]:
        strata = pair_strata(rows)
        return [(_column(rows, f"y@{label}")[known(rows, label)], strata[known(rows, label)]) for label in wanted]

    return [
        _area("macro_auroc", partial(macro, make=pairs.ordered_pairs)),
        _precision("macro_auprc", partial(macro, make=weighted.average_precision), partial(outcomes, wanted=labels)),
        _area("micro_auroc", micro),
        *[
            metric
            for label in labels
            for metric in (
                _area(f"auroc@{label}", partial(single, label=label, make=pairs.ordered_pairs), label),
                _precision(
                    f"auprc@{label}",
                    partial(single, label=label, make=weighted.average_precision),
                    partial(outcomes, wanted=(label,)),
                    label,
                ),
            )
        ],
    ]


def _regression() -> list[Metric]:
    def both(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return _column(rows, "y"), _column(rows, "yhat")

    return [
        _higher("r2", lambda r: weighted.explained_variance(*both(r))),
        _lower("mae", lambda r: weighted.mean_of(np.abs(np.subtract(*both(r))))),
        _higher("spearman", lambda r: weighted.rank_correlation(*both(r), pair_strata(r)), "percentile"),
    ]


def _higher(name: str, build: Callable[[pd.DataFrame], Statistic], interval: Method = "expanded") -> Metric:
    return Metric(name=name, higher_is_better=True, build=build, interval=interval)


def _area(name: str, build: Callable[[pd.DataFrame], Statistic], label: str | None = None) -> Metric:
    return Metric(name=name, higher_is_better=True, build=build, label=label, interval="bca")


def _precision(
    name: str,
    build: Callable[[pd.DataFrame], Statistic],
    outcomes: Callable[[pd.DataFrame], list[weighted.Outcome]],
    label: str | None = None,
) -> Metric:
    def remark(rows: pd.DataFrame) -> str:
        return weighted.about_precision(outcomes(rows))

    return Metric(name=name, higher_is_better=True, build=build, label=label, interval="logit", remark=remark)


def _lower(
    name: str, build: Callable[[pd.DataFrame], Statistic], distance: Callable[[pd.DataFrame], Distance] | None = None
) -> Metric:
    return Metric(name=name, higher_is_better=False, build=build, interval="expanded", distance=distance)


def _brier_terms(rows: pd.DataFrame, horizons: tuple[float, ...], curves: Curves, *, knows_nothing: bool = False) -> np.ndarray:
    survival, (time, event), code = predicted_survival(rows, horizons), _outcome(rows), strata(rows)
    values = np.empty(survival.shape)
    for stratum, curve in _local(rows, curves, code).items():
        inside = code == stratum
        if knows_nothing:
            survival[inside] = curve.marginal_at(np.array(horizons))
        values[inside] = brier_terms(time[inside], event[inside], survival[inside], horizons=np.array(horizons), censoring=curve)
    return values


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[name].to_numpy(dtype=float)


def _outcome(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return _column(rows, "time"), _column(rows, "event") > 0.5


def _classes(rows: pd.DataFrame, endpoint: Endpoint) -> tuple[np.ndarray, np.ndarray]:
    order = {name: index for index, name in enumerate(endpoint.classes)}
    return rows["y"].map(order).to_numpy(dtype=int), rows[[f"p@{c}" for c in endpoint.classes]].to_numpy(dtype=float)


def _local(rows: pd.DataFrame, curves: Curves, codes: np.ndarray) -> dict[int, Censoring]:
    """Find the curve of each code of the rows, which parts folds or is finer."""
    local = {}
    first = np.unique(codes, return_index=True)[1]
    for stratum, (repeat, fold) in enumerate(_folds(rows)[first].tolist()):
        if (repeat, fold) not in curves:
            msg = f"repeat {repeat}, fold {fold}: the censoring of its training patients is not known; give it as train_censoring"
            raise DataError(msg)
        local[stratum] = curves[repeat, fold]
    return local


def _repeats(rows: pd.DataFrame) -> np.ndarray:
    return rows["repeat"].to_numpy(dtype=np.int64)


def _folds(rows: pd.DataFrame) -> np.ndarray:
    return np.column_stack([rows["repeat"].to_numpy(dtype=np.int64), rows["fold"].to_numpy(dtype=np.int64)])
