"""Is there enough to learn from and to measure on? Events in each fold, stable folds, and horizons within follow-up."""

import numpy as np

from oncoweave.data.checks import FEW_EVENTS
from oncoweave.data.splits import needed_counts
from oncoweave.evaluate.summary import MIN_EVENTS, MIN_PATIENTS
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable

UNSTABLE = 0.15
"""Standard deviation of the main measure between folds from which on a mean over folds says little."""
_ONE_SIDE = 0.02
"""A cut-off that puts so few patients into one group parts nobody."""


def audit_events(run: Audited) -> Audit:
    """Every fold holds enough events, or patients of each class, to train on and to be measured on; and folds agree."""
    name = "too few events, unstable folds"
    tested, trained = [], []
    for repeat, fold, is_test in run.folds():
        tested.append(_least(run, is_test))
        trained.append(_least(run, run.trains(repeat, fold)))
    counted = "events" if run.endpoint.kind == "survival" else "patients of the rarest class"
    if run.endpoint.kind in ("regression", "multilabel"):
        counted = "patients"
    row = run.measured(run.study.main)
    spread = float("nan") if row is None else float(row["fold_sd"])
    fault = min(tested) < MIN_EVENTS or min(trained) < FEW_EVENTS or spread > UNSTABLE
    told = (
        ""
        if np.isnan(spread)
        else f"; the main measure has a standard deviation of {spread:.3f} between folds (bound {UNSTABLE})"
    )
    evidence = (
        f"The smallest test fold holds {min(tested)} {counted} (bound {MIN_EVENTS}) and the smallest training part {min(trained)}"
        f" (bound {FEW_EVENTS}){told}. All models are penalised, so parameters are not held against events."
    )
    return judged(name, fault=fault, evidence=evidence, n=len(run.data))


def _least(run: Audited, rows: np.ndarray) -> int:
    target = run.data.outcome.take(np.flatnonzero(rows))
    counts = needed_counts(target)
    return min((counts.get(name, 0) for name in needed_counts(run.data.outcome)), default=len(target))


def audit_horizons(run: Audited) -> Audit:
    """Patients are still followed at every horizon, and every cut-off leaves patients on both sides."""
    name = "horizon or cut-off beyond follow-up"
    if run.endpoint.kind != "survival":
        return not_applicable(name, "The endpoint has no time.")
    time, unit = run.data.outcome.time, run.endpoint.time_unit
    at_risk = {h: int((time > h).sum()) for h in run.study.protocol.horizons or ()}
    thin = {h: count for h, count in at_risk.items() if count < MIN_PATIENTS}
    told = [
        f"at {h:g} {unit} {count} patients are still followed (bound {MIN_PATIENTS})" for h, count in (thin or at_risk).items()
    ]
    main = run.predictions[run.predictions["model"] == run.study.main]
    share = float(main["high_risk"].astype(float).mean()) if len(main) else float("nan")
    one_sided = not np.isnan(share) and not _ONE_SIDE <= share <= 1 - _ONE_SIDE
    told.append(f"the training cut-off calls {share:.0%} of the patients high risk")
    evidence = f"The longest follow-up is {time.max():g} {unit}; {'; '.join(told)}."
    return judged(name, fault=bool(thin) or one_sided, evidence=evidence, n=len(run.data))
