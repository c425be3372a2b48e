"""The plain manifest: what is declared is what is made, and what cannot be used is refused by name."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.bags import Bag, BagAttrs, read_bag, write_bag
from oncoweave.data.importers.choose import detect, import_cohort
from oncoweave.data.importers.ids import FIRST_ROW
from oncoweave.data.importers.manifest import read
from oncoweave.data.importers.sources import read_source
from oncoweave.data.store import read_cohort, verify, write_cohort

TARGETS = """patient_id,days,status,grade,hosp,er,pr,score
001,400,deceased,G1,A,1,0,0.5
002,1200,living,G3,A,,1,
1,30,living,G2,,0,,1.25
x9,,deceased,,B,,,2
"""
CLINICAL = """patient_id,age,stage,code,smoker,date
001,61,II,0012,true,x
002,,III,0100,false,y
1,70,II,0012,,z
"""
PAGE = {
    "name": "tiny",
    "patients": {"table": "targets.csv", "site": "hosp"},
    "endpoints": {
        "os": {
            "kind": "survival",
            "time": "days",
            "event": "status",
            "event_values": {"deceased": 1, "living": 0},
            "unit": "days",
        }
    },
    "modalities": {"clinical": {"kind": "record", "table": "clinical.csv", "exclude": ["date"]}},
}


class Source:
    """A manifest page and its tables in a folder, changed key by key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.write("targets.csv", TARGETS)
        self.write("clinical.csv", CLINICAL)
        self.page = yaml.safe_load(yaml.safe_dump(PAGE))

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def read(self):
        (self.folder / "page.yaml").write_text(yaml.safe_dump(self.page))
        return read(self.folder / "page.yaml", scratch=self.folder / "scratch")


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


def reasons(report):
    return {(e.kind, e.what, e.where): e.count for e in report.entries}


def test_patients_outcomes_and_values_are_what_the_tables_say(source):
    cohort, report = source.read()
    assert cohort.patient_ids.tolist() == ["001", "002", "1", "x9"]  # '001' is not 1
    np.testing.assert_array_equal(cohort.target("os").values, [[400, 1], [1200, 0], [30, 0], [np.nan, 1]])
    assert cohort.endpoint("os").time_unit == "days"
    assert cohort.site.tolist() == ["A", "A", pd.NA, "B"]
    table = cohort.tables["clinical"]
    assert table.columns.tolist() == ["patient_id", "sample_id", "age", "stage", "code", "smoker"]
    assert table["code"].tolist() == ["0012", "0100", "0012"]  # a code keeps its zeros
    assert table["smoker"].dtype == "boolean"
    np.testing.assert_array_equal(table["age"], [61, np.nan, 70])
    assert cohort.records("clinical")[3] is None
    assert reasons(report) == {
        ("unknown", "patients", "targets.csv"): 1,  # site
        ("left out", "columns", "modality 'clinical', clinical.csv"): 1,
        ("unknown", "patients", "all modalities"): 1,  # x9 lacks everything, and stays
        ("unknown", "patients", "endpoint os"): 1,  # NaN time
        ("chosen", "columns", "modality 'clinical', clinical.csv"): 1,  # zeros kept
    }


