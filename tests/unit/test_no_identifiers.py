"""What is refused is placed by table, row and column: no message and no log holds a patient's identifier."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, read_target
from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec, Record
from oncoweave.data.importers import bags, cbioportal, manifest
from oncoweave.data.splits import check_splits
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.tables import check_predictions
from oncoweave.modalities import slide
from oncoweave.train.embed_cohort import cohort_slides

SECRET = "Zebra-4711"
SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
WSI = ModalitySpec(name="wsi", kind="slide")


def cohort(rows, *, ids=(SECRET, "other"), root=None):
    patients = pd.DataFrame(index=pd.Index(ids, name="patient_id"))
    return Cohort(name="c", patients=patients, tables={"wsi": pd.DataFrame(rows)}, modalities={"wsi": WSI}, root=root)


def rows(**columns):
    return {"patient_id": [SECRET], "sample_id": ["s"], **{name: [value] for name, value in columns.items()}}


def study(folder, *, patients="P1\t0:LIVING\t1\n", samples="", matrix=""):
    (folder / "data_clinical_patient.txt").write_text("#c\nPATIENT_ID\tOS_STATUS\tOS_MONTHS\n" + patients)
    (folder / "data_clinical_sample.txt").write_text(f"PATIENT_ID\tSAMPLE_ID\nP1\tS1\n{SECRET}\t{SECRET}-01\n" + samples)
    if matrix:
        fields = "genetic_alteration_type: COPY_NUMBER_ALTERATION\ndatatype: DISCRETE\ndata_filename: data_cna.txt\n"
        (folder / "meta_cna.txt").write_text(f"cancer_study_identifier: s\n{fields}stable_id: gistic\n")
        (folder / "data_cna.txt").write_text(f"Hugo_Symbol\tS1\t{SECRET}-01\n{matrix}")
    cbioportal.read(folder)


def slides(folder, table):
    write(folder / "a.h5")
    write(folder / "b.h5")
    (folder / "slides.csv").write_text(table)
    bags.read(folder, scratch=folder / "scratch", slides=folder / "slides.csv")


def write(path, *, dim=3, equal=False):
    features = np.ones((4, dim)) if equal else np.arange(4.0 * dim).reshape(4, dim)
    attrs = BagAttrs(slide_id=path.stem, encoder="e", encoder_fingerprint="f" * 16)
    bag = Bag(features=features.astype(np.float32), coords=np.zeros((4, 2), dtype=np.int64), tissue_fraction=None, attrs=attrs)
    write_bag(path, bag)


def page(folder, *, outcomes, rna="gene\tP1\nTP53\t1\n", orientation="genes_in_rows", extra=""):
    (folder / "targets.csv").write_text(outcomes)
    (folder / "rna.tsv").write_text(rna)
    (folder / "cohort.yaml").write_text(
        "name: c\npatients: {table: targets.csv}\n"
        "endpoints: {os: {kind: survival, time: time, event: event, unit: months}}\n"
        f"modalities: {{rna: {{kind: expression, table: rna.tsv, orientation: {orientation}, scale: z{extra}}}}}\n"
    )
    manifest.read(folder / "cohort.yaml", scratch=folder / "scratch")


def read_bags(folder, *paths):
    table = pd.DataFrame({"patient_id": [SECRET] * len(paths), "path": list(paths)})
    return slide.read(Record(patient_id=SECRET, modality=WSI, rows=table, root=folder))


def mixed_bags(folder):
    write(folder / "a.h5")
    write(folder / "b.h5", dim=5)
    read_bags(folder, "a.h5", "b.h5")


def equal_tiles(folder):
    write(folder / "a.h5", equal=True)
    slide.check(read_bags(folder, "a.h5"))


def other_width(folder):
    write(folder / "a.h5")
    write(folder / "b.h5", dim=5)
    slide.fit([read_bags(folder, "a.h5")]).collate([read_bags(folder, "b.h5")])


def predictions(**changed):
    table = {"patient_id": ["other", SECRET, SECRET], "site": "s", "model": "m", "repeat": [0, 0, 1], "fold": 0, "pattern": "a"}
    table |= {"y": 1, "p": 0.5, **changed}
    check_predictions(pd.DataFrame(table), Endpoint(name="e", kind="binary", columns=("y",)))


def targets(**changed):
    return pd.DataFrame({"time": [1.0, 2.0], "event": [0, 1], **changed}, index=["other", SECRET])


FAULTS = {
    "patient twice": (lambda _: cohort(rows(), ids=(SECRET, SECRET)), "row 2"),
    "stranger in a table": (lambda _: cohort(rows(), ids=("other",)), "row 1"),
    "stranger taken": (lambda _: cohort(rows(), ids=(SECRET, "a")).take(["a", SECRET + "x"]), "number 2 of the list"),
    "id of a number": (lambda f: write_cohort(cohort({"patient_id": [], "sample_id": []}, ids=("a", 4711)), f / "c"), "row 2"),
    "slide id": (lambda f: write_cohort(cohort(rows(slide_id="../x")), f / "c"), "row 1, column 'slide_id'"),
    "file gone": (lambda f: write_cohort(cohort(rows(path="gone.h5"), root=f), f / "c"), "row 1, column 'path'"),
    "negative time": (lambda _: read_target(SURVIVAL, targets(time=[1.0, -2.0])), "row 2 of the patient table"),
    "event of text": (lambda _: read_target(SURVIVAL, targets(event=["0", "yes"])), "row 2 of the patient table"),
    "prediction": (lambda _: predictions(p=[0.5, 2.0, 0.5]), "row 2"),
    "two outcomes": (lambda _: predictions(y=[1, 0, 1]), "rows 2 and 3"),
    "study, patient twice": (lambda f: study(f, patients=f"{SECRET}\t0:LIVING\t1\n" * 2), "line 4"),
    "study, time of text": (lambda f: study(f, patients=f"P1\t0:LIVING\t1\n{SECRET}\t0:LIVING\tsoon\n"), "line 4"),
    "study, negative time": (lambda f: study(f, patients=f"P1\t0:LIVING\t1\n{SECRET}\t0:LIVING\t-3\n"), "line 4"),
    "study, event": (lambda f: study(f, patients=f"{SECRET}\tGONE\t1\n"), "line 3"),
    "study, sample twice": (lambda f: study(f, samples=f"{SECRET}\t{SECRET}-01\n"), "line 4"),
    "study, copies of text": (lambda f: study(f, matrix="TP53\t1\t0\nKRAS\t0\tgain\n"), "column 3 .* line 3"),
    "bags, two sites": (lambda f: slides(f, f"slide_id,patient_id,site\na,{SECRET},X\nb,{SECRET},Y\n"), "line 2"),
    "bags, slide twice": (lambda f: slides(f, f"slide_id,patient_id\na,p\n{SECRET}-1,p\n{SECRET}-1,p\n"), "line 4"),
    "bags, none there": (lambda f: slides(f, f"slide_id,patient_id\n{SECRET}-1,{SECRET}\n"), "none of its 1 slides"),
    "page, negative time": (lambda f: page(f, outcomes=f"patient_id,time,event\nP1,1,0\n{SECRET},-3,1\n"), "line 3"),
    "page, genes of text": (
        lambda f: page(f, outcomes=f"patient_id,time,event\n{SECRET},3,1\n", rna=f"gene\tP1\t{SECRET}\nTP53\t1\thigh\n"),
        "column 3 .* line 2",
    ),
    "page, repeated column": (
        lambda f: page(
            f,
            outcomes=f"patient_id,time,event\n{SECRET},3,1\n",
            rna=f"gene\t{SECRET}\tx{SECRET}\nTP53\t1\t2\n",
            extra=", id_prefix: x",
        ),
        "lines are its columns.* line 3",
    ),
    "bag not made": (lambda f: read_bags(f, None), "row 1"),
    "bag gone": (lambda f: read_bags(f, "gone.h5"), "row 1"),
    "bags of two widths": (mixed_bags, "row 1"),
    "tiles all equal": (equal_tiles, "row 1"),
    "bag of another width": (other_width, "row 1"),
    "slide without a path": (lambda f: cohort_slides(cohort(rows(slide_path=None), root=f), "wsi"), "row 1"),
    "slide id of no file": (lambda f: cohort_slides(cohort(rows(slide_path="a.tiff", slide_id="../x"), root=f), "wsi"), "row 1"),
    "split of a stranger": (
        lambda _: check_splits(pd.DataFrame({"patient_id": ["a", SECRET], "repeat": 0, "fold": 0}), ["a"]),
        "row 2",
    ),
    "split with a patient twice": (
        lambda _: check_splits(pd.DataFrame({"patient_id": [SECRET, SECRET], "repeat": 0, "fold": [0, 1]}), [SECRET]),
        "row 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_patient_is_placed_and_not_named(tmp_path, fault, caplog, capfd):
    make, place = FAULTS[fault]
    with pytest.raises(DataError, match=place) as refused:
        make(tmp_path)
    told = "\n".join([str(refused.value), *map(str, getattr(refused.value, "__notes__", [])), caplog.text, *capfd.readouterr()])
    assert "Zebra" not in told and "4711" not in told
