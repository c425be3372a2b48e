"""Whatever the cohort: every patient is tested once a repeat, no hospital is on two sides, what cannot be split is refused."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.data.splits import check_splits, inner_splits, make_splits, splits_hash

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
CLASSES = Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=("a", "b", "c"))


@st.composite
def cohorts(draw):
    n = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from([0.05, 0.4, 1.0]))
    survival = draw(st.booleans())
    if survival:
        values = np.column_stack([rng.integers(0, 9, n), rng.random(n) < rate]).astype(float)
    else:
        values = rng.choice(3, n, p=[1 - 0.9 * rate, 0.5 * rate, 0.4 * rate]).astype(float)
    site = rng.choice(["north", "south", "east", "west", "far", None], n, p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    return [f"p{i}" for i in range(n)], Target(endpoint=SURVIVAL if survival else CLASSES, values=values), site


@settings(deadline=None, max_examples=40)
@given(cohorts(), st.integers(2, 5), st.booleans(), st.integers(0, 3))
def test_splits_keep_their_promises_or_are_refused(cohort, folds, group_by_site, seed):
    ids, target, site = cohort
    try:
        splits = make_splits(ids, target, site, folds=folds, repeats=2, group_by_site=group_by_site, seed=seed)
    except InfeasibleSplitError as error:
        assert (
            "use fewer folds" in str(error)
            or "use at most" in str(error)
            or "gather more patients" in str(error)
            or "do not group by site" in str(error)
            or "none of" in str(error)
        )
        return
    check_splits(splits, ids, site, group_by_site=group_by_site)
    for _, rows in splits.groupby("repeat"):
        assert sorted(rows["patient_id"]) == sorted(ids)
        assert sorted(rows["fold"].unique()) == list(range(folds))
        outcome = rows["patient_id"].map(dict(zip(ids, target.values.reshape(len(ids), -1)[:, -1], strict=True)))
        if target.endpoint.kind == "survival":
            assert (outcome.groupby(rows["fold"]).sum() >= 1).all()
        else:
            assert (outcome.groupby(rows["fold"]).nunique() == len(np.unique(target.values))).all()
        if not group_by_site:
            assert np.ptp(np.bincount(rows["fold"])) <= 1
            counts = pd.crosstab(rows["fold"], outcome)
            assert (counts.max() - counts.min() <= 1).all()
    again = make_splits(ids, target, site, folds=folds, repeats=2, group_by_site=group_by_site, seed=seed)
    assert splits_hash(again) == splits_hash(splits)


@settings(deadline=None, max_examples=40)
@given(cohorts(), st.integers(2, 5), st.booleans())
def test_inner_splits_use_what_the_training_patients_allow(cohort, folds, group_by_site):
    ids, target, site = cohort
    try:
        fold = inner_splits(target, site, folds=folds, group_by_site=group_by_site, seed=1)
    except InfeasibleSplitError:
        column = target.values.reshape(len(ids), -1)[:, -1]
        counts = [int(column.sum())] if target.endpoint.kind == "survival" else np.unique(column, return_counts=True)[1].tolist()
        assert min(counts) < 2
        return
    assert len(fold) == len(ids)
    assert 2 <= len(np.unique(fold)) <= folds
    assert fold.max() == len(np.unique(fold)) - 1
