import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError, InfeasibleSplitError, UnknownNameError
from oncoweave.data.splits import TRAIN_ONLY, check_splits
from oncoweave.data.unseen_groups import Unseen, check_unseen, lacking_groups, unseen_splits

ENDPOINT = Endpoint(name="cancer", kind="binary", columns=("y",))
BONE = Unseen(column="organ", groups=("bone", "brain"))


def drawn(rng: np.random.Generator, count: int = 60) -> tuple[pd.DataFrame, Target]:
    organs = np.array(["lung", "colon", "breast", "bone", "brain"])[np.arange(count) % 5]
    patients = pd.DataFrame({"organ": organs}, index=[f"P{i:03d}" for i in range(count)])
    return patients, Target(endpoint=ENDPOINT, values=rng.integers(0, 2, count).astype(float))


def test_unseen_groups_are_tested_in_every_repeat_and_never_train(rng):
    patients, target = drawn(rng)
    splits = unseen_splits(patients, target, BONE, folds=4, seed=0)
    check_splits(splits, patients.index.to_numpy())
    check_unseen(splits, patients, BONE)
    rare = set(patients.index[patients["organ"].isin(BONE.groups)])
    tests = splits[splits["fold"] == 0]
    for _, rows in splits.groupby("repeat"):
        assert rare <= set(rows.loc[rows["fold"] == 0, "patient_id"])
        assert not rare & set(rows.loc[rows["fold"] == TRAIN_ONLY, "patient_id"])
        assert set(rows["patient_id"]) == set(patients.index)
    seen = tests[~tests["patient_id"].isin(rare)]["patient_id"]
    assert sorted(seen) == sorted(set(patients.index) - rare)  # each of the others once
    again = unseen_splits(patients, target, BONE, folds=4, seed=0)
    pd.testing.assert_frame_equal(splits, again)


def test_a_person_with_one_unseen_specimen_is_unseen_and_on_one_side(rng):
    patients, target = drawn(rng)
    person = np.arange(60) // 3  # five organs in turn: most people have a rare specimen
    person[:12] = np.repeat(np.arange(100, 106), 2)
    splits = unseen_splits(patients, target, Unseen(column="organ", groups=("bone",)), folds=2, seed=3, person=person.tolist())
    whose = dict(zip(patients.index, person, strict=True))
    hidden = {whose[p] for p in patients.index[patients["organ"] == "bone"]}
    for _, rows in splits.groupby("repeat"):
        tested, trains = ({whose[p] for p in rows.loc[rows["fold"] == f, "patient_id"]} for f in (0, TRAIN_ONLY))
        assert not tested & trains
        assert hidden <= tested
    check_unseen(splits, patients, Unseen(column="organ", groups=("bone",)))


def test_patients_without_an_outcome_are_left_out(rng):
    patients, target = drawn(rng)
    values = target.values.copy()
    values[[0, 3]] = np.nan
    splits = unseen_splits(patients, Target(endpoint=ENDPOINT, values=values), BONE, folds=3, seed=0)
    assert set(patients.index) - set(splits["patient_id"]) == {"P000", "P003"}


def test_a_split_that_trains_on_them_is_refused(rng):
    patients, target = drawn(rng)
    splits = unseen_splits(patients, target, BONE, folds=3, seed=0)
    rare = patients.index[patients["organ"] == "bone"][0]
    leaked = splits.assign(fold=np.where((splits["patient_id"] == rare) & (splits["repeat"] == 1), TRAIN_ONLY, splits["fold"]))
    with pytest.raises(DataError, match=r"1 patient\(s\) whose organ must not be trained on .* first in repeat 1"):
        check_unseen(leaked, patients, BONE)
    crossed = pd.DataFrame({"patient_id": patients.index, "repeat": 0, "fold": np.arange(60) % 4})
    with pytest.raises(DataError, match=r"24 patient\(s\) whose organ must not be trained on"):
        check_unseen(crossed, patients, BONE)  # tested in one fold of a cross-validation is trained on in the others


def test_what_cannot_be_told_apart_is_refused(rng):
    patients, target = drawn(rng)
    with pytest.raises(DataError, match="column 'site' is not in the patient table; it has"):
        unseen_splits(patients, target, Unseen(column="site", groups=("a",)), folds=2, seed=0)
    with pytest.raises(UnknownNameError, match="bone"):
        unseen_splits(patients, target, Unseen(column="organ", groups=("bones",)), folds=2, seed=0)
    with pytest.raises(InfeasibleSplitError, match="nobody with a known outcome is left to train on"):
        unseen_splits(patients, target, Unseen(column="organ", groups=tuple(patients["organ"].unique())), folds=2, seed=0)
    patients.iloc[7, 0] = None
    with pytest.raises(DataError, match=r"'organ' is not known for 1 patient\(s\), first in row 8"):
        unseen_splits(patients, target, BONE, folds=2, seed=0)


def test_a_cohort_that_lacks_some_unseen_groups_is_split_by_the_others(rng):
    patients, target = drawn(rng)
    wanted = Unseen(column="organ", groups=("bone", "testis", "brain", "liver"))
    assert lacking_groups(patients, wanted) == ("testis", "liver")
    splits = unseen_splits(patients, target, wanted, folds=3, seed=0)
    pd.testing.assert_frame_equal(splits, unseen_splits(patients, target, BONE, folds=3, seed=0))
    check_unseen(splits, patients, wanted)
    with pytest.raises(UnknownNameError, match="testis"):
        unseen_splits(patients, target, Unseen(column="organ", groups=("testis", "liver")), folds=2, seed=0)
