import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import UnknownNameError
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.compare import corrected_resampled_t
from oncoweave.evaluate.comparisons import BOOTSTRAP, COMBINED_F, RESAMPLED_T
from oncoweave.evaluate.significance import combined_f_5x2, detectable_difference
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.survival import brier_score, harrell_c, kaplan_meier, uno_c

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
OPTIONS = SummaryOptions(references=("clinical",), replicates=60)
ROLES = {"clinical": "baseline", "fused": "fusion", "permuted": "null", "fused[rna]": "ablation"}
N = 90


def outcomes(rng):
    hazard = rng.normal(size=N)
    time, lost = rng.exponential(size=N) * 30 * np.exp(-hazard), rng.exponential(size=N) * 60
    return hazard, np.minimum(time, lost), (time <= lost).astype(int)


def rows(rng, model, risk, outcome, *, fold, repeat=0):
    _, time, event = outcome
    frame = {"patient_id": [f"p{i:02d}" for i in range(N)], "site": ["north"] * 50 + ["south"] * 36 + [None] * 4, "model": model}
    frame |= {
        "repeat": repeat,
        "fold": fold,
        "pattern": np.where(np.arange(N) % 2, "rna", "clinical+rna"),
        "time": time,
        "event": event,
    }
    survival = {f"survival@{h}": np.exp(-h / 30 * np.exp(risk)) for h in (12, 24)}
    return pd.DataFrame(frame | {"risk": risk + 50 * fold, "high_risk": risk > 0} | survival)


@pytest.fixture
def predictions(rng):
    outcome = outcomes(rng)
    frames = []
    for repeat in (0, 1):
        fold = rng.permutation(np.arange(N) % 3)
        for model, share in (("clinical", 0.3), ("fused", 2.0), ("permuted", 0.0), ("fused[rna]", 1.0)):
            risk = share * outcome[0] + rng.normal(size=N)
            frames.append(rows(rng, model, risk, outcome, fold=fold, repeat=repeat))
    return pd.concat(frames, ignore_index=True)


def summary(predictions, **changed):
    arguments = {"roles": ROLES, "generator": np.random.default_rng(0), "options": OPTIONS} | changed
    return summarise(predictions, SURVIVAL, **arguments)


