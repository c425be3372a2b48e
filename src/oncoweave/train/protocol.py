"""The evaluation protocol: repeated, nested, site-grouped cross-validation of a whole panel, written to a run folder."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError

from oncoweave.core import shelf
from oncoweave.core.endpoint import Target
from oncoweave.core.errors import ConfigError
from oncoweave.core.files import locked, publish, read_json, sha256, sweep_partials, write_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.how_split import HowSplit, how_split
from oncoweave.data.published_splits import read_published
from oncoweave.data.splits import splits_hash, write_splits
from oncoweave.data.store import refuse_changed_tables
from oncoweave.train.absences import absences
from oncoweave.train.audits.result import Audited
from oncoweave.train.audits.written import write_audits
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.decisions import lines_to_mind
from oncoweave.train.default_encoders import encoder_notes, operator_in
from oncoweave.train.environment import commit, versions
from oncoweave.train.fitting import Fitting, fit_all, read_scores, training_fold
from oncoweave.train.fusion_notes import fusion_notes
from oncoweave.train.ledger import FITTED, LEDGER, changed, discard_changed, record, recorded
from oncoweave.train.panel import SITE_ONLY
from oncoweave.train.prototype_notes import prototype_notes
from oncoweave.train.read_as import read_as
from oncoweave.train.results import write_results, write_table
from oncoweave.train.rows import labelled, row_notes, told_apart
from oncoweave.train.said import Facts
from oncoweave.train.site_audit import audit_site
from oncoweave.train.splitting import study_splits
from oncoweave.train.statements import write_statements
from oncoweave.train.study import Study, files_of, resolve
from oncoweave.train.texts import masking_notes, read_texts_as, spared_classes

_CLAIM = "claim.json"
_COHORT = "cohort manifest"
"""Name under which a manifest holds the hash of the cohort, which is no file of the run."""


def run(study: Study, out: Path, *, jobs: int = 1) -> Path:
    """Run a study into a folder: splits, predictions of every model on every fold, locked models, result tables.

    An interrupted run is resumed fold by fold, and a finished one is left as it is. What was changed since the run wrote it is
    made again, never relied on. A folder that holds another study, or the same study of a cohort that has changed since, is
    refused, unless nothing was fitted there yet. A study whose splits cannot be made leaves nothing in the folder.

    With ``jobs``, so many processes fit folds at a time, each with its own copy of the data; see ``train.fitting``.
    """
    started = time.time()
    cohort = Cohort.open(study.cohort)
    cohort = read_texts_as(cohort, study.texts, cohort.endpoint(study.endpoint))
    resolved = resolve(study, cohort)
    refuse_changed_tables(Path(study.cohort))
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file; --out names a folder"
        raise ConfigError(msg)
    with locked(out):
        _refuse_other(out, resolved)
        if not _is_finished(out):
            _run(out, resolved, cohort, started, jobs)
    return out


def _run(out: Path, resolved: Study, cohort: Cohort, started: float, jobs: int) -> None:
    kinds = {m: cohort.modalities[m].kind for m in resolved.modalities or ()}
    configs = read_as(kinds, resolved.preparation)
    loaded = load_dataset(cohort, resolved.endpoint, tuple(kinds), configs, person=resolved.person)
    data, flow = _admit(resolved, loaded)
    splits, warnings = study_splits(resolved, data, cohort_ids=cohort.patient_ids)
    how = how_split(splits, data.patient_ids, data.site)
    warnings += row_notes(resolved, cohort, pd.Index(data.patient_ids)) + absences(resolved, data, splits)
    fitting = Fitting(out=out, study=resolved, data=data, splits=splits)
    planned = fitting.planned
    _claim(out, resolved)
    hidden = masking_notes(data, splits) + spared_classes(resolved.texts, cohort.endpoint(resolved.endpoint))
    warnings += (
        _unread(cohort)
        + _unvarying(data)
        + hidden
        + encoder_notes(resolved, data, splits)
        + fusion_notes(resolved, kinds)
        + _made_again(out)
    )
    write_json(out / "flow.json", flow)
    write_splits(out / "splits.parquet", splits)
    _write_study(out, resolved)
    record(out, out / "flow.json", out / "splits.parquet", out / "study.yaml")
    if not fitting.has_sites:
        warnings.append("Site-only baseline not run: the cohort names fewer than two hospitals.")
    elif how.apart:
        audit, sentence = audit_site(resolved, data, next(p for p in planned if p.name == SITE_ONLY), cohort)
        write_table(out / "site_audit.parquet", audit)
        record(out, out / "site_audit.parquet")
        warnings.append(sentence)
    predictions, subsets = labelled(fit_all(fitting, jobs=jobs), resolved, cohort), fitting.subsets
    networks = [m.name for m in resolved.models or () if operator_in(m) is not None]
    warnings += lines_to_mind(resolved, predictions) + prototype_notes({name: fitting.locked(name) for name in networks})
    scored = read_scores(fitting)
    tables = write_results(
        out,
        resolved,
        data,
        predictions,
        planned,
        splits,
        subsets=subsets,
        scored=scored,
        attributes=told_apart(resolved, cohort, splits),
    )
    record(out, *tables)
    record(out, *write_audits(out, _audited(fitting, cohort)))
    record(out, *write_statements(out, _facts(out, resolved, data, flow, splits, how)))
    _write_manifest(out, resolved, cohort, warnings, how=how, seconds=time.time() - started)


def _audited(fitting: Fitting, cohort: Cohort) -> Audited:
    out, site_audit = fitting.out, fitting.out / "site_audit.parquet"
    return Audited(
        study=fitting.study,
        cohort=cohort,
        data=fitting.data,
        splits=fitting.splits,
        planned=fitting.planned,
        make_fold=training_fold,
        scratch=fitting.checkpoints,
        predictions=pd.read_parquet(out / "predictions.parquet"),
        metrics=pd.read_parquet(out / "metrics.parquet"),
        site_audit=pd.read_parquet(site_audit) if site_audit.exists() else None,
    )


def _facts(out: Path, study: Study, data: Dataset, flow: list[dict[str, object]], splits: pd.DataFrame, how: HowSplit) -> Facts:
    metrics, groups, audits = (pd.read_parquet(out / f"{name}.parquet") for name in ("metrics", "groups", "audits"))
    return Facts(
        study=study, data=data, flow=flow, metrics=metrics, groups=groups, audits=audits, splits=splits, how=how, commit=commit()
    )


def _claim_of(study: Study) -> dict[str, object]:
    claim: dict[str, object] = {"study": _text(study), "cohort_sha256": sha256(Path(study.cohort) / "manifest.json")}
    if study.protocol.splits is not None:
        claim["splits_sha256"] = splits_hash(read_published(Path(study.protocol.splits)))
    if files := files_of(study):
        claim["files_sha256"] = {str(path): sha256(path) for path in files}
    return claim


def _text(study: Study) -> str:
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)


def _unlike(out: Path, claim: dict[str, object]) -> list[str]:
    held = read_json(out / _CLAIM)
    return [key for key in claim if (_today(held.get(key)) if key == "study" else held.get(key)) != claim[key]]


def _today(text: object) -> str | None:
    """Write a claimed study with the settings that have come since, at their defaults; None if it can no longer be read."""
    try:
        return _text(Study.model_validate(yaml.safe_load(str(text))))
    except (yaml.YAMLError, ValidationError):
        return None


def _refuse_other(out: Path, study: Study) -> None:
    """Refuse a folder of something else, or of a run of another study that has fitted something."""
    claim = _claim_of(study)
    if not (out / _CLAIM).exists():
        if any(p.name != ".lock" and p.suffix != ".partial" for p in out.iterdir()):
            msg = f"{out} is not empty and holds no run; choose another --out"
            raise ConfigError(msg)
        return
    different = _unlike(out, claim)
    has_fitted = (out / "manifest.json").exists() or any(path.is_file() for name in FITTED for path in (out / name).glob("*"))
    if different and has_fitted:
        whats = {"cohort_sha256": "a cohort that has", "splits_sha256": "splits that have", "files_sha256": "files that have"}
        changed_what = next((what for key, what in whats.items() if key in different), "")
        what = "another study" if "study" in different else f"this study, of {changed_what} changed since"
        msg = f"{out} holds a run of {what}; choose another --out, or delete that folder"
        raise ConfigError(msg)


def _claim(out: Path, study: Study) -> None:
    """Mark the folder as this study's, in place of a claim under which nothing was fitted."""
    claim = _claim_of(study)
    sweep_partials(out)
    if (out / _CLAIM).exists():
        if not _unlike(out, claim):
            return
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        for name in (LEDGER, "site_audit.parquet"):
            (out / name).unlink(missing_ok=True)
    write_json(out / _CLAIM, claim)


