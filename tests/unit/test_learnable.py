"""Whether rows can teach a modality: how many differ in outcome, whether anything in it varies, and how few are split."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import ConfigError
from oncoweave.modalities.record import Sample
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, judging_folds
from oncoweave.train.learnable import enough, judges
from oncoweave.train.protocol import _admit
from oncoweave.train.study import Study


def target(kind, values, classes=()):
    columns = {"survival": ("t", "e"), "multilabel": ("a", "b")}.get(kind, ("y",))
    unit = "months" if kind == "survival" else None
    return Target(
        endpoint=Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit), values=np.array(values, float)
    )


@pytest.mark.parametrize(
    ("kind", "values", "once", "twice"),
    [
        ("binary", [0, 1, 1], True, False),
        ("binary", [0, 1, 1, 0], True, True),
        ("binary", [1, 1, 1], False, False),
        ("multiclass", [0, 0, 1, 2], True, False),
        ("multiclass", [0, 0, 2, 2, 1], True, True),
        ("survival", [[1, 1], [2, 0]], True, False),
        ("survival", [[1, 1], [2, 1]], True, True),
        ("survival", [[1, 0], [2, 0]], False, False),
        ("regression", [1, 2, 3], True, False),
        ("regression", [1, 2, 3, 4], True, True),
        ("regression", [5, 5, 5, 5], False, False),
        ("multilabel", [[0, 1], [1, 1]], True, False),
        ("multilabel", [[0, 1], [1, 1], [0, np.nan], [1, np.nan]], True, True),
        ("multilabel", [[0, np.nan], [1, np.nan]], False, False),
    ],
)
def test_outcomes_differ_enough(kind, values, once, twice):
    given = target(kind, values, classes=("a", "b", "c") if kind == "multiclass" else ())
    assert (enough(given), enough(given, fewest=2)) == (once, twice)


def fold_of(has, values, outcome, site=None):
    n = len(outcome)
    record = tuple(
        Sample(patient_id=f"p{i}", values={"age": v}) if h else None for i, (h, v) in enumerate(zip(has, values, strict=True))
    )
    data = Dataset(
        patient_ids=np.array([f"p{i}" for i in range(n)], dtype=object),
        site=np.array(["s"] * n if site is None else site, dtype=object),
        target=target("binary", outcome),
        samples={"record": record},
        kinds={"record": "record"},
    )
    return Fold(train=data, seed=0, inner_folds=3, group_by_site=site is not None)


def test_a_fold_says_why_it_cannot_teach_a_modality():
    outcome = [0, 1] * 6
    ages = np.arange(12.0)
    assert fold_of([False] * 12, ages, outcome).absent("record") == "no training patient has it"
    three = [i in (0, 2, 4) for i in range(12)]
    assert fold_of(three, ages, outcome).absent("record") == "the 3 training patients who have it hardly differ in outcome"
    one = [i == 0 for i in range(12)]
    assert fold_of(one, ages, outcome).absent("record") == "the 1 training patient who has it hardly differs in outcome"
    four = [i < 4 for i in range(12)]
    assert fold_of(four, ages, outcome).learnable(["record"]) == ("record",)
    same = fold_of(four, np.full(12, 60.0), outcome)
    assert same.absent("record") == "nothing in it varies between the 4 training patients who have it"
    assert same.learnable(["record"]) == ()


def test_those_who_have_a_modality_are_split_so_that_each_part_differs_in_outcome():
    # by hospital, leaving out either would leave one class of those who have it
    has, outcome = [True] * 4 + [False] * 8, [0, 0, 1, 1] + [0, 1] * 4
    fold = fold_of(has, np.arange(12.0), outcome, site=["a", "a", "b", "b", "a", "a", "b", "b", "c", "c", "d", "d"])
    labels = fold.inner_with("record")
    assert (labels[4:] == -1).all()
    for k in np.unique(labels[:4]):
        assert set(np.array(outcome)[:4][labels[:4] != k]) == {0, 1}


@pytest.mark.parametrize(
    ("kind", "values", "tells"),
    [
        ("survival", [[1, 0], [2, 0]], False),
        ("survival", [[1, 0], [2, 1]], False),  # nobody else is at risk
        ("survival", [[2, 1], [2, 0]], True),
        ("survival", [[1, 1], [2, 0]], True),
        ("binary", [1, 1], True),
    ],
)
def test_a_loss_on_times_tells_networks_apart_where_somebody_is_at_risk_at_an_event(kind, values, tells):
    assert judges(target(kind, values)) == tells


def test_inner_folds_that_cannot_judge_a_network_join_the_smallest_other_one():
    silent, telling = [[5, 0], [6, 0]], [[1, 1], [4, 0]]
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3])
    joined = judging_folds(labels, target("survival", [*silent, *telling, *telling, [2, 0], *telling]))
    assert joined.tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 3]
    kept = judging_folds(labels, target("survival", [*telling, *telling, *telling, [2, 0], *telling]))
    assert kept.tolist() == labels.tolist()
    # events in one fold only: dealt to two, each with one
    two = target("survival", [*silent, *silent, [1, 1], [2, 1], [9, 0], *silent])
    dealt = judging_folds(labels, two)
    assert sorted(dealt[[4, 5]]) == [0, 1]
    assert all(judges(two.take(dealt == k)) for k in (0, 1))


def test_too_few_patients_for_the_folds_are_said_with_what_took_the_others():
    data = fold_of([True] * 3 + [False] * 9, np.arange(12.0), [0, 1, 0, np.nan, *[1] * 8]).train
    asked = Study(name="s", cohort="c", endpoint="y", protocol={"folds": 2})
    told = "study 's': 3 of 12 patients remain, too few for 2 folds, left out 1 with y not known; 8 with none of the study's"
    with pytest.raises(ConfigError, match=told):
        _admit(asked, data)
