"""What acting on the predictions would bring: operating points of yes-or-no outcomes, decision curves, reclassification.

Decision curves and reclassification use the first repeat, in which every patient stands once. Cut-offs of operating points come
from out-of-fold scores of each fold's training patients and stand in the prediction table as calls.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.evaluate.calibration import wilson
from oncoweave.evaluate.clustered import effective_numbers
from oncoweave.evaluate.compare import holm
from oncoweave.evaluate.displays import first_repeat
from oncoweave.evaluate.intervals import Interval, expanded_level, percentile_interval, replicate, worth
from oncoweave.evaluate.measure import Resamples, count
from oncoweave.evaluate.pairs import Statistic
from oncoweave.evaluate.pooling import PERSON, owner
from oncoweave.evaluate.reclassification import Part, integrated_discrimination_of, outcome_at, reclassification_of
from oncoweave.evaluate.significance import cochran_q, mcnemar
from oncoweave.evaluate.tables import CALLED, PredictionTable, horizon_column
from oncoweave.evaluate.training_outcomes import Curves
from oncoweave.evaluate.utility import net_benefit, number_needed_to_test, survival_benefit

OPERATING = ["model", "point", "measure", "value", "low", "high", "n", "n_effective", "events", "reference", "p", "p_adjusted"]
_OF_ALL = ["p_all", "p_all_adjusted", "n_all"]
OPERATING += [*_OF_ALL, "note"]
DECISION = ["model", "horizon", "threshold", "net_benefit", "low", "high", "treat_all", "over_default", "over_default_low"]
DECISION += ["over_default_high", "reference", "over_reference", "over_reference_low", "over_reference_high"]
DECISION += ["to_test", "to_test_low", "to_test_high", "n", "events"]
RECLASSIFICATION = ["model", "reference", "horizon", "measure", "part", "value", "low", "high", "n", "events"]
_ONE_PERSON = "no interval: all specimens are of one person"
_STEPS = (0.01, 0.02, 0.05)
_MOST_STEPS = 20
_LAST = 0.95
_PARTS: tuple[Part, ...] = ("total", "events", "nonevents")


def operating_table(
    table: PredictionTable, models: list[str], *, reference: str | None, together: Sequence[str] = (), level: float = 0.95
) -> pd.DataFrame:
    """Sensitivity, specificity and predictive values of each model's calls, of a yes-or-no outcome.

    Values are means over all rows. ``n`` is how many patients a value rests on and ``events`` those who have the outcome, both
    means over repeats; intervals are Wilson's for so many patients. ``p`` is McNemar's mid-p against ``reference`` at the same
    point, among patients with the outcome for sensitivity, among the others for specificity, in the first repeat; ``p_adjusted``
    is Holm's over all of them in this table: the models of ``together``, points and both measures. ``p_all`` is Cochran's Q over
    all models of ``together`` at the point, on the ``n_all`` such patients whom all of them call, and ``p_all_adjusted`` Holm's
    over points and measures.

    Where rows are specimens, ``n`` counts these, ``n_effective`` as how many independent ones they are to the interval, and both
    tests count the specimens of a person together (see ``clustered``). Otherwise ``n_effective`` is ``n``.
    """
    points = [c.removeprefix(CALLED) for c in table.frame.columns if str(c).startswith(CALLED)]
    found: list[dict[str, object]] = []
    for model in models if table.endpoint.kind == "binary" else []:
        rows = table.of(model)
        for point in points:
            called = _calls(rows, point)
            if np.isnan(called).all():
                continue
            measured = _operation(rows, point, called, level=level)
            if reference is not None and model != reference:
                for row in (r for r in measured if r["measure"] in ("sensitivity", "specificity")):
                    row |= _against(table, rows, reference, point, str(row["measure"]))
            found += measured
    frame = pd.DataFrame(found, columns=[c for c in OPERATING if c not in _OF_ALL])
    asked = frame["p"].where(frame["model"].isin(together or models))
    frame["p_adjusted"] = holm(asked.to_numpy(dtype=float))
    return frame.merge(_among_all(table, together, points), how="left", on=["point", "measure"])[OPERATING]


def _among_all(table: PredictionTable, models: Sequence[str], points: Sequence[str]) -> pd.DataFrame:
    """Test at each point whether several models' calls are right equally often: point, measure, p_all, n_all, p_all_adjusted."""
    keys, found = ["repeat", "fold", "patient_id", "y", *([PERSON] if PERSON in table.frame.columns else [])], []
    for point in points if len(models) > 1 else ():
        each = [first_repeat(table.of(model))[[*keys, f"{CALLED}{point}"]] for model in models]
        both = reduce(lambda one, other: one.merge(other, on=keys, suffixes=(f" {one.shape[1]}", "")), each)
        calls = both.drop(columns=keys).to_numpy(dtype=float, na_value=np.nan)
        known, positive = ~np.isnan(calls).any(axis=1), both["y"].to_numpy(dtype=float) > 0.5
        for measure, among, wanted in (("sensitivity", positive, 1.0), ("specificity", ~positive, 0.0)):
            right, whose = calls[known & among] == wanted, owner(both)[known & among].to_numpy()
            p = cochran_q(right, persons=whose).p if len(right) else float("nan")
            found.append({"point": point, "measure": measure, "p_all": p, "n_all": len(right)})
    frame = pd.DataFrame(found, columns=["point", "measure", "p_all", "n_all"]).astype({"p_all": float, "n_all": float})
    return frame.assign(p_all_adjusted=holm(frame["p_all"].to_numpy()))


