"""Several specimens of a person: worth fewer independent ones, by hand, by enumeration and by simulation."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.acting import operating_table
from oncoweave.evaluate.calibration import wilson
from oncoweave.evaluate.certainty import certainty_table, novelty_table
from oncoweave.evaluate.clustered import effective_number, exact_share
from oncoweave.evaluate.displays import calibration_table
from oncoweave.evaluate.significance import cochran_q, mcnemar
from oncoweave.evaluate.tables import PredictionTable, check_predictions

BINARY = Endpoint(name="response", kind="binary", columns=("response",))
VALUE = Endpoint(name="response", kind="regression", columns=("response",))


def few(rows: int, persons: int, level: float = 0.95) -> float:
    one, other = stats.t.ppf(0.5 + level / 2, [rows - 1, persons - 1])
    return float((one / other) ** 2)


def test_the_number_that_rows_are_worth_by_hand():
    right, whose = np.array([1, 1, 0, 0, 1, 0]), np.array(list("aabbcc"))
    within, between = 0.5 / 3, 2 * (0.25 + 0.25) / 2  # mean squares of 1, 0 and .5 about .5
    correlation = (between - within) / (between + within)
    assert effective_number(right, whose) == pytest.approx(6 / (1 + correlation) * few(6, 3))
    assert effective_number(np.ones(7), np.array(list("aaabbcd"))) == pytest.approx(49 / 15 * few(7, 4))  # nothing is known of r
    assert effective_number(right, np.arange(6)) == 6.0
    assert effective_number(np.array([1, 0, 1, 0, 1, 0]), whose) == pytest.approx(6 * few(6, 3))  # less alike than by chance
    assert effective_number(right, np.zeros(6)) == 0.0
    assert effective_number(3 + 5.0 * right, whose) == pytest.approx(effective_number(right, whose))
    assert effective_number(right, whose, level=0.5) > effective_number(right, whose)


def test_wilsons_interval_of_clustered_specimens_holds_what_it_says(rng):
    hits = np.zeros(2)
    whose = np.repeat(np.arange(40), 4)
    for _ in range(300):
        right = rng.random(160) < np.repeat(rng.beta(0.9 * 0.25, 0.1 * 0.25, 40), 4)  # a correlation of .8
        for k, n in enumerate((effective_number(right, whose), 160)):
            low, high = wilson(np.array([right.mean()]), np.array([n]))
            hits[k] += low[0] <= 0.9 <= high[0]
    assert hits[0] / 300 > 0.91 and hits[1] / 300 < 0.8


def test_the_exact_share_is_clopper_pearsons_of_that_number():
    right = np.arange(12) < 9
    exact = stats.binomtest(9, 12).proportion_ci()
    assert exact_share(right) == exact_share(right, np.arange(12)) == (exact.low, exact.high)
    whose = np.repeat(np.arange(6), 2)
    n = effective_number(right, whose)
    low, high = exact_share(right, whose)
    assert stats.beta.cdf(low, 0.75 * n, 0.25 * n + 1) == pytest.approx(0.025)
    assert stats.beta.cdf(high, 0.75 * n + 1, 0.25 * n) == pytest.approx(0.975)
    every = exact_share(np.ones(12), whose)
    assert every[1] == 1.0 and every[0] < exact_share(np.ones(12))[0]
    assert exact_share(np.zeros(12), whose) == pytest.approx((0.0, 1 - every[0]))
    assert np.isnan(exact_share(right, np.zeros(12))).all() and np.isnan(exact_share(np.empty(0))).all()


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_of_persons_is_the_randomisation_of_their_gains(seed):
    rng = np.random.default_rng(seed)
    whose = rng.integers(9, size=30)
    first, second = (rng.random((2, 30)) < [[0.8], [0.5]]).astype(float)
    gains = np.array([(first - second)[whose == person].sum() for person in range(9)])
    drawn = np.array([np.dot(signs, gains) for signs in product((-1, 1), repeat=9)])
    exact = (np.abs(drawn) >= abs(gains.sum()) - 1e-9).mean()
    mid = exact - (drawn == gains.sum()).mean()
    assert mcnemar(first, second, persons=whose, mid_p=False).p == pytest.approx(min(1, exact))
    assert mcnemar(first, second, persons=whose).p == pytest.approx(min(1, mid) if gains.sum() else 1)
    decisions = np.stack([first, second], axis=1)
    assert cochran_q(decisions, persons=whose).statistic == pytest.approx(gains.sum() ** 2 / (gains**2).sum())


def test_copies_of_a_patient_tell_the_tests_nothing(rng):
    right = (rng.random((25, 3)) < [0.9, 0.6, 0.7]).astype(float)
    order = rng.permutation(100)
    copies, whose = np.repeat(right, 4, axis=0)[order], np.repeat(np.arange(25), 4)[order]
    for persons in (np.arange(25), np.array([f"person {i}" for i in range(25)])):
        assert mcnemar(right[:, 0], right[:, 1], persons=persons) == mcnemar(right[:, 0], right[:, 1])
        assert cochran_q(right, persons=persons) == cochran_q(right)
    assert mcnemar(copies[:, 0], copies[:, 1], persons=whose).p == mcnemar(right[:, 0], right[:, 1]).p
    assert cochran_q(copies, persons=whose).p == pytest.approx(cochran_q(right).p)
    assert mcnemar(copies[:, 0], copies[:, 1]).p < 0.1 * mcnemar(right[:, 0], right[:, 1]).p
    both = mcnemar(np.array([1, 0]), np.array([0, 1]), persons=np.array(["a", "a"]))
    assert (both.p, both.reason) == (1.0, "the models are right as often on every person")
    with pytest.raises(DataError, match=r"persons: wanted one a row, 2, got an array of shape \(3,\)"):
        mcnemar(np.array([1, 0]), np.array([0, 1]), persons=np.arange(3))


def predicted(rng: np.random.Generator, *, copies: int, repeats: int = 1) -> dict[str, pd.DataFrame]:
    """Two models' rows of 40 patients: once each, ``copies`` of each with whose they are, and these without."""
    y = np.arange(40) % 2
    frames = []
    for model, skill in (("m", 0.85), ("r", 0.6)):
        for repeat in range(repeats):
            right = rng.random(40) < skill
            content = {"patient_id": [f"P{i:02d}" for i in range(40)], "repeat": repeat, "model": model, "y": y}
            sets = {"in_set@0": True, "in_set@1": rng.random(40) < 0.7, "novelty_p": 0.5, "novel": np.where(y & right, "a", "")}
            called = {"called@specificity0.9": np.where(right, y, 1 - y).astype(bool)}
            frames.append(pd.DataFrame(content | sets | called | {"p": np.where(right, y, 1 - y) * 0.6 + 0.2}))
    one = pd.concat(frames).assign(site="A", fold=0, pattern="x")
    many = pd.concat([one.assign(patient_id=one["patient_id"] + f"-{k}", person=one["patient_id"]) for k in range(copies)])
    return {"once": one, "persons": many, "rows": many.drop(columns="person")}


