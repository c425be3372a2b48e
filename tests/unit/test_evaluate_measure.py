"""What a table of metrics says where the patients do not tell a value, or not how sure it is."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.comparisons import BOOTSTRAP, DELONG
from oncoweave.evaluate.discrimination import balanced_accuracy
from oncoweave.evaluate.summary import SummaryOptions, summarise

BINARY = Endpoint(name="response", kind="binary", columns=("response",))


def told(endpoint, models, *, folds=1, **options):
    """Summarise models given as their own columns; returns metrics (by model and metric) and comparisons (by method)."""
    frames = []
    for name, own in models.items():
        own = pd.DataFrame(own)
        keys = {"patient_id": [f"p{i:03d}" for i in range(len(own))], "site": "s", "model": name, "repeat": 0, "pattern": "rna"}
        frames.append(own.assign(**keys, fold=np.arange(len(own)) % folds if np.isscalar(folds) else folds))
    found = summarise(
        pd.concat(frames, ignore_index=True),
        endpoint,
        roles=dict.fromkeys(models, "fusion"),
        generator=np.random.default_rng(0),
        options=SummaryOptions(replicates=100, **options),
    )
    return found.metrics.set_index(["model", "metric"]), found.comparisons.set_index(["metric", "method"])


def test_six_patients_and_a_perfect_model_are_no_certainty():
    y = np.repeat([1, 0], 3)
    models = {"perfect": {"y": y, "p": y.astype(float)}, "constant": {"y": y, "p": 0.5}}
    found, compared = told(BINARY, models, references=("constant",))
    area = found.loc[("perfect", "auroc")]
    assert [area["low"], area["high"]] == pytest.approx([0.025 ** (1 / 3), 1.0]) and "the interval is exact" in area["note"]
    for cell in (("perfect", "balanced_accuracy"), ("perfect", "kappa"), ("constant", "auroc")):
        assert found.loc[cell, ["low", "high"]].isna().all()
        assert "no interval: the same value in every bootstrap replicate" in found.loc[cell, "note"]
    for method, why in ((BOOTSTRAP, "same in every bootstrap replicate"), (DELONG, "variance of the difference is zero")):
        row = compared.loc[("auroc", method)]
        assert row[["low", "high", "p", "p_adjusted"]].isna().all() and why in row["note"]


def test_a_single_positive_patient_gives_no_interval():
    y = np.r_[1, np.zeros(59, dtype=int)]
    for score in (y.astype(float), np.r_[0.8, np.linspace(0, 1, 59)]):
        found, _ = told(BINARY, {"m": {"y": y, "p": score}}, folds=5)
        row = found.loc[("m", "auroc")]
        assert np.isnan(row["low"]) and "every pair that can be compared holds the same patient" in row["note"]


def test_a_perfect_average_over_classes_has_the_average_of_the_exact_limits():
    y = np.array(list("abc"))[np.arange(60) % 3]
    models = {"m": {"y": y} | {f"p@{c}": (y == c).astype(float) for c in "abc"}}
    found, _ = told(Endpoint(name="m", kind="multiclass", columns=("m",), classes=("a", "b", "c")), models)
    assert found.loc[("m", "macro_auroc"), ["low", "high"]].tolist() == pytest.approx([(0.025 / 3) ** (1 / 20), 1.0])


ANY = np.linspace(0.1, 0.9, 12)


@pytest.mark.parametrize(
    ("y", "fold", "wanted"),
    [
        (np.zeros(12, dtype=int), 3, {"auroc": "it needs a positive patient, got 0 positive and 12 negative patients"}),
        (np.ones(12, dtype=int), 3, {"auroc": "it needs both classes, got 12 positive and 0 negative patients"}),
        (np.repeat([0, 1], 6), np.repeat([0, 1], 6), {"auroc": "no fold tests both classes, got 6 positive and 6 negative"}),
        (np.zeros(12, dtype=int), 3, {"ipa": "the prevalence in training is right", "ici": "no calibration curve can be fitted"}),
    ],
)
def test_a_metric_that_is_not_defined_says_its_own_reason(y, fold, wanted):
    found, _ = told(BINARY, {"m": {"y": y, "p": ANY}}, folds=fold)
    for metric, reason in wanted.items():
        assert np.isnan(found.loc[("m", metric), "value"]) and f"not defined: {reason}" in found.loc[("m", metric), "note"]


def test_survival_and_measurements_say_what_is_lacking():
    survival = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
    own = {"time": np.arange(1.0, 13), "event": 0, "risk": ANY, "high_risk": ANY > 0.5, "survival@6": 0.5, "survival@20": 0.4}
    found, _ = told(survival, {"m": own}, folds=3)
    assert "no event is followed by anyone of its fold" in found.loc[("m", "c_index"), "note"]
    assert "0 with an event by 6, 6 followed beyond" in found.loc[("m", "auc@6"), "note"]
    flat, _ = told(Endpoint(name="size", kind="regression", columns=("size",)), {"m": {"y": 5.0, "yhat": ANY}}, folds=3)
    for metric in ("r2", "spearman"):
        assert "all 12 patients have one outcome" in flat.loc[("m", metric), "note"]


def test_classes_that_an_average_is_silent_about_are_named():
    endpoint = Endpoint(name="m", kind="multiclass", columns=("m",), classes=("a", "b", "c"))
    y = np.array(list("ab"))[np.arange(60) // 3 % 2]
    own = {"p@a": np.where(y == "a", 0.5, 0.3), "p@b": np.where(y == "a", 0.2, 0.4), "p@c": 0.3}
    found, _ = told(endpoint, {"m": {"y": y, **own}}, folds=3)
    for metric in ("macro_auroc", "balanced_accuracy"):
        assert "no patient has 'c', left out of the average" in found.loc[("m", metric), "note"]
    assert "no patient has 'c', counted as 0 where predicted" in found.loc[("m", "macro_f1"), "note"]
    y[0] = "c"
    found, _ = told(endpoint, {"m": {"y": y, **own}}, folds=3)
    assert "no patient in some of 3 folds: 'c' in 2" in found.loc[("m", "macro_auroc"), "note"]
    found, _ = told(BINARY, {"m": {"y": np.zeros(12, dtype=int), "p": ANY}}, folds=3)
    assert "recall of the negative patients alone" in found.loc[("m", "balanced_accuracy"), "note"]
    assert balanced_accuracy(np.zeros(5), np.arange(5) % 2).reason == "recall of one class alone: all 5 patients have it"
