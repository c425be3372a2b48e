"""Apply a locked model of a run to new patients."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from oncoweave.core.errors import DataError, unknown_name
from oncoweave.core.files import publish
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort
from oncoweave.train.dataset import load_dataset
from oncoweave.train.locked import LockedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSummary:
    """How many patients got a prediction."""

    predicted: int
    without: int
    """Patients who have none of the model's modalities."""


def predict_cohort(run: Path, cohort_path: Path, out: Path, *, model: str | None) -> PredictionSummary:
    """Predict for a cohort's patients and write a table, one row a patient.

    Modalities that the new cohort lacks are treated as absent for every patient.

    Raises:
        DataError: not a finished run; a modality is of another kind than in training; or no patient has a usable modality.
    """
    locked = load_locked(run, model)
    cohort = Cohort.open(cohort_path)
    shared = [m for m in locked.modalities if m in cohort.modalities]
    for name in shared:
        if cohort.modalities[name].kind != locked.kinds[name]:
            msg = (
                f"modality {name!r} is {cohort.modalities[name].kind!r} in {cohort_path}, the model was trained on"
                f" {locked.kinds[name]!r}; import it as that"
            )
            raise DataError(msg)
    data = load_dataset(cohort, None, shared).completed(locked.kinds)
    frame = locked.frame(data)
    if frame.empty:
        msg = f"no patient of {cohort_path} has any of the model's modalities ({', '.join(locked.modalities)})"
        raise DataError(msg)
    with publish(out) as partial:
        if out.suffix == ".parquet":
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)
    return PredictionSummary(predicted=len(frame), without=len(cohort) - len(frame))


def load_locked(run: Path, model: str | None) -> LockedModel:
    """Load a model of a run by name; the run's main model when none is named."""
    if not (run / "study.yaml").exists():
        msg = f"{run} is not a run folder: it has no study.yaml; make one with: oncoweave run STUDY --out {run}"
        raise DataError(msg)
    name = model or yaml.safe_load((run / "study.yaml").read_text(encoding="utf-8"))["main"]
    stored = {p.stem: p for p in (run / "models").glob("*.safetensors")}
    if name not in stored:
        raise unknown_name("stored model", name, stored)
    locked = load_state(stored[name])
    if not isinstance(locked, LockedModel):
        msg = f"{stored[name]} holds a {type(locked).__name__}, wanted a locked model"
        raise DataError(msg)
    return locked
