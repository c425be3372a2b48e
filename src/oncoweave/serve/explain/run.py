"""A finished run's network explained: tables and a page over a cohort, and on request a folder a patient."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import publish, read_json, sha256
from oncoweave.explain.attention import FOLLOWED, attentive
from oncoweave.explain.cohort import CohortFindings, Options, Progress, counted, explain_cohort
from oncoweave.serve.explain.about import About, unit_of
from oncoweave.serve.explain.page import cohort_page
from oncoweave.serve.explain.patients import PATIENTS, write_patients
from oncoweave.serve.page import render
from oncoweave.train.dataset import Dataset
from oncoweave.train.environment import versions
from oncoweave.train.filling import FittedFilled
from oncoweave.train.locked import LockedModel
from oncoweave.train.network_learner import FittedNetwork
from oncoweave.train.predict import load_locked, read_patients
from oncoweave.train.results import write_table

PAGE = "explain.html"
_TABLES = ("shares", "columns", "words", "agreement")
_COHORT = "cohort manifest"
"""Name under which a run's manifest holds the hash of its cohort."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is to be explained."""

    run: Path
    model: str | None = None
    """A network of the run; its main model when not given."""
    cohort: Path | None = None
    """The patients of the run when not given."""
    patients: tuple[str, ...] = ()
    """Patients who get a folder of their own."""
    sample: int = 50
    """Patients in whom tokens are deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What was written."""

    page: Path
    patients: int
    sampled: int
    folders: int
    """Of named patients."""
    without: int
    """Those of them who have none of the network's modalities."""
    warnings: tuple[str, ...]
    """What the patients' tables lack or hold that the training patients' did not; of a cohort that was named."""


def read_patient_list(given: str) -> tuple[str, ...]:
    """Read identifiers: a file with one a line, or a text that parts them by commas.

    Raises:
        ConfigError: a file that names nobody.
    """
    if not given.strip():
        return ()
    file = Path(given)
    if not file.is_file():
        return tuple(part.strip() for part in given.split(",") if part.strip())
    lines = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if not lines:
        msg = f"{file}: wanted one patient id a line, found none"
        raise ConfigError(msg)
    return lines


def explain_run(asked: Asked, out: Path, *, progress: Progress) -> Explained:
    """Explain a network of a run and write ``out``, which appears whole or not at all.

    Raises:
        DataError: not a finished run, files that changed since, a patient who is not in the cohort, or nobody to look at.
        ConfigError: the model is no network, its fusion cannot be followed, or ``out`` holds something else.
        UnknownNameError: the run has no such model.
    """
    _refuse_taken(out)
    manifest = _finished(asked.run)
    locked = load_locked(asked.run, asked.model)
    fitted = _network(locked, manifest)
    cohort = asked.cohort or Path(manifest["study"]["cohort"])
    _refuse_changed(asked.run, cohort, manifest, own=asked.cohort is None)
    data, warnings = read_patients(asked.run, locked, cohort)
    named = _rows_of(asked.patients, data)
    trained = pd.read_parquet(asked.run / "splits.parquet")["patient_id"].unique()
    own = sha256(cohort / "manifest.json") == manifest["hashes"].get(_COHORT)
    looked = data.take(np.isin(data.patient_ids, trained)) if asked.cohort is None else data
    found = explain_cohort(
        fitted,
        looked,
        generator=np.random.default_rng([int(manifest["seed"]), 5]),
        options=Options(sample=asked.sample, hidden=_hidden((*data.patient_ids, *trained))),
        progress=progress,
    )
    seen = int(np.isin(looked.patient_ids[looked.availability.any(axis=1)], trained).sum())
    about = _about(asked, manifest, locked, fitted, own=own, seen=seen, cohort=cohort)
    with publish(out) as partial:
        partial.mkdir()
        _write(partial, found, about)
        if asked.patients:
            write_patients(partial / PATIENTS, fitted, data.take(named), about, advance=counted(progress, "patients", len(named)))
    return Explained(
        page=out / PAGE,
        patients=found.patients,
        sampled=found.sampled,
        folders=len(asked.patients),
        without=int((~data.availability[named].any(axis=1)).sum()),
        warnings=warnings if asked.cohort else (),
    )


def _write(folder: Path, found: CohortFindings, about: About) -> None:
    for name in _TABLES:
        write_table(folder / f"{name}.parquet", getattr(found, name))
    (folder / PAGE).write_text(render(cohort_page(found, about)), encoding="utf-8")


