"""Checks of a cohort: each problem is found, with its weight and its place, and a clean cohort is left alone."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.data.audit import check_split, tells_outcome
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.checks import check_cohort
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, write_cohort

SIZE = 60


def build(rng, *, patients=None, endpoints=None, root=None, notes=None, **tables) -> Cohort:
    """A clean cohort of sixty patients of three sites; keywords replace or add parts. A table is given as (kind, values)."""
    ids = pd.Index([f"P{i:03d}" for i in range(SIZE)], name="patient_id")
    base = pd.DataFrame(
        {
            "site": pd.array(list("ABC") * (SIZE // 3), dtype="string"),
            "os_time": rng.exponential(700, SIZE),
            "os_event": np.tile([1.0, 1.0, 0.0], SIZE // 3),
        },
        index=ids,
    )
    base = base.assign(**(patients or {}))
    tables = {"record": ("record", {"age": rng.normal(60, 8, SIZE), "sex": np.tile(["f", "m"], SIZE // 2)}), **tables}
    frames = {}
    for name, (_, values) in tables.items():
        frame = pd.DataFrame(values).rename(columns=str)
        owners = ids[: len(frame)].to_numpy()
        own = pd.DataFrame({"patient_id": owners, "sample_id": owners})
        frames[name] = pd.concat([own.drop(columns=[c for c in own if c in frame]), frame], axis=1)
    return Cohort(
        name="checked",
        patients=base,
        tables=frames,
        modalities={n: ModalitySpec(name=n, kind=k, notes={"encoder": "e", **(notes or {})}) for n, (k, _) in tables.items()},
        endpoints=endpoints or {"os": Endpoint(name="os", kind="survival", columns=("os_time", "os_event"), time_unit="days")},
        root=root,
    )


def record(rng, **columns):
    return {"record": ("record", {"age": rng.normal(60, 8, SIZE), **columns})}


def test_a_clean_cohort_has_no_findings(rng):
    text = [
        f"Invasive carcinoma, grade {g}, {n:.5f} mm. Margins free."
        for g, n in zip(rng.integers(1, 4, SIZE), rng.normal(size=SIZE), strict=True)
    ]
    cohort = build(
        rng,
        rna=("expression", rng.normal(size=(SIZE, 8)).round(3)),
        report=("report", {"text": text}),
        he=("embedding", rng.normal(size=(SIZE, 16))),
    )
    cohort.tables["rna"].columns = [*cohort.tables["rna"].columns[:2], *(f"GENE{i}" for i in range(8))]
    assert check_cohort(cohort) == ()


def unit_of_time(rng):
    return build(rng, endpoints={"os": Endpoint(name="os", kind="survival", columns=("os_time", "os_event"), time_unit="months")})


def vectors(rng):
    values = rng.normal(size=(SIZE, 16))
    values[7] = values[3]
    return values


FOUND = {
    "months that are days": (unit_of_time, "error", "units", r"years .*, probably days; correct the unit"),
    "months that are days of a short follow-up": (
        lambda r: build(
            r,
            patients={"os_time": np.linspace(20, 696, SIZE)},
            endpoints={"os": Endpoint(name="os", kind="survival", columns=("os_time", "os_event"), time_unit="months")},
        ),
        "warning",
        "units",
        r"the longest follow-up is 696 months = 58 years \(.* of 60 times reach 30 years\), probably days; check the unit",
    ),
    "thirty years": (
        lambda r: build(r, patients={"os_time": [30 * 365.25] + [100.0] * (SIZE - 1)}),
        "warning",
        "units",
        r"= 30 years \(1 of 60 times reach 30 years\); check the unit",
    ),
    "implausibly large": (
        lambda r: build(r, **record(r, lab=[-1e300] + [1.0, 2.0] * 29 + [3.0])),
        "error",
        "values",
        r"1 column\(s\) hold implausible values, beyond 1e\+30; correct or empty them: 'lab'",
    ),
    "days that are years": (
        lambda r: build(r, patients={"os_time": np.linspace(0.1, 8, SIZE)}),
        "warning",
        "units",
        "the longest follow-up is 8 days: nobody is followed for 30 days, probably years; check the unit",
    ),
    "age in days": (
        lambda r: build(r, **record(r, age=r.normal(22000, 900, SIZE))),
        "warning",
        "units",
        "above 120, .*, probably days",
    ),
    "age below zero": (
        lambda r: build(r, **record(r, age=r.normal(60, 1, SIZE) * -1)),
        "warning",
        "units",
        r"60 age\(s\) are negative",
    ),
    "no events": (lambda r: build(r, patients={"os_event": 0.0}), "error", "outcomes", r"no event\(s\) among 60 patients"),
    "few events": (lambda r: build(r, patients={"os_event": [1.0] * 5 + [0.0] * 55}), "warning", "outcomes", r"5 event\(s\)"),
    "an outcome of text": (
        lambda r: build(r, patients={"os_event": "dead"}),
        "error",
        "outcomes",
        "wanted a number in column 'os_event'",
    ),
    "one class": (
        lambda r: build(r, patients={"y": 1.0}, endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))}),
        "error",
        "outcomes",
        "all known values are the same",
    ),
    "infinite": (
        lambda r: build(r, **record(r, lab=[np.inf] + [1.0, 2.0] * 29 + [3.0])),
        "error",
        "values",
        "infinite values: 'lab'",
    ),
    "empty column": (lambda r: build(r, **record(r, lab=np.nan)), "warning", "values", r"1 column\(s\) are empty: 'lab'"),
    "constant column": (lambda r: build(r, **record(r, lab=1.0)), "note", "values", "hold one value only .*: 'lab'"),
    "free text": (
        lambda r: build(r, **record(r, note=[f"n{i}" for i in range(SIZE)])),
        "warning",
        "values",
        "mostly different values",
    ),
    "same vector": (
        lambda r: build(r, he=("embedding", vectors(r))),
        "error",
        "duplicates",
        r"hold the same values \(rows 4, 8\)",
    ),
    "same vector elsewhere": (
        lambda r: (lambda v: build(r, he=("embedding", v), cd3=("embedding", np.vstack([v[5:6], v[1:] + 9]))))(
            r.normal(size=(SIZE, 16))
        ),
        "error",
        "duplicates",
        "another modality of the same encoder",
    ),
    "same text": (
        lambda r: build(r, report=("report", {"text": ["A  b", "a b", "A b", "c"]})),
        "warning",
        "duplicates",
        r"2 row\(s\) of different patients hold the same text \(rows 1, 3\)",
    ),
    "same sample": (
        lambda r: build(
            r, he=("embedding", pd.DataFrame({"patient_id": ["P001", "P001"], "sample_id": ["a", "a"], "x": [1.0, 2.0]}))
        ),
        "error",
        "duplicates",
        r"1 row\(s\) repeat a sample that is already there \(row 2\)",
    ),
    "a site in two spellings": (
        lambda r: build(r, patients={"site": ["A", "B", "C", "a ", "B", "C"] * (SIZE // 6)}),
        "warning",
        "sites",
        "1 site.s. are spelt in several ways that differ by case or spaces only, for 20 patient",
    ),
    "no site": (lambda r: build(r, patients={"site": None}), "note", "sites", "no site is known"),
    "spreadsheet gene": (
        lambda r: build(r, rna=("expression", {"2-Sep": r.normal(size=SIZE)})),
        "error",
        "genes",
        "2-Sep → SEPTIN2",
    ),
    "counts below zero": (
        lambda r: build(r, rna=("expression", {"TP53": r.normal(size=SIZE)}), notes={"scale": "counts"}),
        "error",
        "units",
        "declared as counts, but .* negative",
    ),
    "logs that are counts": (
        lambda r: build(r, rna=("expression", {"TP53": r.poisson(900, SIZE)}), notes={"scale": "log2"}),
        "error",
        "units",
        "declared as log2, but the highest value is .*: these look like counts",
    ),
    "scores out of range": (
        lambda r: build(r, rna=("expression", {"TP53": np.append(r.normal(size=SIZE - 1), 900)}), notes={"scale": "z"}),
        "warning",
        "units",
        r"1 z-score\(s\) exceed 40, the highest is 900",
    ),
    "outcome by name": (
        lambda r: build(r, **record(r, days_to_death=r.normal(size=SIZE))),
        "warning",
        "leakage",
        "only after the index date",
    ),
    "person by column": (
        lambda r: build(r, **record(r, patient_name=["x", "y"] * 30)),
        "error",
        "identifiers",
        "identifies persons; remove",
    ),
    "birth date by column": (lambda r: build(r, patients={"DOB": 1.0}), "error", "identifiers", "identifies persons"),
}


@pytest.mark.parametrize("case", FOUND)
def test_each_problem_is_found(rng, case):
    make, level, area, message = FOUND[case]
    findings = [f for f in check_cohort(make(rng)) if f.area == area and f.level == level]
    assert len(findings) == (2 if case == "same vector elsewhere" else 1), findings  # in both modalities
    assert pd.Series([f.message for f in findings]).str.contains(message).all(), findings


def test_a_feature_that_is_the_outcome_is_an_error_whatever_its_name(rng):
    cohort = build(rng)
    times, events = cohort.patients["os_time"], cohort.patients["os_event"]
    table = cohort.tables["record"]
    table["marker"] = np.log(times.to_numpy()) * -3
    table["group"] = np.where(events == 1, "x", "y")
    found = {f.where: f.message for f in check_cohort(cohort) if f.area == "leakage"}
    assert "the follow-up time of 'os'" in found["modality 'record', column 'marker'"]
    assert "the event of 'os'" in found["modality 'record', column 'group'"]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "kind", "level"),
    [
        ("Contact: jane.doe@hospital.org", "e-mail address", "error"),
        ("SSN 123-45-6789 on file", "social security number", "error"),
        ("MRN: 00482913", "medical record number", "error"),
        ("DOB 03/04/1951, female", "date of birth", "error"),
        ("call (555) 123-4567", "phone number", "error"),
        ("Mrs. Miller was seen", "name of a person", "error"),
        ("Patient: John Smith", "name of a person", "error"),
        ("Signed, Dr. Jones", "name of a physician", "warning"),
        ("Specimen received 2011-05-06", "calendar date", "warning"),
    ],
)
def test_identifiers_are_counted_and_placed_but_never_shown(rng, text, kind, level):
    cohort = build(rng, report=("report", {"text": ["Carcinoma of the breast.", f"Grade 2. {text}."]}))
    findings = [f for f in check_cohort(cohort) if f.area == "identifiers" and kind in f.message]
    assert [(f.level, f.count, "(row 2)" in f.message) for f in findings] == [(level, 1, True)]
    secret = {"jane", "6789", "0482913", "1951", "4567", "Miller", "Smith", "Jones", "2011"}
    assert not [word for word in secret if any(word in f.message or word in f.where for f in check_cohort(cohort))]


@pytest.mark.parametrize(
    "text",
    [
        "pT2 pN1a (2/15) M0, 12/15 nodes, ER 90%, Ki-67 20-30%",
        "Sections 1-3: TCGA-A1-A0SB-01Z. Size 2.5 x 1.2 x 0.9 cm. ICD-O 8500/3, C50.4",
        "Immunohistochemistry: CK7+, p53 wild type. Block A1-A12.",
        "No carcinoma in 0/3/12 nodes; see note.",
    ],
)
def test_pathology_is_not_taken_for_an_identifier(rng, text):
    findings = check_cohort(build(rng, report=("report", {"text": [text, "other"]})))
    assert [f for f in findings if f.area == "identifiers"] == []


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["Miller, Anna", "b"], "look like names of persons"),
        (["a@b.de", "b"], "e-mail address"),
        (["123-45-6789", "b"], "social security number"),
        (["a ", "b"], "stray spaces"),
        (["ab", "AB"], "differ by case"),
    ],
)
def test_patient_ids_that_are_no_pseudonyms(ids, message):
    cohort = Cohort(name="n", patients=pd.DataFrame(index=pd.Index(ids, name="patient_id")), tables={}, modalities={})
    found = [f.message for f in check_cohort(cohort) if f.level == "error"]
    assert any(message in m for m in found)
    assert not any(name in m for m in found for name in ("Miller", "a@b", "6789"))


def test_outcome_names():
    told = [
        "OS_MONTHS",
        "days_to_death",
        "Vital_Status",
        "PFS",
        "new_tumor_event_after_initial_treatment",
        "last_contact",
        "recurrence",
    ]
    innocent = ["AGE", "sex", "lymph_nodes", "grade", "cosmic", "dose", "loss", "primarily_metastasis", "vascular_invasion_V"]
    assert [n for n in told if not tells_outcome(n)] == []
    assert [n for n in innocent if tells_outcome(n)] == []


def test_what_stands_on_both_sides_of_a_split(rng, tmp_path):
    features = rng.normal(size=(3, 4)).astype(np.float32)
    for slide in ("a", "b"):  # one slide under two names, in two patients
        bag = Bag(features=features, coords=np.zeros((3, 2), int), tissue_fraction=None, attrs=BagAttrs(slide_id="same"))
        write_bag(tmp_path / "bags" / f"{slide}.h5", bag)
    slides = pd.DataFrame(
        {"patient_id": ["P000", "P001"], "sample_id": ["a", "b"], "slide_id": ["a", "b"], "path": ["bags/a.h5", "bags/b.h5"]}
    )
    cohort = build(rng, root=tmp_path, he=("slide", slides))
    cohort = read_cohort(write_cohort(cohort, tmp_path / "cohort"))
    assert [f.message for f in check_cohort(cohort) if f.level == "error"] == [
        "1 file(s) of equal content belong to more than one patient"
    ]

    by_site = cohort.patients["site"].map({"A": 0, "B": 1, "C": 2}).astype(int)
    by_patient = pd.Series(np.arange(SIZE) // 20, index=cohort.patients.index)
    rows = lambda fold: pd.DataFrame({"patient_id": fold.index, "repeat": 0, "fold": fold.to_numpy()})  # noqa: E731
    assert [f.message for f in check_split(cohort, rows(by_site))] == [
        "1 of 1 slide files (by hash) stand on both sides (100% of the patients are concerned)"
    ]
    assert [(f.level, f.message) for f in check_split(cohort, rows(by_patient))] == [
        ("warning", "3 of 3 sites stand on both sides (100% of the patients are concerned)")
    ]
    twice = pd.concat(
        [rows(by_site), rows(by_site).iloc[:1].assign(fold=1), rows(by_site).iloc[:1].assign(patient_id="stranger")]
    )
    messages = [f.message for f in check_split(cohort, twice)]
    assert messages[0] == "1 patient(s) are tested in more than one fold, so they are trained on and tested"
    assert messages[-1] == "1 row(s) name patients that the cohort does not have"
