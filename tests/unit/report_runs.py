"""Synthetic run folders for the tests of the report: tables as a study writes them, of any size and endpoint."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from report_plan import ENDPOINTS, MODALITIES, Plan
from report_tables import (
    calibration_of,
    certainty_of,
    comparisons_of,
    contributions_of,
    decisions_of,
    distribution_of,
    groups_of,
    km_of,
    km_summary_of,
    metrics_of,
    missingness_of,
    predictions_of,
)


def write_run(folder: Path, plan: Plan | None = None) -> Path:
    """Write a run folder and return it."""
    plan = plan or Plan()
    rng = np.random.default_rng(plan.seed)
    folder.mkdir(parents=True, exist_ok=True)
    patients = _patients(plan, rng)
    reference = f"only_{plan.modalities[0]}"
    singles = [f"only_{m}" for m in plan.modalities[1:]]
    models = {"site_only": "baseline", reference: "baseline", **dict.fromkeys(singles, "single")}
    models |= {**dict.fromkeys(plan.fusions, "fusion"), f"permuted_{plan.main}": "null"}
    models |= {f"permuted_{plan.main}_{k}": "null" for k in range(2, plan.permutations + 1)}
    tables = {
        "predictions": predictions_of(plan, patients, models, rng),
        "metrics": metrics_of(plan, patients, models, rng),
        "comparisons": comparisons_of(plan, models, reference),
        "groups": groups_of(plan, patients, reference, rng),
        "calibration": calibration_of(plan, reference, rng),
        "contributions": contributions_of(plan, rng),
        "missingness": missingness_of(plan, patients),
    }
    tables |= decisions_of(plan, reference, rng) | certainty_of(plan, patients, rng)
    if plan.kind == "survival":
        tables |= {"distribution": distribution_of((plan.main, reference))}
        tables |= {"km": km_of(patients, (plan.main, reference), rng), "km_summary": km_summary_of((plan.main, reference))}
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "flow.json").write_text(json.dumps(_flow(plan, patients)), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(_manifest(plan, reference)), encoding="utf-8")
    return folder


def _patients(plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    n = plan.num
    has = rng.random((plan.num_patterns, len(plan.modalities))) < 0.6
    has[0], has[:, 0] = True, True
    weights = np.sort(rng.dirichlet(np.full(plan.num_patterns, 0.7)))[::-1]
    chosen = rng.choice(plan.num_patterns, size=n, p=weights)
    risk = rng.normal(size=n)
    time = np.ceil(rng.exponential(60 * np.exp(-0.8 * risk)) * 10) / 10 + 0.1
    censor = rng.uniform(12, 130, size=n)
    share = rng.dirichlet(np.full(plan.num_sites, 1.2))
    return pd.DataFrame(
        {
            "patient_id": [f"PT-{i:05d}-X" for i in range(n)],
            "site": rng.choice([f"Hospital {chr(65 + i % 26)}{i // 26 or ''}" for i in range(plan.num_sites)], size=n, p=share),
            "pattern": ["+".join(m for m, h in zip(plan.modalities, has[c], strict=True) if h) for c in chosen],
            "time": np.minimum(time, censor),
            "event": time <= censor,
            "risk": risk,
        }
    )


def _flow(plan: Plan, patients: pd.DataFrame) -> list[dict]:
    events = int(patients["event"].sum()) if plan.kind in ("survival", "binary") else None
    rows = [
        ("in the cohort", plan.num + 51, 9, ""),
        ("excluded", 28, None, f"{ENDPOINTS[plan.kind]['name']} not known"),
        ("excluded", 19, 9, "follow-up time of zero (patient 'PT-00004-X')"),
        ("excluded", 4, 0, "none of the study's modalities"),
        ("analysed", plan.num, 0, ""),
    ]
    remaining = {step: 0 if events is None or step == "excluded" else events for step, *_ in rows}
    return [
        {"step": step, "patients": n, "events": None if events is None or k is None else remaining[step] + k, "reason": reason}
        for step, n, k, reason in rows
    ]


def _manifest(plan: Plan, reference: str) -> dict:
    kinds = {m: MODALITIES.get(m, "record") for m in plan.modalities}
    return {
        "name": f"Head and neck cancer: {ENDPOINTS[plan.kind]['name'].replace('_', ' ')}",
        "created": "2024-02-29T10:11:12Z",
        "endpoint": {"kind": plan.kind, **ENDPOINTS[plan.kind]},
        "cohort": {"name": "hancock", "n": plan.num + 51, "modalities": kinds},
        "main_model": plan.main,
        "reference_model": reference,
        "seed": 7,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.9", "oncoweave": "0.1.0", "numpy": "2.1.0", "torch": "2.6.0"},
        "hashes": {"cohort manifest": "ab" * 32, **{f"bags/he/PT-{i:05d}-X.h5": f"{i:064x}" for i in range(40)}},
        "warnings": [
            "Patient 'PT-00003-X' has two rows in table blood; the mean was taken.",
            "two hospitals have fewer than 20 patients",
        ],
        "seconds": 734.2,
        "split": {
            "patients": plan.num,
            "repeats": 3,
            "fewest_folds": 5,
            "most_folds": 5,
            "fewest_tested": plan.num,
            "most_tested": plan.num,
            "tested": plan.num,
            "sites": plan.num_sites,
            "crossing": 0,
            "overlap": 0.0,
            "without_site": 0,
        },
        "study": {
            "name": "os",
            "cohort": "cohorts/hancock",
            "endpoint": ENDPOINTS[plan.kind]["name"],
            "modalities": list(plan.modalities),
            "models": [{"name": f, "fusion": f.partition("_")[2] or f} for f in plan.fusions],
            "main": plan.main,
            "reference": plan.modalities[0],
            "protocol": {
                "folds": 5,
                "repeats": 3,
                "inner_folds": 5,
                "group_by_site": True,
                "splits": None,
                "seed": 7,
                "horizons": [12.0, 36.0, 60.0] if plan.kind == "survival" else [],
                "bootstrap": 1000,
                "permutations": plan.permutations,
            },
        },
    }