def _write_study(out: Path, study: Study) -> None:
    with publish(out / "study.yaml") as partial:
        partial.write_text(_text(study), encoding="utf-8")


def _is_finished(out: Path) -> bool:
    """Whether the manifest, written last, stands there with every file it names, and nothing differs from what was written."""
    if not (out / "manifest.json").exists():
        return False
    written = {name: digest for name, digest in read_json(out / "manifest.json")["hashes"].items() if name != _COHORT}
    return not changed(out) and all((out / name).is_file() and sha256(out / name) == digest for name, digest in written.items())


def _made_again(out: Path) -> list[str]:
    names = discard_changed(out)
    return [f"Made again, as they were not what this run had written: {', '.join(names)}."] if names else []


def _admit(study: Study, data: Dataset) -> tuple[Dataset, list[dict[str, object]]]:
    """Leave out patients who cannot take part, each group counted with its reason."""
    steps: list[dict[str, object]] = []

    def note(step: str, rows: np.ndarray, reason: str, *, counted: bool = True) -> None:
        events = _events(data.outcome, rows) if counted else None  # whether an event happened is what is not known
        steps.append({"step": step, "patients": int(rows.sum()), "events": events, "reason": reason})

    everyone = np.ones(len(data), dtype=bool)
    note("in the cohort", everyone, "")
    known = data.outcome.known
    if data.outcome.endpoint.kind == "survival":
        late = known & ~(np.nan_to_num(data.outcome.time) > 0)
        known = known & ~late
        if late.any():
            note("excluded", late, "follow-up time of zero")
    unknown = ~data.outcome.known
    if unknown.any():
        note("excluded", unknown, f"{study.endpoint} not known", counted=False)
    nothing = known & ~data.availability.any(axis=1)
    if nothing.any():
        note("excluded", nothing, "none of the study's modalities")
    admitted = known & ~nothing
    note("analysed", admitted, "")
    if admitted.sum() < 2 * study.protocol.folds:
        lost = "; ".join(f"{s['patients']} with {s['reason']}" for s in steps if s["step"] == "excluded")
        left_out = f", left out {lost}" if lost else ""
        msg = (
            f"study {study.name!r}: {int(admitted.sum())} of {len(data)} patients remain, too few for {study.protocol.folds}"
            f" folds{left_out}"
        )
        raise ConfigError(msg)
    return data.take(admitted), steps


