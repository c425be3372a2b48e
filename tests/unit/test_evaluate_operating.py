"""Labels that are partly unknown, F1, kappa, and operating points chosen on training patients."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from oncoweave.core.errors import DataError
from oncoweave.evaluate import discrimination as ours
from oncoweave.evaluate import weighted
from oncoweave.evaluate.operating import (
    operate,
    sensitivity_of,
    specificity_of,
    threshold_at_sensitivity,
    threshold_at_specificity,
)
from oncoweave.evaluate.pairs import ordered_pairs

TOLERANCE = 1e-12


@pytest.fixture
def labels(rng):
    y = (rng.random((80, 3)) < 0.4).astype(float)
    y[rng.random((80, 3)) < 0.2] = np.nan
    return y, np.round(rng.random((80, 3)), 1)


def test_unknown_labels_are_left_out_and_counted(labels):
    y, p = labels
    known = ~np.isnan(y)
    each = [theirs.roc_auc_score(y[k, i], p[k, i]) for i, k in enumerate(known.T)]
    assert list(ours.auroc_of_each(y, p)) == pytest.approx(each, abs=TOLERANCE)
    assert ours.macro_auroc(y, p) == pytest.approx(np.mean(each), abs=TOLERANCE)
    assert ours.micro_auroc(y, p) == pytest.approx(theirs.roc_auc_score(y[known], p[known]), abs=TOLERANCE)
    assert ours.micro_auprc(y, p) == pytest.approx(theirs.average_precision_score(y[known], p[known]), abs=TOLERANCE)
    assert ours.macro_auroc(y, p).reason == f"{(~known).sum()} unknown label(s) left out"
    nobody = np.where(np.arange(3) == 1, np.nan, y)
    assert "classes 1 left out: no patient with a known label" in ours.macro_auprc(nobody, p).reason


@pytest.mark.parametrize("micro", [ours.micro_auroc, ours.micro_auprc])
def test_micro_averages_name_classes_that_no_patient_has(micro, labels):
    y, p = labels
    absent = micro(np.array([0, 2, 2, 0]), np.full((4, 4), 0.25))
    assert not np.isnan(absent) and absent.reason == "no patient has classes 1, 3, which count as untrue where known"
    unknown = f"{np.isnan(y).sum()} unknown label(s) left out"
    assert micro(y, p).reason == unknown
    assert (
        micro(np.where(np.arange(3) == 1, 0 * y, y), p).reason
        == f"no patient has classes 1, which count as untrue where known; {unknown}"
    )
    assert micro(np.array([0, 1]), np.eye(2)).reason == ""


def test_micro_area_is_the_ranking_of_all_entries(labels, rng):
    y, p = labels
    strata, copies = np.arange(80) % 3, rng.integers(0, 4, (70, 80)).astype(np.float32)
    patient, column = np.nonzero(~np.isnan(y))
    expected = ordered_pairs(y[patient, column], p[patient, column], strata[patient])
    assert weighted.micro_area(y, p, strata)(copies) == pytest.approx(expected(copies[:, patient]), abs=1e-6)
    assert np.isnan(weighted.micro_area(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(4, dtype=int))(np.ones((1, 4))))[0]


@pytest.mark.parametrize("average", ["binary", "macro", "micro", "weighted"])
def test_f1(rng, average):
    top = 2 if average == "binary" else 4
    y, predicted = rng.integers(0, top, 60), rng.integers(0, top, 60)
    y[y == 3] = 2  # predicted somewhere and never true
    assert ours.f1(y, predicted, average=average) == pytest.approx(theirs.f1_score(y, predicted, average=average))


def test_f1_of_nobody_is_nan_with_its_reason():
    score = ours.f1(np.zeros(5), np.zeros(5))
    assert np.isnan(score) and "there is none among 5" in score.reason


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
def test_kappa_and_f1_under_weights_are_those_of_copies(rng, weighting):
    y, predicted, copies = rng.integers(0, 3, 60), rng.integers(0, 3, 60), rng.integers(0, 4, 60)
    rows, weights = np.repeat(np.arange(60), copies), copies[None].astype(np.float32)
    expected = theirs.cohen_kappa_score(y[rows], predicted[rows], weights=None if weighting == "none" else weighting)
    assert ours.kappa(y[rows], predicted[rows], 3, weighting=weighting) == pytest.approx(expected)
    assert weighted.kappa(y, predicted, 3, weighting=weighting)(weights)[0] == pytest.approx(expected)
    macro = theirs.f1_score(y[rows], predicted[rows], average="macro")
    assert weighted.f1(y, predicted, range(4))(weights)[0] == pytest.approx(macro)


# Negatives at .1 .2 .4 .4, positives at .3 .4 .8 .9
Y, SCORE = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0.1, 0.2, 0.4, 0.4, 0.3, 0.4, 0.8, 0.9])


def test_a_tie_is_decided_as_the_rule_says():
    strict = threshold_at_specificity(Y, SCORE, specificity=0.6)
    assert (strict.value, strict.specificity, strict.sensitivity) == (0.8, 1.0, 0.5)
    near = threshold_at_specificity(Y, SCORE, specificity=0.6, rule="empirical")
    assert (near.value, near.specificity, near.sensitivity) == (0.3, 0.5, 1.0)
    equal = threshold_at_specificity(Y, SCORE, specificity=0.75, rule="empirical")
    assert (equal.value, equal.specificity) == (0.8, 1.0)  # .5 and 1 are equally near
    back = threshold_at_sensitivity(Y, SCORE, sensitivity=0.6)
    assert (back.value, back.specificity, back.sensitivity) == (0.3, 0.5, 1.0)
    assert (back.n, back.events, back.rule, back.fixed) == (8, 4, "conservative", "sensitivity")


@pytest.mark.parametrize("wanted", [0.2, 0.5, 0.9, 1.0])
def test_conservative_thresholds_keep_what_they_promise_and_lose_least(rng, wanted):
    y, score = (rng.random(90) < 0.4).astype(float), np.round(rng.random(90), 1)
    found = threshold_at_specificity(y, score, specificity=wanted)
    every = [operate(y, score, t) for t in [*np.unique(score), np.inf]]
    assert found.specificity >= wanted
    assert found.sensitivity == pytest.approx(max(o.sensitivity for o in every if o.specificity >= wanted))
    reached = operate(y, score, found.value)
    assert (reached.sensitivity, reached.specificity) == pytest.approx((found.sensitivity, found.specificity))


def test_an_operating_point_on_other_patients(rng):
    assert np.isnan(operate(np.zeros(3), np.zeros(3), 0.5).sensitivity)
    assert operate(np.zeros(3), np.zeros(3), 0.5).sensitivity.reason == "no positive among 3 patients"
    copies = rng.integers(0, 3, 8)
    rows = np.repeat(np.arange(8), copies)
    expected = operate(Y[rows], SCORE[rows], 0.4)
    weights = copies[None].astype(np.float32)
    assert sensitivity_of(Y, SCORE, 0.4)(weights)[0] == pytest.approx(expected.sensitivity, nan_ok=True)
    assert specificity_of(Y, SCORE, 0.4)(weights)[0] == pytest.approx(expected.specificity, nan_ok=True)


def test_thresholds_need_both_classes():
    with pytest.raises(DataError, match="training patients of both classes, got 0 positive of 3"):
        threshold_at_specificity(np.zeros(3), np.arange(3.0), specificity=0.9)
    with pytest.raises(DataError, match="class indices from 0 to 1 or 2 columns"):
        ours.macro_auroc(np.array([0, 2]), np.full((2, 2), 0.5))
