"""Audit of a cohort: identifiers of persons in its columns and texts, and leakage of the outcome or across a split.

What looks like an identifier is counted and placed (table, column, row); it is never shown.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.findings import Finding, Level, rows_text
from oncoweave.data.splits import site_names

_PERSON_COLUMN = re.compile(
    r"^(?:name|address|street|mobile)$|"
    r"(?:^|_)(?:(?:first|last|family|given|middle|maiden|full|patient)_?name|surname|dob|birth_?(?:date|day)|date_?of_?birth|"
    r"geburtsdatum|nachname|vorname|ssn|social_security\w*|mrn|medical_record\w*|phone\w*|telephone|fax|e_?mail\w*|"
    r"(?:home|street|postal)_address|zip(?:_?code)?|postcode|postal_code|insurance_\w*|passport\w*|nhs_number)(?:$|_)",
    re.IGNORECASE,
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:19|20)?\d{2}"
_DATE = "(?:" + "|".join(rf"{_DAY}{s}{_DAY}{s}{_YEAR}" for s in (r"\.", "/", "-")) + r"|(?:19|20)\d{2}-\d{2}-\d{2})"
_NO_NAME = r"(?!(?:The|There|This|It|In|An?|Print|Surg|Path|Diagnosis|Date|Case|Specimen|Clinical|Operation|None|Unknown)\b)"
"""Words that follow a title or a label in reports from which the names were taken out."""
_IN_TEXT: Mapping[str, re.Pattern[str]] = {
    "e-mail address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "social security number": re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
    "medical record number": re.compile(
        r"\b(?:MRN|medical record(?: number| no\.?)?|(?:patient|hospital|case|accession) (?:id|no\.?|number))"
        r"\s*[:#]?\s*[A-Z]{0,3}\d[\d-]{4,}",
        re.IGNORECASE,
    ),
    "date of birth": re.compile(
        rf"\b(?:DOB|D\.O\.B\.|date of birth|born(?: on)?|geb(?:oren|\.)?(?: am)?)\s*:?\s*{_DATE}", re.IGNORECASE
    ),
    "phone number": re.compile(r"(?<![\w.-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,5}\)[ .-]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"),
    "name of a person": re.compile(
        r"(?:\b(?:Mr|Mrs|Ms|Miss|Herr|Frau)\.?|\b(?:Patient|Name|Pt)(?: name)?\s*:)\s+"
        + _NO_NAME
        + r"[A-Z][a-zà-ÿ'-]+(?:,?\s+[A-Z][a-zà-ÿ'-]+)*"
    ),
    "name of a physician": re.compile(r"\b(?:Dr|Prof)\.?(?:\s+med\.?)?\s+" + _NO_NAME + r"[A-Z][a-zà-ÿ'-]+"),
    "calendar date": re.compile(rf"(?<![\d./-]){_DATE}(?![\d/-]|\.\d)"),
}
_SERIOUS = frozenset(_IN_TEXT) - {"name of a physician", "calendar date"}
_IN_IDS = ("e-mail address", "social security number", "calendar date")
_OUTCOME = re.compile(
    r"(?:^|_)(?:os|dfs|pfs|rfs|dss|pfi|dfi|efs|ttp|ttr)(?:$|_)|surviv|vital_?status|death|deceased|dead(?:$|_)|died|follow_?up|"
    r"last_(?:contact|visit|information|known)|recur|relaps|progress|metastas[ei]s_(?:after|date)|new_?tumor|days_to_|months_to_|"
    r"time_to_|censor|tumor_status|cause_of|outcome|best_response|treatment_response|person_neoplasm",
    re.IGNORECASE,
)
_RELATED = 0.98
"""A feature that ranks patients by the outcome this well is the outcome."""


def tells_outcome(column: str) -> bool:
    """Say whether a column's name is that of something known only after the index date.

    >>> tells_outcome("DAYS_TO_LAST_FOLLOWUP"), tells_outcome("AGE")
    (True, False)
    """
    return bool(_OUTCOME.search(column))


def check_identifiers(cohort: Cohort) -> list[Finding]:
    """Look for identifiers of persons in patient ids, column names and texts."""
    findings = [*_in_ids(cohort)]
    tables = {"patient table": cohort.patients.reset_index(), **{f"modality {n!r}": t for n, t in cohort.tables.items()}}
    skipped = {"patient_id", "sample_id", "slide_id", "path", "slide_path"}
    for where, table in tables.items():
        for name in (c for c in table.columns if c not in skipped):
            place = f"{where}, column {name!r}"
            if _PERSON_COLUMN.search(name) and table[name].notna().any():
                message = "the column's name says that it identifies persons; remove it"
                findings.append(
                    Finding(level="error", area="identifiers", where=place, message=message, count=int(table[name].notna().sum()))
                )
            if table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype | pd.CategoricalDtype):
                findings += _in_texts(table[name], where=place)
    return findings


def readable_targets(cohort: Cohort) -> dict[str, Target]:
    """Read the endpoints that can be read; that one cannot is for the check of outcomes to say."""
    targets = {}
    for name in cohort.endpoints:
        with suppress(DataError):
            targets[name] = cohort.target(name)
    return targets


def check_outcome_leakage(cohort: Cohort) -> list[Finding]:
    """Look for features that are the outcome: by name, or because they rank patients as the outcome does."""
    findings = []
    targets = readable_targets(cohort)
    for modality, table in cohort.tables.items():
        if cohort.modalities[modality].kind != "record":
            continue
        for column in (c for c in table.columns if c not in ("patient_id", "sample_id")):
            where = f"modality {modality!r}, column {column!r}"
            if tells_outcome(column):
                message = "the name is that of something known only after the index date; a feature must be known at it"
                findings.append(Finding(level="warning", area="leakage", where=where, message=message))
            findings += _same_as_outcome(cohort, table, column, targets, where=where)
    return findings


def check_split(cohort: Cohort, splits: pd.DataFrame) -> list[Finding]:
    """Look for what stands on both sides of a split: a patient, a specimen, a slide file, a site.

    ``splits`` has the columns ``patient_id``, ``repeat`` and ``fold``, the fold in which a patient is tested.
    """
    findings = []
    for repeat, rows in splits.groupby("repeat"):
        where = f"split, repeat {repeat}"
        twice = int(rows["patient_id"].duplicated().sum())
        if twice:
            message = f"{twice} patient(s) are tested in more than one fold, so they are trained on and tested"
            findings.append(Finding(level="error", area="leakage", where=where, message=message, count=twice))
        for found in crossings(cohort, rows):
            concerned = f"{found.share:.0%} of the patients are concerned"
            message = f"{found.count} of {found.groups} {found.what} stand on both sides ({concerned})"
            findings.append(Finding(level=found.level, area="leakage", where=where, message=message, count=found.count))
    strangers = int((~splits["patient_id"].isin(cohort.patients.index)).sum())
    if strangers:
        message = f"{strangers} row(s) name patients that the cohort does not have"
        findings.append(Finding(level="error", area="leakage", where="split", message=message, count=strangers))
    return findings


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """What stands on both sides of one repeat of a split."""

    what: str
    level: Level
    count: int
    """Slides, files, specimens, sites or persons that do."""
    groups: int
    """Of how many."""
    share: float
    """Of the patients who have any."""


def crossings(cohort: Cohort, splits: pd.DataFrame) -> list[Crossing]:
    """Count what stands on both sides of one repeat of a split, in which each patient has a fold."""
    fold, found = splits.drop_duplicates("patient_id").set_index("patient_id")["fold"], []
    for what, level, groups in _groups(cohort):
        members = groups[groups.index.isin(fold.index)]
        crossing = members.to_frame("group").assign(fold=fold.reindex(members.index).to_numpy())
        spread = crossing.groupby("group")["fold"].nunique()
        if count := int((spread > 1).sum()):
            share = float(crossing["group"].isin(spread.index[spread > 1]).groupby(level=0).any().mean())
            found.append(Crossing(what=what, level=level, count=count, groups=len(spread), share=share))
    return found


def shared_files(cohort: Cohort) -> pd.Series:
    """Give each patient the content hash of each file of theirs in the folder, as the manifest has it."""
    if cohort.root is None:
        return pd.Series(dtype=object)
    from oncoweave.data.store import PATH_COLUMNS, read_manifest

    stored = read_manifest(cohort.root).files
    pairs = [
        (patient, stored[name].sha256)
        for table in cohort.tables.values()
        for column in (c for c in PATH_COLUMNS if c in table)
        for patient, name in zip(table["patient_id"], table[column], strict=True)
        if isinstance(name, str) and name in stored
    ]
    return pd.Series([h for _, h in pairs], index=[p for p, _ in pairs], dtype=object)


PERSONS = "persons (ids alike but for case and spaces)"
SLIDES = ("slide ids", "slide files (by hash)", "specimens")
"""What :func:`crossings` counts beside sites."""


def _groups(cohort: Cohort) -> Iterable[tuple[str, Level, pd.Series]]:
    ids = pd.Series(cohort.patients.index.astype(str).str.strip().str.casefold(), index=cohort.patients.index, dtype=object)
    if ids.duplicated().any():
        yield PERSONS, "error", ids
    slides = [t.set_index("patient_id")["slide_id"] for t in cohort.tables.values() if "slide_id" in t]
    specimens = [t.set_index("patient_id")["sample_id"] for t in cohort.tables.values()]
    if slides:
        yield SLIDES[0], "error", pd.concat(slides)
    if len(files := shared_files(cohort)):
        yield SLIDES[1], "error", files
    if specimens:
        yield SLIDES[2], "error", pd.concat(specimens)
    site = site_names(cohort.site, len(cohort)).set_axis(cohort.patients.index).dropna()
    if len(site):
        yield "sites", "warning", site


def _in_ids(cohort: Cohort) -> list[Finding]:
    ids = pd.Series(cohort.patients.index.astype(str))
    findings = _in_texts(ids, where="patient ids", kinds=_IN_IDS)
    words = ids.str.fullmatch(r"[A-Z][a-zà-ÿ'-]+(?:[ ,_]+[A-Z][a-zà-ÿ'-]+)+")
    if words.any():
        rows = rows_text(np.flatnonzero(words).tolist())
        message = f"{int(words.sum())} patient id(s) look like names of persons ({rows}); give pseudonyms"
        findings.append(Finding(level="error", area="identifiers", where="patient ids", message=message, count=int(words.sum())))
    return findings


def _in_texts(column: pd.Series, *, where: str, kinds: Iterable[str] = tuple(_IN_TEXT)) -> list[Finding]:
    text = column.astype(object).map(lambda v: v if isinstance(v, str) else "").reset_index(drop=True)
    findings = []
    for kind in kinds:
        found = np.flatnonzero(text.str.contains(_IN_TEXT[kind]))
        if len(found):
            message = f"{len(found)} row(s) hold what looks like a {kind} ({rows_text(found.tolist())}); remove or replace it"
            level: Level = "error" if kind in _SERIOUS else "warning"
            findings.append(Finding(level=level, area="identifiers", where=where, message=message, count=len(found)))
    return findings


def _same_as_outcome(
    cohort: Cohort, table: pd.DataFrame, column: str, targets: Mapping[str, Target], *, where: str
) -> list[Finding]:
    if not pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column]):
        values = pd.Series(pd.factorize(table[column])[0], index=table["patient_id"]).replace(-1, np.nan)
        if values.nunique() != 2:
            return []
    else:
        values = pd.Series(table[column].to_numpy(dtype=float, na_value=np.nan), index=table["patient_id"])
    of_patient = values.groupby(level=0).mean().reindex(cohort.patients.index)
    findings = []
    for name, target in targets.items():
        outcome = target.values if target.values.ndim == 1 else target.values[:, 0]
        labels = ["the follow-up time"] if target.endpoint.kind == "survival" else ["the outcome"]
        pairs = [(labels[0], outcome), *([("the event", target.values[:, 1])] if target.endpoint.kind == "survival" else [])]
        for what, truth in pairs:
            related = _spearman(of_patient.to_numpy(), truth)
            if related > _RELATED:
                message = f"ranks patients as {what} of {name!r} does (Spearman {related:.3f}); it is the outcome, not a feature"
                findings.append(Finding(level="error", area="leakage", where=where, message=message))
    return findings


def _spearman(left: np.ndarray, right: np.ndarray) -> float:
    both = ~(np.isnan(left) | np.isnan(right))
    if both.sum() < 10 or len(np.unique(left[both])) < 2 or len(np.unique(right[both])) < 2:
        return 0.0
    a, b = (pd.Series(v[both]).rank().to_numpy() for v in (left, right))
    a, b = a - a.mean(), b - b.mean()
    return float(abs(a @ b) / np.sqrt((a @ a) * (b @ b)))