def _calls(rows: pd.DataFrame, point: str) -> np.ndarray:
    return rows[f"{CALLED}{point}"].to_numpy(dtype=float, na_value=np.nan)


def _operation(rows: pd.DataFrame, point: str, called: np.ndarray, *, level: float) -> list[dict[str, object]]:
    known = ~np.isnan(called)
    positive, yes = rows["y"].to_numpy(dtype=float)[known] > 0.5, called[known] > 0.5
    repeat, whose = np.unique(rows["repeat"].to_numpy()[known], return_inverse=True)[1], owner(rows).to_numpy()[known]
    repeats = repeat.max() + 1
    lost = rows.loc[~known, ["repeat", "fold"]].drop_duplicates().shape[0]
    note = f"no cut-off in {lost} fold(s), whose training patients were of one class" if lost else ""
    counted = (
        ("sensitivity", positive, yes),
        ("specificity", ~positive, ~yes),
        ("positive predictive value", yes, positive),
        ("negative predictive value", ~yes, ~positive),
    )
    out: list[dict[str, object]] = []
    for measure, among, right in counted:
        worth = effective_numbers(right[among], repeat[among], whose[among], level=level)
        n, effective = among.sum() / repeats, worth.sum() / repeats
        value = float(right[among].mean()) if n else float("nan")
        low, high = wilson(np.array([value]), np.array([effective]), level=level)
        row: dict[str, object] = {"model": model_of(rows), "point": point, "measure": measure, "value": value}
        row |= {"low": float(low[0]), "high": float(high[0]), "n": n, "n_effective": effective}
        row["events"] = (among & positive).sum() / repeats
        why = "no such patient" if not n else _ONE_PERSON if not effective else ""
        out.append(row | {"note": "; ".join(part for part in (note, why) if part)})
    return out


def model_of(rows: pd.DataFrame) -> str:
    """Name of the model whose rows these are."""
    return str(rows["model"].iloc[0])


def _against(table: PredictionTable, rows: pd.DataFrame, reference: str, point: str, measure: str) -> dict[str, object]:
    keys, column = ["repeat", "fold", "patient_id"], f"{CALLED}{point}"
    both = first_repeat(rows).merge(table.of(reference)[[*keys, column]], on=keys, suffixes=("", " of reference"))
    calls = [both[c].to_numpy(dtype=float, na_value=np.nan) for c in (column, f"{column} of reference")]
    among = (both["y"].to_numpy(dtype=float) > 0.5) == (measure == "sensitivity")
    among &= ~np.isnan(calls[0]) & ~np.isnan(calls[1])
    if not among.any():
        return {"reference": reference, "p": float("nan")}
    wanted = 1.0 if measure == "sensitivity" else 0.0
    first, second = ((call[among] == wanted).astype(float) for call in calls)
    return {"reference": reference, "p": mcnemar(first, second, persons=owner(both)[among].to_numpy()).p}


