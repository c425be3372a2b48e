"""`oncoweave cohort` from a source to an honest description, on the command line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from oncoweave.cli.cohort import cohort_app
from oncoweave.core.errors import DataError
from oncoweave.core.files import read_json
from oncoweave.data.store import read_cohort, verify

EXAMPLES = Path(__file__).parents[2] / "examples" / "cohorts"

SOURCE = {
    "page.yaml": """
name: clinic
patients: {table: patients.csv, site: hospital}
endpoints:
  os: {kind: survival, time: months, event: dead, unit: months}
modalities:
  clinical: {kind: record, table: patients.csv, columns: [age]}
  report: {kind: report, table: reports.csv}
""",
    "patients.csv": "patient_id,hospital,months,dead,age\n"
    + "".join(f"{i:03d},{'AB'[i % 2]},{10 + i},{i % 2},{50 + i * 7 % 31}\n" for i in range(50)),
    "reports.csv": "patient_id,text\n" + "".join(f"{i:03d},Carcinoma number {i}.\n" for i in range(30)),
}


def run(*arguments):
    return CliRunner().invoke(cohort_app, [str(a) for a in arguments])


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "in").mkdir()
    for name, text in SOURCE.items():
        (tmp_path / "in" / name).write_text(text)
    result = run("import", tmp_path / "in" / "page.yaml", tmp_path / "clinic")
    assert result.exit_code == 0, result.output
    return tmp_path / "clinic"


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    page = SOURCE["page.yaml"].replace("name: clinic", "name: 'a[/b]c'").replace("  os:", "  '[os]:cat:':")
    for name, text in {**SOURCE, "page.yaml": page}.items():
        (tmp_path / name).write_text(text)
    imported = run("import", tmp_path / "page.yaml", tmp_path / "out[red]")
    assert imported.exit_code == 0, imported.output
    assert "a[/b]c: 50 patients" in imported.output
    for command in ("describe", "check"):
        shown = run(command, tmp_path / "out[red]").output
        assert "a[/b]c: 50 patients" in shown
        assert "events of [os]:cat:" in shown
        assert any(line.startswith("[os]:cat:") for line in shown.splitlines())


def test_import_describe_check_export_import(clinic, tmp_path):
    shown = run("describe", clinic).output
    assert "clinic: 50 patients, 2 sites" in shown
    assert "25 events" in shown
    assert "2 of 4 subsets occur; events of os" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith("●")]
    assert rows == [["●", "●", "30", "60.0%", "15", "30", "15"], ["●", "·", "20", "40.0%", "10", "50", "25"]]
    assert "●  ●  30" in run("describe", clinic, "--subsets").output
    checked = run("check", clinic)
    assert checked.exit_code == 0, checked.output
    assert "check: nothing found" in checked.output
    assert run("export", clinic, "--h5mu", tmp_path / "clinic.h5mu").exit_code == 0
    assert run("import", tmp_path / "clinic.h5mu", tmp_path / "again").exit_code == 0
    one, two = read_cohort(clinic), read_cohort(tmp_path / "again")
    pd.testing.assert_frame_equal(one.patients, two.patients)
    for name in one.tables:
        pd.testing.assert_frame_equal(one.tables[name], two.tables[name])


def test_check_ends_with_one_when_there_is_an_error(clinic):
    table = pd.read_parquet(clinic / "modalities" / "report.parquet")
    table.assign(text=table["text"] + "!").to_parquet(clinic / "modalities" / "report.parquet")
    result = run("check", clinic)
    assert result.exit_code == 1
    assert "check: 1 error" in result.output
    assert "modalities/report.parquet" in result.output
    assert run("check", clinic, "--no-hashes").exit_code == 0


def test_check_decodes_films_and_counts_those_that_cannot_be_used(clinic, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (32, 32)) if i else np.zeros((32, 32))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "2.png").read_bytes()[:200])
    (tmp_path / "in" / "films.csv").write_text("patient_id,path\n" + "".join(f"{i:03d},{i}.png\n" for i in range(4)))
    (tmp_path / "in" / "page.yaml").write_text(SOURCE["page.yaml"] + "  film: {kind: film, table: films.csv}\n")
    assert run("import", tmp_path / "in" / "page.yaml", clinic).exit_code == 0
    result = run("check", clinic)
    assert result.exit_code == 1
    assert "2 patient(s) have a film that cannot be used: 1 blank, 1 unreadable" in " ".join(result.output.split())
    assert run("check", clinic, "--no-images").exit_code == 0


def test_check_reads_splits(clinic, tmp_path):
    ids = read_cohort(clinic).patient_ids
    pd.DataFrame({"patient_id": ids, "repeat": 0, "fold": np.arange(50) // 10}).to_parquet(tmp_path / "splits.parquet")
    result = run("check", clinic, "--splits", tmp_path / "splits.parquet")
    assert "2 of 2 sites stand on both sides" in " ".join(result.output.split())
    assert result.exit_code == 0  # a warning


def test_the_import_report_counts_what_was_left_out(clinic, tmp_path):
    (tmp_path / "in" / "reports.csv").write_text(SOURCE["reports.csv"] + "stranger,Text.\n")
    result = run("import", tmp_path / "in" / "page.yaml", clinic)
    assert "patient is not in the patient table" in " ".join(result.output.split())
    report = read_json(clinic / "import_report.json")
    assert report["modalities"]["report"] == {"kind": "report", "patients": 30, "rows": 30}
    assert [e["count"] for e in report["entries"]] == [1]
    assert verify(clinic) == []


def test_a_kill_during_the_import_leaves_the_old_cohort(clinic, tmp_path):
    before = (clinic / "manifest.json").read_bytes()
    page = tmp_path / "in" / "page.yaml"
    page.write_text(page.read_text().replace("name: clinic", "name: other"))
    script = (
        "import os, signal, pathlib, oncoweave.data.store as store\n"
        "from oncoweave.data.importers.choose import import_cohort\n"
        "store.sha256 = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"import_cohort(pathlib.Path({str(page)!r}), pathlib.Path({str(clinic)!r}))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, env=os.environ, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (clinic / "manifest.json").read_bytes() == before
    assert verify(clinic) == []
    assert len(list(tmp_path.glob(".clinic.*.partial"))) == 2  # the bags' and the cohort's
    assert run("import", page, clinic).exit_code == 0  # what the dead one left does not stand in the way
    assert read_cohort(clinic).name == "other"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clinic", "in"]


def test_errors_reach_the_user_whole(tmp_path):
    with pytest.raises(DataError, match="no source"):
        CliRunner().invoke(cohort_app, ["import", str(tmp_path / "nothing"), str(tmp_path / "out")], catch_exceptions=False)


def test_hancock(real_data, tmp_path):
    result = run("import", EXAMPLES / "hancock.yaml", tmp_path / "hancock", "--data", real_data / "hancock")
    assert result.exit_code == 0, result.output
    cohort = read_cohort(tmp_path / "hancock")
    assert len(cohort) == 610
    assert cohort.patient_ids[0] == "001"
    assert int(cohort.target("overall_survival").event.sum()) == 170
    known = cohort.target("recurrence_free_survival")
    assert (int(known.known.sum()), int(known.event[known.known].sum())) == (602, 236)
    assert int(cohort.target("recurrence").event.sum()) == 137
    assert cohort.availability().sum()[["blood", "icd", "cell_density", "he", "cd68"]].tolist() == [552, 571, 592, 605, 603]
    # cores without tissue (one vector in every stain) are absent; values are those of the source
    source = np.load(real_data / "hancock" / "tma_dtr512_HE.npz", allow_pickle=False)
    he = cohort.tables["he"].set_index("patient_id").drop(columns="sample_id")
    kept = np.isin(source["patient_id"], he.index)
    np.testing.assert_array_equal(he.to_numpy(), source["x"][kept])
    assert sorted(source["patient_id"][~kept]) == ["268", "348"]
    checked = run("check", tmp_path / "hancock")
    assert checked.exit_code == 0, checked.output


def test_the_cbioportal_example(real_data, tmp_path):
    study = real_data / "genesets_and_genomics" / "cbioportal_study_es_0"
    assert run("import", study, tmp_path / "study").exit_code == 0
    result = run("check", tmp_path / "study")
    assert "841 patients, 17 sites" in result.output
    # the study gives no disease-free months for any patient who recurred
    assert "no event(s) among 717 patients" in " ".join(result.output.split())
    assert result.exit_code == 1
