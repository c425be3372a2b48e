import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError, InfeasibleSplitError
from oncoweave.data.published_splits import published_splits
from oncoweave.data.splits import (
    TRAIN_ONLY,
    check_splits,
    describe_splits,
    distinct_repeats,
    inner_splits,
    make_splits,
    read_splits,
    splits_hash,
    write_splits,
)

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
BINARY = Endpoint(name="response", kind="binary", columns=("response",), classes=("no", "yes"))
LABELS = Endpoint(name="findings", kind="multilabel", columns=("a", "b"))
AGE = Endpoint(name="age", kind="regression", columns=("age",))


@pytest.fixture
def cohort(rng):
    ids = [f"p{i:03d}" for i in range(120)]
    values = np.column_stack([rng.exponential(size=120), rng.random(120) < 0.4]).astype(float)
    site = np.repeat([f"s{i}" for i in range(12)], [30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 2, 1])
    return ids, Target(endpoint=SURVIVAL, values=values), site


def split(cohort, **changed):
    ids, target, site = cohort
    return make_splits(ids, target, site, **({"folds": 4, "repeats": 2, "group_by_site": True, "seed": 0} | changed))


def test_grouped_folds_are_even_in_patients_and_events(cohort):
    ids, target, site = cohort
    facts = describe_splits(split(cohort), ids, target, site)
    assert len(facts) == 8
    assert (facts["site_overlap"] == 0).all()
    assert facts["patients"].between(27, 33).all()
    events = target.event.sum() / 4
    assert facts["events"].between(events - 3, events + 3).all()
    assert facts.groupby("repeat")["sites"].sum().tolist() == [12, 12]


def test_ungrouped_folds_are_even_in_every_quartile_of_follow_up(cohort):
    ids, target, _ = cohort
    fold = split(cohort, group_by_site=False, repeats=1).set_index("patient_id")["fold"].loc[ids].to_numpy()
    for happened in (True, False):
        rows = np.flatnonzero(target.event == happened)
        late = rows[np.argsort(target.time[rows])][-len(rows) // 4 :]
        assert np.ptp(np.bincount(fold[late], minlength=4)) <= 1


def test_repeats_and_seeds_differ_and_are_reproducible(cohort):
    one = split(cohort)
    assert one.equals(split(cohort))
    first, second = (one[one["repeat"] == r].set_index("patient_id")["fold"] for r in (0, 1))
    assert not first.equals(second.loc[first.index])
    assert splits_hash(one) != splits_hash(split(cohort, seed=1))


@pytest.mark.parametrize(("hospitals", "different"), [(4, 1), (5, 4), (6, 6)])
def test_repeats_merge_few_hospitals_differently_as_long_as_they_can(rng, hospitals, different):
    # four hospitals in four folds: one way; five: any two of them together, less the pairs that make a fold far too large
    site = np.repeat([f"s{i}" for i in range(hospitals)], [40, *[20] * (hospitals - 1)])
    values = np.column_stack([rng.exponential(size=len(site)), np.ones(len(site))])
    ids, target = [f"p{i:03d}" for i in range(len(site))], Target(endpoint=SURVIVAL, values=values)
    splits = make_splits(ids, target, site, folds=4, repeats=6, group_by_site=True, seed=0)
    check_splits(splits, ids, site, group_by_site=True)
    kept, copies = distinct_repeats(splits)
    assert kept["repeat"].nunique() >= different
    assert (kept["repeat"].nunique() == 1) == (hospitals == 4)
    assert copies == 6 - kept["repeat"].nunique()
    assert splits.groupby(["repeat", "fold"]).size().max() <= 1.25 * splits[splits["repeat"] == 0].groupby("fold").size().max()


def test_copies_are_told_whatever_their_folds_are_called():
    one = pd.DataFrame({"patient_id": list("abcd"), "repeat": 0, "fold": [0, 0, 1, 1]})
    renamed = one.assign(repeat=1, fold=[1, 1, 0, 0]).sample(frac=1, random_state=0)
    other = one.assign(repeat=2, fold=[0, 1, 0, 1])
    kept, copies = distinct_repeats(pd.concat([one, renamed, other], ignore_index=True))
    assert copies == 1 and kept["repeat"].unique().tolist() == [0, 2]
    held_out = [one.assign(repeat=r, fold=[0, 0, -1, -1] if r == 0 else [-1, -1, 0, 0]) for r in (0, 1)]
    assert distinct_repeats(pd.concat(held_out))[1] == 0  # who only trains is not who is tested


def test_patients_without_a_site_are_their_own_groups_and_counted(cohort):
    ids, target, site = cohort
    for missing in (None, "", "unknown", pd.NA, np.nan):
        some = site.astype(object)
        some[:30] = missing
        splits = split((ids, target, some))
        assert splits[splits["patient_id"].isin(ids[:30])].groupby("repeat")["fold"].nunique().tolist() == [4, 4]
        assert describe_splits(splits, ids, target, some).groupby("repeat")["without_site"].sum().tolist() == [30, 30]
        check_splits(splits, ids, some, group_by_site=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"folds": 13}, "wanted 13 folds, two at least, of 12 sites"),
        ({"folds": 1}, "wanted 1 folds, two at least"),
        ({"folds": 121, "group_by_site": False}, "121 folds, two at least, of 120 patients; use at most 120"),
        ({"repeats": 0}, "wanted one repeat or more, got 0"),
    ],
)
def test_what_cannot_be_split_is_refused(cohort, change, match):
    with pytest.raises(InfeasibleSplitError, match=match):
        split(cohort, **change)


