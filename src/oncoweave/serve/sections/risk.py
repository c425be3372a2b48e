"""Whether the predictions mean what they say: risk groups and calibration of the main model beside the baseline."""

from typing import TypeVar

import numpy as np
import pandas as pd

from oncoweave.serve import wording
from oncoweave.serve.charts.calibration import Square, calibration_plot
from oncoweave.serve.charts.km import Curve, Panel, km_plot
from oncoweave.serve.page import Figure, Section, absent
from oncoweave.serve.run_folder import RunFolder

T = TypeVar("T")

_MOST_HORIZONS = 3
PREDICTED = {
    "binary": "a yes-or-no outcome",
    "multiclass": "a class",
    "multilabel": "several labels",
    "ordinal": "a grade",
    "regression": "a measurement",
}
_CALIBRATED = {
    "multiclass": " of the most probable class",
    "ordinal": " of the most probable grade",
    "multilabel": " of all known labels together",
}


def km_section(run: RunFolder) -> Section:
    """Show survival of the patients each model calls high and low risk."""
    key, title, table = "km", "Risk groups", run.km
    if run.endpoint.kind != "survival":
        why = f"Kaplan-Meier curves need a survival endpoint; this study predicts {PREDICTED[run.endpoint.kind]}."
        return absent(key, title, why)
    if table is None or table.empty:
        return absent(key, title, "The run folder has no km.parquet, so survival by risk group cannot be drawn.")
    models = _shown_models(run, table)
    panels = [
        Panel(title=wording.capital(wording.model(m)), notes=_tests(run, m), curves=_curves(table[table["model"] == m]))
        for m in models
    ]
    chart = km_plot(panels, unit=str(run.endpoint.time_unit), event_free="Proportion without event", title=title)
    caption = (
        "Kaplan-Meier estimates, from the first repeat, for patients predicted at low risk (solid) and high risk (dashed), with"
        " pointwise 95% bands and, under the axis, the number still followed. The cut-off between the groups was derived"
        " from the training patients of each fold, never from the patients shown."
    )
    others = table["model"].nunique() - len(models)
    if others:
        caption += f" Curves of {wording.plural(others, 'further model')} can be found in km.parquet of the run folder."
    return Section(key=key, title=title, blocks=(Figure(svg=chart, caption=caption),))


def calibration_section(run: RunFolder) -> Section:
    """Compare predicted with observed outcomes."""
    key, title, table = "calibration", "Calibration", run.calibration
    if table is None or table.empty:
        why = "The run folder has no calibration.parquet, so it cannot be said whether predictions come true as often as stated."
        return absent(key, title, why)
    squares = [s for m in _shown_models(run, table) for s in _squares(run, table[table["model"] == m], m)]
    predicted, observed = {
        "survival": ("Predicted survival", "Observed (Kaplan-Meier)"),
        "regression": ("Predicted", "Observed (mean)"),
    }.get(run.endpoint.kind, ("Predicted probability", "Observed share"))
    chart = calibration_plot(squares, predicted=predicted, observed=observed, title=title)
    drawn = np.concatenate([s.num[np.isfinite(s.predicted) & np.isfinite(s.observed)] for s in squares])
    fewest, most = (wording.count(float(end)) for end in (np.nanmin(drawn), np.nanmax(drawn))) if drawn.size else ("–", "–")
    sizes = f"Each mark is {most} patients" if fewest == most else f"Larger marks hold more patients ({fewest} to {most} a group)"
    caption = (
        f"Calibration{_CALIBRATED.get(run.endpoint.kind, '')}, from the first repeat. Patients are grouped by what was"
        " predicted for them; marks on the dashed diagonal mean that predictions come true as stated. Vertical lines are 95%"
        f" intervals. {sizes}."
    )
    caption += _distribution(run)
    hidden = table["horizon"].nunique() - _MOST_HORIZONS
    if hidden > 0:
        caption += f" {wording.plural(hidden, 'further horizon')} can be found in calibration.parquet of the run folder."
    return Section(key=key, title=title, blocks=(Figure(svg=chart, caption=caption),))


