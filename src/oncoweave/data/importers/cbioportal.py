"""cBioPortal study folder: clinical tables, mutations, copy number, expression and the gene-panel matrix."""

import re
from pathlib import Path

import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.audit import tells_outcome
from oncoweave.data.cohort import SITE, Cohort, ModalitySpec
from oncoweave.data.importers.alterations import read_expression, read_variants
from oncoweave.data.importers.barcodes import is_normal, tcga_site
from oncoweave.data.importers.ids import FIRST_ROW, check_ids
from oncoweave.data.importers.outcomes import store_survival
from oncoweave.data.importers.report import ImportReport, report_absent
from oncoweave.data.importers.sources import TableOfPatients, first_place, numbers, pick, read_source, typed
from oncoweave.data.importers.study import Study, read_study

_ENDPOINTS = {
    "OS": "overall_survival",
    "DSS": "disease_specific_survival",
    "DFS": "disease_free_survival",
    "PFS": "progression_free_survival",
    "RFS": "recurrence_free_survival",
}
_SITES = ("CENTER", "INSTITUTE", "TISSUE_SOURCE_SITE_CODE", "TISSUE_SOURCE_SITE", "HOSPITAL")
_EVENTS = re.compile(r"([01]):")
_WORDS = {"LIVING": 0.0, "ALIVE": 0.0, "DISEASEFREE": 0.0, "DECEASED": 1.0, "DEAD": 1.0, "RECURRED": 1.0, "PROGRESSED": 1.0}
_READ = ("CLINICAL", "MUTATION_EXTENDED", "GENE_PANEL_MATRIX", "CANCER_TYPE")


def read(source: Path) -> tuple[Cohort, ImportReport]:
    """Read a study folder.

    Survival endpoints are the pairs ``X_STATUS`` and ``X_MONTHS``. Attributes of patients become the modality ``clinical``, of
    samples ``specimen``; those that tell the outcome are left out. Normal samples are left out. What is not imported is counted.

    Raises:
        DataError: no clinical tables, an event that is neither 0 nor 1, or a panel that is not defined.
    """
    report = ImportReport(source=source.name, format="cbioportal")
    study = read_study(source)
    samples = _read_samples(study, report)
    attributes, place = _read_patients(study, samples, report)
    endpoints, outcomes = _read_outcomes(attributes, place, report)
    site = _site(attributes, report)
    tables, specs = _read_modalities(study, samples, attributes.drop(columns=outcomes.used), report)
    cohort = Cohort(
        name=study.name,
        patients=pd.concat([site, outcomes.table], axis=1).rename_axis("patient_id"),
        tables=tables,
        modalities=specs,
        endpoints=endpoints,
    )
    _report_unread(study, report)
    report_absent(cohort, report)
    return cohort, report


class _Outcomes:
    """Outcome columns made, and the attributes they were made of."""

    def __init__(self, table: pd.DataFrame, used: list[str]) -> None:
        self.table = table
        self.used = used


def _clinical(study: Study, datatype: str, *names: str) -> Path | None:
    declared = study.find("CLINICAL", datatype)
    paths = [declared.path] if declared else [study.folder / n for n in names]
    return next((p for p in paths if p.is_file()), None)


def _read_samples(study: Study, report: ImportReport) -> pd.DataFrame:
    path = _clinical(study, "SAMPLE_ATTRIBUTES", "data_clinical_sample.txt", "data_clinical_samples.txt")
    if path is None:
        msg = f"{study.folder}: no clinical sample table (data_clinical_sample.txt), which says whose samples are whose"
        raise DataError(msg)
    table = read_source(path)
    pick(table, ["PATIENT_ID", "SAMPLE_ID"], where=path.name)
    check_ids(table["PATIENT_ID"], where=path.name)
    repeated = table["SAMPLE_ID"].duplicated()
    if repeated.any():
        msg = (
            f"{path.name}: {int(repeated.sum())} sample(s) are listed more than once, first in {first_place(repeated)};"
            " list each once"
        )
        raise DataError(msg)
    kind = table.get("SAMPLE_TYPE", pd.Series("", index=table.index)).fillna("").astype(str)
    normal = table["SAMPLE_ID"].map(is_normal) | kind.str.contains("normal", case=False)
    report.note("left out", int(normal.sum()), "samples", where=path.name, reason="normal tissue, not tumour")
    return table[~normal].set_index("SAMPLE_ID")


def _read_patients(study: Study, samples: pd.DataFrame, report: ImportReport) -> tuple[pd.DataFrame, TableOfPatients]:
    """Read patient attributes and where each stands; a patient of the sample table only is kept, with nothing known."""
    path = _clinical(study, "PATIENT_ATTRIBUTES", "data_clinical_patient.txt", "data_clinical_patients.txt")
    sampled = pd.Index(samples["PATIENT_ID"].unique())
    if path is None:
        report.note(
            "unknown", len(sampled), "patients", where=study.name, reason="there is no clinical patient table: no outcomes"
        )
        return pd.DataFrame(index=sampled), TableOfPatients(name=study.name, lines={})
    table = read_source(path)
    pick(table, ["PATIENT_ID"], where=path.name)
    check_ids(table["PATIENT_ID"], where=path.name)
    repeated = table["PATIENT_ID"].duplicated()
    if repeated.any():
        first = first_place(repeated)
        msg = f"{path.name}: {int(repeated.sum())} patient(s) have more than one row, first in {first}; keep one row a patient"
        raise DataError(msg)
    lines = dict(zip(table["PATIENT_ID"], table.index + FIRST_ROW, strict=True))
    table = table.set_index("PATIENT_ID")
    only = sampled.difference(table.index, sort=False)
    report.note("unknown", len(only), "patients", where=path.name, reason="in the sample table only: kept, attributes not known")
    return table.reindex(table.index.append(only)), TableOfPatients(name=path.name, lines=lines)


