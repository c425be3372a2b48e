"""Coverage of sets and intervals, flags of new patients, D-calibration and restricted means, as counted in result tables."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.certainty import certainty_table, novelty_table
from oncoweave.evaluate.conformal import calibrate_sets
from oncoweave.evaluate.displays import distribution_table, km_tables
from oncoweave.evaluate.restricted import restricted_mean_difference
from oncoweave.evaluate.tables import check_predictions

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
CLASSES = ("a", "b", "c")
GRADES = Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=CLASSES)
KI67 = Endpoint(name="ki67", kind="regression", columns=("ki67",))
N = 200


def rows(n=N, model="m", **own):
    keys = {"patient_id": [f"p{i:04d}" for i in range(n)], "site": np.where(np.arange(n) % 4, "x", "y"), "model": model}
    return pd.DataFrame(keys | {"repeat": 0, "fold": 0, "pattern": np.where(np.arange(n) % 2, "rna", "he+rna")} | own)


def classes(truth, sets):
    columns = {f"p@{c}": 1 / 3 for c in CLASSES} | {f"in_set@{c}": sets[:, i] for i, c in enumerate(CLASSES)}
    return check_predictions(rows(len(truth), y=np.array(CLASSES)[truth], **columns), GRADES)


def test_coverage_is_counted_over_all_within_classes_and_at_sites():
    truth = np.arange(N) % 3
    sets = np.eye(3, dtype=bool)[truth]
    sets[:, 0] = True
    sets[truth == 2] = False  # planted: class c never held, its sets empty
    found = certainty_table(classes(truth, sets), ["m"]).set_index(["grouping", "group"])
    num = np.bincount(truth)
    every = found.loc["all", "all"]
    wanted = stats.binomtest(int(num[0] + num[1]), N).proportion_ci()
    assert every["covered"] == pytest.approx((num[0] + num[1]) / N)
    assert (every["low"], every["high"]) == pytest.approx((wanted.low, wanted.high))
    assert (every["single"], every["empty"]) == pytest.approx((num[0] / N, num[2] / N))
    assert found.loc["class"]["covered"].tolist() == [1.0, 1.0, 0.0]
    assert found.loc["class"]["n"].tolist() == num.tolist()
    assert found.loc["site"]["n"].to_dict() == {"x": 150, "y": 50}


def test_sets_calibrated_within_classes_hold_their_level_on_new_patients(rng):
    def draw(n):
        truth = rng.choice(3, size=n, p=[0.7, 0.2, 0.1])
        odds = np.exp(rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth] + np.log([0.7, 0.2, 0.1]))
        return truth, odds / odds.sum(axis=1, keepdims=True)

    fitted = calibrate_sets(*draw(3000), by_class=True)
    truth, probability = draw(6000)
    found = certainty_table(classes(truth, fitted.sets(probability)), ["m"]).set_index(["grouping", "group"])
    assert found.loc["class"]["covered"].to_numpy() == pytest.approx(0.9, abs=0.035)


def test_intervals_are_counted_and_half_of_one_is_refused(rng):
    y = rng.normal(size=N)
    ends = {"yhat_low": np.where(np.arange(N) < 150, y - 1, y + 1), "yhat_high": y + 2}
    frame = rows(y=y, yhat=0.0, **ends)
    row = certainty_table(check_predictions(frame, KI67), ["m"]).iloc[0]
    assert (row["covered"], row["size"]) == pytest.approx((0.75, (150 * 3 + 50) / N))
    assert np.isnan(row["single"])
    with pytest.raises(DataError, match="'yhat_low': wanted a value in all rows of a model or in none"):
        check_predictions(frame.assign(yhat_low=frame["yhat_low"].where(frame.index > 3)), KI67)


def test_models_without_sets_and_endpoints_without_them_are_left_out(rng):
    plain = check_predictions(rows(y=rng.normal(size=N), yhat=0.0), KI67)
    assert certainty_table(plain, ["m"]).empty and novelty_table(plain, ["m"]).empty


def test_flagged_patients_are_counted_among_the_judged(rng):
    p = np.where(np.arange(N) < 20, 0.01, 0.5)
    p[-40:] = np.nan
    own = {"novelty_p": p, "novel": np.where(np.arange(N) < 20, "rna", np.where(np.isnan(p), None, ""))}
    found = novelty_table(check_predictions(rows(y=rng.normal(size=N), yhat=0.0, **own), KI67), ["m"])
    every = found.set_index(["grouping", "group"]).loc["all", "all"]
    assert (every["flagged"], every["judged"], every["n"], every["share"]) == (20, 160, N, 20 / 160)
    assert found.loc[found["grouping"] == "site", "flagged"].tolist() == [15, 5]


def survivors(rng, **own):
    risk = rng.normal(size=N)
    death, lost = rng.exponential(30 * np.exp(-risk)), rng.exponential(60, size=N)
    time, event = np.minimum(death, lost), death <= lost
    fixed = {"time": time, "event": event.astype(int), "risk": risk, "high_risk": risk > 0, "survival@24": 0.5}
    true = np.exp(-time / 30 * np.exp(risk))
    return rows(**fixed, own_survival=true ** own.pop("power", 1.0), **own)


@pytest.mark.parametrize(("power", "calibrated"), [(1.0, True), (2.5, False)])
def test_true_curves_are_calibrated_over_their_range_and_others_are_found(rng, power, calibrated):
    table = check_predictions(survivors(rng, power=power), SURVIVAL)
    row = distribution_table(table, ["m"]).iloc[0]
    assert (row["p"] > 0.05) == calibrated
    assert (row["n"], row["events"], row["bins"]) == (N, table.frame["event"].sum(), 10)


def test_too_few_patients_get_no_p_and_are_told(rng):
    row = distribution_table(check_predictions(survivors(rng).iloc[:30], SURVIVAL), ["m"]).iloc[0]
    assert np.isnan(row["p"]) and row["note"] == "fewer than 5 patients a bin are expected: 30 in 10 bins"


def test_restricted_means_stand_beside_the_log_rank_test_up_to_the_last_horizon(rng):
    frame = survivors(rng)
    row = km_tables(check_predictions(frame, SURVIVAL), ["m"])[1].iloc[0]
    wanted = restricted_mean_difference(
        frame["time"].to_numpy(), frame["event"].to_numpy(), ~frame["high_risk"].to_numpy(dtype=bool), until=24
    )
    assert (row["rmst_until"], row["rmst_difference"]) == (24, wanted.value)
    assert (row["rmst_low"], row["rmst_high"], row["rmst_p"]) == (wanted.low, wanted.high, wanted.p)


def test_a_group_that_is_not_followed_to_the_horizon_sets_the_end(rng):
    frame = survivors(rng)
    short = frame["high_risk"].astype(bool) & (frame["time"] > 10)
    frame = frame.assign(time=frame["time"].where(~short, 10.0), event=frame["event"].where(~short, 0))
    row = km_tables(check_predictions(frame, SURVIVAL), ["m"])[1].iloc[0]
    assert row["rmst_until"] == 10
    alone = km_tables(check_predictions(frame.assign(high_risk=True), SURVIVAL), ["m"])[1].iloc[0]
    assert np.isnan(alone["rmst_difference"]) and "two groups or more" in alone["note"]
