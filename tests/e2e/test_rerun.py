"""A run folder that is run again: finished, damaged, tampered with, or refused the first time."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from oncoweave.cli.run import run as run_command
from oncoweave.core.errors import ConfigError, InfeasibleSplitError
from oncoweave.core.files import read_json, sha256, write_json
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study

WITHOUT = ("slide", "report", "volume", "film", "expression")
QUICK = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    drawn, _, _ = draw_cohort(Config(patients=60, seed=3, sites=3, without=WITHOUT))
    return write_cohort(drawn, tmp_path_factory.mktemp("rerun") / "cohort")


def study(cohort: Path, **changes: object) -> Study:
    models = (ModelSpec(name="stacking", fusion="stacking"),)
    content = {"name": "s", "cohort": str(cohort), "endpoint": "overall_survival", "models": models, "protocol": QUICK}
    return Study(**(content | changes))


@pytest.fixture(scope="module")
def run(cohort) -> Path:
    return run_study(study(cohort), cohort.with_name("run"))


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_model_is_fitted_again_and_not_vouched_for(run, cohort, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    model = copy / "models" / "only_record.safetensors"
    flip(model)
    run_study(study(cohort), copy)
    assert model.read_bytes() == (run / "models" / "only_record.safetensors").read_bytes()
    manifest = read_json(copy / "manifest.json")
    assert manifest["hashes"] == read_json(run / "manifest.json")["hashes"]
    assert any("not what this run had written: models/only_record.safetensors." in said for said in manifest["warnings"])


@pytest.mark.parametrize("folder", ["parts", "subsets"])
def test_a_damaged_part_is_made_again(run, cohort, tmp_path, folder):
    copy = shutil.copytree(run, tmp_path / "run")
    part = sorted((copy / folder).iterdir())[0]
    values = part.read_bytes()
    flip(part, len(values) // 2)
    (copy / "manifest.json").unlink()  # interrupted
    run_study(study(cohort), copy)
    assert part.read_bytes() == values
    assert read_json(copy / "manifest.json")["hashes"] == read_json(run / "manifest.json")["hashes"]


def test_a_file_that_another_put_there_is_not_taken_for_the_runs_own(run, cohort, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    fitted = {p.relative_to(run): sha256(p) for f in ("parts", "models") for p in (run / f).iterdir()}
    table = next((copy / "parts").iterdir())
    forged = pd.read_parquet(table)
    forged.assign(risk=-forged["risk"]).to_parquet(table)
    (copy / "written.json").unlink()
    (copy / "manifest.json").unlink()
    (copy / "stranger.parquet").write_bytes(b"x")
    run_study(study(cohort), copy)
    assert {p: sha256(copy / p) for p in fitted} == fitted
    assert "stranger.parquet" not in read_json(copy / "manifest.json")["hashes"]


def test_a_finished_run_that_is_run_again_is_not_touched(run, cohort, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "study.yaml"
    file.write_text(study(cohort).model_dump_json(), encoding="utf-8")  # JSON is YAML

    def command() -> dict[Path, int]:
        run_command(file, copy, jobs=1)
        return {p: p.stat().st_mtime_ns for p in (copy, *copy.rglob("*"))}

    before = command()
    assert copy / "report.html" in before and copy / ".lock" in before
    assert command() == before
    assert read_json(copy / "manifest.json")["hashes"]["study.yaml"] == sha256(copy / "study.yaml")
    (copy / "study.yaml").write_text("main: only_record\n", encoding="utf-8")
    (copy / "metrics.parquet").unlink()
    again = command()
    assert again[copy / "report.html"] > before[copy / "report.html"]
    assert again[copy / "models" / "stacking.safetensors"] == before[copy / "models" / "stacking.safetensors"]
    for name in ("study.yaml", "metrics.parquet"):
        assert (copy / name).read_bytes() == (run / name).read_bytes()


def test_a_run_that_was_claimed_before_a_setting_came_is_of_this_study(run, cohort, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    claim = read_json(copy / "claim.json")
    assert "recalibration: shrunken\n" in claim["study"]
    write_json(copy / "claim.json", claim | {"study": claim["study"].replace("recalibration: shrunken\n", "")})
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")}
    run_study(study(cohort), copy)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")}
    with pytest.raises(ConfigError, match="holds a run of another study"):
        run_study(study(cohort, name="t"), copy)
    write_json(copy / "claim.json", claim | {"study": claim["study"].replace("recalibration", "recalibrated")})
    with pytest.raises(ConfigError, match="holds a run of another study"):
        run_study(study(cohort), copy)


def test_a_study_whose_split_is_refused_leaves_the_folder_to_the_corrected_one(cohort, tmp_path):
    wanted = QUICK.model_copy(update={"group_by_site": True, "folds": 9})
    with pytest.raises(InfeasibleSplitError, match="9 folds"):
        run_study(study(cohort, protocol=wanted), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    run_study(study(cohort), tmp_path / "run")


def test_a_claim_under_which_nothing_was_fitted_is_replaced(run, cohort, tmp_path):
    for name in ("claim.json", "study.yaml", "flow.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(run / name, tmp_path / "run" / name)
    other = study(cohort, protocol=QUICK.model_copy(update={"seed": 1}))
    run_study(other, tmp_path / "run")
    assert read_json(tmp_path / "run" / "manifest.json")["seed"] == 1
    with pytest.raises(ConfigError, match="holds a run of another study"):
        run_study(study(cohort), tmp_path / "run")