def _read_outcomes(
    attributes: pd.DataFrame, place: TableOfPatients, report: ImportReport
) -> tuple[dict[str, Endpoint], _Outcomes]:
    endpoints: dict[str, Endpoint] = {}
    frames, used = [pd.DataFrame(index=attributes.index)], []
    stems = [c.removesuffix("_STATUS") for c in map(str, attributes) if c.endswith("_STATUS")]
    for stem in (s for s in stems if f"{s}_MONTHS" in attributes):
        status, months = f"{stem}_STATUS", f"{stem}_MONTHS"
        name = _ENDPOINTS.get(stem, stem.lower())
        time = numbers(attributes[[months]], where=place)[months]
        event = attributes[status].map(_event)
        strange = event.isna() & attributes[status].notna()
        if strange.any():
            first = attributes.loc[strange, status].iloc[0]
            msg = (
                f"{place}: attribute {status}: {int(strange.sum())} value(s) say neither 0: nor 1:, first {first!r} in"
                f" {first_place(strange, place)}"
            )
            raise DataError(msg)
        endpoints[name], frame = store_survival(name, time, event.astype(float), unit="months", where=place)
        frames.append(frame)
        used += [status, months]
        lost = int((time.isna() & (event == 1)).sum())
        reason = f"have the event but no time ({months} is empty): their events are lost, {int((event == 1).sum())} there are"
        report.note("unknown", lost, "patients", where=name, reason=reason)
        report.note(
            "chosen", int(frame.notna().all(axis=1).sum()), "patients", where=name, reason=f"outcome from {status} and {months}"
        )
    return endpoints, _Outcomes(pd.concat(frames, axis=1), used)


def _event(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    match = _EVENTS.match(value)
    return float(match[1]) if match else _WORDS.get(value.replace(" ", "").split("/")[0].upper())


def _site(attributes: pd.DataFrame, report: ImportReport) -> pd.Series:
    column = next((c for c in _SITES if c in attributes), None)
    if column is not None:
        report.note(
            "chosen", int(attributes[column].notna().sum()), "patients", where="site", reason=f"read from the attribute {column}"
        )
        return attributes[column].astype("string").rename(SITE)
    site = pd.Series([tcga_site(p) for p in attributes.index], index=attributes.index, dtype="string", name=SITE)
    report.note("chosen", int(site.notna().sum()), "patients", where="site", reason="read from the TCGA barcode")
    report.note(
        "unknown", int(site.isna().sum()), "patients", where="site", reason="no attribute and no TCGA barcode names the site"
    )
    return site


def _read_modalities(
    study: Study, samples: pd.DataFrame, attributes: pd.DataFrame, report: ImportReport
) -> tuple[dict[str, pd.DataFrame], dict[str, ModalitySpec]]:
    of_sample = samples["PATIENT_ID"]
    of_patient = pd.Series(attributes.index, index=attributes.index)
    tables: dict[str, pd.DataFrame] = {}
    specs: dict[str, ModalitySpec] = {}

    def add(name: str, kind: str, values: pd.DataFrame | None, owner: pd.Series, notes: dict[str, str]) -> None:
        if values is not None and len(rows := values.dropna(how="all")) and len(values.columns):
            ids = pd.DataFrame({"patient_id": owner.loc[rows.index].to_numpy(), "sample_id": rows.index.to_numpy()})
            tables[name] = pd.concat([ids, rows.reset_index(drop=True)], axis=1)
            specs[name] = ModalitySpec(name=name, kind=kind, notes=notes)

    add("clinical", "record", _features(attributes, where="clinical", report=report), of_patient, {})
    add("specimen", "record", _features(samples.drop(columns="PATIENT_ID"), where="specimen", report=report), of_sample, {})
    add("variants", "variants", read_variants(study, samples.index, report), of_sample, {})
    expression, notes = read_expression(study, samples.index, report) or (None, {})
    add("expression", "expression", expression, of_sample, notes)
    return tables, specs


def _features(attributes: pd.DataFrame, *, where: str, report: ImportReport) -> pd.DataFrame:
    """Type the attributes; leave out those that tell the outcome, hold one value only, or name each patient."""
    known = attributes.drop(columns=[c for c in (*_SITES, "SITE") if c in attributes])
    leaky = [c for c in map(str, known) if tells_outcome(c)]
    report.note("left out", len(leaky), "attributes", where=where, reason=f"tell the outcome: {', '.join(leaky)}")
    known = known.drop(columns=leaky)
    constant = [c for c in map(str, known) if known[c].nunique() < 2]
    report.note("left out", len(constant), "attributes", where=where, reason=f"hold one value or none: {', '.join(constant)}")
    frame = pd.DataFrame({c: typed(known[c]) for c in known if c not in constant}, index=known.index)
    unique = [
        c
        for c in map(str, frame.select_dtypes(object))
        if frame[c].nunique() > 20 and frame[c].nunique() == frame[c].notna().sum()
    ]
    report.note(
        "left out", len(unique), "attributes", where=where, reason=f"different for each row, an identifier: {', '.join(unique)}"
    )
    return frame.drop(columns=unique)


def _report_unread(study: Study, report: ImportReport) -> None:
    expression = study.find("MRNA_EXPRESSION", "CONTINUOUS", "Z-SCORE", "DISCRETE")
    copies = study.find("COPY_NUMBER_ALTERATION", "DISCRETE", "DISCRETE_LONG")
    unread = [f.path.name for f in study.files if f.alteration not in _READ and f not in (expression, copies)]
    report.note("left out", len(unread), "files", where=study.name, reason=f"no modality reads them yet: {', '.join(unread)}")
