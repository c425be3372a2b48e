"""Pieces of the audits, on made-up values: near-copies, shared tiles, columns that tell the outcome, groups by age and sex."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.data.attributes import attributes
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.duplicates import equal_patients
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.train.audits.columns import _aurocs, _concordances, _martingale, _telling
from oncoweave.train.audits.sides import near_pairs, sharing_pairs

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")


def survival(n: int, rng: np.random.Generator) -> Target:
    return Target(endpoint=SURVIVAL, values=np.column_stack([rng.exponential(20, n) + 0.1, rng.random(n) < 0.6]))


def test_near_copies_are_found_among_vectors_and_chance_finds_none():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 32))
    assert near_pairs(vectors) == set()
    vectors[41] = vectors[7] + rng.normal(0, 1e-3, size=32)
    assert near_pairs(vectors) == {(7, 41)}


def test_patients_share_a_slide_from_three_tiles_on():
    sketches = [np.arange(100 * i, 100 * i + 20, dtype=np.uint64) for i in range(4)]
    sketches[2] = np.concatenate([sketches[2][3:], sketches[0][:3]])
    sketches[3] = np.concatenate([sketches[3][2:], sketches[1][:2]])
    assert sharing_pairs(sketches) == {(0, 2)}


def test_equal_rows_count_where_chance_cannot_give_them():
    rng = np.random.default_rng(1)
    ids = {"patient_id": [f"p{i}" for i in range(40)], "sample_id": [f"s{i}" for i in range(40)]}
    table = pd.DataFrame(
        {**ids, "crp": rng.random(40), "ldh": rng.random(40), "age": rng.random(40), "sex": rng.choice(["f", "m"], 40)}
    )
    assert equal_patients(table) == []
    table.loc[9, ["crp", "ldh", "age", "sex"]] = table.loc[4, ["crp", "ldh", "age", "sex"]]
    assert equal_patients(table) == [("p4", "p9")]
    coarse = pd.DataFrame({**ids, "sex": rng.choice(["f", "m"], 40), "stage": rng.choice(["I", "II"], 40)})
    assert equal_patients(coarse) == []


def test_columns_are_scored_as_the_definitions_say():
    rng = np.random.default_rng(2)
    target = survival(80, rng)
    columns = pd.DataFrame(
        {"a": rng.normal(size=80), "b": -target.time, "c": np.where(rng.random(80) < 0.2, np.nan, target.event)}
    )
    c_index = harrell_c(target.time, target.event, columns["a"].to_numpy())
    found = _concordances(columns, target)
    assert found["b"] == 1.0
    assert found["a"] in (0.0, pytest.approx(max(c_index, 1 - c_index)))
    assert _aurocs(columns, target.event.astype(float))["c"] == 1.0
    assert [(name, value) for name, _, value in _telling(columns, target, set())] == [("c", 1.0), ("b", 1.0)]
    assert _martingale(target.time, target.event).sum() == pytest.approx(0.0, abs=1e-9)


def test_a_weaker_column_is_a_leak_where_its_name_says_so():
    rng = np.random.default_rng(3)
    target = survival(200, rng)
    columns = pd.DataFrame({"days_to_recurrence": target.time + rng.normal(0, 15, 200)})
    assert list(_telling(columns, target, set())) == []
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
