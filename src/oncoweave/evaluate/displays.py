"""What a report draws of a prediction table: calibration, and Kaplan-Meier curves of the high- and low-risk patients.

All use the first repeat only, in which every patient stands once; probabilities and cut-offs of different folds may be pooled,
as each was made on its own training patients.
"""

import numpy as np
import pandas as pd
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.calibration import Reliability, reliability, survival_reliability
from oncoweave.evaluate.clustered import effective_number
from oncoweave.evaluate.cox import hazard_ratio
from oncoweave.evaluate.curves import kaplan_meier, logrank
from oncoweave.evaluate.distribution_calibration import distribution_calibration
from oncoweave.evaluate.pooling import persons_of
from oncoweave.evaluate.restricted import restricted_mean_difference
from oncoweave.evaluate.tables import OWN_SURVIVAL, PredictionTable, horizon_column

_CALIBRATION = ["model", "horizon", "bin", "predicted", "observed", "low", "high", "n"]
_KM = ["model", "group", "time", "survival", "low", "high", "at_risk"]
_KM_SUMMARY = [
    "model",
    "logrank_p",
    "hazard_ratio",
    "hr_low",
    "hr_high",
    "rmst_until",
    "rmst_difference",
    "rmst_low",
    "rmst_high",
]
_KM_SUMMARY += ["rmst_p", "n", "events", "note"]
_DISTRIBUTION = ["model", "bins", "statistic", "p", "n", "events", "note"]


def first_repeat(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the first repeat: one a patient."""
    return rows[rows["repeat"] == rows["repeat"].min()]


def calibration_table(table: PredictionTable, models: list[str], *, bins: int = 5, level: float = 0.95) -> pd.DataFrame:
    """Predicted against observed in bins.

    Survival: S(t) at each horizon (models that predict none are left out). Binary: the positive class. Multiclass and ordinal:
    the probability of the most probable class against its being right. Multilabel: all known labels together. Regression: the
    mean value of patients with like predictions, with a t interval. Specimens of a person count together in the intervals (see
    ``clustered``), but for survival, whose bins take all rows as independent.
    """
    frames = []
    for model in models:
        rows = first_repeat(table.of(model))
        for horizon, result in _reliabilities(table, rows, bins=bins, level=level):
            content = {
                "predicted": result.predicted,
                "observed": result.observed,
                "low": result.low,
                "high": result.high,
                "n": result.n,
            }
            frames.append(pd.DataFrame({"model": model, "horizon": horizon, "bin": np.arange(len(result.n)), **content}))
    return pd.concat(frames, ignore_index=True)[_CALIBRATION] if frames else pd.DataFrame(columns=_CALIBRATION)


def km_tables(table: PredictionTable, models: list[str], *, level: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Kaplan-Meier curves by the train-derived cut-off in ``high_risk``, and what sets the groups of each model apart.

    That is the log-rank test, the hazard ratio and the difference of restricted mean survival, low minus high risk, up to
    ``rmst_until``: the last of the table's horizons, or the end of the shorter follow-up of the two groups where that is earlier.
    Models without a cut-off are left out; where a group has nobody or no event, the summary says so in ``note``.
    """
    curves: list[pd.DataFrame] = []
    summaries: list[dict[str, object]] = []
    for model in models if table.endpoint.kind == "survival" else []:
        rows = first_repeat(table.of(model))
        if rows["high_risk"].isna().any():
            continue
        high = rows["high_risk"].to_numpy(dtype=bool)
        time, event = rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)
        for group, inside in (("low", ~high), ("high", high)):
            if inside.any():
                km = kaplan_meier(time[inside], event[inside], level=level)
                content = {"time": km.times, "survival": km.survival, "low": km.low, "high": km.high, "at_risk": km.at_risk}
                curves.append(pd.DataFrame({"model": model, "group": group, **content}))
        apart = _separation(time, event, high, level=level) | _restricted(time, event, high, table.horizons, level=level)
        summaries.append({"model": model, "n": len(rows), "events": int(event.sum()), **apart})
    frame = pd.concat(curves, ignore_index=True)[_KM] if curves else pd.DataFrame(columns=_KM)
    return frame, pd.DataFrame(summaries, columns=_KM_SUMMARY).astype({"n": "Int64", "events": "Int64"})


def _separation(time: np.ndarray, event: np.ndarray, high: np.ndarray, *, level: float) -> dict[str, object]:
    found: dict[str, object] = dict.fromkeys(("logrank_p", "hazard_ratio", "hr_low", "hr_high"), float("nan"))
    notes = []
    try:
        found["logrank_p"] = logrank(time, event, high).p
        ratio = hazard_ratio(time, event, high, level=level)
        found |= {"hazard_ratio": ratio.value, "hr_low": ratio.low, "hr_high": ratio.high}
    except DataError as error:
        notes.append(str(error))
    return {**found, "note": "; ".join(notes)}


