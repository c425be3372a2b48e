import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.bags import write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, verify, write_cohort
from oncoweave.data.tables import read_table
from oncoweave.train import slide_vectors
from oncoweave.train.slide_encoder import load_slide_encoder
from oncoweave.train.slide_vectors import RECORD, TABLE, embed_bags, lay_vectors
from slide_pair import TILES, bag, network, write_weights


@pytest.fixture
def encoder(tmp_path):
    return load_slide_encoder("longnet/tiny", weights=write_weights(tmp_path / "own.safetensors", network()))


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        write_bag(tmp_path / "out" / "bags" / f"s{number}.h5", bag(f"s{number}", tiles=5 + number, seed=number))
    return tmp_path / "out"


IDS = ("s0", "s1", "s2")


def test_one_row_a_slide_and_the_reason_where_there_is_none(folder, encoder):
    (folder / "bags" / "s1.h5").write_bytes(b"nothing")
    write_bag(folder / "bags" / "s2.h5", bag("s2", source=replace(TILES, fingerprint="a" * 64)))
    came = embed_bags((*IDS, "s3", "s4"), folder, encoder=encoder, missing={"s3": "no tissue"})
    table = read_table(folder / TABLE)
    assert list(table.columns) == ["slide_id", "slide_encoder", "fingerprint", *encoder.columns]
    assert table["slide_id"].tolist() == ["s0"]
    np.testing.assert_array_equal(
        table[list(encoder.columns)].to_numpy()[0],
        slide_vectors.embed_bag(folder / "bags" / "s0.h5", encoder=encoder).vector,
    )
    assert [r.status for r in came.results] == ["done", "failed", "failed", "failed", "failed"]
    record = json.loads((folder / RECORD).read_text())
    reasons = {s["slide_id"]: s["reason"] for s in record["slides"]}
    assert record["finished"] == {"done": 1, "reused": 0, "failed": 4}
    for slide, reason in {
        "s1": "not a readable HDF5 file",
        "s2": "the same encoder with other weights",
        "s3": "it has no bag: no tissue",
        "s4": "no such bag",
    }.items():
        assert reason in reasons[slide]


def test_a_run_that_was_cut_goes_on_slide_by_slide(folder, encoder, monkeypatch):
    calls = []
    original = slide_vectors.embed_bag

    def cut(path, **settings):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(path, **settings)

    monkeypatch.setattr(slide_vectors, "embed_bag", cut)
    with pytest.raises(KeyboardInterrupt):
        embed_bags(IDS, folder, encoder=encoder)
    assert read_table(folder / TABLE)["slide_id"].tolist() == ["s0", "s1"]
    came = embed_bags(IDS, folder, encoder=encoder)
    assert [r.status for r in came.results] == ["reused", "reused", "done"]
    assert len(calls) == 4
    assert not np.isnan([r.seconds for r in came.results]).any()
    first = read_table(folder / TABLE)
    write_bag(folder / "bags" / "s1.h5", bag("s1", seed=9))  # embedded again since
    assert [r.status for r in embed_bags(IDS, folder, encoder=encoder).results] == ["reused", "done", "reused"]
    again = read_table(folder / TABLE)
    assert again["slide_id"].tolist() == list(IDS)
    assert (again["fingerprint"] == first["fingerprint"]).tolist() == [True, False, True]


def test_slides_of_other_runs_stay_and_vectors_of_other_encoders_go(folder, encoder):
    embed_bags(IDS[:2], folder, encoder=encoder)
    came = embed_bags(IDS[2:], folder, encoder=encoder)
    assert sorted(came.table["slide_id"]) == list(IDS)
    other = replace(encoder, readout="cls")
    came = embed_bags(IDS[:1], folder, encoder=other)
    assert (came.discarded, came.table["slide_id"].tolist()) == (3, ["s0"])
    came = embed_bags(IDS[:1], folder, encoder=replace(encoder, layers=(0, 1)))
    assert (came.discarded, came.table.shape[1]) == (1, 3 + 2 * encoder.dim)


def cohort_of(folder, path, *, patients=("p0", "p0", "p1")):
    rows = pd.DataFrame({"patient_id": patients, "sample_id": IDS, "slide_id": IDS, "path": None})
    spec = ModalitySpec(name="he", kind="slide")
    frame = pd.DataFrame({"dead": [0, 1]}, index=pd.Index(["p0", "p1"], name="patient_id"))
    endpoint = Endpoint(name="dead", kind="binary", columns=("dead",))
    cohort = Cohort(
        name="c", patients=frame, tables={"he": rows}, modalities={"he": spec}, endpoints={"dead": endpoint}, root=path
    )
    write_cohort(cohort, path, documents={"import.json": {"kept": True}})
    return read_cohort(path)


def test_vectors_become_a_modality_that_is_read_patient_by_patient(folder, encoder, tmp_path):
    from oncoweave.modalities import embedding

    (folder / "bags" / "s2.h5").unlink()
    vectors = embed_bags(IDS, folder, encoder=encoder)
    lay_vectors(cohort_of(folder, tmp_path / "cohort"), "he", vectors)
    cohort = read_cohort(tmp_path / "cohort")
    assert verify(tmp_path / "cohort") == []
    assert cohort.modalities["he_embedding"].kind == "embedding"
    assert cohort.modalities["he_embedding"].notes["encoder_fingerprint"] == encoder.fingerprint
    first, second = cohort.records("he_embedding")
    assert second is None  # its only slide failed
    sample = embedding.read(first)
    assert sample.columns == encoder.columns
    np.testing.assert_array_equal(sample.values, vectors.table[list(encoder.columns)].to_numpy())
    assert json.loads((tmp_path / "cohort" / "import.json").read_text()) == {"kept": True}
    listed = json.loads((tmp_path / "cohort" / "slides-he_embedding.json").read_text())["slides"]
    assert [s["status"] for s in listed] == ["done", "done", "failed"]
    lay_vectors(cohort, "he", vectors)  # again, over itself
    assert list(read_cohort(tmp_path / "cohort").tables) == ["he", "he_embedding"]


def test_a_name_that_is_taken_is_left_alone(folder, encoder, tmp_path):
    cohort = cohort_of(folder, tmp_path / "cohort")
    vectors = embed_bags(IDS, folder, encoder=encoder)
    record = ModalitySpec(name="he_embedding", kind="record")
    taken = replace(
        cohort,
        tables={**cohort.tables, "he_embedding": cohort.tables["he"]},
        modalities={**cohort.modalities, "he_embedding": record},
    )
    with pytest.raises(DataError, match="has a modality 'he_embedding' of kind 'record'; rename it"):
        lay_vectors(taken, "he", vectors)
    with pytest.raises(DataError, match="is not on disk"):
        lay_vectors(replace(cohort, root=None), "he", vectors)