def _distribution(run: RunFolder) -> str:
    """Say what D-calibration found of the models shown; nothing where it was not tested."""
    table = run.distribution
    if table is None or table.empty:
        return ""
    rows = table[table["model"].isin(_shown_models(run, table))]
    told = [f"{wording.model(str(row['model']))} {_p_or_why(row)}" for _, row in rows.iterrows()]
    return (
        f" Over the whole predicted curve and not at single times (D-calibration, first repeat): {wording.listed(told)}; a small"
        " p says that the curves are off, a large one only that nothing was found, and the test is conservative."
    )


def _p_or_why(row: pd.Series) -> str:
    return wording.p_equals(row["p"]) if wording.known(row["p"]) else f"not tested ({row['note']})"


def _shown_models(run: RunFolder, table: pd.DataFrame) -> list[str]:
    """Choose the main model and the reference, else the first that there is."""
    there = list(dict.fromkeys(table["model"]))
    return [m for m in dict.fromkeys((run.main, run.reference)) if m in there] or there[:1]


def _curves(table: pd.DataFrame) -> tuple[Curve, ...]:
    order = {"low": 0, "intermediate": 1, "high": 2}
    curves = []
    for group in sorted(table["group"].unique(), key=lambda g: (order.get(str(g), len(order)), str(g))):
        rows = table[table["group"] == group].sort_values("time")
        columns = {c: rows[c].to_numpy(dtype=float) for c in ("time", "survival", "low", "high", "at_risk")}
        curves.append(Curve(label=f"{wording.capital(str(group))} risk" if group in order else str(group), **columns))
    return tuple(curves)


def _tests(run: RunFolder, model: str) -> tuple[str, ...]:
    rows = run.km_summary[run.km_summary["model"] == model] if run.km_summary is not None else None
    if rows is None or rows.empty:
        return ("The run folder holds no log-rank test for this model.",)
    row = rows.iloc[0]
    ratio = wording.estimate(row["hazard_ratio"], row["hr_low"], row["hr_high"], 2)
    apart = f"Hazard ratio high / low {ratio}; log-rank {wording.p_equals(row['logrank_p'])}"
    if not wording.known(row.get("rmst_difference")):
        return (apart,)
    gain = wording.estimate(row["rmst_difference"], row["rmst_low"], row["rmst_high"], 1, sign=True)
    until = f"{row['rmst_until']:.4g} {run.endpoint.time_unit}"
    means = f"Mean time without event in the first {until}, low minus high:"
    return apart, means, f"{gain}; {wording.p_equals(row['rmst_p'])}"


def _squares(run: RunFolder, table: pd.DataFrame, model: str) -> list[Square]:
    tone, name = "baseline" if model == run.reference else "fusion", wording.capital(wording.model(model))
    horizons = sorted(float(h) for h in table["horizon"].unique() if np.isfinite(h))
    if not horizons:
        return [_square(table, name, tone)]
    named = [(h, f"{name}, {h:g} {run.endpoint.time_unit}") for h in spread(horizons, _MOST_HORIZONS)]
    return [_square(table[table["horizon"] == h], title, tone) for h, title in named]


def spread(values: list[T], num: int) -> list[T]:
    """Keep at most ``num`` values, the first and the last among them."""
    if len(values) <= num:
        return values
    return [values[round(i * (len(values) - 1) / (num - 1))] for i in range(num)]


def _square(rows: pd.DataFrame, title: str, tone: str) -> Square:
    rows = rows.sort_values("bin")
    columns = {c: rows[c].to_numpy(dtype=float) for c in ("predicted", "observed", "low", "high")}
    return Square(title=title, tone=tone, num=rows["n"].to_numpy(dtype=float), **columns)