def _unread(cohort: Cohort) -> list[str]:
    unread = [m for m, spec in cohort.modalities.items() if spec.kind not in shelf.names("modalities")]
    return [f"Not used, because nothing on the modalities shelf reads them yet: {', '.join(unread)}."] if unread else []


def _unvarying(data: Dataset) -> list[str]:
    named = {m: ", ".join(data.prepare(m).dropped) for m, kind in data.kinds.items() if kind == "record"}
    return [
        f"Columns of {m!r} that are the same for all patients, and are not used: {names}." for m, names in named.items() if names
    ]


def _events(target: Target, rows: np.ndarray) -> int | None:
    if target.endpoint.kind == "survival":
        return int(np.nansum(target.values[rows, 1]))
    return int(np.nansum(target.values[rows])) if target.endpoint.kind == "binary" else None


def _write_manifest(out: Path, study: Study, cohort: Cohort, warnings: list[str], *, how: HowSplit, seconds: float) -> None:
    endpoint = cohort.endpoint(study.endpoint)
    manifest = {
        "name": study.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "endpoint": asdict(endpoint),
        "cohort": {"name": cohort.name, "n": len(cohort), "modalities": {m: s.kind for m, s in cohort.modalities.items()}},
        "main_model": study.main,
        "reference_model": f"only_{study.reference}",
        "seed": study.protocol.seed,
        "commit": commit(),
        "versions": versions(),
        "hashes": {
            _COHORT: sha256(Path(study.cohort) / "manifest.json"),
            **{name: digest for name, digest in sorted(recorded(out).items()) if not name.startswith(("parts/", "subsets/"))},
        },
        "files": {str(path): sha256(path) for path in files_of(study)},
        "warnings": warnings,
        "study": study.model_dump(mode="json"),
        "split": asdict(how),
        "seconds": round(seconds, 1),
    }
    write_json(out / "manifest.json", manifest)