def _refuse_taken(out: Path) -> None:
    """Refuse a place that holds anything but an earlier explanation, which the new one would replace."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / PAGE).is_file()):
        msg = f"{out}: already there and no explanation of ours; it is left as it is, choose another --out"
        raise ConfigError(msg)


def _finished(run: Path) -> dict[str, Any]:
    if not (run / "manifest.json").is_file():
        msg = f"{run}: not the folder of a finished run, it has no manifest.json; make one with: oncoweave run STUDY --out {run}"
        raise DataError(msg)
    return read_json(run / "manifest.json")


def _network(locked: LockedModel, manifest: dict[str, Any]) -> FittedNetwork:
    """Take the network out of a locked model, and refuse one that cannot be followed before anything is read."""
    there = [m["name"] for m in manifest["study"]["models"] if {m["fusion"], str(m["settings"].get("operator"))} & {*FOLLOWED}]
    instead = f"of this run, {', '.join(there)} can be" if there else "no model of this run can be"
    if isinstance(locked.fitted, FittedFilled):
        msg = (
            f"model {locked.name!r} reads what a policy puts in the place of absent modalities, whose attention would be told as"
            f" the patient's own; {instead} followed (fusions: {', '.join(FOLLOWED)}; missing: mask, learned or latent)"
        )
        raise ConfigError(msg)
    if not isinstance(locked.fitted, FittedNetwork):
        msg = f"model {locked.name!r} is no network, so it has no attention; {instead} followed (fusions: {', '.join(FOLLOWED)})"
        raise ConfigError(msg)
    try:
        attentive(locked.fitted.model())
    except ConfigError as error:
        error.add_note(f"model {locked.name!r}: {instead} followed")
        raise
    return locked.fitted


def _refuse_changed(run: Path, cohort: Path, manifest: dict[str, Any], *, own: bool) -> None:
    """Refuse a run whose patients are not known any more, and its own cohort where that has changed."""
    splits = run / "splits.parquet"
    if not splits.is_file() or sha256(splits) != manifest["hashes"].get("splits.parquet"):
        msg = f"{splits}: missing or changed since the run wrote it, so it is not known whom the network was fitted on; run again"
        raise DataError(msg)
    if not own:
        return
    if not (cohort / "manifest.json").is_file():
        msg = f"{cohort}: the run's cohort is not there any more; name a cohort with --cohort"
        raise DataError(msg)
    if sha256(cohort / "manifest.json") != manifest["hashes"].get(_COHORT):
        msg = f"{cohort}: changed since the run; run the study again, or look at the cohort as it is now with --cohort {cohort}"
        raise DataError(msg)


def _rows_of(patients: Sequence[str], data: Dataset) -> np.ndarray:
    """Find named patients; messages place them in the list and do not repeat their identifiers."""
    row_of = {str(patient): row for row, patient in enumerate(data.patient_ids)}
    unknown = [place for place, patient in enumerate(patients, start=1) if patient not in row_of]
    if unknown:
        msg = (
            f"--patients: {len(unknown)} of the {len(patients)} patients asked for are not among the {len(data)} of the cohort,"
            f" first number {unknown[0]} of the list; give identifiers as the column patient_id of its patients.parquet has them"
        )
        raise DataError(msg)
    return np.array([row_of[patient] for patient in patients], dtype=int)


def _hidden(patient_ids: Sequence[object]) -> frozenset[str]:
    """List words that may be of an identifier: whole ones, and their parts that hold a digit."""
    words = {str(patient).lower() for patient in patient_ids}
    parts = {part for word in words for part in re.split(r"[^0-9a-z]+", word) if any(c.isdigit() for c in part)}
    return frozenset(words | parts)


def _about(
    asked: Asked, manifest: dict[str, Any], locked: LockedModel, fitted: FittedNetwork, *, own: bool, seen: int, cohort: Path
) -> About:
    operator = fitted.config.settings.get("operator")
    unit, scale = unit_of(fitted)
    return About(
        study=str(manifest["name"]),
        model=locked.name,
        fusion=fitted.config.fusion if operator is None else f"{fitted.config.fusion} around {operator}",
        encoders={name: shape.encoder for name, shape in fitted.config.modalities.items()},
        members=len(fitted.members),
        endpoint=locked.endpoint.name,
        endpoint_kind=locked.endpoint.kind,
        unit=unit,
        scale=scale,
        own=own,
        seen=seen,
        hashes={
            "model": sha256(asked.run / "models" / f"{locked.name}.safetensors"),
            "cohort": sha256(cohort / "manifest.json"),
        },
        versions=versions(),
        sample=asked.sample,
        seed=int(manifest["seed"]),
    )