def test_the_other_kinds_of_endpoint(source):
    source.page["endpoints"] |= {
        "dead_1y": {"kind": "binary", "of": "os", "within": 365},
        "type": {"kind": "multiclass", "column": "hosp"},
        "grade": {"kind": "ordinal", "column": "grade", "classes": ["G1", "G2", "G3"]},
        "receptors": {"kind": "multilabel", "columns": ["er", "pr"]},
        "score": {"kind": "regression", "column": "score"},
    }
    cohort, _ = source.read()
    # dead on day 400 and alive on day 1200: not dead within 365; censored on day 30: not known
    np.testing.assert_array_equal(cohort.target("dead_1y").values, [0, 0, np.nan, np.nan])
    assert cohort.endpoint("type").classes == ("A", "B")
    np.testing.assert_array_equal(cohort.target("grade").values, [0, 2, 1, np.nan])
    np.testing.assert_array_equal(cohort.target("receptors").values, [[1, 0], [np.nan, 1], [0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(cohort.target("score").values, [0.5, np.nan, 1.25, 2])


def test_a_censored_time_stands_in_for_patients_without_the_event(source):
    source.write("targets.csv", "patient_id,recurred,days_to,last\na,yes,50,300\nb,no,,200\nc,,70,100\n")
    source.write("clinical.csv", "patient_id,age,date\na,1,x\nb,2,y\nc,3,z\n")
    source.page["patients"] = {"table": "targets.csv"}
    source.page["endpoints"] = {
        "rec": {
            "kind": "survival",
            "time": "days_to",
            "censored_time": "last",
            "event": "recurred",
            "unit": "days",
            "event_values": {True: 1, False: 0},  # what a bare yes and no become in YAML
        }
    }
    cohort, _ = source.read()
    np.testing.assert_array_equal(cohort.target("rec").values, [[50, 1], [200, 0], [100, np.nan]])


def test_genes_in_rows_npz_parquet_and_samples(source, rng):
    source.write("rna.tsv", "gene\tentrez\t001\t1\tstranger\nTP53\t7157\t0.1\t-2\t1\nKRAS\t3845\tNA\t3e-5\t1\n")
    vectors = rng.normal(size=(2, 12)).astype(np.float32)
    np.savez(source.folder / "he.npz", patient_id=np.array(["002", "001"]), x=vectors)
    pd.DataFrame({"patient_id": ["1", "1"], "core": ["a", "b"], "EGFR_cnv": [2, -1]}).to_parquet(source.folder / "cnv.parquet")
    source.page["modalities"] |= {
        "rna": {"kind": "expression", "table": "rna.tsv", "orientation": "genes_in_rows", "exclude": ["entrez"], "scale": "z"},
        "he": {"kind": "embedding", "table": "he.npz", "encoder": "e1"},
        "cnv": {"kind": "variants", "table": "cnv.parquet", "sample": "core"},
    }
    cohort, report = source.read()
    rna = cohort.tables["rna"].set_index("patient_id")
    assert rna.loc["1", ["TP53", "KRAS"]].tolist() == [-2, 3e-5]
    assert np.isnan(rna.loc["001", "KRAS"])
    assert cohort.modalities["rna"].notes == {"scale": "z"}
    assert reasons(report)["left out", "rows", "modality 'rna', rna.tsv (genes in rows: lines are its columns)"] == 1
    assert cohort.modalities["he"].notes == {"encoder": "e1"}
    np.testing.assert_array_equal(cohort.tables["he"].iloc[:, 2:].to_numpy(), vectors)
    assert cohort.tables["he"].dtypes.iloc[-1] == np.float32
    assert cohort.tables["cnv"]["sample_id"].tolist() == ["a", "b"]


def test_rows_without_any_value_are_absent(source):
    source.write("clinical.csv", "patient_id,age,stage,date\n001,,NA,x\n002,3,II,y\n")
    cohort, report = source.read()
    assert cohort.records("clinical")[0] is None
    assert reasons(report)["left out", "rows", "modality 'clinical', clinical.csv"] == 1


def test_blank_texts_are_no_reports(source):
    source.write("notes.csv", 'patient_id,text\n001,"  "\n002,a nodule\n')
    source.page["modalities"]["notes"] = {"kind": "report", "table": "notes.csv", "text": "text"}
    cohort, report = source.read()
    assert [r is None for r in cohort.records("notes")] == [True, False, True, True]
    assert reasons(report)["left out", "rows", "modality 'notes', notes.csv"] == 1


def test_equal_vectors_are_empty_images(source, rng):
    values = rng.normal(size=(3, 10))
    np.savez(source.folder / "a.npz", patient_id=np.array(["001", "002", "1"]), x=values)
    np.savez(source.folder / "b.npz", patient_id=np.array(["001", "x9"]), x=values[[2, 0]] + [[0], [9]])  # 001 in b is 1 in a
    embedding = {"kind": "embedding", "encoder": "e", "repeated_vectors": "absent"}
    source.page["modalities"] |= {"a": {**embedding, "table": "a.npz"}, "b": {**embedding, "table": "b.npz"}}
    cohort, report = source.read()
    assert cohort.tables["a"]["patient_id"].tolist() == ["001", "002"]
    assert cohort.tables["b"]["patient_id"].tolist() == ["x9"]
    assert reasons(report)["left out", "rows", "modality 'a'"] == 1


def test_bags_come_into_the_folder(source, tmp_path, rng):
    features = rng.normal(size=(5, 3)).astype(np.float16)
    write_bag(
        tmp_path / "x.h5",
        Bag(features=features, coords=np.zeros((5, 2), int), tissue_fraction=None, attrs=BagAttrs(slide_id="x")),
    )
    source.write("slides.csv", "patient_id,slide,file\n001,s1,x.h5\n002,s2,broken.h5\n")
    (tmp_path / "broken.h5").write_bytes(b"not hdf5")
    source.page["modalities"]["wsi"] = {"kind": "slide", "table": "slides.csv", "slide": "slide", "path": "file", "encoder": "e1"}
    (tmp_path / "page.yaml").write_text(yaml.safe_dump(source.page))
    _, report = import_cohort(tmp_path / "page.yaml", tmp_path / "out")
    stored = read_cohort(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    bag = read_bag(tmp_path / "out" / stored.tables["wsi"]["path"].iloc[0])
    np.testing.assert_array_equal(bag.features, features)
    assert (bag.attrs.slide_id, bag.attrs.encoder) == ("s1", "e1")
    assert [(e.count, e.what) for e in report.entries if e.where == "modality 'wsi'"] == [(1, "slides")]
    assert (tmp_path / "out" / "import_report.json").is_file()


@pytest.mark.parametrize("kind", ["path", "image"])
def test_a_slide_id_that_leads_elsewhere_is_refused(source, tmp_path, kind):
    source.write("slides.csv", "patient_id,slide,file\n001,../s1,x.h5\n")
    (tmp_path / "x.h5").write_bytes(b"")
    source.page["modalities"]["wsi"] = {"kind": "slide", "table": "slides.csv", "slide": "slide", kind: "file"}
    with pytest.raises(DataError, match=r"'wsi', line 2, column 'slide_id': '\.\./s1' cannot name a file: it holds a slash"):
        source.read()


def change_endpoint(**changes):
    return lambda s: s.page["endpoints"]["os"].update(changes)


def change_modality(**changes):
    return lambda s: s.page["modalities"]["clinical"].update(changes)


def replace_in(name, old, new):
    return lambda s: s.write(name, (s.folder / name).read_text().replace(old, new))


REFUSED = {
    "duplicate patients": (
        replace_in("targets.csv", "002,", "001,"),
        r"targets\.csv: 1 patient\(s\) have more than one row, first in line 3",
    ),
    "repeated samples": (
        replace_in("clinical.csv", "002,", "001,"),
        r"modality 'clinical', clinical\.csv: 1 repeated row\(s\), first in line 3; name the column",
    ),
    "wrong column": (change_modality(columns=["agee"]), "no column named 'agee'; did you mean 'age'"),
    "wrong endpoint column": (change_endpoint(time="day"), r"targets\.csv: no column named 'day'; did you mean 'days'"),
    "wrong table": (change_modality(table="clinicl.csv"), "no table named 'clinicl.csv'; did you mean 'clinical.csv'"),
    "days declared as months": (
        lambda s: (change_endpoint(unit="months")(s), replace_in("targets.csv", "1200", "6000")(s)),
        "the longest follow-up is 6,000 months = 500 years .*, probably days; correct the unit",
    ),
    "text event": (
        change_endpoint(event_values=None),
        "column 'status' holds text; say what its 2 values mean: event_values: {deceased: 1, living: 0}",
    ),
    "unknown event value": (
        change_endpoint(event_values={"deceased": 1, "alive": 0}),
        r"column 'status', 2 row\(s\): no value in event_values named 'living'",
    ),
    "event coded 1 and 2": (
        lambda s: (
            change_endpoint(event_values=None)(s),
            replace_in("targets.csv", "deceased", "2")(s),
            replace_in("targets.csv", "living", "1")(s),
        ),
        r"must hold 0 or 1, also holds \[2\.0\]",
    ),
    "text time": (
        replace_in("targets.csv", "400", "long"),
        "column 'days' must hold numbers, 1 value.s. are not, first in line 2",
    ),
    "negative time": (replace_in("targets.csv", "400", "-4"), r"1 follow-up time\(s\) are negative, first -4 in line 2"),
    "infinite time": (
        replace_in("targets.csv", "400", "inf"),
        r"column 'days' holds 1 infinite value\(s\), first in line 2",
    ),
    "infinite value": (replace_in("clinical.csv", "70", "-inf"), r"column 'age' holds 1 infinite value\(s\), first in line 4"),
    "stray space": (replace_in("clinical.csv", "002,", "002 ,"), r"1 patient id\(s\) have stray spaces, first in line 3"),
    "case differs between tables": (
        lambda s: s.write("clinical.csv", "patient_id,age,date\n001,1,x\nX9,2,y\n"),
        "the patient id in line 3 is not in the patient table, but one is there that differs by case",
    ),
    "zeros differ between tables": (
        lambda s: s.write("clinical.csv", "patient_id,age,date\n001,1,x\n2,2,y\n"),
        "the patient id in line 3 is not in the patient table, but one is there that differs by case, spaces or leading zeros",
    ),
    "case differs inside": (
        lambda s: s.write("targets.csv", TARGETS + "X9,5,living,,,,,\n"),
        "the patient ids in lines 5 and 6 differ by case only",
    ),
    "no id": (replace_in("clinical.csv", "002,", ","), r"1 row\(s\) have no patient id .*, first in line 3"),
    "an id that is a mark of what is missing": (
        replace_in("clinical.csv", "002,", "nan,"),
        r"1 row\(s\) have no patient id \(empty, or a mark of missing_values such as NA or nan\), first in line 3",
    ),
    "text among numbers": (
        change_modality(kind="embedding"),
        "column 'stage' must hold numbers, 3 value.s. are not, first in line 2",
    ),
    "outcome as feature": (
        change_modality(table="targets.csv", exclude=[]),
        "column 'days' is the outcome 'os' and cannot be a feature",
    ),
    "excluded column that is not there": (change_modality(exclude=["dates"]), "no column named 'dates'; did you mean 'date'"),
    "no patient left": (change_modality(patient="patient"), "no column named 'patient'; did you mean 'patient_id'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(source, case):
    change, message = REFUSED[case]
    change(source)
    with pytest.raises(DataError, match=message):
        source.read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p["endpoints"]["os"].update(event="days"),
            "endpoint 'os': time and event are both column 'days'; name the column of each",
        ),
        (
            lambda p: p["modalities"]["clinical"].update(tabel="x"),
            r"unknown key 'modalities\.clinical\.tabel'; did you mean 'table'",
        ),
        (lambda p: p["endpoints"]["os"].update(tiime="x"), "did you mean 'time'"),
        (lambda p: p["endpoints"].update(g={"kind": "ordinal", "column": "grade"}), "list its classes from low to high"),
        (lambda p: p["endpoints"].update(b={"kind": "binary", "of": "oss", "within": 5}), "did you mean 'os'"),
        (lambda p: p["endpoints"].update(b={"kind": "binary"}), "needs a column, or within and of"),
        (lambda p: p["endpoints"]["os"].update(unit="fortnights"), "'days', 'weeks', 'months' or 'years'"),
    ],
)
def test_a_page_that_does_not_fit_names_the_key(source, change, message):
    change(source.page)
    with pytest.raises(ConfigError, match=message):
        source.read()


def test_volumes_and_films_are_referred_to_and_checked(source, tmp_path):
    (tmp_path / "ct" / "series").mkdir(parents=True)
    (tmp_path / "ct" / "series" / "1.dcm").write_bytes(b"slice")
    (tmp_path / "film.png").write_bytes(b"film")
    source.write("images.csv", "patient_id,ct,film\n001,ct/series,film.png\n002,,film.png\n")
    source.page["modalities"] |= {
        "ct": {"kind": "volume", "table": "images.csv", "path": "ct"},
        "film": {"kind": "film", "table": "images.csv", "path": "film"},
    }
    cohort, report = source.read()
    assert cohort.tables["ct"]["path"].tolist() == [str(tmp_path / "ct" / "series")]
    assert cohort.tables["film"]["patient_id"].tolist() == ["001", "002"]
    assert reasons(report)["left out", "rows", "modality 'ct', images.csv"] == 1
    path = write_cohort(cohort, tmp_path / "out")
    assert not [p for p in path.rglob("*") if p.suffix in (".dcm", ".png")]
    (tmp_path / "film.png").unlink()
    assert verify(path) == [f"{tmp_path / 'film.png'}: the file referred to is missing"]
    with pytest.raises(DataError, match=r"modality 'film', column 'path', line 2: no file .*film\.png"):
        source.read()


def test_a_header_may_begin_with_a_hash_and_tables_with_comments(source):
    source.write("clinical.csv", "# exported on a Monday\n#patient_id;age;date\n001;61;x\n")
    source.page["modalities"]["clinical"]["patient"] = "#patient_id"
    cohort, _ = source.read()
    assert cohort.tables["clinical"]["age"].tolist() == [61]


def test_pickled_arrays_are_not_read(source):
    np.savez(source.folder / "e.npz", patient_id=np.array(["001"], dtype=object), x=np.zeros((1, 2)))
    source.page["modalities"]["e"] = {"kind": "embedding", "table": "e.npz"}
    with pytest.raises(DataError, match=r"not a readable \.npz of plain arrays"):
        source.read()


def test_a_column_of_numbers_with_texts_in_it_waits_for_a_choice(source):
    source.write("clinical.csv", "patient_id,crp,date\n001,1.5,x\n002,<0.5,y\n1,7,z\n")
    with pytest.raises(DataError, match=r"'crp' is mostly numbers, but 1 value\(s\) are not \('<0\.5'\), first in line 3; list"):
        source.read()
    source.page["missing_values"] = ["", "<0.5"]
    cohort, _ = source.read()
    assert cohort.tables["clinical"]["crp"].dtype == float


def test_a_table_in_another_encoding_is_named(source):
    (source.folder / "clinical.csv").write_text(CLINICAL, encoding="utf-16")
    with pytest.raises(DataError, match=r"clinical\.csv: not UTF-8 text .*; save the table as UTF-8"):
        source.read()


def test_what_a_reader_of_tables_would_change_silently_is_refused(source):
    source.write("clinical.csv", CLINICAL.replace("0100", "01\0 00"))
    with pytest.raises(DataError, match=r"clinical\.csv: line 3 holds a NUL character, and the rest of its cell would be lost"):
        source.read()
    source.write("clinical.csv", CLINICAL.replace("smoker", "age"))
    with pytest.raises(DataError, match=r"clinical\.csv: line 1: 2 columns are named 'age'; give each a name of its own"):
        source.read()
    source.write("clinical.csv", CLINICAL.replace("patient_id", "id"))
    with pytest.raises(DataError, match=r"no column named 'patient_id'; .*say which holds the patients: patient: COLUMN"):
        source.read()


def test_an_import_that_fails_leaves_nothing(source, tmp_path):
    replace_in("targets.csv", "002,", "001,")(source)
    (tmp_path / "page.yaml").write_text(yaml.safe_dump(source.page))
    with pytest.raises(DataError, match="more than one row"):
        import_cohort(tmp_path / "page.yaml", tmp_path / "out")
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_a_source_of_no_known_format_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="not a source that is known here"):
        detect(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="no source"):
        detect(tmp_path / "nothing")


def test_lines_count_comments_blank_lines_and_cells_of_several_lines(tmp_path):
    page = '# made by hand\nid,text,n\n1,"two\nlines, ""quoted""",1\n   \n2,b,2\n3,c,3\n'
    (tmp_path / "t.csv").write_text(page)
    with gzip.open(tmp_path / "t.csv.gz", "wt") as stream:
        stream.write(page)
    for name in ("t.csv", "t.csv.gz"):
        table = read_source(tmp_path / name)
        assert table["id"].tolist() == ["1", "2", "3"]
        assert (table.index + FIRST_ROW).tolist() == [3, 6, 7]