def decision_table(table: PredictionTable, resamples: Resamples, *, main: str, reference: str) -> pd.DataFrame:
    """Net benefit of the main model and the reference over threshold probabilities, with intervals, at every horizon.

    Both on the patients whom both predict. ``over_default`` is the gain over the better of treating all and treating none in
    these patients, ``over_reference`` that over the reference. ``to_test`` is how many patients must be given the main model for
    one more net true positive than the best of treating all, none and the reference has; infinite where there is no gain.
    Percentiles are expanded (``intervals.expanded_level``).
    """
    rows = shared_rows(table, [main, reference])
    frames = []
    for horizon, probability in _risks(table, rows).items():
        most = max(float(p.max()) for p in probability.values())
        for threshold in thresholds(most).tolist():
            frames += _net_benefits(table, rows[main], probability, horizon, threshold, resamples)
    frame = pd.DataFrame(frames, columns=DECISION)
    return frame.astype({"n": "Int64", "events": "Int64"})


def thresholds(most: float) -> np.ndarray:
    """Threshold probabilities from one step up to the first that no prediction reaches; steps of .01, .02 or .05, at most 20."""
    last = min(most, _LAST)
    step = next((s for s in _STEPS if last / s <= _MOST_STEPS), _STEPS[-1])
    return np.round(np.arange(1, min(np.floor(last / step + 1e-9) + 1, round(_LAST / step)) + 1) * step, 10)


def shared_rows(table: PredictionTable, models: list[str]) -> dict[str, pd.DataFrame]:
    """First-repeat rows of some models, in one order, of the patients whom all of them predict."""
    rows = {model: first_repeat(table.of(model)).set_index("patient_id") for model in models}
    common = sorted(set.intersection(*(set(r.index) for r in rows.values())))
    if not common:
        msg = f"models {models} predict no patient in common, so they cannot be compared"
        raise DataError(msg)
    return {model: r.loc[common].reset_index() for model, r in rows.items()}


def _risks(table: PredictionTable, rows: Mapping[str, pd.DataFrame]) -> dict[float, dict[str, np.ndarray]]:
    """Predicted probability of the event of each model, by horizon; NaN stands for no horizon."""
    if table.endpoint.kind == "binary":
        return {float("nan"): {model: r["p"].to_numpy(dtype=float) for model, r in rows.items()}}
    found = {}
    for horizon in table.horizons if table.endpoint.kind == "survival" else ():
        values = {model: 1 - r[horizon_column(horizon)].to_numpy(dtype=float) for model, r in rows.items()}
        if not any(np.isnan(v).any() for v in values.values()):
            found[horizon] = values
    return found


def _net_benefits(
    table: PredictionTable,
    rows: pd.DataFrame,
    probability: Mapping[str, np.ndarray],
    horizon: float,
    threshold: float,
    resamples: Resamples,
) -> list[dict[str, object]]:
    """One row a model: net benefit, and gains over doing without the model and over the last model, which is the reference."""

    def benefit(values: np.ndarray) -> Statistic:
        if np.isnan(horizon):
            return net_benefit(rows["y"].to_numpy(dtype=float), values, threshold=threshold)
        time, event = rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)
        return survival_benefit(time, event, values, horizon=horizon, threshold=threshold)

    everybody, reference = "", list(probability)[-1]
    statistics = {model: benefit(values) for model, values in probability.items()} | {everybody: benefit(np.ones(len(rows)))}
    once = np.ones((1, len(rows)), dtype=np.float32)
    value = {name: float(statistic(once)[0]) for name, statistic in statistics.items()}
    index = resamples.index_of(rows)
    draws = replicate(statistics, resamples.weights, index)
    level = expanded_level(resamples.level, len(np.unique(index)), lost=resamples.lost(index))
    treats_all = value[everybody] > 0
    default, default_draws = (value[everybody], draws[everybody]) if treats_all else (0.0, np.zeros(len(resamples.weights)))
    n, events = _counts(table, rows, horizon)
    out = []
    for model in probability:
        row: dict[str, object] = {"model": model, "horizon": horizon, "threshold": threshold, "n": n, "events": events}
        row |= {"net_benefit": value[model], "treat_all": value[everybody]}
        own = percentile_interval(value[model], draws[model], level=level)
        over = percentile_interval(value[model] - default, draws[model] - default_draws, level=level)
        row |= {"low": own.low, "high": own.high}
        row |= {"over_default": over.value, "over_default_low": over.low, "over_default_high": over.high}
        if model != reference:
            gain = percentile_interval(value[model] - value[reference], draws[model] - draws[reference], level=level)
            row |= {"reference": reference, "over_reference": gain.value}
            row |= {"over_reference_low": gain.low, "over_reference_high": gain.high}
            row |= _to_test(gain if value[reference] > default else over)
        out.append(row)
    return out


