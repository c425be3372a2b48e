"""Build a cohort of chest films, notes and values with outcomes from ``covid_cxr_multimodal`` (ieee8023/covid-chestxray-dataset).

Usage: python benchmarks/covid_cohort.py DATA OUT [--mask-notes], where DATA holds ``covid_cxr_multimodal``. The cohort refers to
the images where they are; nothing of the data is copied but tables. What was left out, and why, is in ``OUT/import.json``.

A patient is a ``patientid``. Time zero is the patient's earliest film that this copy has (smallest ``offset`` in days since the
first symptom or admission, as the source says; films without one come last, in the order of the table): film, note and values are
those of that row, and later rows are read for outcomes only. Site is the host of the case's web page: the most that is known of
who took it. A source with fewer than ``SMALL_SITE`` patients is called ``other``.

Endpoints:
- ``adverse_outcome``: 1 where any row of the patient states intensive care, intubation or death; 0 where none does and no
  intensive care is stated, or survival without intubation. Everything else is unknown, and stays so.
- ``adverse_later``: the same, unknown where the patient is in intensive care or intubated on the index film already: on such a
  film the tube itself can be seen, and there is nothing left to predict.
- ``finding_group``: covid, other_viral, bacterial, fungal, no_finding, from the index row; ``todo`` and vague names are unknown.
- ``covid``: that label against all other known ones.

Leaks. Notes are written after the fact: they name the disease ("PCR positive for SARS-CoV-2"), and often the course ("was
intubated on day 4", "died"), and some the later films. ``--mask-notes`` takes every word of ``MASKED`` out, with what
punctuation is left over, and drops sentences on follow-up. Nothing stands in place of a word, as a mark would tell what the
word told; a note of which nothing is left is no note. What a reader can infer from the rest, its length and its grammar stays.
Views (AP supine) and the source tell of both labels as well.
The columns survival, intubated, intubation_present, went_icu, in_icu, extubated and needed_supplemental_O2 are outcomes or their
treatment and are no features; nor is ``date``, which tells covid from all else.
"""

import argparse
import re
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.importers.report import ImportReport, report_absent
from oncoweave.data.store import write_cohort
from oncoweave.train.scan_checks import look

SMALL_SITE = 8
"""Patients below which a source is not told apart."""

GROUPS = {
    "COVID-19": "covid",
    "COVID-19, ARDS": "covid",
    "SARS": "other_viral",
    "Varicella": "other_viral",
    "Influenza": "other_viral",
    "Streptococcus": "bacterial",
    "Klebsiella": "bacterial",
    "E.Coli": "bacterial",
    "Legionella": "bacterial",
    "Mycoplasma Bacterial Pneumonia": "bacterial",
    "Chlamydophila": "bacterial",
    "Bacterial": "bacterial",
    "Pneumocystis": "fungal",
    "No Finding": "no_finding",
}
"""Group of each finding; any other finding is unknown."""
CLASSES = ("covid", "other_viral", "bacterial", "fungal", "no_finding")
_VALUES = {
    "age": "age_years",
    "sex": "sex",
    "offset": "offset_days",
    "temperature": "temperature_c",
    "pO2_saturation": "oxygen_saturation_percent",
    "leukocyte_count": "leukocytes_1e9_l",
    "neutrophil_count": "neutrophils_1e9_l",
    "lymphocyte_count": "lymphocytes_1e9_l",
}

