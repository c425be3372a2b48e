"""Result tables of synthetic runs for the tests of the report, as a study writes them."""

import numpy as np
import pandas as pd
from report_plan import ENDPOINTS, Plan


def _events(plan: Plan, rows: pd.DataFrame) -> float:
    return float(rows["event"].sum()) if plan.kind in ("survival", "binary") else np.nan


def predictions_of(plan: Plan, patients: pd.DataFrame, models: dict[str, str], rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for model in models:
        folds = rng.integers(0, 5, size=len(patients))
        frame = patients[["patient_id", "site", "pattern"]].assign(model=model, repeat=0, fold=folds)
        score = patients["risk"].to_numpy() + rng.normal(size=len(patients))
        if plan.kind == "survival":
            frame = frame.assign(time=patients["time"], event=patients["event"], risk=score, high_risk=score > 0)
        elif plan.kind == "binary":
            frame = frame.assign(y=patients["event"].astype(int), p=1 / (1 + np.exp(-score)))
        elif plan.kind == "multiclass":
            frame = frame.assign(y="luminal", **{"p@luminal": 0.5, "p@basal": 0.3, "p@HER2": 0.2})
        elif plan.kind == "ordinal":
            frame = frame.assign(y="2", **{"p@1": 0.5, "p@2": 0.3, "p@3": 0.2})
        elif plan.kind == "multilabel":
            frame = frame.assign(**{"y@edema": 1.0, "p@edema": 0.3, "y@effusion": np.nan, "p@effusion": 0.1})
        else:
            frame = frame.assign(y=patients["risk"], yhat=score)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


MEASURES = {
    "survival": {"c_index": 0.66, "uno_c": 0.65, "auc@12": 0.7, "auc@36": 0.69, "brier@36": 0.18, "ibs": 0.16},
    "binary": {"auroc": 0.71, "auprc": 0.6, "balanced_accuracy": 0.66, "brier": 0.2},
    "multiclass": {"macro_auroc": 0.81, "balanced_accuracy": 0.62, "log_loss": 0.8},
    "multilabel": {"macro_auroc": 0.74, "auroc@edema": 0.76, "auroc@effusion": 0.72},
    "ordinal": {"quadratic_kappa": 0.41, "ordinal_c": 0.7},
    "regression": {"r2": 0.31, "mae": 1.2},
}
LOWER_IS_BETTER = ("brier@36", "ibs", "brier", "log_loss", "mae")


def metrics_of(plan: Plan, patients: pd.DataFrame, models: dict[str, str], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for metric, level in MEASURES[plan.kind].items():
        half = plan.wide * 1.1 / np.sqrt(plan.num)
        for model, role in models.items():
            value = level + {"single": -0.04, "null": plan.null - level, "fusion": 0.02}.get(role, 0.0) + rng.normal() * 0.012
            if model == "site_only":
                value = level - 0.11
            value = level + plan.gain if model == plan.main else value
            if metric in LOWER_IS_BETTER:
                value = 2 * level - value + (level - plan.null if role == "null" else 0)
            rows.append(
                {
                    "model": model,
                    "role": role,
                    "metric": metric,
                    "value": value,
                    "low": value - half,
                    "high": value + half * 0.9,
                    "n": plan.num,
                    "events": _events(plan, patients),
                    "fold_mean": value - 0.003,
                    "fold_sd": half * 1.2,
                    "higher_is_better": metric not in LOWER_IS_BETTER,
                }
            )
    return pd.DataFrame(rows)


def comparisons_of(plan: Plan, models: dict[str, str], reference: str) -> pd.DataFrame:
    metric = next(iter(MEASURES[plan.kind]))
    half = 0.4 / np.sqrt(plan.num)
    rows = []
    for i, model in enumerate(m for m, role in models.items() if role in ("fusion", "single")):
        difference = plan.gain if model == plan.main else 0.01 - 0.012 * i
        p = 0.9 if abs(difference) < half else 0.0004
        row = {"model": model, "reference": reference, "metric": metric, "difference": difference}
        for method, reach, p_method in (
            ("paired patient bootstrap", half, p),
            ("corrected resampled t over folds", 1.4 * half, p**0.5),
        ):
            tested = {"low": difference - reach, "high": difference + reach, "p": p_method, "p_adjusted": min(p_method * 3, 1.0)}
            rows.append({**row, **tested, "method": method, "detectable": 1.4 * half})
    return pd.DataFrame(rows)


def groups_of(plan: Plan, patients: pd.DataFrame, reference: str, rng: np.random.Generator) -> pd.DataFrame:
    metric, level = next(iter(MEASURES[plan.kind].items()))
    rows = []
    for model in (plan.main, reference):
        for grouping in ("site", "pattern"):
            for group, members in patients.groupby(grouping):
                n = len(members)
                value = min(level + rng.normal() * 0.4 / np.sqrt(n), 1.0) if n > 4 else np.nan
                rows.append(
                    {
                        "model": model,
                        "grouping": grouping,
                        "group": group,
                        "metric": metric,
                        "value": value,
                        "low": max(value - 0.9 / np.sqrt(n), 0.0) if n > 4 else np.nan,
                        "high": min(value + 0.9 / np.sqrt(n), 1.0) if n > 4 else np.nan,
                        "n": n,
                        "events": _events(plan, members),
                    }
                )
    return pd.DataFrame(rows)


def calibration_of(plan: Plan, reference: str, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    horizons = [12.0, 36.0, 60.0] if plan.kind == "survival" else [np.nan]
    for model in (plan.main, reference):
        for horizon in horizons:
            for bin_, predicted in enumerate(np.linspace(0.12, 0.9, 8)):
                observed = float(np.clip(predicted + rng.normal() * 0.05, 0.02, 0.98))
                n = plan.num // 8
                half = 1.96 * np.sqrt(observed * (1 - observed) / n)
                rows.append(
                    {
                        "model": model,
                        "horizon": horizon,
                        "bin": bin_,
                        "predicted": predicted,
                        "observed": observed,
                        "low": max(observed - half, 0.0),
                        "high": min(observed + half, 1.0),
                        "n": n + int(rng.integers(0, max(n // 2, 1))),
                    }
                )
    return pd.DataFrame(rows)


def km_of(patients: pd.DataFrame, models: tuple[str, ...], rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for model in models:
        high = patients["risk"] + rng.normal(size=len(patients)) > 0
        for name, members in (("low", patients[~high]), ("high", patients[high])):
            frames.append(kaplan_meier(members).assign(model=model, group=name))
    return pd.concat(frames, ignore_index=True)


def kaplan_meier(members: pd.DataFrame) -> pd.DataFrame:
    """Estimate survival at every distinct time, with a plain Greenwood interval."""
    times = np.sort(members["time"].unique())
    time, event = members["time"].to_numpy(), members["event"].to_numpy()
    at_risk = (time[None, :] >= times[:, None]).sum(axis=1)
    deaths = ((time[None, :] == times[:, None]) & event[None, :]).sum(axis=1)
    survival = np.cumprod(1 - deaths / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = survival * np.sqrt(np.cumsum(np.where(at_risk > deaths, deaths / (at_risk * (at_risk - deaths)), 0)))
    return pd.DataFrame(
        {
            "time": times,
            "survival": survival,
            "low": np.clip(survival - 1.96 * spread, 0, 1),
            "high": np.clip(survival + 1.96 * spread, 0, 1),
            "at_risk": at_risk,
        }
    )


def km_summary_of(models: tuple[str, ...]) -> pd.DataFrame:
    apart = {"logrank_p": [2e-9, 0.013], "hazard_ratio": [2.41, 1.62], "hr_low": [1.83, 1.1], "hr_high": [3.17, 2.2]}
    means = {"rmst_until": 60.0, "rmst_difference": [14.26, 6.1], "rmst_low": [9.87, 1.2], "rmst_high": [18.65, 11.0]}
    return pd.DataFrame({"model": models, **apart, **means, "rmst_p": [4e-8, 0.014]})


def distribution_of(models: tuple[str, ...]) -> pd.DataFrame:
    note = ["", "fewer than 5 patients a bin are expected: 40 in 10 bins"]
    return pd.DataFrame({"model": models, "bins": 10, "statistic": 3.2, "p": [0.047, np.nan], "n": 40, "events": 9, "note": note})


def decisions_of(plan: Plan, reference: str, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Operating points, decision curves and reclassification; none for outcomes that have none."""
    if plan.kind not in ("survival", "binary"):
        return {}
    horizons = [12.0, 36.0, 60.0] if plan.kind == "survival" else [np.nan]
    n, events = plan.num - 3, plan.num // 3
    curves, moved = [], []
    for horizon in horizons:
        t = np.arange(1, 16) * 0.05
        treat_all = 0.35 - 0.65 * t / (1 - t)
        benefit = {plan.main: np.maximum(0.3 - 0.5 * t, 0), reference: np.maximum(0.28 - 0.52 * t, 0)}
        for model, value in benefit.items():
            over = value - np.maximum(treat_all, 0)
            row = {"model": model, "horizon": horizon, "threshold": t, "net_benefit": value, "low": value - 0.03}
            row |= {"high": value + 0.03, "treat_all": treat_all, "over_default": over, "over_default_low": over - 0.03}
            row |= {"over_default_high": over + 0.03, "reference": reference if model == plan.main else None}
            gain = value - benefit[reference] if model == plan.main else np.nan
            row |= {"over_reference": gain, "over_reference_low": gain - 0.02, "over_reference_high": gain + 0.03}
            needed = np.where(t < 0.2, 1 / 0.031, np.inf) if model == plan.main else np.nan
            row |= {"to_test": needed, "to_test_low": 1 / 0.06 if model == plan.main else np.nan, "to_test_high": 3 * needed}
            curves.append(pd.DataFrame({**row, "n": n, "events": events}))
        for measure in ("nri", "idi"):
            for part, value in (("total", 0.3), ("events", 0.1), ("nonevents", 0.2)):
                row = {"model": plan.main, "reference": reference, "horizon": horizon, "measure": measure, "part": part}
                value = value + rng.normal() * 0.01
                moved.append({**row, "value": value, "low": value - 0.1, "high": value + 0.12, "n": n, "events": events})
    tables = {"decision": pd.concat(curves, ignore_index=True), "reclassification": pd.DataFrame(moved)}
    return tables | ({"operating": _operating(plan, reference)} if plan.kind == "binary" else {})


def _operating(plan: Plan, reference: str) -> pd.DataFrame:
    rows = []
    shares = {"sensitivity": 0.41, "specificity": 0.88, "positive predictive value": 0.63, "negative predictive value": 0.74}
    for model in (plan.main, reference):
        for point in ("specificity0.95", "specificity0.9", "sensitivity0.95", "sensitivity0.9"):
            for k, (measure, value) in enumerate(shares.items()):
                row = {"model": model, "point": point, "measure": measure, "value": value, "low": value - 0.08}
                row |= {"high": value + 0.07, "n": 30.5 + k, "events": 12.0, "note": ""}
                tested = model == plan.main and k < 2
                row |= {"p_all": 0.024 if k < 2 else np.nan, "n_all": 28.0 + k if k < 2 else np.nan}
                row |= {"p_all_adjusted": 0.19 if k < 2 else np.nan, "p_adjusted": 0.25 if tested else np.nan}
                rows.append({**row, "reference": reference if tested else None, "p": 0.031 if tested else np.nan})
    return pd.DataFrame(rows)


def certainty_of(plan: Plan, patients: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    sites = patients["site"].value_counts()
    flags = [("all", "all", plan.num), *(("site", site, n) for site, n in sites.items())]
    counted = {"model": plan.main, "share": 0.031, "low": 0.012, "high": 0.064}
    novelty = [counted | {"grouping": g, "group": k, "flagged": round(0.031 * n), "n": n, "judged": n - 1} for g, k, n in flags]
    tables = {"novelty": pd.DataFrame(novelty)}
    if plan.kind in ("survival", "multilabel"):
        return tables
    of_sets = plan.kind != "regression"
    classes = [("class", name, 11) for name in ENDPOINTS[plan.kind]["classes"]] if of_sets else []
    rows = []
    for grouping, group, n in [flags[0], *classes, *flags[1:]]:
        covered = 0.913 if group == "all" else 0.85 + 0.1 * rng.random()
        row = {"model": plan.main, "grouping": grouping, "group": group, "covered": covered, "low": 0.8, "high": 0.97, "n": n}
        row |= {"single": 0.62, "empty": 0.03} if of_sets else {"single": np.nan, "empty": np.nan}
        rows.append(row | {"size": 1.37})
    return tables | {"certainty": pd.DataFrame(rows)}


def contributions_of(plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    num = len(plan.modalities)
    adds = np.sort(rng.normal(size=num) * 0.02 + 0.012)[::-1]
    return pd.DataFrame(
        {
            "modality": plan.modalities,
            "adds": adds,
            "low": adds - 0.011,
            "high": adds + 0.012,
            "share": rng.dirichlet(np.ones(num)) if num <= 5 else np.full(num, np.nan),
            "note": [f"c_index on {plan.num} patients"] * num,
        }
    )


def missingness_of(plan: Plan, patients: pd.DataFrame) -> pd.DataFrame:
    table = patients.groupby("pattern").agg(n=("event", "size"), events=("event", "sum")).reset_index()
    table["events"] = table["events"].astype(float) if plan.kind in ("survival", "binary") else np.nan
    return table.assign(share=table["n"] / table["n"].sum())
