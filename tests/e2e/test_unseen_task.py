"""A task with groups that nothing is trained on, from cohort to figures: admitted, split, run, and told apart by group."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drawn_cohort import write_drawn
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import make_splits, read_splits, write_splits
from oncoweave.data.store import write_cohort
from oncoweave.serve.report import write_report
from oncoweave.train.rows import SEEN, TRAINING, UNSEEN
from oncoweave.train.study import run_study
from oncoweave.train.task import groups_in, load_task, study_of
from oncoweave.train.task_groups import make_task_splits

SCANT = ("film", "report", "expression", "variants")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The pan-cancer task in two folds, the phantom, and splits in which discohesive tumours never train."""
    root = tmp_path_factory.mktemp("unseen")
    write_drawn(root / "phantom", patients=64, seed=1, without=SCANT)
    task = load_task("detection_pancancer")
    task = replace(
        task, protocol=task.protocol.model_copy(update={"folds": 2, "inner_folds": 2, "permutations": 0, "bootstrap": 100})
    )
    make_task_splits(task, root / "phantom", root / "splits.parquet")
    return task, root


def test_nothing_is_trained_on_unseen_groups_and_all_are_told_apart(asked):
    task, root = asked
    study = study_of(task, root / "phantom", splits=root / "splits.parquet")
    linear = tuple(m for m in study.models if m.name == "linear")
    run = run_study(study.model_copy(update={"models": linear, "main": "linear"}), root / "run")
    predictions, cohort = pd.read_parquet(run / "predictions.parquet"), Cohort.open(root / "phantom")
    subtype = predictions["patient_id"].map(cohort.patients["subtype"])
    times = predictions[predictions["model"] == "linear"].groupby("patient_id").size()
    assert set(times[cohort.patients["subtype"] == "discohesive"]) == {2}
    assert set(times[cohort.patients["subtype"] != "discohesive"]) == {1}
    stored = read_splits(run / "splits.parquet")
    trained = stored.loc[stored["fold"] < 0, "patient_id"].map(cohort.patients["subtype"])
    assert set(trained) == {"glandular", "solid"}
    figures = pd.read_parquet(run / "groups.parquet")
    chosen = (figures["model"] == "linear") & (figures["metric"] == "auroc") & figures["grouping"].isin(["subtype", TRAINING])
    ours = figures[chosen].set_index("group")
    assert set(ours.index) == {"glandular", "solid", "discohesive", SEEN, UNSEEN}
    assert ours.loc[UNSEEN, "n"] == ours.loc["discohesive", "n"] == (cohort.patients["subtype"] == "discohesive").sum()
    assert ours.loc[SEEN, "n"] == 64 - ours.loc[UNSEEN, "n"]
    assert ours.loc[UNSEEN, "value"] == pytest.approx(ours.loc["discohesive", "value"])
    assert 0 <= ours.loc[SEEN, "low"] <= ours.loc[SEEN, "value"] <= ours.loc[SEEN, "high"] <= 1
    assert subtype.notna().all()
    page = write_report(run).read_text(encoding="utf-8")
    assert UNSEEN in page
    assert "by training" in page
    assert "published splits" not in page  # the task made them


def test_splits_that_train_on_them_are_refused(asked):
    task, root = asked
    cohort = Cohort.open(root / "phantom")
    target = cohort.target("driver_a")
    usual = make_splits(cohort.patient_ids, target, None, folds=2, repeats=1, group_by_site=False, seed=0)
    write_splits(root / "usual.parquet", usual)
    with pytest.raises(DataError, match="whose subtype must not be trained on"):
        study_of(task, root / "phantom", splits=root / "usual.parquet")


def test_a_task_without_such_groups_makes_its_own_splits(asked, tmp_path):
    _, root = asked
    with pytest.raises(ConfigError, match="has no groups that are unseen in training"):
        make_task_splits(load_task("colon_bags"), root / "phantom", tmp_path / "s.parquet")


def test_specimens_of_a_person_are_kept_together(asked, tmp_path):
    task, root = asked
    phantom = Cohort.open(root / "phantom")
    person = pd.Series(np.arange(64) // 2, index=phantom.patients.index)
    write_cohort(replace(phantom, patients=phantom.patients.assign(person=person)), tmp_path / "specimens")
    splits = make_task_splits(task, tmp_path / "specimens", tmp_path / "s.parquet", person="person")
    unseen = set(person[phantom.patients["subtype"] == "discohesive"])
    for _, rows in splits.groupby("repeat"):
        tested, trains = (set(rows.loc[rows["fold"] == fold, "patient_id"].map(person)) for fold in (0, -1))
        assert tested.isdisjoint(trains)
        assert unseen <= tested


def test_groups_of_a_users_cohort_are_the_tasks_own(asked):
    task, root = asked
    phantom = Cohort.open(root / "phantom")
    own = replace(phantom, name="hospital", patients=phantom.patients.assign(cancer="bone"))
    assert groups_in(task, own) == ("cancer",)
    assert groups_in(task, phantom) == ("subtype",)
    assert groups_in(task, replace(phantom, name="hospital")) == ()
