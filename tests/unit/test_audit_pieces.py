"""Pieces of the audits, on made-up values: near-copies, shared tiles, columns that tell the outcome, groups by age and sex."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.data.attributes import attributes
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.duplicates import alike_patients
from oncoweave.data.near_copies import near_pairs
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.train.audits.columns import _aurocs, _concordances, _martingale, _telling
from oncoweave.train.audits.sides import sharing_pairs

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")


def survival(n: int, rng: np.random.Generator) -> Target:
    return Target(endpoint=SURVIVAL, values=np.column_stack([rng.exponential(20, n) + 0.1, rng.random(n) < 0.6]))


def patients_tiles(rng: np.random.Generator, *, num: int = 60, tiles: int = 300, dim: int = 64) -> list[np.ndarray]:
    centre = rng.normal(size=(num, dim))
    return [c + rng.normal(size=(tiles, dim)) for c in centre]


def pooled(bags: list[np.ndarray]) -> np.ndarray:
    return np.stack([b.mean(axis=0) for b in bags])


def test_vectors_are_near_copies_against_what_the_cohort_shows():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 32))
    assert near_pairs(vectors) == set()
    vectors[41] = vectors[7] + rng.normal(0, 1e-3, size=32)
    assert near_pairs(vectors) == {(7, 41)}
    assert near_pairs(vectors, np.where(np.arange(60) == 41, 7, np.arange(60))) == set()  # two rows of one owner
    vectors[41, :12] = np.nan
    assert near_pairs(vectors) == {(7, 41)}
    assert near_pairs(vectors[:, :3]) == set()


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_few_dimensions_and_long_tails_are_no_copies(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 2 + seed % 4)) @ rng.normal(size=(2 + seed % 4, 30))
    rows = np.exp(rows) if seed % 2 else rows + 0.1 * rng.normal(size=rows.shape)
    assert near_pairs(rows) == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda t, rng: t + 0.1 * rng.normal(size=t.shape),
        lambda t, rng: t + 0.1,
        lambda t, rng: rng.permutation(t)[:150],
        lambda t, rng: t.mean(axis=0) + rng.normal(size=t.shape),
    ],
    ids=["noise of a tenth", "a shift of a tenth", "half of the tiles", "tiles of another grid"],
)
def test_a_slide_is_found_again_however_it_was_changed(change):
    rng = np.random.default_rng(0)
    bags = patients_tiles(rng)
    bags[1] = change(bags[0], rng)
    assert near_pairs(pooled(bags)) == {(0, 1)}


def test_slides_share_tiles_from_three_on_also_where_their_means_differ():
    rng = np.random.default_rng(1)
    bags = patients_tiles(rng, num=40)
    owner = np.arange(40)
    assert sharing_pairs(bags, owner) == set()
    bags[1] = np.concatenate([bags[0] + 0.1 * rng.normal(size=bags[0].shape), bags[1] + 4.0])[:450]
    assert (near_pairs(pooled(bags)), sharing_pairs(bags, owner)) == (set(), {(0, 1)})
    assert sharing_pairs(bags, np.where(owner == 1, 0, owner)) == set()
    bags[2] = np.concatenate([bags[2], bags[3][:2]])
    assert sharing_pairs(bags, owner) == {(0, 1)}


def test_equal_rows_count_where_chance_cannot_give_them():
    rng = np.random.default_rng(1)
    ids = {"patient_id": [f"p{i}" for i in range(40)], "sample_id": [f"s{i}" for i in range(40)]}
    table = pd.DataFrame(
        {**ids, "crp": rng.random(40), "ldh": rng.random(40), "age": rng.random(40), "sex": rng.choice(["f", "m"], 40)}
    )
    assert alike_patients(table) == []
    table.loc[9, ["crp", "ldh", "age", "sex"]] = table.loc[4, ["crp", "ldh", "age", "sex"]]
    assert alike_patients(table) == [("p4", "p9")]
    table.loc[9, "crp"] = np.nan
    assert alike_patients(table) == []  # three columns of measurements are too few for near ones
    coarse = pd.DataFrame({**ids, "sex": rng.choice(["f", "m"], 40), "stage": rng.choice(["I", "II"], 40)})
    assert alike_patients(coarse) == []


@pytest.mark.parametrize("change", [lambda row: row * (1 + 1e-6), lambda row: np.round(row, 3)], ids=["other digits", "rounded"])
def test_a_record_or_profile_written_in_other_digits_is_found(change):
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.normal(size=(150, 6)), columns=list("abcdef"))
    table.insert(0, "patient_id", [f"p{i}" for i in range(150)])
    table.insert(1, "sample_id", [f"s{i}" for i in range(150)])
    assert alike_patients(table) == []
    table.loc[9, list("abcdef")] = change(table.loc[2, list("abcdef")].to_numpy(dtype=float))
    assert alike_patients(table) == [("p2", "p9")]


def test_equal_rows_are_chance_where_others_differ_in_one_value_only():
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 40, size=400)  # columns that go together: the shares of their values say nothing of whole rows
    rows = {f"c{k}": (kind * (k + 3)) % 41 for k in range(8)}
    rows["grade"] = rng.integers(0, 4, size=400)
    ids = {"patient_id": [f"p{i}" for i in range(400)], "sample_id": [f"s{i}" for i in range(400)]}
    assert alike_patients(pd.DataFrame({**ids, **rows})) == []


def test_columns_are_scored_as_the_definitions_say():
    rng = np.random.default_rng(2)
    target = survival(80, rng)
    columns = pd.DataFrame(
        {"a": rng.normal(size=80), "b": -target.time, "c": np.where(rng.random(80) < 0.2, np.nan, target.event)}
    ).assign(empty=np.nan)
    c_index = harrell_c(target.time, target.event, columns["a"].to_numpy())
    found = _concordances(columns, target)
    assert found["b"] == 1.0
    assert "empty" not in found
    assert found["a"] == pytest.approx(max(c_index, 1 - c_index))
    assert _aurocs(columns, target.event.astype(float))["c"] == 1.0
    assert [(name, value) for name, _, value, _ in _telling(columns, target, set())] == [("c", 1.0), ("b", 1.0)]
    assert _martingale(target.time, target.event).sum() == pytest.approx(0.0, abs=1e-9)


def test_a_weaker_column_is_a_leak_where_its_name_says_so():
    rng = np.random.default_rng(3)
    target = survival(200, rng)
    columns = pd.DataFrame({"days_to_recurrence": target.time + rng.normal(0, 15, 200)})
    assert _telling(columns, target, set()) == []
    assert [name for name, *_ in _telling(columns, target, {"days_to_recurrence"})] == ["days_to_recurrence"]


def test_age_and_sex_are_found_in_a_record_and_the_unknown_stay_unknown():
    patients = pd.DataFrame(index=pd.Index(list("abcd"), name="patient_id"))
    rows = {
        "patient_id": list("abc"),
        "sample_id": list("abc"),
        "age_at_diagnosis": [49.9, 75.0, -1.0],
        "Sex": ["F", "male", None],
    }
    record = ModalitySpec(name="clinical", kind="record")
    found = attributes(
        Cohort(name="c", patients=patients, tables={"clinical": pd.DataFrame(rows)}, modalities={"clinical": record})
    )
    assert found["age group"].tolist()[:2] == ["below 50", "75 and older"]
    assert found["sex"].tolist()[:2] == ["female", "male"]
    assert found.isna().sum().tolist() == [2, 2]
