"""The cohort folder: nothing is lost, nothing half-written appears, and what changed afterwards is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs, read_bag, write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, verify, write_cohort
from oncoweave.data.tables import read_table, write_table

GOLDEN = Path(__file__).parents[1] / "golden" / "cohort_v1"

ENDPOINTS = (
    Endpoint(name="os", kind="survival", columns=("os_time", "os_event"), time_unit="months"),
    Endpoint(name="response", kind="binary", columns=("response",), classes=("no", "yes")),
    Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=("luminal", "basal", "her2")),
    Endpoint(name="grade", kind="ordinal", columns=("grade",), classes=("G1", "G2", "G3")),
    Endpoint(name="markers", kind="multilabel", columns=("er", "pr"), classes=("ER", "PR")),
    Endpoint(name="ki67", kind="regression", columns=("ki67",)),
)


def small_cohort(root: Path | None = None) -> Cohort:
    """Three patients, one of whom has nothing; one with two slides; every kind of endpoint, each unknown for somebody."""
    patients = pd.DataFrame(
        {
            "site": pd.array(["A", None, "B"], dtype="string"),
            "os_time": [1.5, np.nan, 3.0],
            "os_event": [1.0, 0.0, 0.0],
            "response": [0.0, np.nan, 1.0],
            "subtype": pd.Categorical(["her2", None, "basal"], categories=["luminal", "basal", "her2"]),
            "grade": pd.Categorical(["G3", "G1", None], categories=["G1", "G2", "G3"], ordered=True),
            "er": [1.0, np.nan, 0.0],
            "pr": [np.nan, np.nan, 1.0],
            "ki67": [0.1, np.nan, 0.30000000000000004],
        },
        index=pd.Index(["001", "1", "TCGA-02"], name="patient_id"),
    )
    record = pd.DataFrame(
        {
            "patient_id": ["001", "TCGA-02"],
            "sample_id": ["001", "TCGA-02"],
            "stage": pd.Categorical(["II", None], categories=["IV", "III", "II", "I"], ordered=True),
            "smoker": [None, "never"],
            "nan_text": [np.nan, "x"],
            "lab": np.array([0.1, np.nan], dtype="float32"),
            "count": pd.array([3, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
        }
    )
    texts = pd.DataFrame({"patient_id": ["001"], "sample_id": ["001-a"], "text": ["Carcinoma, G2.\nMargins: free. ≥ 1 mm"]})
    tables, specs = {"record": record, "reports": texts}, [("record", "record"), ("reports", "report")]
    if root is not None:
        rng = np.random.default_rng(0)
        for slide in ("s1", "s2"):
            attrs = BagAttrs(slide_id=slide, encoder="tiny", encoder_fingerprint="f", mpp=0.5)
            features = rng.normal(size=(4, 3)).astype(np.float32)
            bag = Bag(features=features, coords=np.arange(8, dtype=np.int64).reshape(4, 2), tissue_fraction=None, attrs=attrs)
            write_bag(root / "bags" / "he" / f"{slide}.h5", bag)
        (root / "scan.tiff").write_bytes(b"image")
        tables["he"] = pd.DataFrame(
            {
                "patient_id": ["001", "001"],
                "sample_id": ["001-a", "001-b"],
                "slide_id": ["s1", "s2"],
                "path": ["bags/he/s1.h5", "bags/he/s2.h5"],
                "slide_path": [str(root / "scan.tiff"), None],
            }
        )
        specs.append(("he", "slide"))
    return Cohort(
        name="small",
        patients=patients,
        tables=tables,
        modalities={n: ModalitySpec(name=n, kind=k, notes={"made": "by hand"}) for n, k in specs},
        endpoints={e.name: e for e in ENDPOINTS},
        root=root,
    )


def assert_same(left: Cohort, right: Cohort) -> None:
    pd.testing.assert_frame_equal(left.patients, right.patients, check_exact=True)
    assert list(left.tables) == list(right.tables)
    for name in left.tables:
        pd.testing.assert_frame_equal(left.tables[name], right.tables[name], check_exact=True)
    assert left.modalities == right.modalities
    assert left.endpoints == right.endpoints


def test_round_trip_is_exact_for_every_kind_of_endpoint_and_column(tmp_path):
    cohort = small_cohort(tmp_path / "source")
    read = read_cohort(write_cohort(cohort, tmp_path / "cohort"))
    assert_same(cohort, read)
    assert read.tables["record"]["nan_text"].iloc[0] is not None  # NaN stays NaN, None stays None
    assert read.tables["record"]["smoker"].iloc[0] is None
    for name in cohort.endpoints:
        np.testing.assert_array_equal(cohort.target(name).values, read.target(name).values)
    assert read.records("record")[1] is None  # an absent modality is absent, per patient
    assert len(read.records("he")[0].rows) == 2


def test_bags_come_along_and_images_are_referred_to(tmp_path):
    cohort = small_cohort(tmp_path / "source")
    path = write_cohort(cohort, tmp_path / "cohort")
    again = write_cohort(read_cohort(path), tmp_path / "again")
    shutil.rmtree(path)
    bag = read_bag(again / "bags" / "he" / "s2.h5")
    np.testing.assert_array_equal(bag.features, read_bag(tmp_path / "source" / "bags" / "he" / "s2.h5").features)
    assert not (again / "scan.tiff").exists()
    assert verify(again) == []
    (tmp_path / "source" / "scan.tiff").write_bytes(b"another image")
    assert verify(again) == [f"{tmp_path / 'source' / 'scan.tiff'}: the file referred to has 13 bytes, the manifest says 5"]


def test_a_cohort_written_over_itself_is_unchanged(tmp_path):
    path = write_cohort(small_cohort(tmp_path / "source"), tmp_path / "cohort")
    before = read_cohort(path)
    write_cohort(before, path)
    assert_same(before, read_cohort(path))
    assert verify(path) == []


def test_equal_cohorts_give_equal_bytes(tmp_path):
    cohort = small_cohort()
    one, two = write_cohort(cohort, tmp_path / "one"), write_cohort(cohort, tmp_path / "two")
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()


def test_verify_names_what_was_changed_added_or_removed(tmp_path):
    path = write_cohort(small_cohort(tmp_path / "source"), tmp_path / "cohort")
    bag = path / "bags" / "he" / "s1.h5"
    content = bytearray(bag.read_bytes())
    content[len(content) // 2] ^= 1
    bag.unlink()  # not through the hard link into the source
    bag.write_bytes(content)
    (path / "modalities" / "reports.parquet").unlink()
    (path / "stray.txt").write_text("x")
    differences = verify(path)
    assert len(differences) == 3
    assert any(d.startswith("bags/he/s1.h5: content changed") for d in differences)
    assert "modalities/reports.parquet: missing" in differences
    assert "stray.txt: not in the manifest" in differences


def test_a_damaged_table_says_so(tmp_path):
    path = write_cohort(small_cohort(), tmp_path / "cohort")
    table = path / "modalities" / "record.parquet"
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(DataError, match=r"record\.parquet: not a readable parquet table"):
        read_cohort(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "schema version 99, and this oncoweave reads version 1"),
        ({"schema": "somebody.else"}, "wanted schema 'oncoweave.cohort', got 'somebody.else'"),
        ({"name": 7}, "name: Input should be a valid string, got 7"),
        ({"modalities": [{"name": "../../etc", "kind": "record"}]}, r"modality '\.\./\.\./etc': a name may hold"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, change, message):
    path = write_cohort(small_cohort(), tmp_path / "cohort")
    content = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message):
        read_cohort(path)


def test_a_folder_that_is_no_cohort_is_left_as_it_is(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match="already there and not a cohort folder"):
        write_cohort(small_cohort(), tmp_path / "home")
    assert (tmp_path / "home" / "thesis.doc").read_text() == "years of work"
    with pytest.raises(DataError, match=r"not a cohort folder, it has no manifest\.json"):
        read_cohort(tmp_path / "home")


def test_an_interrupted_write_leaves_the_old_cohort(tmp_path, monkeypatch):
    path = write_cohort(small_cohort(), tmp_path / "cohort")
    before = read_cohort(path)

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("oncoweave.data.store.sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(before, path)
    monkeypatch.undo()
    assert_same(before, read_cohort(path))
    assert verify(path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["cohort"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, "a", None], "cannot be stored in parquet"),
        ([1, None, 2], "column 'x' .*holding int.* would come back from parquet as float64"),
    ],
)
def test_a_column_that_would_not_survive_is_refused(tmp_path, column, message):
    with pytest.raises(DataError, match=message):
        write_table(tmp_path / "t.parquet", pd.DataFrame({"x": pd.Series(column, dtype=object)}))


def test_a_table_of_another_tool_can_be_read(tmp_path):
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None]})
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)
    assert pd.read_parquet(write_cohort(small_cohort(), tmp_path / "c") / "patients.parquet")["patient_id"].tolist() == [
        "001",
        "1",
        "TCGA-02",
    ]


def test_a_named_file_must_exist_and_stay_inside(tmp_path):
    cohort = small_cohort(tmp_path / "source")
    cohort.tables["he"].loc[0, "path"] = "bags/he/gone.h5"
    with pytest.raises(DataError, match=r"modality 'he', row 1, column 'path': the file .*gone\.h5' does not exist"):
        write_cohort(cohort, tmp_path / "cohort")
    cohort.tables["he"].loc[0, "path"] = "../secret"
    with pytest.raises(DataError, match="it leads out of the folder"):
        write_cohort(cohort, tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_slide_ids_must_be_plain_file_names(tmp_path):
    table = pd.DataFrame({"patient_id": ["p"], "sample_id": ["p"], "slide_id": ["../evil"], "slide_path": [None]})
    cohort = Cohort(
        name="c",
        patients=pd.DataFrame(index=pd.Index(["p"], name="patient_id")),
        tables={"wsi": table},
        modalities={"wsi": ModalitySpec(name="wsi", kind="slide")},
    )
    with pytest.raises(DataError, match=r"modality 'wsi', row 1, column 'slide_id': '\.\./evil' cannot name a file"):
        write_cohort(cohort, tmp_path / "c")


def test_patient_ids_must_be_text(tmp_path):
    cohort = Cohort(name="n", patients=pd.DataFrame(index=pd.Index([1, 2])), tables={}, modalities={})
    with pytest.raises(DataError, match="patient ids must be text, got one of type int in row 1 of the patient table"):
        write_cohort(cohort, tmp_path / "cohort")


def test_a_cohort_of_the_first_version_stays_readable():
    assert_same(small_cohort(), read_cohort(GOLDEN))
    assert verify(GOLDEN) == []
