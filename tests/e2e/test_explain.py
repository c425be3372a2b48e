"""``oncoweave explain``: a run's network beside deletion, on a page without patients; its errors; named patients apart."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from oncoweave.cli.main import _add_verbs, app
from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.files import read_json, sha256
from oncoweave.core.state import load_state, save_state
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.columns import join_records
from oncoweave.data.store import write_cohort
from oncoweave.modalities import film, record, report
from oncoweave.serve.explain.page import agreed_word
from oncoweave.serve.explain.run import Asked, explain_run, read_patient_list
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study
from planted_tokens import KINDS, PLANTED_LAB, patients, trained

pytest.importorskip("tokenizers")
MODULES = {"film": film, "report": report, "record": record}
N, SECRET = 32, "ZEBRA-{:04d}"
ENCODERS = {"film": "project/tiny", "report": "bert/tiny_tokens", "record": "project/tiny"}
MODELS = (
    ModelSpec(name="mdt", fusion="mdt", encoders=ENCODERS, settings={"width": 16, "heads": 2, "depth": 2, "mixing": 1}),
    ModelSpec(name="gated", fusion="gated", modalities=("report", "record")),
    ModelSpec(name="late", fusion="average"),
)


def silent(*_):
    pass


@pytest.fixture(scope="module")
def data():
    drawn = patients(N)
    ids = np.array([SECRET.format(i) for i in range(N)], dtype=object)
    return dataclasses.replace(drawn, patient_ids=ids)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, data):
    """The planted patients on disk; every note ends with words of the patient's own: identifier and number."""
    root = tmp_path_factory.mktemp("planted")
    tables = {}
    for name, samples in data.samples.items():
        own = [
            None if s is None else dataclasses.replace(s, patient_id=p) for p, s in zip(data.patient_ids, samples, strict=True)
        ]
        if name == "report":
            own = [s and dataclasses.replace(s, text=f"{s.text} {s.patient_id} seen by ward {SECRET[:5]}") for s in own]
        tables[name] = join_records([MODULES[name].to_record(s, root=root / "drawn", name=name) for s in own if s is not None])
    outcome = pd.DataFrame({"ferritin_high": data.outcome.values[:, 2]}, index=pd.Index(data.patient_ids, name="patient_id"))
    held = Cohort(
        name="planted",
        patients=outcome,
        tables=tables,
        modalities={name: ModalitySpec(name=name, kind=kind) for name, kind in KINDS.items()},
        endpoints={"high": Endpoint(name="high", kind="binary", columns=("ferritin_high",))},
        root=root / "drawn",
    )
    return write_cohort(held, root / "cohort")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cohort, data):
    """A finished run, whose network is one that has learned the planted patch, word and value."""
    study = Study(
        name="planted",
        cohort=str(cohort),
        endpoint="high",
        models=MODELS,
        main="late",
        protocol=Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, group_by_site=False, permutations=0),
        network=NetworkConfig(epochs=1, members=1, width=8),
    )
    folder = run_study(study, tmp_path_factory.mktemp("run") / "run")
    stored = folder / "models" / "mdt.safetensors"
    save_state(stored, dataclasses.replace(load_state(stored), fitted=trained(data, depth=2, steps=40)))
    rehash(folder, "models/mdt.safetensors")
    return folder


def rehash(folder, name):
    manifest = read_json(folder / "manifest.json")
    manifest["hashes"][name] = sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def explained(run, data, tmp_path_factory):
    """The command as a user gives it, with a file of two patients."""
    out = tmp_path_factory.mktemp("out")
    row = next(i for i in range(N) if all(s[i] is not None for s in data.samples.values()))
    (out / "who.txt").write_text(f"{data.patient_ids[row]}\n\n{data.patient_ids[4]}\n")
    _add_verbs()
    command = [
        "explain",
        str(run),
        "--model",
        "mdt",
        "--out",
        str(out / "it"),
        "--sample",
        "8",
        "--patients",
        str(out / "who.txt"),
    ]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    return out / "it", done.output


def test_the_page_names_the_planted_column_beside_attention(explained):
    out, told = explained
    page = (out / "explain.html").read_text(encoding="utf-8")
    assert f"page: {out / 'explain.html'}" in told and "tokens deleted in 8" in told
    assert re.search(rf"whose deletion changes most</dt><dd><span class=\"value\">{PLANTED_LAB}</span>", page)
    columns = pd.read_parquet(out / "columns.parquet").set_index("column")
    assert columns.loc[PLANTED_LAB, "change_rank"] == 1
    agreement = pd.read_parquet(out / "agreement.parquet")
    assert set(agreement["level"]) == {"modalities", "columns", "words", "patches"}
    assert "fitted on all of these patients" in page and "8 patients drawn at random (--sample)" in page
    assert page.count("<svg") == 4
    assert not re.search(r"\bnan\b|\bNone\b|<NA>|<script|https?://", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))


def test_no_patient_is_in_what_is_of_the_cohort(explained, data):
    out, told = explained
    page = (out / "explain.html").read_text(encoding="utf-8")
    tables = "\n".join(pd.read_parquet(p).select_dtypes(exclude="number").to_csv() for p in sorted(out.glob("*.parquet")))
    for patient in data.patient_ids:
        assert patient not in page + tables + told
    assert "0007" not in page + tables  # a part of an identifier, which a report holds
    assert "patients/" not in page and "patient.html" not in page
    words = pd.read_parquet(out / "words.parquet")
    assert words["patients"].min() >= 5
    assert len(list(out.glob("*.parquet"))) == 4