MASKED = (
    # names of the diseases that are labels, and the tests that name them
    r"covid\W?19|covid|ncov|2019\W?ncov|n?\W?cov|sars\W?cov\W?2|sars|coronavir\w*|corona|severe acute respiratory syndrome",
    r"rt\W?pcr|pcr|swab\w*|serolog\w*|wuhan|hubei|pandemic|epidemic|outbreak",
    r"influenza\w*|h1n1|mers|varicella|chicken\s?pox|herpes|viral|virus\w*",
    r"strepto\w*|pneumococc\w*|klebsiella|e\W{0,2}coli|escherichia|legion\w*|mycoplasma\w*|chlamydo?ph?il?\w*|bacteri\w*",
    r"pneumocystis|jiroveci\w*|carinii|pcp|pjp|fung\w*|aspergill\w*|lipoid|ards|acute respiratory distress syndrome",
    # the course that is the other label
    r"icu|intensive care|critical care|intubat\w*|extubat\w*|endotracheal|tracheostom\w*|ventilat\w*|ecmo|extracorporeal\w*",
    r"die[ds]?|dying|death\w*|dead|deceased|fatal\w*|passed away|expired|demise|mortality|autops\w*|post\W?mortem",
    r"discharg\w*|recover\w*|surviv\w*|healed|cured|resuscitat\w*|cardiac arrest|prone|vasopressor\w*|transferred",
)
"""Words, as patterns, that state a label or lead straight to it."""
_PATTERN = re.compile(r"\b(?:" + "|".join(MASKED) + r")\b", re.IGNORECASE)
_FOLLOW_UP = re.compile(r"(?:follow\W?up|outcome|discussion|final diagnosis|diagnosis)\s*:.*", re.IGNORECASE | re.DOTALL)
_LEFT_OVER = (
    (re.compile(r"[(\[]\W*[)\]]|(?<=[(\[])[\s,;:./-]+|[\s,;:/-]+(?=[)\]])"), ""),
    (re.compile(r"(?:(?<=\s)|^)[-/+'\u2013\u2014]+(?=[\s.,;:]|$)"), ""),
    (re.compile(r"\s*[,;:](?=\s*[.,;:?!])"), ""),
    (re.compile(r"([.?!])(?:\s*[.,;:?!])+"), r"\1"),
    (re.compile(r"\s+(?=[.,;:?!])|^[\s.,;:?!]+|[\s,;:]+$"), ""),
    (re.compile(r"\s+"), " "),
)
"""What shows that a word was taken out, such as empty brackets and commas in a row, and what becomes of it."""


def mask(note: str) -> tuple[str, int]:
    """Cut what follows a heading of diagnosis, discussion or outcome, and take label words out; also counts what was taken out.

    All notes are tidied alike, whether or not they held such a word, so that tidiness tells nothing.
    """
    left, cut = _FOLLOW_UP.subn("", note)
    left, words = _PATTERN.subn(" ", left)
    for pattern, instead in _LEFT_OVER:
        left = pattern.sub(instead, left)
    return left.strip(), cut + words


def adverse(rows: pd.DataFrame) -> float:
    """Say whether any row of a patient states intensive care, intubation or death: 1, 0, or NaN where nobody says."""
    said = {c: set(rows[c].dropna()) for c in ("went_icu", "in_icu", "intubated", "intubation_present", "survival")}
    if "N" in said["survival"] or any("Y" in said[c] for c in ("went_icu", "in_icu", "intubated", "intubation_present")):
        return 1.0
    no_care = "N" in said["went_icu"]
    lived = "Y" in said["survival"] and "N" in said["intubated"]
    return 0.0 if no_care or lived else float("nan")


def build(data: Path, *, masked: bool) -> tuple[Cohort, ImportReport]:
    """Read the table and the images, and say what was left out."""
    folder = data / "covid_cxr_multimodal"
    unsaid = {"?": None, "Not visible": None, "Would have been stated": None}
    rows = pd.read_csv(folder / "metadata.csv", dtype=str).replace(unsaid)
    report = ImportReport(source=str(folder.name), format="covid_cxr_multimodal")
    rows["days"] = pd.to_numeric(rows["offset"], errors="coerce")
    rows["lacking"] = rows["image"].isna()
    index = rows.sort_values(["lacking", "days"], kind="stable", na_position="last").drop_duplicates("patientid").sort_index()
    report.note("chosen", len(rows) - len(index), "rows", where="metadata.csv", reason="later films of a patient: outcomes only")
    index = index.set_index(pd.Index(index["patientid"], dtype=object, name="patient_id"))
    groups = index["finding"].map(GROUPS)
    reason = "finding 'todo', unspecific or rare: the group is unknown"
    report.note("unknown", int(groups.isna().sum()), "patients", where="finding", reason=reason)
    outcome = rows.groupby("patientid")[list(rows.columns)].apply(adverse).reindex(index.index)
    already = index["in_icu"].eq("Y") | index["intubation_present"].eq("Y")
    report.note("unknown", int(already.sum()), "patients", where="adverse_later", reason="in intensive care or intubated at zero")
    patients = pd.DataFrame(
        {
            "site": _sites(index, report),
            "adverse_outcome": outcome,
            "adverse_later": outcome.mask(already),
            "finding_group": groups.astype("string"),
            "covid": groups.eq("covid").astype(float).where(groups.notna()),
            "licence": index["license"].astype("string"),
        }
    )
    endpoints = (
        Endpoint(name="adverse_outcome", kind="binary", columns=("adverse_outcome",), classes=("none stated", "adverse")),
        Endpoint(name="adverse_later", kind="binary", columns=("adverse_later",), classes=("none stated", "adverse")),
        Endpoint(name="finding_group", kind="multiclass", columns=("finding_group",), classes=CLASSES),
        Endpoint(name="covid", kind="binary", columns=("covid",), classes=("other", "covid")),
    )
    tables = {"film": _films(index, folder, report), "report": _notes(index, report, masked=masked), "record": _record(index)}
    specs = {name: ModalitySpec(name=name, kind=name, notes=_NOTES.get(name, {})) for name in tables}
    cohort = Cohort(
        name="covid_cxr_masked" if masked else "covid_cxr",
        patients=patients,
        tables=tables,
        modalities=specs,
        endpoints={e.name: e for e in endpoints},
    )
    tables["film"] = _usable(cohort, report)
    report_absent(cohort, report)
    return cohort, report


