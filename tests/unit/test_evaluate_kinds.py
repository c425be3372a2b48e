"""Summaries of the endpoints other than survival, against scikit-learn on a single fold."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as theirs

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.calibration import recalibrate, reliability
from oncoweave.evaluate.compare import benjamini_hochberg
from oncoweave.evaluate.comparisons import BOOTSTRAP, DELONG, RESAMPLED_T
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.intervals import bootstrap
from oncoweave.evaluate.pairs import ordered_pairs
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.weighted import mean_of

N = 120
GRADES = ("low", "middle", "high")


def table(own):
    keys = {"patient_id": [f"p{i:03d}" for i in range(N)], "site": "s", "model": "m", "repeat": 0, "fold": 0, "pattern": "rna"}
    return pd.DataFrame(keys | own)


def values(frame, endpoint):
    found = summarise(
        frame, endpoint, roles={"m": "fusion"}, generator=np.random.default_rng(0), options=SummaryOptions(replicates=40)
    )
    defined = found.metrics[found.metrics["note"] == ""]
    assert ((defined["low"] <= defined["value"]) & (defined["value"] <= defined["high"])).all()
    assert (found.metrics["value"].notna() | found.metrics["note"].str.contains("no other fold")).all()
    return found, found.metrics.set_index("metric")["value"]


def test_binary(rng):
    y, p = (rng.random(N) < 0.4).astype(int), np.round(rng.random(N), 1).clip(0.1, 0.9)
    found, value = values(table({"y": y, "p": p}), Endpoint(name="response", kind="binary", columns=("response",)))
    expected = {
        "auroc": theirs.roc_auc_score(y, p),
        "auprc": theirs.average_precision_score(y, p),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, p >= 0.5),
        "f1": theirs.f1_score(y, p >= 0.5),
        "kappa": theirs.cohen_kappa_score(y, p >= 0.5),
        "ipa": np.nan,  # one fold only: nobody to take the prevalence from
        "ece": reliability(y, p, bins=10).debiased_error,
        "brier": theirs.brier_score_loss(y, p),
        "log_loss": theirs.log_loss(y, p),
    }
    assert 0.5 * recalibrate(y, p).ici < value.pop("ici") < recalibrate(y, p).ici  # the predictions are far off, chance is little
    assert value.to_dict() == pytest.approx(expected, abs=1e-6, nan_ok=True)  # precision is a quotient of float32
    assert (found.metrics["events"] == y.sum()).all()
    assert found.calibration["n"].sum() == N and found.calibration["horizon"].isna().all()
    assert found.km.empty and found.km_summary.empty


def test_prediction_accuracy_is_over_the_prevalence_of_the_other_folds(rng):
    y, p, fold = (rng.random(N) < 0.4).astype(int), rng.random(N), np.arange(N) % 3
    endpoint = Endpoint(name="response", kind="binary", columns=("response",))
    _, value = values(table({"y": y, "p": p}).assign(fold=fold), endpoint)
    null = np.array([y[fold != f].mean() for f in fold])
    assert value["ipa"] == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - null) ** 2).sum())


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_classes(rng, kind):
    code, p = rng.integers(0, 3, N), rng.dirichlet(np.ones(3), N)
    own = {"y": np.array(GRADES)[code]} | {f"p@{g}": p[:, i] for i, g in enumerate(GRADES)}
    found, value = values(table(own), Endpoint(name="grade", kind=kind, columns=("grade",), classes=GRADES))
    chosen = p.argmax(axis=1)
    expected = {
        "balanced_accuracy": theirs.balanced_accuracy_score(code, chosen),
        "accuracy": theirs.accuracy_score(code, chosen),
        "macro_f1": theirs.f1_score(code, chosen, average="macro"),
        "ece": reliability(code == chosen, p.max(axis=1), bins=10).debiased_error,
        "log_loss": theirs.log_loss(code, p),
    }
    if kind == "multiclass":
        expected |= {
            "macro_auroc": theirs.roc_auc_score(code, p, multi_class="ovr"),
            "macro_auprc": theirs.average_precision_score(np.eye(3)[code], p, average="macro"),
            "micro_auroc": theirs.roc_auc_score(np.eye(3)[code], p, average="micro"),
            "kappa": theirs.cohen_kappa_score(code, chosen),
        }
    else:
        score = p @ np.arange(3)
        higher = code[:, None] > code
        expected |= {
            "quadratic_kappa": theirs.cohen_kappa_score(code, chosen, weights="quadratic"),
            "ordinal_c": (score[:, None] > score)[higher].mean(),
        }
    assert value.to_dict() == pytest.approx(expected, abs=1e-6)  # precision is a quotient of float32
    assert found.metrics["events"].isna().all()


def test_labels_skip_what_is_unknown_and_count_it(rng):
    y, p = (rng.random((N, 2)) < 0.4).astype(float), rng.random((N, 2))
    y[:30, 1] = np.nan
    own = {"y@a": y[:, 0], "y@b": y[:, 1], "p@a": p[:, 0], "p@b": p[:, 1]}
    found, value = values(table(own), Endpoint(name="findings", kind="multilabel", columns=("a", "b")))
    areas = [theirs.roc_auc_score(y[:, 0], p[:, 0]), theirs.roc_auc_score(y[30:, 1], p[30:, 1])]
    assert [value["auroc@a"], value["auroc@b"]] == pytest.approx(areas)
    assert value["macro_auroc"] == pytest.approx(np.mean(areas))
    known = ~np.isnan(y)
    assert value["micro_auroc"] == pytest.approx(theirs.roc_auc_score(y[known], p[known]))
    row = found.metrics.set_index("metric").loc["auroc@b"]
    assert (row["n"], row["events"], row["note"]) == (N - 30, y[30:, 1].sum(), "30 unknown label(s) left out")
    assert found.metrics.set_index("metric").loc["macro_auroc", "note"] == "30 unknown label(s) left out"
    assert found.calibration["n"].sum() == 2 * N - 30


def test_regression(rng):
    y = rng.normal(size=N)
    yhat = np.round(y + rng.normal(size=N), 1)
    found, value = values(table({"y": y, "yhat": yhat}), Endpoint(name="age", kind="regression", columns=("age",)))
    expected = {
        "r2": theirs.r2_score(y, yhat),
        "mae": theirs.mean_absolute_error(y, yhat),
        "spearman": stats.spearmanr(y, yhat).statistic,
    }
    assert value.to_dict() == pytest.approx(expected, abs=1e-6)  # ranks are summed in float32
    assert found.calibration["n"].tolist() == [24] * 5
    assert found.groups.query("grouping == 'site'")["value"].tolist() == pytest.approx([value["r2"], value["mae"]])


def test_a_fold_without_a_class_is_noted_and_left_out(rng):
    y, fold = (rng.random(N) < 0.4).astype(int), np.arange(N) % 3
    y[fold == 2] = 0
    frame = table({"y": y, "p": rng.random(N)}).assign(fold=fold)
    endpoint = Endpoint(name="response", kind="binary", columns=("response",))
    found = summarise(
        frame, endpoint, roles={"m": "fusion"}, generator=np.random.default_rng(0), options=SummaryOptions(replicates=40)
    )
    row = found.metrics.set_index("metric").loc["auroc"]
    areas = [theirs.roc_auc_score(y[fold == k], frame["p"][fold == k]) for k in (0, 1)]
    assert row["fold_mean"] == pytest.approx(np.mean(areas))
    assert row["note"] == "not defined in 1 of 3 folds"


def test_prediction_accuracy_takes_the_training_prevalence_that_is_given(rng):
    y, p = (rng.random(N) < 0.4).astype(int), rng.random(N)
    endpoint = Endpoint(name="response", kind="binary", columns=("response",))
    found = summarise(
        table({"y": y, "p": p}),
        endpoint,
        roles={"m": "fusion"},
        generator=np.random.default_rng(0),
        options=SummaryOptions(replicates=20),
        train_prevalence={(0, 0): 0.3},
    )
    value = found.metrics.set_index("metric").loc["ipa", "value"]
    assert value == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - 0.3) ** 2).sum())


def test_areas_have_the_bca_interval_and_means_expanded_percentiles(rng):
    y = (np.arange(N) < 40).astype(float)
    p = 1 / (1 + np.exp(-(rng.normal(size=N) + 3 * y)))
    frame = table({"y": y.astype(int), "p": p})
    endpoint = Endpoint(name="response", kind="binary", columns=("response",))
    options = SummaryOptions(replicates=400)
    found = summarise(frame, endpoint, roles={"m": "fusion"}, generator=np.random.default_rng(3), options=options).metrics
    found = found.set_index("metric")
    statistic = ordered_pairs(y, p, np.zeros(N, dtype=int))
    drawn = {"generator": np.random.default_rng(3), "replicates": 400}
    wanted = bootstrap(statistic, frame["patient_id"].to_numpy(), method="bca", **drawn)
    assert (found.loc["auroc", "low"], found.loc["auroc", "high"]) == pytest.approx((wanted.low, wanted.high))
    drawn["generator"] = np.random.default_rng(3)
    brier = bootstrap(mean_of((y - p) ** 2), frame["patient_id"].to_numpy(), method="expanded", **drawn)
    assert (found.loc["brier", "low"], found.loc["brier", "high"]) == pytest.approx((brier.low, brier.high))
    flawless = table({"y": y.astype(int), "p": y})
    found = summarise(flawless, endpoint, roles={"m": "fusion"}, generator=np.random.default_rng(3), options=options).metrics
    exact = [1, 0.025 ** (1 / 40), 1]  # 40 pairs without a patient in common, all in order
    assert found.set_index("metric").loc["auroc", ["value", "low", "high"]].tolist() == pytest.approx(exact)


def test_two_models_are_compared_by_delong_too_and_questions_have_a_false_discovery_rate(rng):
    y, fold = (rng.random(N) < 0.4).astype(int), np.arange(N) % 3
    frames = [table({"y": y, "p": rng.random(N) * 0.5 + 0.4 * y * (m != "a")}).assign(model=m, fold=fold) for m in "abc"]
    endpoint = Endpoint(name="response", kind="binary", columns=("response",))
    found = summarise(
        pd.concat(frames),
        endpoint,
        roles=dict.fromkeys("abc", "fusion"),
        generator=np.random.default_rng(0),
        options=SummaryOptions(references=("a",), replicates=50),
    ).comparisons
    rows = found[(found["metric"] == "auroc") & (found["method"] == DELONG)].set_index("model")
    scores = np.column_stack([f["p"] for f in frames])
    wanted = [delong(y, scores, strata=fold).difference(k, 0) for k in (1, 2)]
    assert rows["p"].tolist() == pytest.approx([w.p for w in wanted])
    assert rows["difference"].tolist() == pytest.approx([w.value for w in wanted])
    assert rows["q"].tolist() == pytest.approx(benjamini_hochberg(rows["p"].to_numpy()).tolist())
    assert set(found.loc[found["metric"] != "auroc", "method"]) == {BOOTSTRAP, RESAMPLED_T}
