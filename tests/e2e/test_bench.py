"""A bench of two tasks and two models on phantom tables: its page, a resumed one, a task that fails, names that miss."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from oncoweave.cli import main
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.serve import wording
from oncoweave.serve.bench import run as bench_run
from oncoweave.serve.bench.run import run_bench
from oncoweave.train import fitting
from oncoweave.train.bench.spec import read_bench

WITHOUT = ("slide", "report", "volume", "film")
BENCH = {
    "name": "Two tasks",
    "tasks": {"tcga_survival": "cohort", "pancancer_survival": {"cohort": "cohort"}},
    "fusions": ["concat", "average"],
    "main": ["average"],
    "protocol": {
        "folds": 2, "repeats": 2, "scheme": "monte_carlo", "inner_folds": 2, "bootstrap": 100, "permutations": 1,
        "group_by_site": False,
    },
    "curves": {"labels": [0.5], "models": ["concat", "only_record"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    drawn, _, _ = draw_cohort(Config(patients=60, seed=3, sites=3, missing=0.0, without=WITHOUT))
    write_cohort(drawn, folder / "cohort")
    return folder


def written(place, **changes):
    path = place / "bench.yaml"
    path.write_text(yaml.safe_dump(BENCH | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def results(place):
    return run_bench(read_bench(written(place)), place / "out")


def test_the_page_shows_the_numbers_of_the_table(results, place):
    table = pd.read_parquet(place / "out" / "bench.parquet")
    page, text = ((place / "out" / f"bench.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    assert set(table["task"]) == {"tcga_survival", "pancancer_survival"}
    shown = table[table["role"] != "null"]
    assert {"concat", "average", "clinical baseline", "site_only", "only_expression"} <= set(shown["name"])
    for _, row in shown.iterrows():
        for written_number in (wording.number(row["value"]), wording.interval(row["low"], row["high"])):
            assert written_number in page
            assert written_number in text
    assert (table["seconds"] > 0).all()
    assert table.loc[table["model"] == "concat", "parameters"].gt(0).all()
    assert (table.loc[table["name"] == "average", "main"]).all()
    duels = pd.read_parquet(place / "out" / "duels.parquet").query("question == 'main'")
    assert wording.number(duels["difference"].iloc[0], sign=True) in page
    assert duels["p_folds"].notna().all()
    assert "stand-in" in page
    assert "MCAT" in page
    assert 'href="tasks/tcga_survival/report.html"' in page
    assert "critical difference" in page
    assert str(place) not in page


def test_each_task_is_an_ordinary_run(results, place):
    run = place / "out" / "tasks" / "tcga_survival"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["study"]["protocol"]["scheme"] == "monte_carlo"
    assert (run / "report.html").exists()
    figure = pd.read_parquet(run / "metrics.parquet").query("model == 'concat' and metric == 'c_index'")["value"].iloc[0]
    table = pd.read_parquet(place / "out" / "bench.parquet").query("task == 'tcga_survival' and model == 'concat'")
    assert table["value"].iloc[0] == figure


def test_curves_have_fewer_labels_on_the_same_patients(results, place):
    curves = pd.read_parquet(place / "out" / "curves.parquet")
    assert set(curves["model"]) == {"concat", "only_record"}
    assert curves["labels"].unique().tolist() == [15.0]
    table = pd.read_parquet(place / "out" / "bench.parquet").query("model == 'concat'").set_index("task")["n"]
    assert curves.query("model == 'concat'").set_index("task")["n"].to_dict() == table.to_dict()
    assert "15 labels" in (place / "out" / "bench.html").read_text(encoding="utf-8")


def test_a_bench_that_was_stopped_goes_on_and_fits_nothing_twice(results, place, tmp_path, monkeypatch):
    calls, original = [], fitting.lock

    def cut(*arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return original(*arguments)

    asked = read_bench(written(place, tasks={"tcga_survival": "cohort"}, curves={}))
    monkeypatch.setattr(fitting, "lock", cut)
    with pytest.raises(KeyboardInterrupt):
        run_bench(asked, tmp_path / "out")
    assert not (tmp_path / "out" / "bench.html").exists()
    before = len(list((tmp_path / "out" / "tasks" / "tcga_survival" / "parts").glob("*.parquet")))
    assert before == 1
    run_bench(asked, tmp_path / "out")
    done = len(calls)
    again = run_bench(asked, tmp_path / "out")
    assert len(calls) == done
    whole = results.scores.query("task == 'tcga_survival'").set_index("model")["value"]
    assert again.scores.set_index("model")["value"].to_dict() == whole.to_dict()


def test_tasks_that_fail_are_reported_and_the_others_finish(results, place, tmp_path, monkeypatch):
    def fail(asked, *_, **__):
        if asked.entry.task == "tcga_survival":
            raise RuntimeError("out of everything")
        return pd.DataFrame()

    out = shutil.copytree(place / "out", tmp_path / "out")
    tasks = {
        "tcga_survival": "cohort",
        "report_stage": "cohort",
        "pancancer_survival@lost": {"cohort": "nowhere"},
        "pancancer_survival": "cohort",
    }
    path = written(place, tasks=tasks, curves={"labels": [0.5]})
    monkeypatch.setattr(bench_run, "label_curve", fail)
    app = main.app
    if not app.registered_commands:
        main._add_verbs()
    done = CliRunner().invoke(app, ["bench", str(path), "--out", str(out)])
    assert done.exit_code == 1
    assert "3 of 4 tasks did not finish" in done.output
    assert "wants one report" in done.output
    assert "not a cohort folder" in done.output
    page = (out / "bench.html").read_text(encoding="utf-8")
    assert "RuntimeError: out of everything (traceback in failures/tcga_survival.txt)" in page
    assert "out of everything" in (out / "failures" / "tcga_survival.txt").read_text()
    assert pd.read_parquet(out / "bench.parquet")["task"].unique().tolist() == ["pancancer_survival"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tasks": {"tcga_survivl": "cohort"}}, UnknownNameError, "no task named 'tcga_survivl'; did you mean 'tcga_survival'"),
        ({"aggregators": ["abmill"]}, UnknownNameError, "did you mean 'abmil'"),
        ({"aggregators": ["abmil/tinny"]}, UnknownNameError, "no variant of 'abmil' named 'tinny'; did you mean 'tiny'"),
        ({"aggregators": ["snn"]}, ConfigError, "encoder 'snn' reads .* not slide; choose one of abmil, agata, longnet"),
        (
            {"encoders": {"film": ["pretrained_vit"]}},
            ConfigError,
            "encoder 'pretrained_vit' .*; give their file: {name: pretrained_vit, encoder: pretrained_vit, weights: FILE}",
        ),
        (
            {"aggregators": [{"name": "a", "encoder": "longnet", "frozen": True}]},
            ConfigError,
            "frozen and starts from no weights",
        ),
        ({"fusions": ["concatt"]}, UnknownNameError, "did you mean 'concat'"),
        ({"fusion": ["concat"]}, ConfigError, "unknown key 'fusion'; did you mean 'fusions'"),
        ({"tasks": {"crc_tiles": {"cohort": "cohort"}}}, ConfigError, "is asked of tiles: give it"),
    ],
)
def test_what_is_on_no_shelf_is_refused_before_anything_runs(place, changes, error, message):
    with pytest.raises(error, match=message):
        read_bench(written(place, **changes))


def test_a_main_model_that_a_task_has_not_fails_that_task(place, tmp_path):
    found = run_bench(read_bench(written(place, tasks={"tcga_survival": "cohort"}, main=["averge"])), tmp_path / "out")
    assert "did you mean 'average'" in found.failures["tcga_survival"]