def test_named_patients_are_numbered_and_have_their_record(explained, data):
    out, _ = explained
    assert sorted(p.name for p in (out / "patients").iterdir()) == ["1", "2"]
    first = {p.name for p in (out / "patients" / "1").iterdir()}
    maps = {"film-1-attention.png", "film-1-deletion.png", *(f"film-1-word{k}.png" for k in range(1, 5))}
    assert first == maps | {"patient.html", "words-report.parquet", "columns-record.parquet"}
    assert not any(p.suffix == ".png" for p in (out / "patients" / "2").iterdir())  # has no film
    words = pd.read_parquet(out / "patients" / "1" / "words-report.parquet")
    assert {"word", "start", "end", "attention", "change"} == set(words.columns)
    assert words["attention"].sum() < 1
    page = (out / "patients" / "1" / "patient.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(maps)
    values = pd.read_parquet(out / "patients" / "1" / "columns-record.parquet").set_index("column")
    assert PLANTED_LAB in values["change"].nlargest(2).index
    assert not [p for p in out.rglob("*") if "ZEBRA" in p.name]


def test_another_cohort_has_not_been_seen_and_an_older_explanation_is_replaced(run, cohort, tmp_path):
    opened = Cohort.open(cohort)
    few = opened.take(opened.patient_ids[:6])
    renamed = {p: f"NEW-{i}" for i, p in enumerate(few.patient_ids)}
    tables = {name: t.assign(patient_id=t["patient_id"].map(renamed)) for name, t in few.tables.items() if name != "film"}
    tables = {name: t[t["patient_id"] != "NEW-5"].reset_index(drop=True) for name, t in tables.items()}
    new = dataclasses.replace(
        few, patients=few.patients.rename(index=renamed), tables=tables,
        modalities={name: few.modalities[name] for name in tables}, root=None,
    )  # fmt: skip
    write_cohort(new, tmp_path / "new")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "explain.html").write_text("older")
    asked = Asked(run=run, model="mdt", cohort=tmp_path / "new", patients=("NEW-0", "NEW-5"))
    done = explain_run(asked, tmp_path / "out", progress=silent)
    assert done.patients == done.sampled == 5
    assert (done.folders, done.without) == (2, 1)
    assert any("modality 'film' is not in the cohort" in w for w in done.warnings)
    page = done.page.read_text(encoding="utf-8")
    assert "has seen none of these patients before" in page
    assert "NEW-" not in page


REFUSED = {
    "no such model": ({"model": "mdtt"}, UnknownNameError, r"no stored model named 'mdtt'; did you mean 'mdt'"),
    "the main model, no network": ({}, ConfigError, r"model 'late' is no network, .*; of this run, mdt can be followed"),
    "no attention": ({"model": "gated"}, ConfigError, r"fusion 'gated' has no attention that leads from its vector"),
    "unknown patient": (
        {"model": "mdt", "patients": ("ZEBRA-0001", "ZEBRA-9999")},
        DataError,
        r"1 of the 2 patients asked for are not among the 32 of the cohort, first number 2 of the list",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_explained_is_refused_before_anything_is_written(run, tmp_path, case):
    asked, error, match = REFUSED[case]
    with pytest.raises(error, match=match) as refused:
        explain_run(Asked(run=run, **asked), tmp_path / "out", progress=silent)
    assert "9999" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def test_a_run_that_changed_or_has_not_finished_is_refused(run, tmp_path):
    changed = copied(run, tmp_path)
    with (changed / "models" / "mdt.safetensors").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(DataError, match="changed since the run wrote it"):
        explain_run(Asked(run=changed, model="mdt"), tmp_path / "out", progress=silent)
    shutil.copy(run / "models" / "mdt.safetensors", changed / "models")
    splits = pd.read_parquet(changed / "splits.parquet")
    splits.iloc[1:].to_parquet(changed / "splits.parquet", index=False)
    with pytest.raises(DataError, match="so it is not known whom the network was fitted on"):
        explain_run(Asked(run=changed, model="mdt"), tmp_path / "out", progress=silent)
    (changed / "manifest.json").unlink()
    with pytest.raises(DataError, match="not the folder of a finished run"):
        explain_run(Asked(run=changed, model="mdt"), tmp_path / "out", progress=silent)


def test_a_cohort_that_changed_is_not_the_runs_any_more(run, tmp_path):
    other = copied(run, tmp_path)
    rehash(other, "splits.parquet")
    manifest = read_json(other / "manifest.json")
    manifest["hashes"]["cohort manifest"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"changed since the run; run the study again, or look at the cohort .* with --cohort"):
        explain_run(Asked(run=other, model="mdt"), tmp_path / "out", progress=silent)


def test_a_folder_of_something_else_is_left_as_it_is(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no explanation of ours"):
        explain_run(Asked(run=run, model="mdt"), tmp_path, progress=silent)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_patients_are_named_in_a_file_or_a_list(tmp_path):
    (tmp_path / "who.txt").write_text("A, B\n\n C \n")
    assert read_patient_list(str(tmp_path / "who.txt")) == ("A, B", "C")
    assert read_patient_list("A, B,") == ("A", "B")
    assert read_patient_list(" ") == ()
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ConfigError, match="wanted one patient id a line, found none"):
        read_patient_list(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [(0.7, 0.5, 0.9, "largely"), (0.4, 0.1, 0.6, "partly"), (0.1, 0.05, 0.2, "hardly"), (-0.3, -0.5, -0.1, "in reverse")],
)
def test_agreement_is_judged_by_its_interval_first(value, low, high, told):
    assert agreed_word(pd.Series({"correlation": value, "low": low, "high": high})) == told
    assert agreed_word(pd.Series({"correlation": value, "low": -0.1, "high": 0.9})) == "not demonstrably"
