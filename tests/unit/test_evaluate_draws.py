"""What one set of draws keeps from replicate to replicate, and what an average precision says beside its value."""

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.evaluate.measure import draw, measure
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import check_predictions
from oncoweave.evaluate.weighted import chance_precision

RESPONSE = Endpoint(name="response", kind="binary", columns=("response",))


def predictions(rng, folds, repeat=0, y=None):
    n = len(folds)
    y = (np.arange(n) % 3 == 0).astype(int) if y is None else y
    ids = [f"p{i:03d}" for i in range(n)]
    keys = {"patient_id": ids, "site": "s", "model": "m", "repeat": repeat, "fold": folds, "pattern": "rna"}
    return pd.DataFrame(keys | {"y": y, "p": rng.random(n)})


def drawn(frame, replicates=50):
    table = check_predictions(frame, RESPONSE)
    return table, draw(table, replicates=replicates, level=0.95, generator=np.random.default_rng(0))


def test_folds_keep_their_patients_and_small_ones_are_drawn_together(rng):
    folds = np.repeat([0, 1, 2, 3], [20, 15, 6, 7])
    weights = drawn(predictions(rng, folds))[1].weights
    for inside, size in ((folds == 0, 20), (folds == 1, 15), (folds > 1, 13)):
        assert (weights[:, inside].sum(axis=1) == size).all()
    assert len(set(weights[:, folds == 3].sum(axis=1))) > 1


def test_folds_that_differ_between_repeats_are_no_strata(rng):
    folds = np.arange(40) % 2
    same = pd.concat([predictions(rng, folds, repeat) for repeat in (0, 1)])
    other = pd.concat([predictions(rng, folds, 0), predictions(rng, rng.permutation(folds), 1)])
    assert (drawn(same)[1].weights[:, folds == 0].sum(axis=1) == 20).all()
    assert len(set(drawn(other)[1].weights[:, folds == 0].sum(axis=1))) > 1


def test_average_precision_says_what_a_random_order_has_and_what_is_left_out(rng):
    folds, y = np.repeat([0, 1, 2], 12), np.r_[np.arange(24) % 3 == 0, np.ones(12)].astype(int)
    table, resamples = drawn(predictions(rng, folds, y=y))
    metric = next(m for m in metrics_of(table, {}) if m.name == "auprc")
    found = measure(table.of("m"), [metric], RESPONSE, resamples)["auprc"]
    assert "not defined in 1 of 3 folds" in found.note
    assert f"a random order has {chance_precision(y, folds):.3f}; 1 of 3 folds or strata have no negative" in found.note
    assert chance_precision(y, folds) > 0.4 > 1 / 3  # above prevalence in those that count
    assert np.isnan(found.folds).tolist() == [False, False, True]
