"""Operating points, decision curves and reclassification of a prediction table, by hand and against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.evaluate.acting import decision_table, operating_table, reclassification_table, thresholds
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.compare import holm
from oncoweave.evaluate.intervals import replicate
from oncoweave.evaluate.measure import draw
from oncoweave.evaluate.reclassification import integrated_discrimination, reclassification
from oncoweave.evaluate.significance import cochran_q
from oncoweave.evaluate.tables import check_predictions
from oncoweave.evaluate.utility import decision_curve, net_benefit

BINARY = Endpoint(name="response", kind="binary", columns=("response",))
SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
N = 80
Y = (np.arange(N) < 30).astype(int)


def rows(model, *, repeat=0, y=Y, **own):
    keys = {"patient_id": [f"p{i:02d}" for i in range(N)], "site": "s", "model": model, "repeat": repeat, "pattern": "rna"}
    return pd.DataFrame(keys | {"fold": np.arange(N) % 2, "y": y} | own)


def called(which):
    values = np.zeros(N, dtype=bool)
    values[list(which)] = True
    return {"called@specificity0.9": values}


def binary(*frames):
    return check_predictions(pd.concat(frames, ignore_index=True), BINARY)


def test_operating_points_are_counted_and_have_wilsons_interval():
    right, wrong = range(24), range(30, 34)
    found = operating_table(binary(rows("m", p=0.5, **called([*right, *wrong]))), ["m"], reference=None).set_index("measure")
    shares = {"sensitivity": (24, 30), "specificity": (46, 50), "positive predictive value": (24, 28)}
    shares["negative predictive value"] = (46, 52)
    for measure, (hits, of) in shares.items():
        row, wanted = found.loc[measure], stats.binomtest(hits, of).proportion_ci(method="wilson")
        assert (row["value"], row["n"]) == (pytest.approx(hits / of), of)
        assert (row["low"], row["high"]) == pytest.approx((wanted.low, wanted.high))
    assert found["events"].tolist() == [30, 0, 24, 6]


def test_repeats_count_patients_once():
    one, two = rows("m", p=0.5, **called(range(24))), rows("m", repeat=1, p=0.5, **called(range(20)))
    row = operating_table(binary(one, two), ["m"], reference=None).set_index("measure").loc["sensitivity"]
    assert (row["value"], row["n"]) == (pytest.approx(22 / 30), 30)


def test_mcnemar_counts_only_patients_on_whom_the_models_differ():
    mine, theirs = rows("m", p=0.5, **called(range(24))), rows("r", p=0.5, **called([*range(4, 18), 31]))
    found = operating_table(binary(mine, theirs), ["m", "r"], reference="r")
    p = found[found["model"] == "m"].set_index("measure")["p"]
    gained = 10  # 24 found against 14, all of theirs among mine
    assert p["sensitivity"] == pytest.approx(2 * stats.binom.cdf(0, gained, 0.5) - stats.binom.pmf(0, gained, 0.5))
    assert p["specificity"] == pytest.approx(2 * 0.5 - 0.5)  # one patient only
    assert found.loc[found["model"] == "r", "p"].isna().all()
    assert p["positive predictive value"] != p["positive predictive value"]


def test_cochrans_q_is_over_all_models_on_the_patients_whom_all_call():
    mine, theirs = rows("m", p=0.5, **called(range(24))), rows("r", p=0.5, **called([*range(4, 18), 31]))
    third = rows("t", p=0.5, **called([*range(2, 20), 40])).iloc[3:]  # it does not predict p00 to p02
    table = binary(mine, theirs, third, rows("null", p=0.5, **called([])))
    found = operating_table(table, ["m", "r", "t", "null"], reference="r", together=("m", "r", "t"))
    right = np.array([[i in range(24), i in range(4, 18), i in range(2, 20)] for i in range(3, 30)])
    spared = np.array([[True, i != 31, i != 40] for i in range(30, N)])
    for measure, decisions in (("sensitivity", right), ("specificity", spared)):
        of = found[found["measure"] == measure]
        assert of["p_all"].tolist() == pytest.approx([cochran_q(decisions).p] * 4) and of["n_all"].eq(len(decisions)).all()
    assert found.loc[found["measure"].str.contains("predictive"), "p_all"].isna().all()
    asked = found[found["model"].isin(["m", "t"]) & found["p"].notna()]  # permuted models are no questions
    assert len(asked) == 4 and asked["p_adjusted"].tolist() == pytest.approx(holm(asked["p"].to_numpy()).tolist())
    assert found.loc[~found.index.isin(asked.index), "p_adjusted"].isna().all()
    questions = found.drop_duplicates(["point", "measure"])
    assert questions["p_all_adjusted"].to_numpy() == pytest.approx(holm(questions["p_all"].to_numpy()), nan_ok=True)
    assert operating_table(table, ["m"], reference=None)["p_all"].isna().all()


def test_a_fold_without_a_cutoff_and_a_class_that_is_absent_are_told():
    frame = rows("m", p=0.5, y=np.zeros(N, dtype=int), **called([]))
    frame["called@specificity0.9"] = frame["called@specificity0.9"].astype("boolean").where(frame["fold"] == 0)
    found = operating_table(binary(frame), ["m"], reference=None).set_index("measure")
    assert np.isnan(found.loc["sensitivity", "value"])
    assert (
        found.loc["sensitivity", "note"] == "no cut-off in 1 fold(s), whose training patients were of one class; no such patient"
    )
    assert (found.loc["specificity", "value"], found.loc["specificity", "n"]) == (1.0, N / 2)
    frame["called@specificity0.9"] = pd.array([pd.NA] * N, dtype="boolean")
    assert operating_table(binary(frame), ["m"], reference=None).empty
    with pytest.raises(DataError, match=r"'called@specificity0\.9': wanted True or False, got 3"):
        binary(frame.assign(**{"called@specificity0.9": 3}))


def test_a_perfect_model_has_the_prevalence_as_its_net_benefit(rng):
    guess = rng.random(N)
    table = binary(rows("m", p=Y * 0.99), rows("r", p=guess))
    resamples = draw(table, replicates=300, level=0.95, generator=rng)
    found = decision_table(table, resamples, main="m", reference="r")
    mine, theirs = (found[found["model"] == model].reset_index(drop=True) for model in "mr")
    t, share = mine["threshold"].to_numpy(), 30 / N
    assert mine["net_benefit"].to_numpy() == pytest.approx(share)
    assert mine["treat_all"].to_numpy() == pytest.approx(share - (1 - share) * t / (1 - t))
    assert theirs["net_benefit"].to_numpy() == pytest.approx(decision_curve(Y, guess, thresholds=t).model)
    assert mine["over_default"].to_numpy() == pytest.approx(np.minimum(share, (1 - share) * t / (1 - t)))
    assert mine["over_reference"].to_numpy() == pytest.approx((mine["net_benefit"] - theirs["net_benefit"]).to_numpy())
    assert ((mine["low"] < share) & (share < mine["high"])).all() and (mine["over_reference_low"] > 0).any()
    assert theirs["over_reference"].isna().all() and (found["n"] == N).all() and (found["events"] == 30).all()


def test_the_number_to_test_is_one_over_the_gain_on_the_best_choice_without_the_model(rng):
    table = binary(rows("m", p=Y * 0.99), rows("r", p=np.where(np.arange(N) < 15, 0.6, rng.uniform(0, 0.4, N))))
    found = decision_table(table, draw(table, replicates=300, level=0.95, generator=rng), main="m", reference="r")
    mine, theirs = (found[found["model"] == model].reset_index(drop=True) for model in "mr")
    best = np.maximum(np.maximum(mine["treat_all"], 0), theirs["net_benefit"])
    assert {"all", "reference"} == set(np.where(best > theirs["net_benefit"], "all", "reference"))
    gain = mine["net_benefit"] - best
    assert mine["to_test"].to_numpy() == pytest.approx(1 / gain.to_numpy())
    assert (mine["to_test_low"] < mine["to_test"]).all() and (mine["to_test"] < mine["to_test_high"]).all()
    assert theirs["to_test"].isna().all()
    turned = decision_table(table, draw(table, replicates=50, level=0.95, generator=rng), main="r", reference="m")
    assert np.isinf(turned.loc[turned["model"] == "r", "to_test"]).all()  # what is never better needs more than any number


def test_net_benefit_of_small_folds_has_expanded_percentiles(rng):
    p, fold = rng.random(N), np.arange(N) % 8
    table = binary(rows("m", p=p).assign(fold=fold), rows("r", p=0.2).assign(fold=fold))
    resamples = draw(table, replicates=400, level=0.95, generator=rng)
    found = decision_table(table, resamples, main="m", reference="r").set_index(["model", "threshold"]).loc[("m", 0.3)]
    draws = replicate({"": net_benefit(Y, p, threshold=0.3)}, resamples.weights, np.arange(N))[""]
    reach = np.sqrt(N / (N - 8)) * stats.t.ppf(
        0.975, N - 8
    )  # patients of a fold of ten are drawn with a tenth too little variance
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(draws, stats.norm.cdf([-reach, reach])).tolist())


def test_a_model_against_itself_gains_nothing_at_any_horizon(rng):
    time, event = rng.exponential(30, size=N), (rng.random(N) < 0.6).astype(int)
    own = {"time": time, "event": event, "risk": rng.normal(size=N), "high_risk": True}
    own |= {"survival@12": rng.uniform(0.5, 1, size=N), "survival@24": 0.4}
    frame = pd.concat([rows(m, **own).drop(columns="y") for m in "mr"], ignore_index=True)
    table = check_predictions(frame, SURVIVAL)
    resamples = draw(table, replicates=100, level=0.95, generator=rng)
    found = decision_table(table, resamples, main="m", reference="r")
    gains = found.loc[found["model"] == "m", ["over_reference", "over_reference_low", "over_reference_high"]]
    assert (gains == 0).all(axis=None)
    assert found.groupby("horizon")["events"].first().tolist() == [((time <= h) & (event == 1)).sum() for h in (12, 24)]
    curves = {(0, fold): fit_censoring(time[np.arange(N) % 2 != fold], event[np.arange(N) % 2 != fold]) for fold in (0, 1)}
    moved = reclassification_table(table, resamples, main="m", reference="r", curves=curves)
    assert (moved[["value", "low", "high"]] == 0).all(axis=None)
    nothing = reclassification_table(table, resamples, main="m", reference="r", curves={})
    assert nothing["value"].isna().all()  # no censoring curve: nobody counts, and nothing is made up


def test_reclassification_has_its_parts_and_an_interval(rng):
    old = rng.random(N)
    new = np.clip(old + np.where(Y == 1, 0.2, -0.02), 0, 1)
    table = binary(rows("m", p=new), rows("r", p=old))
    resamples = draw(table, replicates=200, level=0.95, generator=rng)
    found = reclassification_table(table, resamples, main="m", reference="r", curves={}).set_index(["measure", "part"])
    for measure, make in (("nri", reclassification), ("idi", integrated_discrimination)):
        whole = make(Y, old, new)
        for part in ("total", "events", "nonevents"):
            row = found.loc[measure, part]
            assert row["value"] == pytest.approx(getattr(whole, part), abs=1e-6)
            assert row["low"] <= row["value"] <= row["high"]
    assert found["events"].tolist() == [30] * 6


def test_reclassification_of_few_events_has_the_reach_of_their_t_distribution(rng):
    gain = rng.normal(0.05, 0.03, size=N)
    for events in (1, 8):
        y = (np.arange(N) < events).astype(int)
        table = binary(rows("m", y=y, p=0.5 + gain), rows("r", y=y, p=0.5))
        resamples = draw(table, replicates=4000, level=0.95, generator=rng)
        found = reclassification_table(table, resamples, main="m", reference="r", curves={}).set_index(["measure", "part"])
        wide = found["high"] - found["low"]
        if events == 1:  # nothing tells how events vary
            assert wide.isna().tolist() == [True, True, False] * 2
            continue
        wanted = 2 * stats.t.ppf(0.975, events - 1) * gain[:events].std(ddof=1) / np.sqrt(events)
        assert wide["idi", "events"] == pytest.approx(wanted, rel=0.12)
        assert wide["idi", "total"] > wide["idi", "events"]


def test_models_of_no_common_patient_are_refused(rng):
    mine, theirs = rows("m", p=0.5).iloc[:40], rows("r", p=0.5).iloc[40:]
    table = binary(mine, theirs)
    with pytest.raises(DataError, match="predict no patient in common"):
        decision_table(table, draw(table, replicates=10, level=0.95, generator=rng), main="m", reference="r")


@pytest.mark.parametrize(
    ("most", "step", "last"),
    [(0.155, 0.01, 0.16), (0.2, 0.01, 0.2 + 0.01), (0.33, 0.02, 0.34), (0.62, 0.05, 0.65), (1.0, 0.05, 0.95)],
)
def test_thresholds_reach_where_nobody_is_treated(most, step, last):
    found = thresholds(most)
    assert np.diff(found) == pytest.approx(step)
    assert (found[0], found[-1]) == pytest.approx((step, last))