def _to_test(gain: Interval) -> dict[str, object]:
    """Turn a gain over the best choice without the model into tests for a net true positive; a larger gain needs fewer."""
    ends = {"to_test": gain.value, "to_test_low": gain.high, "to_test_high": gain.low}
    needed = {name: float(number_needed_to_test(end)) for name, end in ends.items()}
    return {name: float("inf") if np.isnan(tests) and not np.isnan(ends[name]) else tests for name, tests in needed.items()}


def _counts(table: PredictionTable, rows: pd.DataFrame, horizon: float) -> tuple[int, int]:
    if np.isnan(horizon):
        n, events, _ = count(rows, table.endpoint)
        return n, int(events or 0)
    return len(rows), int(((rows["event"].to_numpy(dtype=float) > 0.5) & (rows["time"].to_numpy(dtype=float) <= horizon)).sum())


def reclassification_table(
    table: PredictionTable, resamples: Resamples, *, main: str, reference: str, curves: Curves
) -> pd.DataFrame:
    """Continuous net reclassification (``nri``) and integrated discrimination improvement (``idi``) of main over reference.

    Each whole and in its two parts, at every horizon; see ``reclassification`` for their faults. Censored patients count by the
    censoring of the training patients of their fold, and not at all in a fold without a curve up to the horizon. Percentiles are
    taken further out the fewer patients a part rests on (``intervals.expanded_level``; the whole by its smaller part); on one
    patient rests no interval.
    """
    rows = shared_rows(table, [main, reference])
    out: list[dict[str, object]] = []
    index = resamples.index_of(rows[main])
    once = np.ones((1, len(index)), dtype=np.float32)
    for horizon, probability in _risks(table, rows).items():
        y, importance = _outcome(rows[main], horizon, curves)
        n, events = _counts(table, rows[main], horizon)
        old, new = probability[reference], probability[main]
        weight = {part: np.bincount(index, weights=importance * (y == x)) for part, x in (("events", 1), ("nonevents", 0))}
        levels = {part: expanded_level(resamples.level, worth(each)) for part, each in weight.items()}
        levels["total"] = float(np.max(list(levels.values())))
        for measure, make in (("nri", reclassification_of), ("idi", integrated_discrimination_of)):
            statistics: dict[str, Statistic] = {part: make(y, old, new, part=part, importance=importance) for part in _PARTS}
            draws = replicate(statistics, resamples.weights, index)
            for part, statistic in statistics.items():
                found = percentile_interval(float(statistic(once)[0]), draws[part], level=levels[part])
                row = {"model": main, "reference": reference, "horizon": horizon, "measure": measure, "part": part}
                out.append({**row, "value": found.value, "low": found.low, "high": found.high, "n": n, "events": events})
    return pd.DataFrame(out, columns=RECLASSIFICATION).astype({"n": "Int64", "events": "Int64"})


def _outcome(rows: pd.DataFrame, horizon: float, curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    if np.isnan(horizon):
        return rows["y"].to_numpy(dtype=float), np.ones(len(rows))
    time, event = rows["time"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)
    y, importance = np.zeros(len(rows)), np.zeros(len(rows))
    folds = rows[["repeat", "fold"]].to_numpy(dtype=np.int64)
    for repeat, fold in np.unique(folds, axis=0).tolist():
        curve, inside = curves.get((repeat, fold)), (folds == (repeat, fold)).all(axis=1)
        if curve is not None and curve.knows(np.array([horizon]))[0]:
            y[inside], importance[inside] = outcome_at(time[inside], event[inside], horizon=horizon, censoring=curve)
    return y, importance