def test_events_at_too_few_sites_are_refused(cohort):
    ids, target, site = cohort
    values = target.values.copy()
    values[:, 1] = site == "s3"
    with pytest.raises(
        InfeasibleSplitError, match=r"an event is found in 1 site \(.* only, wanted 4, one a fold; do not group by site$"
    ):
        split((ids, Target(endpoint=SURVIVAL, values=values), site))
    assert len(split((ids, Target(endpoint=SURVIVAL, values=values), site), group_by_site=False))


def test_a_class_with_fewer_patients_than_folds_is_refused(cohort):
    ids, _, site = cohort
    rare = Target(endpoint=BINARY, values=(np.arange(120) < 3).astype(float))
    with pytest.raises(InfeasibleSplitError, match=r"'yes' is found in 3 patients only, wanted 4.* at most 3 folds$"):
        split((ids, rare, site), group_by_site=False)


def test_grouping_without_any_site_is_refused(cohort):
    ids, target, _ = cohort
    for site in (None, np.full(120, "unknown")):
        with pytest.raises(InfeasibleSplitError, match="none of 120 patients has one; set group_by_site to false"):
            split((ids, target, site))


def test_unknown_outcomes_and_repeated_patients_are_refused(cohort):
    ids, target, site = cohort
    values = target.values.copy()
    values[7, 1] = np.nan
    with pytest.raises(DataError, match=r"outcome of 1 patient.s. is not known, first in row 8"):
        split((ids, Target(endpoint=SURVIVAL, values=values), site))
    with pytest.raises(DataError, match="got 120, 119 different"):
        split((["p000", "p000", *ids[2:]], target, site))
    with pytest.raises(DataError, match="wanted 120 sites, one a patient, got 119"):
        split((ids, target, site[:-1]))


@pytest.mark.parametrize("grouped", [True, False])
def test_labels_are_even_with_unknown_ones(cohort, rng, grouped):
    ids, _, site = cohort
    values = (rng.random((120, 2)) < [0.5, 0.2]).astype(float)
    values[rng.random(120) < 0.3, 1] = np.nan
    splits = split((ids, Target(endpoint=LABELS, values=values), site), group_by_site=grouped, repeats=1)
    fold = splits.set_index("patient_id")["fold"].loc[ids].to_numpy()
    slack = 6 if grouped else 2
    for column in (values[:, 0] == 1, values[:, 1] == 1, ~np.isnan(values[:, 1])):
        assert np.ptp(np.bincount(fold[column], minlength=4)) <= slack


def test_values_of_a_regression_are_even(cohort, rng):
    ids, _, site = cohort
    values = rng.normal(size=120)
    splits = split((ids, Target(endpoint=AGE, values=values), site), group_by_site=False, repeats=1)
    fold = splits.set_index("patient_id")["fold"].loc[ids].to_numpy()
    assert np.ptp(np.bincount(fold[np.argsort(values)[-24:]], minlength=4)) <= 1