def _restricted(
    time: np.ndarray, event: np.ndarray, high: np.ndarray, horizons: tuple[float, ...], *, level: float
) -> dict[str, object]:
    if high.all() or not high.any() or not time.max() > 0:
        return {}
    until = min(*horizons[-1:], float(time.max()), *(_followed(time[group], event[group]) for group in (~high, high)))
    if not until > 0:
        return {}
    found = restricted_mean_difference(time, event, ~high, until=until, level=level)
    ends = {"rmst_low": found.low, "rmst_high": found.high, "rmst_p": found.p}
    return {"rmst_until": until, "rmst_difference": found.value, **ends}


def _followed(time: np.ndarray, event: np.ndarray) -> float:
    """Last time to which somebody of a group is followed; infinite where everyone died before."""
    last = float(time.max())
    return float("inf") if event[time == last].all() else last


def distribution_table(table: PredictionTable, models: list[str], *, bins: int = 10) -> pd.DataFrame:
    """D-calibration of each model's whole predicted curve, from predicted survival at each patient's own time.

    The curves must have been read when the predictions were made; models without are left out.
    """
    out = []
    for model in models if OWN_SURVIVAL in table.frame.columns else []:
        rows = first_repeat(table.of(model))
        own, event = rows[OWN_SURVIVAL].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)
        if not np.isnan(own).any():
            found = distribution_calibration(own, event, bins=bins)
            few = len(own) < 5 * bins
            note = f"fewer than 5 patients a bin are expected: {len(own)} in {bins} bins" if few else ""
            row = {"model": model, "bins": bins, "statistic": found.statistic, "p": float("nan") if few else found.p}
            out.append({**row, "n": found.n, "events": found.events, "note": note})
    return pd.DataFrame(out, columns=_DISTRIBUTION).astype(dict.fromkeys(("bins", "n", "events"), "Int64"))


def _reliabilities(table: PredictionTable, rows: pd.DataFrame, *, bins: int, level: float) -> list[tuple[float, Reliability]]:
    kind, none, persons = table.endpoint.kind, float("nan"), persons_of(rows)
    if kind == "survival":
        time, event = rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)
        results = []
        for horizon in table.horizons:
            survival = rows[horizon_column(horizon)].to_numpy(dtype=float)
            if not np.isnan(survival).any():
                results.append((horizon, survival_reliability(time, event, survival, horizon=horizon, bins=bins, level=level)))
        return results
    if kind == "regression":
        y, predicted = rows["y"].to_numpy(dtype=float), rows["yhat"].to_numpy(dtype=float)
        return [(none, _mean_reliability(y, predicted, bins=bins, level=level, persons=persons))]
    if kind == "binary":
        y, p = rows["y"].to_numpy(dtype=float), rows["p"].to_numpy(dtype=float)
    elif kind == "multilabel":
        labels = table.endpoint.classes or table.endpoint.columns
        y = rows[[f"y@{c}" for c in labels]].to_numpy(dtype=float).ravel()
        p = rows[[f"p@{c}" for c in labels]].to_numpy(dtype=float).ravel()
        persons = None if persons is None else np.repeat(persons, len(labels))[~np.isnan(y)]
        y, p = y[~np.isnan(y)], p[~np.isnan(y)]
    else:
        scores = rows[[f"p@{c}" for c in table.endpoint.classes]].to_numpy(dtype=float)
        y = (np.array(table.endpoint.classes)[scores.argmax(axis=1)] == rows["y"].to_numpy()).astype(float)
        p = scores.max(axis=1)
    return [(none, reliability(y, p, bins=bins, level=level, persons=persons))]


def _mean_reliability(
    y: np.ndarray, predicted: np.ndarray, *, bins: int, level: float, persons: np.ndarray | None
) -> Reliability:
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    n = np.array([len(part) for part in parts])
    observed = np.array([y[part].mean() for part in parts])
    spread = np.array([y[part].std(ddof=1) if len(part) > 1 else np.nan for part in parts])
    worth = n
    if persons is not None:
        worth = np.array([effective_number(y[part], persons[part], level=level) or np.nan for part in parts])
    error = spread / np.sqrt(worth)
    reach = stats.t.ppf(0.5 + level / 2, np.maximum(n - 1, 1)) * error
    means = np.array([predicted[part].mean() for part in parts])
    return Reliability(predicted=means, observed=observed, low=observed - reach, high=observed + reach, error=error, n=n)