_NOTES = {"film": {"format": "JPEG, 8 bit"}, "record": {"units": "in the column names"}}


def _ids(index: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": index.index, "sample_id": [f"{p}-1" for p in index.index]})


def _sites(index: pd.DataFrame, report: ImportReport) -> pd.Series:
    hosts = index["url"].map(lambda url: None if pd.isna(url) else (urlparse(url).hostname or "").removeprefix("www.") or None)
    few = hosts.map(hosts.value_counts()).lt(SMALL_SITE) & hosts.notna()
    reason = f"sources of fewer than {SMALL_SITE} patients: site 'other'"
    report.note("changed", int(few.sum()), "patients", where="url", reason=reason)
    return hosts.mask(few, "other").astype("string")


def _films(index: pd.DataFrame, folder: Path, report: ImportReport) -> pd.DataFrame:
    there = index["image"].notna().to_numpy()
    report.note("left out", int((~there).sum()), "films", where="image", reason="not among the images of this copy")
    table = _ids(index)
    images = (folder / "images").resolve()
    table["path"] = [str(images / name) if ok else None for name, ok in zip(index["image"], there, strict=True)]
    table["view"] = index["view"].to_numpy()
    return table[there].reset_index(drop=True)


def _usable(cohort: Cohort, report: ImportReport) -> pd.DataFrame:
    """Read every film once, and leave out those that cannot be used, by reason."""
    table = cohort.tables["film"]
    records = [r for r in cohort.records("film") if r is not None]
    broken = {r.patient_id: next(iter(fault)) for r in records if (fault := look("film", [r]).faults)}
    for reason in sorted(set(broken.values())):
        report.note("left out", sum(v == reason for v in broken.values()), "films", where="image", reason=reason)
    return table[~table["patient_id"].isin(broken)].reset_index(drop=True)


def _notes(index: pd.DataFrame, report: ImportReport, *, masked: bool) -> pd.DataFrame:
    table = _ids(index)
    table["text"] = index["clinical_notes"].to_numpy()
    table = table[table["text"].notna()].reset_index(drop=True)
    if masked:
        hidden = [mask(text) for text in table["text"]]
        table["text"] = [text for text, _ in hidden]
        report.note("changed", sum(count for _, count in hidden), "words", where="clinical_notes", reason="label words masked")
        report.note("changed", sum(c > 0 for _, c in hidden), "notes", where="clinical_notes", reason="held label words")
        empty = ~table["text"].str.contains(r"\w", regex=True)
        report.note("left out", int(empty.sum()), "notes", where="clinical_notes", reason="nothing left beside label words")
        table = table[~empty].reset_index(drop=True)
    return table


def _record(index: pd.DataFrame) -> pd.DataFrame:
    table = _ids(index)
    for source, name in _VALUES.items():
        values = index[source].to_numpy() if source == "sex" else pd.to_numeric(index[source], errors="coerce").to_numpy()
        table[name] = values
    measured = table[[*_VALUES.values()]].notna().any(axis=1)
    return table[np.asarray(measured)].reset_index(drop=True)


def main() -> None:
    """Write the cohort and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mask-notes", action="store_true")
    given = parser.parse_args()
    cohort, report = build(given.data, masked=given.mask_notes)
    write_cohort(cohort, given.out, documents={"import.json": report.content(cohort)})
    for entry in report.entries:
        print(f"{entry.kind}: {entry.count} {entry.what} ({entry.where}): {entry.reason}")
    for name, endpoint in cohort.endpoints.items():
        values = cohort.patients[endpoint.columns[0]]
        print(f"{name}: {values.notna().sum()} known; {values.value_counts().to_dict()}")


if __name__ == "__main__":
    main()