def cell(table, **where):
    found = table[np.logical_and.reduce([table[c] == v for c, v in where.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_metrics_are_those_of_the_folds(predictions):
    found = summary(predictions).metrics
    row = cell(found, model="fused", metric="c_index")
    folds, uno, brier = [], [], []
    for _, inside in predictions[predictions["model"] == "fused"].groupby(["repeat", "fold"]):
        others = predictions[(predictions["model"] == "fused") & (predictions["repeat"] == inside["repeat"].iloc[0])].drop(
            inside.index
        )
        train = others["time"].to_numpy(), others["event"].to_numpy()
        test = inside["time"].to_numpy(), inside["event"].to_numpy()
        folds.append(harrell_c(*test, inside["risk"].to_numpy()))
        uno.append(uno_c(*train, *test, inside["risk"].to_numpy()))
        curve = fit_censoring(*train)
        brier.append(brier_score(*test, inside[["survival@12"]].to_numpy(), horizons=np.array([12.0]), censoring=curve)[0])
    assert row["fold_mean"] == pytest.approx(np.mean(folds))
    assert row["fold_sd"] == pytest.approx(np.std(folds, ddof=1))
    assert (row["n"], row["role"], row["higher_is_better"]) == (N, "fusion", True)
    assert row["events"] == predictions[predictions["model"] == "fused"].groupby("patient_id")["event"].first().sum()
    assert row["low"] < row["value"] < row["high"]
    assert cell(found, model="fused", metric="uno_c")["fold_mean"] == pytest.approx(np.mean(uno))
    brier_row = cell(found, model="fused", metric="brier@12")
    assert brier_row["fold_mean"] == pytest.approx(np.mean(brier))
    assert not brier_row["higher_is_better"]
    names = ["c_index", "uno_c", "auc@12", "auc@24", "brier@12", "brier@24", "ibs", "ipa@12", "ipa@24"]
    assert found[found["model"] == "permuted"]["metric"].tolist() == names
    assert found["note"].eq("").all()


def test_risks_of_different_folds_are_never_compared(predictions):
    # The fixture adds 50 x fold to every risk; without that, nothing may change.
    plain = predictions.assign(risk=predictions["risk"] - 50 * predictions["fold"])
    pd.testing.assert_frame_equal(summary(predictions).metrics, summary(plain).metrics)


def test_the_order_of_rows_does_not_matter(predictions):
    shuffled = summary(predictions.sample(frac=1, random_state=1)).tables()
    for name, table in summary(predictions).tables().items():
        pd.testing.assert_frame_equal(table, shuffled[name])


def test_comparisons_are_paired_and_adjusted_within_their_family(predictions):
    found = summary(predictions, options=SummaryOptions(references=("clinical", "permuted"), replicates=60))
    rows = found.comparisons
    assert set(rows["model"]) == {"fused", "clinical"}  # neither ablations nor permuted models are asked about
    assert "normal p where fewer than 10 samples lie beyond zero" in BOOTSTRAP
    row = cell(rows, model="fused", reference="clinical", method=BOOTSTRAP)
    values = found.metrics.query("metric == 'c_index'").set_index("model")["value"]
    assert row["difference"] == pytest.approx(values["fused"] - values["clinical"])
    assert row["low"] <= row["difference"] <= row["high"]
    assert cell(rows, model="fused", reference="clinical", method=RESAMPLED_T)["difference"] == pytest.approx(
        np.subtract(*(cell(found.metrics, model=m, metric="c_index")["fold_mean"] for m in ("fused", "clinical")))
    )
    assert (rows["p_adjusted"] >= rows["p"]).all()


def test_five_times_two_folds_are_tested_by_alpaydins_f(rng):
    outcome, frames = outcomes(rng), []
    for repeat in range(5):
        fold = rng.permutation(np.arange(N) % 2)
        for model, share in (("clinical", 0.3), ("fused", 2.0)):
            frames.append(rows(rng, model, share * outcome[0] + rng.normal(size=N), outcome, fold=fold, repeat=repeat))
    table = pd.concat(frames, ignore_index=True)
    row = cell(summary(table).comparisons, method=COMBINED_F)
    folds = table.groupby(["model", "repeat", "fold"]).apply(
        lambda f: harrell_c(*(f[c].to_numpy() for c in ("time", "event", "risk"))), include_groups=False
    )
    apart = (folds["fused"] - folds["clinical"]).to_numpy().reshape(5, 2)
    assert row["p"] == pytest.approx(combined_f_5x2(apart).p)
    assert row["difference"] == pytest.approx(apart.mean()) and np.isnan(row["low"])
    assert COMBINED_F not in set(summary(table[table["repeat"] < 4]).comparisons["method"])
    one_side = table[(table["fold"] == 0) | (table["repeat"] < 4)]
    assert COMBINED_F not in set(summary(one_side).comparisons["method"])


def test_what_a_comparison_could_have_seen_has_the_power_it_says(predictions):
    row = cell(
        summary(predictions, options=SummaryOptions(references=("clinical",), replicates=2000)).comparisons, method=BOOTSTRAP
    )
    error = (row["high"] - row["low"]) / (2 * stats.norm.ppf(0.975))
    assert stats.norm.sf(stats.norm.ppf(0.975) - row["detectable"] / error) == pytest.approx(0.8, abs=0.03)
    assert np.isnan(detectable_difference(np.array([np.nan, 0.1]))) and np.isnan(detectable_difference(np.zeros(9)))


def test_two_references_ask_one_question_of_each_other(predictions):
    rows = summary(predictions, options=SummaryOptions(references=("clinical", "fused"), replicates=60)).comparisons
    boot = rows[rows["method"] == BOOTSTRAP].set_index(["model", "reference"])
    assert boot.loc[("fused", "clinical"), "difference"] == -boot.loc[("clinical", "fused"), "difference"]
    assert (boot["p_adjusted"] == boot["p"]).all()  # a family of one question


def test_without_references_there_are_no_comparisons(predictions):
    found = summary(predictions, options=SummaryOptions(replicates=20)).comparisons
    assert found.empty and list(found.columns)[:4] == ["model", "reference", "metric", "difference"]


def test_models_of_different_patients_are_compared_on_the_common_ones(predictions):
    some = predictions[~((predictions["model"] == "fused") & predictions["patient_id"].isin(["p00", "p01"]))]
    row = cell(summary(some).comparisons, model="fused", method=BOOTSTRAP)
    assert row["n"] == N - 2
    assert row["note"] == f"on the rows that both models have: {2 * N - 4} of {2 * N - 4} and {2 * N}"
    other = summary(predictions[~predictions["patient_id"].isin(["p00", "p01"])])
    assert row["difference"] == pytest.approx(cell(other.comparisons, model="fused", method=BOOTSTRAP)["difference"])


def test_groups_carry_their_size_and_small_ones_no_value(predictions):
    found = summary(predictions).groups
    assert set(found["model"]) == {"clinical", "fused", "permuted"}
    south = cell(found, model="fused", grouping="site", group="south")
    inside = predictions[(predictions["model"] == "fused") & (predictions["site"] == "south")]
    assert south["n"] == 36
    assert south["events"] == inside[inside["repeat"] == 0]["event"].sum()
    assert south["low"] <= south["value"] <= south["high"]
    small = cell(found, model="fused", grouping="site", group="unknown")
    assert (small["n"], small["note"]) == (4, "fewer than 10 patients")
    assert np.isnan(small["value"])
    assert set(found[found["grouping"] == "pattern"]["group"]) == {"rna", "clinical+rna"}
    few = predictions.assign(event=np.where(predictions["site"].eq("south"), 0, predictions["event"]))
    row = cell(summary(few).groups, model="fused", grouping="site", group="south")
    assert (row["n"], row["events"], row["note"]) == (36, 0, "fewer than 5 events")


def test_patients_who_lack_something_are_pooled(predictions):
    found = summary(predictions).groups
    pooled = found[(found["grouping"] == "complete") & (found["model"] == "fused")].set_index("group")
    assert pooled["n"].to_dict() == {"every modality": N / 2, "lacks something": N / 2, "lacks clinical": N / 2}
    single = cell(found, model="fused", grouping="pattern", group="rna")
    assert pooled.loc["lacks something", "value"] == single["value"]
    patient = predictions["patient_id"].str[1:].astype(int)
    many = predictions.assign(pattern=np.where(patient < 40, "clinical+rna+slide", "m" + (patient % 7).astype(str)))
    found = summary(many).groups
    row = cell(found, model="fused", grouping="complete", group="lacks something")
    assert row["n"] == N and np.isfinite(row["value"])  # 10 modalities: nobody has all of them
    assert "every modality" not in set(found["group"])


def test_curves_and_calibration_use_each_patient_once(predictions):
    found = summary(predictions)
    first = predictions[(predictions["model"] == "fused") & (predictions["repeat"] == 0)]
    high = first[first["high_risk"]]
    curve = found.km[(found.km["model"] == "fused") & (found.km["group"] == "high")]
    expected = kaplan_meier(high["time"].to_numpy(), high["event"].to_numpy())
    assert curve["survival"].to_numpy() == pytest.approx(expected.survival)
    assert curve["at_risk"].iloc[0] == len(high)
    row = cell(found.km_summary, model="fused")
    assert row["hr_low"] < row["hazard_ratio"] < row["hr_high"] and row["hazard_ratio"] > 1 and row["logrank_p"] < 0.05
    bins = found.calibration[(found.calibration["model"] == "fused") & (found.calibration["horizon"] == 12)]
    assert bins["n"].sum() == N and len(bins) == 5
    assert (bins["predicted"].diff().dropna() > 0).all()


def test_what_a_model_does_not_predict_is_said(predictions):
    partly = predictions["model"] == "clinical"
    columns = ["survival@12", "survival@24", "high_risk"]
    found = summary(predictions.assign(**{c: predictions[c].astype(object).mask(partly) for c in columns}))
    row = cell(found.metrics, model="clinical", metric="ibs")
    assert np.isnan(row["value"]) and "no survival probabilities" in row["note"]
    assert np.isfinite(cell(found.metrics, model="clinical", metric="c_index")["value"])
    assert "clinical" not in set(found.km["model"]) and "clinical" not in set(found.calibration["model"])


def test_a_horizon_beyond_the_training_patients_is_left_out_of_the_integral(predictions):
    early, whole = summary(predictions).metrics, predictions.assign(**{"survival@900": 0.0})
    found = summary(whole).metrics
    row = cell(found, model="fused", metric="ibs")
    assert row["value"] == cell(early, model="fused", metric="ibs")["value"]
    assert row["note"] == "from 12 to 24 only: no training patient of some fold is followed to 900"
    beyond = cell(found, model="fused", metric="brier@900")
    assert np.isnan(beyond["value"]) and "no training patient is followed that long" in beyond["note"]
    late = summary(predictions.rename(columns={"survival@24": "survival@900"})).metrics
    assert "give earlier" in cell(late, model="fused", metric="ibs")["note"]


def test_one_hold_out_needs_the_censoring_of_its_training_patients(predictions):
    single = predictions[(predictions["repeat"] == 0) & (predictions["fold"] == 0)]
    row = cell(summary(single).metrics, model="fused", metric="uno_c")
    assert np.isnan(row["value"]) and "give it as train_censoring" in row["note"]
    curve = fit_censoring(predictions["time"].to_numpy(), predictions["event"].to_numpy())
    given = summary(single, train_censoring={(0, 0): curve})
    assert np.isfinite(cell(given.metrics, model="fused", metric="uno_c")["value"])
    t_test = cell(given.comparisons, model="fused", method=RESAMPLED_T)
    assert np.isnan(t_test["p"]) and t_test["note"] == "fewer than two folds in which both models can be measured"


def test_one_risk_group_only_has_a_curve_but_no_ratio(predictions):
    row = cell(summary(predictions.assign(high_risk=True)).km_summary, model="fused")
    assert np.isnan(row["hazard_ratio"]) and "1 group" in row["note"]


def test_unknown_models_are_refused(predictions):
    with pytest.raises(UnknownNameError, match="no role of a model named 'fused'"):
        summary(predictions, roles={"clinical": "baseline"})
    with pytest.raises(UnknownNameError, match="no reference model named 'clinicl'; did you mean 'clinical'"):
        summary(predictions, options=SummaryOptions(references=("clinicl",)))


def test_folds_of_monte_carlo_splits_are_compared_where_the_training_patients_are_counted(predictions):
    one_fold = predictions[predictions["fold"] == 0]
    survival = {(repeat, 0): fit_censoring(np.arange(1.0, 9.0), np.ones(8)) for repeat in (0, 1)}
    told = cell(summary(one_fold, train_censoring=survival).comparisons, model="fused", method=RESAMPLED_T, metric="c_index")
    assert np.isnan(told["p"])
    assert told["note"] == "number of training patients not known"
    options = SummaryOptions(references=("clinical",), replicates=60, trained={(0, 0): 60, (1, 0): 60})
    counted = summary(one_fold, options=options, train_censoring=survival).comparisons
    found = cell(counted, model="fused", method=RESAMPLED_T, metric="c_index")
    folds = [harrell(one_fold, "fused", r) - harrell(one_fold, "clinical", r) for r in (0, 1)]
    expected = corrected_resampled_t(np.array(folds), test_to_train=0.5)
    assert found["p"] == pytest.approx(expected.p)
    assert found["low"] == pytest.approx(expected.low)


def harrell(predictions, model, repeat):
    rows = predictions[(predictions["model"] == model) & (predictions["repeat"] == repeat)]
    return harrell_c(*(rows[c].to_numpy(dtype=float) for c in ("time", "event", "risk")))