def test_inner_splits_use_fewer_folds_before_they_mix_sites(cohort):
    _, target, site = cohort
    few = np.where(np.isin(site, ["s0", "s1"]), site, "s2")
    fold = inner_splits(target, few, folds=5, group_by_site=True, seed=0)
    assert len(np.unique(fold)) == 3
    assert all(len(np.unique(fold[few == s])) == 1 for s in np.unique(few))
    one = inner_splits(target, np.full(120, "s0"), folds=5, group_by_site=True, seed=0)
    assert len(np.unique(one)) == 5


def test_inner_splits_without_events_are_refused():
    target = Target(endpoint=SURVIVAL, values=np.column_stack([np.arange(9.0), np.zeros(9)]))
    with pytest.raises(InfeasibleSplitError, match="an event is found in 0"):
        inner_splits(target, None, folds=3, group_by_site=False, seed=0)


def test_splits_round_trip_with_their_hash(cohort, tmp_path):
    splits = split(cohort)
    digest = write_splits(tmp_path / "splits.parquet", splits.sample(frac=1, random_state=0))
    assert digest == splits_hash(splits)
    assert read_splits(tmp_path / "splits.parquet").equals(splits)
    splits.to_csv(tmp_path / "splits.csv", index=False)
    assert read_splits(tmp_path / "splits.csv").equals(splits)


def test_changed_splits_are_noticed(cohort, tmp_path):
    path = tmp_path / "splits.parquet"
    write_splits(path, split(cohort))
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame.loc[0, "fold"] = 3 - frame.loc[0, "fold"]
    changed = type(table).from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, path)
    with pytest.raises(DataError, match="splits were changed after they were written"):
        read_splits(path)


def test_anything_on_two_sides_is_refused(cohort):
    ids, _, site = cohort
    splits = split(cohort)
    with pytest.raises(DataError, match=r"120 patient.s. are in two folds of a repeat, first again in row 121"):
        check_splits(pd.concat([splits, splits.assign(fold=(splits["fold"] + 1) % 4)]).query("repeat == 0"), ids)
    with pytest.raises(DataError, match=r"1 patient.s. are not in the cohort, first in row \d+;"):
        check_splits(splits, ids[:-1])
    with pytest.raises(DataError, match=r"lacks the column\(s\) \['fold'\]"):
        check_splits(splits.drop(columns="fold"), ids)
    mixed = split(cohort, group_by_site=False)
    check_splits(mixed, ids, site)
    with pytest.raises(DataError, match=r"site.s. are on two sides, first 's"):
        check_splits(mixed, ids, site, group_by_site=True)


def write_sides(folder, sides):
    paths = []
    for index, (train, test) in enumerate(sides):
        path = folder / f"splits_{index}.csv"
        pd.DataFrame({"train": pd.Series(train), "val": pd.Series(test)}).to_csv(path)
        paths.append(path)
    return paths


def test_published_folds_become_one_repeat(tmp_path):
    splits = published_splits(write_sides(tmp_path, [(["b", "c"], ["a"]), (["a"], ["b", "c"])]))
    assert splits.to_dict("list") == {"patient_id": ["a", "b", "c"], "repeat": [0, 0, 0], "fold": [0, 1, 1]}


def test_published_hold_outs_become_repeats_of_their_own(tmp_path):
    splits = published_splits(write_sides(tmp_path, [(["b", "c"], ["a"]), (["c"], ["a"])]))
    assert splits["repeat"].tolist() == [0, 0, 0, 1, 1]
    assert splits["fold"].tolist() == [TRAIN_ONLY, TRAIN_ONLY, 0, TRAIN_ONLY, 0]


def test_published_splits_with_a_patient_on_both_sides_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"splits_0.csv: 1 patient\(s\) are in 'train' and in 'val', first of 'val' in line 2"):
        published_splits(write_sides(tmp_path, [(["a", "b"], ["a"])]))
    with pytest.raises(DataError, match=r"lacks the column\(s\) \['test'\]"):
        published_splits(write_sides(tmp_path, [(["b"], ["a"])]), test="test")
