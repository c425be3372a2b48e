"""Films and volumes of a cohort, each read as a study reads it: how many cannot be, and why; no patient is named."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oncoweave.core import shelf
from oncoweave.core.errors import DataError, MissingExtraError
from oncoweave.core.units import scan_unit
from oncoweave.data.cohort import Cohort, Record
from oncoweave.data.findings import Finding
from oncoweave.scans.dicom import ScanError
from oncoweave.scans.films import burned_in

KINDS = ("film", "volume")
Records = Sequence[Record | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What became of a modality's files."""

    faults: dict[str, int]
    """Patients whose film or volume cannot be used, by reason."""
    burned_in: int = 0
    """Patients with a film that says that words are part of its pixels."""


def look(kind: str, records: Iterable[Record | None]) -> Looked:
    """Read films or volumes, but not the masks beside these, and count what cannot be used.

    Raises:
        MissingExtraError: a library that the files need is not installed.
    """
    module, faults, words = shelf.load("modalities", kind), Counter[str](), 0
    for record in records:
        if record is None:
            continue
        try:
            sample = module.read(replace(record, rows=record.rows.drop(columns="mask_path", errors="ignore")))
            if sample is not None:
                module.check(sample)
        except ScanError as error:
            faults[error.reason] += 1
        else:
            words += kind == "film" and sample is not None and any(burned_in(Path(film.path)) for film in sample.films)
    return Looked(faults=dict(faults), burned_in=words)


def check_scans(cohort: Cohort, *, showing: Callable[[Records, str], Iterable[Record | None]]) -> list[Finding]:
    """Read every film and volume of a cohort; ``showing`` goes through a modality's records, and shows how far it is."""
    findings = []
    for name, spec in cohort.modalities.items():
        if spec.kind in KINDS:
            where = f"modality {name!r}"
            try:
                if spec.kind == "volume":
                    scan_unit(spec.notes.get("unit", "HU"))
                found = look(spec.kind, showing(cohort.records(name), f"reading {name}"))
            except DataError as error:
                findings.append(Finding(level="error", area="units", where=where, message=str(error)))
            except MissingExtraError as error:
                findings.append(Finding(level="warning", area="files", where=where, message=f"cannot be looked at: {error}"))
            else:
                findings += _findings(found, kind=spec.kind, where=where)
    return findings


def _findings(found: Looked, *, kind: str, where: str) -> list[Finding]:
    findings = []
    if found.faults:
        count, reasons = sum(found.faults.values()), ", ".join(f"{n} {reason}" for reason, n in found.faults.items())
        message = (
            f"{count} patient(s) have a {kind} that cannot be used: {reasons}; a study ends at the first, with its row and file:"
            " correct the files, or drop the rows"
        )
        findings.append(Finding(level="error", area="files", where=where, message=message, count=count))
    if found.burned_in:
        message = (
            f"{found.burned_in} patient(s) have a film that says that words are part of its pixels (BurnedInAnnotation): it may"
            " show a name, and patient folders draw films as they are"
        )
        findings.append(Finding(level="warning", area="identifiers", where=where, message=message, count=found.burned_in))
    return findings
