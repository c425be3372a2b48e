import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.derived_splits import fewer_labels, monte_carlo
from oncoweave.data.splits import TRAIN_ONLY, check_splits, distinct_repeats, make_splits

CLASSES = Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=("a", "b", "c"))
IDS = np.array([f"p{i:03d}" for i in range(100)], dtype=object)
TARGET = Target(endpoint=CLASSES, values=np.repeat([0.0, 1.0, 2.0], [60, 30, 10]))
SITES = np.array([f"s{i % 10}" for i in range(100)], dtype=object)


def made(**changed) -> pd.DataFrame:
    return make_splits(IDS, TARGET, SITES, **({"folds": 5, "repeats": 10, "group_by_site": True, "seed": 0} | changed))


def patients(splits: pd.DataFrame, repeat: int, fold: int) -> set[str]:
    return set(splits.loc[(splits["repeat"] == repeat) & (splits["fold"] == fold), "patient_id"])


def test_monte_carlo_tests_one_fold_a_repeat_and_keeps_hospitals_apart():
    splits = monte_carlo(made(), seed=0)
    check_splits(splits, IDS, SITES, group_by_site=True)
    tested = splits[splits["fold"] == 0].groupby("repeat").size()
    assert (tested == 20).all()
    assert len(tested) == 10
    assert set(splits["fold"]) == {0, TRAIN_ONLY}
    assert splits.equals(monte_carlo(made(), seed=0))
    assert distinct_repeats(splits)[1] == 0


def test_fewer_labels_test_the_same_patients_and_grow_by_adding():
    splits = made(repeats=2)
    few, more = (fewer_labels(splits, IDS, TARGET, labels=n, seed=3) for n in (10, 0.5))
    for reduced in (few, more):
        check_splits(reduced, IDS)
        assert reduced["repeat"].nunique() == 10
        for index, (repeat, fold) in enumerate((r, f) for r in range(2) for f in range(5)):
            assert patients(reduced, index, 0) == patients(splits, repeat, fold)
    for repeat in range(10):
        ten, half = (patients(s, repeat, TRAIN_ONLY) for s in (few, more))
        assert len(ten) == 10
        assert len(half) == 40
        assert ten < half


def test_few_labels_hold_every_stratum_to_within_one():
    reduced = fewer_labels(made(repeats=1), IDS, TARGET, labels=0.5, seed=0)
    value = pd.Series(TARGET.values, index=IDS)
    for _, rows in reduced[reduced["fold"] == TRAIN_ONLY].groupby("repeat"):
        counts = value[rows["patient_id"]].value_counts()
        assert counts.loc[[0.0, 1.0, 2.0]].to_numpy() == pytest.approx([24, 12, 4], abs=1)


def test_more_labels_than_there_are_is_refused():
    with pytest.raises(InfeasibleSplitError, match="90 training patients are asked for, repeat 0 has 80"):
        fewer_labels(made(), IDS, TARGET, labels=90, seed=0)
