"""Specimens of one person: never parted by a split, counted by the audit, drawn together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError
from oncoweave.data.persons import joined_groups, persons_on_both_sides, whose
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import check_predictions
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold

BINARY = Endpoint(name="outcome", kind="binary", columns=("outcome",))


def specimens(count: int = 40) -> Dataset:
    ids = np.array([f"S{i:02d}" for i in range(count)], dtype=object)
    person = np.array([f"person {i // 4}" for i in range(count)], dtype=object)
    target = Target(endpoint=BINARY, values=(np.arange(count) % 2).astype(float))
    return Dataset(patient_ids=ids, site=np.full(count, "A", dtype=object), target=target, samples={}, kinds={}, person=person)


def test_groups_join_hospitals_and_persons_and_an_unknown_hospital_joins_nobody():
    site = np.array(["A", "A", "B", "unknown", "unknown", "C"], dtype=object)
    person = np.array(["1", "2", "2", "3", "4", "4"], dtype=object)
    found = joined_groups(site, person)
    assert len({*found[:3]}) == 1
    assert found[4] == found[5]
    assert len({found[0], found[3], found[4]}) == 3


def test_inner_folds_keep_a_person_whole_also_of_some_rows():
    data = specimens()
    fold = Fold(train=data, seed=0, inner_folds=3, group_by_site=False)
    for rows in (np.ones(40, dtype=bool), np.arange(40) % 3 > 0):
        inner = pd.Series(fold.inner_of(rows)).groupby(data.person[rows]).nunique()
        assert (inner == 1).all()
    parted = Fold(train=replace(data, person=None), seed=0, inner_folds=3, group_by_site=False)
    assert (pd.Series(parted.inner).groupby(data.person).nunique() > 1).any()


def test_persons_in_two_folds_are_counted():
    splits = pd.DataFrame(
        {"patient_id": ["a", "b", "c", "a", "b", "c"], "repeat": [0, 0, 0, 1, 1, 1], "fold": [0, -1, -1, 0, 0, -1]}
    )
    person = pd.Series({"a": "x", "b": "x", "c": "y"})
    assert persons_on_both_sides(splits, person) == 1
    assert persons_on_both_sides(splits[splits["repeat"] == 1], person) == 0


def test_intervals_draw_persons_so_that_copies_of_a_specimen_add_no_certainty():
    rng = np.random.default_rng(0)
    y, count = (np.arange(40) % 2), 4
    one = pd.DataFrame(
        {"patient_id": [f"P{i}" for i in range(40)], "y": y, "p": np.clip(0.5 + 0.1 * y + rng.normal(0, 0.2, 40), 0, 1)}
    )
    copies = pd.concat([one.assign(patient_id=one["patient_id"] + f"-{k}", person=one["patient_id"]) for k in range(count)])
    widths = []
    for rows in (one, copies, copies.drop(columns="person")):
        table = check_predictions(rows.assign(site="A", model="m", repeat=0, fold=0, pattern="x"), BINARY)
        drawn = draw(table, replicates=400, level=0.95, generator=np.random.default_rng(1))
        metric = metrics_of(table, {}, {(0, 0): 0.5})[0]
        found = measure(table.of("m"), [metric], BINARY, drawn)["auroc"].interval
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] < 0.65 * widths[0]


def test_a_column_that_does_not_say_whose_every_row_is_is_refused():
    cohort, _, _ = draw_cohort(
        Config(patients=6, seed=0, without=("slide", "volume", "film", "report", "expression", "variants"))
    )
    with pytest.raises(DataError, match=r"column 'owner' \(person\) is not in the patient table; it has"):
        whose(cohort, "owner")
    named = cohort.patients.assign(owner=["a", "a", None, "b", " ", "b"])
    with pytest.raises(DataError, match=r"column 'owner' \(person\) is empty in 2 row\(s\), first in row 3"):
        whose(replace(cohort, patients=named), "owner")
