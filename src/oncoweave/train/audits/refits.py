"""Fitted again with tested patients replaced by others: nothing that is predicted of the rest may change."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable
from oncoweave.train.dataset import Dataset
from oncoweave.train.locked import lock
from oncoweave.train.panel import ALONE, SITE_ONLY, Planned

_ROUNDING = 1e-6
"""Difference of two predictions, in their standard deviations, that is rounding."""


def audit_refits(run: Audited) -> Audit:
    """Nothing fitted for a fold knows its tested patients.

    In the first fold half of the tested patients get the features and the outcome of one training patient. Every model that is no
    network is then fitted again the way the run fits it, and has to predict the same for the other half as it did in the run.
    """
    name = "test patients in fitted transforms"
    repeat, fold, is_test = run.folds()[0]
    tested = np.flatnonzero(is_test)
    if len(tested) < 2:
        return not_applicable(name, "The first test fold holds one patient only.")
    swapped, kept = tested[::2], tested[1::2]
    trains = np.flatnonzero(run.trains(repeat, fold))
    data = _swapped(run.data, swapped, donors=trains)
    train = run.make_fold(run.study, data, trains, repeat, fold, run.scratch)
    moved = {}
    for model in _refitted(run):
        locked = lock(model, train, run.study)
        if locked is not None:
            again = locked.frame(data.take(tested))
            moved[model.name] = _moved(run, again, model.name, repeat, run.data.patient_ids[kept])
    shutil.rmtree(run.scratch, ignore_errors=True)
    worst = max(moved, key=lambda m: moved[m])
    wrong = [m for m, by in moved.items() if by > _ROUNDING]
    evidence = (
        f"Fold {fold} of repeat {repeat} was fitted again with {len(swapped)} of its {len(tested)} tested patients replaced:"
        f" predictions for the others move by at most {moved[worst]:.2g} standard deviations in {len(moved)} model(s)"
    )
    evidence += f"; they move in {', '.join(wrong[:5])}" if wrong else ""
    evidence += ". Networks are not fitted again; what they read is prepared as for the models of single modalities."
    return judged(name, fault=bool(wrong), evidence=evidence, n=len(kept))


def _refitted(run: Audited) -> Iterator[Planned]:
    networks = {m.name for m in run.study.models or () if m.stage in ("intermediate", "hybrid") or m.encoders}
    for model in run.planned:
        if model.name == SITE_ONLY or model.name.startswith(ALONE) or (model.role == "fusion" and model.name not in networks):
            yield model


def _swapped(data: Dataset, rows: np.ndarray, *, donors: np.ndarray) -> Dataset:
    """Give some patients the features and the outcome of one other: for each modality, of the first who has it."""
    samples = {}
    for modality, held in data.samples.items():
        given = next((held[i] for i in donors if held[i] is not None), None)
        changed = list(held)
        for row in rows:
            changed[row] = given
        samples[modality] = tuple(changed)
    values = data.outcome.values.copy()
    values[rows] = values[donors[0]]
    return replace(data, samples=samples, target=Target(endpoint=data.outcome.endpoint, values=values))


def _moved(run: Audited, again: pd.DataFrame, model: str, repeat: int, kept: np.ndarray) -> float:
    """Largest change of a prediction, in standard deviations of the run's own."""
    rows = run.predictions[(run.predictions["model"] == model) & (run.predictions["repeat"] == repeat)].set_index("patient_id")
    shared = [p for p in kept if p in rows.index]
    columns = [c for c in again.columns if c in ("risk", "p", "yhat") or c.startswith(("p@", "survival@"))]
    before = rows.loc[shared, columns].to_numpy(dtype=float)
    after = again.set_index("patient_id").reindex(shared)[columns].to_numpy(dtype=float)
    if not before.size:
        return 0.0
    scale = rows[columns].to_numpy(dtype=float).std(axis=0)
    return float(np.nan_to_num(np.abs(after - before) / np.maximum(scale, 1e-12), nan=np.inf).max())