def tables(frame: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    table: PredictionTable = check_predictions(frame, BINARY)
    operating = operating_table(table, ["m", "r"], reference="r", together=("m", "r"))
    return operating, calibration_table(table, ["m"]), certainty_table(table, ["m"]), novelty_table(table, ["m"])


def test_a_person_with_one_specimen_is_a_patient_to_the_last_digit(rng):
    found = predicted(rng, copies=1, repeats=2)
    for plain, persons in zip(tables(found["once"]), tables(found["persons"]), strict=True):
        pd.testing.assert_frame_equal(persons, plain, check_exact=True)
    operating = tables(found["once"])[0]
    assert (operating["n_effective"] == operating["n"]).all()


def test_copies_of_specimens_make_no_table_surer(rng):
    found = {name: tables(frame) for name, frame in predicted(rng, copies=4, repeats=2).items()}
    for once, persons, rows in zip(*found.values(), strict=True):
        widths = [(table["high"] - table["low"]).to_numpy() for table in (once, persons, rows)]
        assert (widths[1] > 0.97 * widths[0]).all() and (widths[2] < 0.75 * widths[0]).all()
    once, persons, rows = (operating[0] for operating in found.values())
    assert persons["p"].tolist() == pytest.approx(once["p"].tolist(), nan_ok=True)
    assert persons["p_all"].tolist() == pytest.approx(once["p_all"].tolist(), nan_ok=True)
    asked = persons["p"].notna()
    assert (rows["p"][asked] < 0.5 * persons["p"][asked]).any()
    assert persons["n"].tolist() == rows["n"].tolist() and (persons["n_effective"] <= once["n"]).all()


def test_a_share_of_one_persons_specimens_has_no_interval(rng):
    frame = predicted(rng, copies=2)["persons"]
    alone = frame[(frame["y"] == 0) | (frame["person"] == "P01")]
    row = operating_table(check_predictions(alone, BINARY), ["m"], reference=None).set_index("measure").loc["sensitivity"]
    assert row["note"] == "no interval: all specimens are of one person"
    assert np.isnan(row["low"]) and row["n"] == 2


def test_bins_of_values_count_copies_once(rng):
    y = rng.normal(size=40)
    one = pd.DataFrame({"patient_id": [f"P{i:02d}" for i in range(40)], "y": y, "yhat": y + rng.normal(size=40)})
    one = one.assign(site="A", model="m", repeat=0, fold=0, pattern="x")
    many = pd.concat([one.assign(patient_id=one["patient_id"] + f"-{k}", person=one["patient_id"]) for k in range(3)])
    plain, persons, rows = (
        calibration_table(check_predictions(f, VALUE), ["m"]) for f in (one, many, many.drop(columns="person"))
    )
    assert persons["observed"].tolist() == pytest.approx(plain["observed"].tolist())
    widths = [(table["high"] - table["low"]).to_numpy() for table in (plain, persons, rows)]
    assert (widths[1] > 0.9 * widths[0]).all() and (widths[2] < 0.7 * widths[0]).all()
