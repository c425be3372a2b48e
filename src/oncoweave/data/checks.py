"""What is checked of a cohort before anything is learned from it: values, duplicates, genes, units, outcomes and leaks."""

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.data.audit import check_identifiers, check_outcome_leakage, check_split
from oncoweave.data.cohort import Cohort
from oncoweave.data.duplicates import check_duplicates
from oncoweave.data.findings import Finding, Level, rows_text, sorted_findings
from oncoweave.data.genes import GeneTable, check_genes
from oncoweave.data.plausible import LARGEST, check_age, check_scale, check_times
from oncoweave.data.splits import site_names
from oncoweave.data.store import verify

IDS = ("patient_id", "sample_id")
FEW_EVENTS = 20
"""Fewer events than this do not carry a model of several features."""
_FREE_TEXT = 20
"""A text column with more values than this, most of them different, is not a category."""


def check_cohort(
    cohort: Cohort, *, splits: pd.DataFrame | None = None, genes: GeneTable | None = None, hashes: bool = True
) -> tuple[Finding, ...]:
    """Check a cohort; errors first. ``hashes`` reads every file of a cohort on disk again and compares it with the manifest."""
    findings: list[Finding] = []
    if hashes and cohort.root is not None:
        findings += [Finding(level="error", area="files", where="cohort folder", message=text) for text in verify(cohort.root)]
    findings += check_patients(cohort)
    findings += check_endpoints(cohort)
    findings += check_duplicates(cohort)
    for name, table in cohort.tables.items():
        findings += check_values(table, kind=cohort.modalities[name].kind, where=f"modality {name!r}")
        if cohort.modalities[name].kind in ("expression", "variants"):
            findings += check_genes([c for c in map(str, table) if c not in IDS], where=f"modality {name!r}", genes=genes)
        if cohort.modalities[name].kind == "expression":
            values = table.drop(columns=list(IDS)).to_numpy(dtype=float, na_value=np.nan)
            findings += check_scale(values, cohort.modalities[name].notes.get("scale"), where=f"modality {name!r}")
    findings += _check_ages(cohort)
    findings += check_identifiers(cohort)
    findings += check_outcome_leakage(cohort)
    if splits is not None:
        findings += check_split(cohort, splits)
    return sorted_findings(findings)


def check_patients(cohort: Cohort) -> list[Finding]:
    """Look for ids that are nearly the same, patients without anything, and sites."""
    findings = []
    ids = pd.Series(cohort.patients.index.astype(str))
    folded = ids.str.strip().str.casefold()
    near = folded.duplicated(keep=False) | (ids != ids.str.strip())
    if near.any():
        message = f"{int(near.sum())} patient id(s) have stray spaces, or differ by case or spaces only ({_rows(near)})"
        findings.append(Finding(level="error", area="duplicates", where="patient ids", message=message, count=int(near.sum())))
    absent = ~cohort.availability().any(axis=1) if cohort.tables else pd.Series(data=True, index=cohort.patients.index)
    if absent.any():
        message = f"{int(absent.sum())} patient(s) have no modality at all ({_rows(absent)}); no model can say anything of them"
        findings.append(Finding(level="warning", area="values", where="patient table", message=message, count=int(absent.sum())))
    findings += _check_spellings(cohort)
    if cohort.site.nunique() < 2:
        known = "one site" if cohort.site.nunique() else "no site"
        message = f"{known} is known: nothing can be said of other hospitals, and no split can be grouped by site"
        findings.append(Finding(level="note", area="sites", where="patient table", message=message))
    elif unknown := int(cohort.site.isna().sum()):
        message = f"the site of {unknown} patient(s) is not known"
        findings.append(Finding(level="note", area="sites", where="patient table", message=message, count=unknown))
    return findings


def _check_spellings(cohort: Cohort) -> list[Finding]:
    """Look for hospitals whose names differ by case or spaces only; splits take them as one."""
    spelt = pd.DataFrame({"site": cohort.site.to_numpy(dtype=object), "name": site_names(cohort.site, len(cohort)).to_numpy()})
    spelt = spelt.dropna()
    several = spelt.groupby("name")["site"].transform("nunique") > 1
    if not several.any():
        return []
    message = (
        f"{spelt.loc[several, 'name'].nunique()} site(s) are spelt in several ways that differ by case or spaces only, for"
        f" {int(several.sum())} patient(s): splits take each as one, models and tables by site as several; spell them alike"
    )
    return [Finding(level="warning", area="sites", where="patient table", message=message, count=int(several.sum()))]


