"""Recalibration in closed form."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.evaluate.curves import breslow_baseline, survival_at
from oncoweave.evaluate.rescale import fit_isotonic, fit_platt, fit_temperature
from oncoweave.train.recalibration import check_recalibration, fit_recalibration

CLASSES = ("a", "b", "c")


def _target(kind, values, classes=(), columns=("y",)):
    unit = "months" if kind == "survival" else None
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit)
    return Target(endpoint=endpoint, values=np.asarray(values, dtype=float))


def test_probabilities_that_are_too_extreme_and_too_high_come_true(rng):
    logit = rng.normal(size=6000)
    y = rng.random(6000) < expit(logit - 1)
    found = fit_recalibration(expit(3 * logit + 0.5)[:, None], _target("binary", y))
    assert found.slope[0] == pytest.approx(1 / 3, abs=0.03)
    np.testing.assert_allclose(found.apply(expit(3 * logit + 0.5)[:, None])[:, 0], expit(logit - 1), atol=0.03)


def test_class_probabilities_come_true_and_sum_to_one(rng):
    logits = rng.normal(size=(6000, 3))
    truth = softmax(logits + np.array([1.0, 0.0, -1.0]), axis=1)
    y = (rng.random(6000)[:, None] > truth.cumsum(axis=1)).sum(axis=1)
    for kind in ("multiclass", "ordinal"):
        recalibrated = fit_recalibration(softmax(2 * logits, axis=1), _target(kind, y, CLASSES)).apply(
            softmax(2 * logits, axis=1)
        )
        np.testing.assert_allclose(recalibrated.sum(axis=1), 1.0)
        assert np.abs(recalibrated - truth).mean() < 0.02


def test_two_named_classes_are_recalibrated_as_a_binary_outcome_is(rng):
    p = expit(2 * rng.normal(size=400))
    y = rng.random(400) < expit(0.5 * np.log(p / (1 - p)) + 0.3)
    two = fit_recalibration(np.column_stack([1 - p, p]), _target("multiclass", y, ("no", "yes")))
    one = fit_recalibration(p[:, None], _target("binary", y))
    np.testing.assert_allclose(two.apply(np.column_stack([1 - p, p]))[:, 1], one.apply(p[:, None])[:, 0], atol=1e-6)


def test_values_shrink_to_their_regression_line(rng):
    x = rng.normal(size=3000)
    found = fit_recalibration(10 + 6 * x[:, None], _target("regression", 5 + 3 * x + rng.normal(size=3000)))
    np.testing.assert_allclose(found.apply(np.array([[10.0], [16.0]]))[:, 0], [5, 8], atol=0.15)


def test_log_risks_are_stretched_so_that_survival_comes_true(rng):
    risk = rng.normal(size=4000)
    time = rng.exponential(np.exp(-risk))
    target = _target("survival", np.stack([time, np.ones(4000)], axis=1), columns=("time", "event"))
    found = fit_recalibration(4 * risk[:, None], target)
    assert found.slope[0] == pytest.approx(0.25, abs=0.02)
    stretched = found.apply(4 * risk[:, None])[:, 0]
    at = survival_at(breslow_baseline(time, np.ones(4000), stretched), stretched, np.array([0.5]))[:, 0]
    np.testing.assert_allclose(at, np.exp(-0.5 * np.exp(risk)), atol=0.03)


def test_labels_are_recalibrated_one_by_one_on_their_known_patients(rng):
    logit = rng.normal(size=(3000, 2))
    y = (rng.random((3000, 2)) < expit(logit)).astype(float)
    y[:2000, 1] = np.nan
    found = fit_recalibration(expit(logit * np.array([2.0, 0.8])), _target("multilabel", y, columns=("y1", "y2")))
    np.testing.assert_allclose(found.slope, [0.5, 1.25], atol=0.25)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_scores_that_point_the_wrong_way_become_nearly_the_average_and_keep_their_order(rng, kind):
    x = rng.normal(size=2000)
    score = expit(x)[:, None] if kind == "binary" else x[:, None]
    y = (rng.random(2000) < expit(-x)) if kind == "binary" else -x
    moved = fit_recalibration(score, _target(kind, y)).apply(score)[:, 0]
    assert np.ptp(moved) < 0.1
    assert (np.argsort(moved) == np.argsort(x)).all()


@pytest.mark.parametrize("how", ["platt", "isotonic", "temperature"])
def test_textbook_forms_are_those_of_evaluate_and_keep_rows_that_are_not_known(rng, how):
    logit = rng.normal(size=3000)
    y = (rng.random(3000) < expit(logit)).astype(float)
    scores = expit(3 * logit)[:, None]
    rows = np.arange(3000) >= 5
    scores[:5], own = np.nan, expit(3 * logit[rows])
    found = fit_recalibration(scores, _target("binary", y), how=how).apply(scores)
    fitted = {
        "platt": lambda: fit_platt(y[rows], 3 * logit[rows]).apply(3 * logit[rows]),
        "isotonic": lambda: fit_isotonic(y[rows], own).apply(own),
        "temperature": lambda: fit_temperature(y[rows], own).apply(np.column_stack([1 - own, own]))[:, 1],
    }
    assert np.isnan(found[:5]).all()
    np.testing.assert_allclose(found[5:, 0], fitted[how](), atol=1e-4)  # logits of more than 13.8 are clipped
    np.testing.assert_allclose(found[5:, 0], expit(logit[rows]), atol=0.15 if how == "isotonic" else 0.03)


def test_a_temperature_of_classes_keeps_the_most_probable_one(rng):
    logits = rng.normal(size=(3000, 3))
    y = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    scores = softmax(2.5 * logits, axis=1)
    found = fit_recalibration(scores, _target("multiclass", y, CLASSES), how="temperature")
    assert found.by.value == pytest.approx(2.5, abs=0.2)
    np.testing.assert_array_equal(found.apply(scores).argmax(axis=1), scores.argmax(axis=1))


@pytest.mark.parametrize(("how", "kind"), [("platt", "multiclass"), ("isotonic", "survival"), ("temperature", "regression")])
def test_a_textbook_form_of_another_endpoint_is_refused(how, kind):
    with pytest.raises(ConfigError, match=f"{how} serves binary .*not a {kind} one; leave it at shrunken"):
        check_recalibration(how, kind)


def test_a_textbook_form_needs_both_classes():
    with pytest.raises(DataError, match="wanted both classes"):
        fit_recalibration(np.array([[0.2], [0.7]]), _target("binary", [1, 1]), how="platt")


def test_few_patients_leave_scores_as_they_are():
    scores = np.array([[0.2], [0.7], [np.nan]])
    moved = fit_recalibration(scores, _target("binary", [0, 1, 1])).apply(scores)
    np.testing.assert_allclose(moved[:2, 0], [0.2, 0.7], atol=0.06)
    assert np.isnan(moved[2, 0])
