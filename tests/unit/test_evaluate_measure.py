"""What a table of metrics says where the patients do not tell a value, or not how sure it is."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.comparisons import BOOTSTRAP, DELONG
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