def check_endpoints(cohort: Cohort) -> list[Finding]:
    """Look for outcomes that cannot be read, do not vary, are few, or have times in the wrong unit."""
    findings = []
    for name in cohort.endpoints:
        where = f"endpoint {name!r}"
        try:
            target = cohort.target(name)
        except DataError as error:
            findings.append(Finding(level="error", area="outcomes", where=where, message=str(error)))
            continue
        findings += check_times(target)
        findings += _check_amount(target, where=where)
    if not cohort.endpoints:
        findings.append(
            Finding(level="note", area="outcomes", where="cohort", message="no endpoint is declared: nothing can be learned")
        )
    return findings


def check_values(table: pd.DataFrame, *, kind: str, where: str) -> list[Finding]:
    """Look for columns that are infinite, implausibly large, empty, constant, or free text."""
    values = table.drop(columns=[c for c in (*IDS, "slide_id", "path", "slide_path", "text") if c in table])
    numbers = values.select_dtypes("number")
    sizes = np.abs(numbers.to_numpy(dtype=float, na_value=np.nan))
    infinite, huge = np.isinf(sizes).any(axis=0), ((sizes > LARGEST) & ~np.isinf(sizes)).any(axis=0)
    found: list[tuple[Level, pd.Index | list[str], str]] = [
        ("error", numbers.columns[infinite], "column(s) hold infinite values"),
        ("error", numbers.columns[huge], f"column(s) hold implausible values, beyond {LARGEST:.0e}; correct or empty them"),
        ("warning", values.columns[values.isna().all(axis=0)], "column(s) are empty"),
        ("note", _constant(values), "column(s) hold one value only and can tell nothing"),
    ]
    if kind == "record":
        found.append(
            ("warning", _free_text(values), "text column(s) hold mostly different values: dates, free text or mistyped numbers")
        )
    findings = []
    for level, columns, message in found:
        if len(columns):
            shown = ", ".join(map(repr, list(columns)[:4])) + (", …" if len(columns) > 4 else "")
            text = f"{len(columns):,} {message}: {shown}"
            findings.append(Finding(level=level, area="values", where=where, message=text, count=len(columns)))
    return findings


def _check_amount(target: Target, *, where: str) -> list[Finding]:
    known, kind = target.known, target.endpoint.kind
    if not known.any():
        return [Finding(level="error", area="outcomes", where=where, message="is known for no patient")]
    if kind == "survival":
        events = int(target.event[known].sum())
        level: Level | None = "error" if events == 0 else "warning" if events < FEW_EVENTS else None
        message = f"{events or 'no'} event(s) among {int(known.sum())} patients: too few to learn from"
    else:
        counts = pd.Series(target.values[known].ravel()).value_counts()
        least = int(counts.min()) if len(counts) > 1 else 0
        level = (
            None
            if kind == "regression" and len(counts) > 1
            else "error"
            if least == 0
            else "warning"
            if least < FEW_EVENTS
            else None
        )
        message = (
            "all known values are the same" if least == 0 else f"the rarest class has {least} patient(s): too few to learn from"
        )
    return [] if level is None else [Finding(level=level, area="outcomes", where=where, message=message)]


def _check_ages(cohort: Cohort) -> list[Finding]:
    findings = []
    tables = {"patient table": cohort.patients, **{f"modality {n!r}": t for n, t in cohort.tables.items()}}
    for where, table in tables.items():
        for name in (c for c in table.columns if "age" in c.lower().split("_") and pd.api.types.is_numeric_dtype(table[c])):
            findings += check_age(table[name].to_numpy(dtype=float, na_value=np.nan), where=f"{where}, column {name!r}")
    return findings


def _constant(values: pd.DataFrame) -> list[str]:
    return [c for c in values.columns if values[c].nunique() == 1]


def _free_text(values: pd.DataFrame) -> list[str]:
    texts = values.select_dtypes(include=["object", "string", "category"])
    return [c for c in map(str, texts) if texts[c].nunique() > _FREE_TEXT and texts[c].nunique() > 0.5 * texts[c].notna().sum()]


def _rows(wrong: pd.Series) -> str:
    return rows_text(np.flatnonzero(wrong.to_numpy()).tolist())
