import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.discrimination import (
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    kappa,
    log_loss,
    macro_auprc,
    macro_auroc,
    ordinal_c,
)


def test_auroc_counts_ties_half():
    assert auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8])) == pytest.approx(3.5 / 4)


def test_average_precision_by_hand():
    # Positives at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert auprc(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(5 / 6)


@pytest.mark.parametrize("metric", [auroc, auprc])
def test_a_fold_without_positives_is_nan_with_its_reason(metric):
    score = metric(np.zeros(4), np.arange(4.0))
    assert np.isnan(score)
    assert "needs both classes, got 0 positive and 4 negative" in score.reason


def test_a_defined_score_has_no_reason():
    assert auroc(np.array([0, 1]), np.array([0.0, 1.0])).reason == ""


def test_an_absent_class_is_left_out_of_the_macro_average_and_named():
    y = np.array([0, 0, 1, 1])
    p = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    score = macro_auroc(y, p)
    assert score == pytest.approx((auroc(y == 0, p[:, 0]) + auroc(y == 1, p[:, 1])) / 2)
    assert score.reason.startswith("classes 2 left out")
    assert np.isnan(macro_auroc(np.zeros(4), np.full((4, 2), 0.5)))
    assert macro_auprc(y, p) == pytest.approx((auprc(y == 0, p[:, 0]) + auprc(y == 1, p[:, 1])) / 2)


def test_balanced_accuracy_weighs_classes_equally():
    y, predicted = np.array(["a"] * 9 + ["b"]), np.array(["a"] * 10)
    assert accuracy(y, predicted) == 0.9
    assert balanced_accuracy(y, predicted) == 0.5


def test_log_loss_of_certainty_is_finite():
    assert log_loss(np.array([1, 0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert np.isfinite(log_loss(np.array([1]), np.array([0.0])))


def test_kappa_is_one_for_agreement_and_zero_for_a_constant():
    y = np.array([0, 1, 2, 2])
    assert kappa(y, y, 3, weighting="quadratic") == 1.0
    assert kappa(y, np.full(4, 1), 3, weighting="quadratic") == pytest.approx(0.0)
    assert np.isnan(kappa(np.ones(3), np.ones(3), 3, weighting="quadratic"))


def test_ordinal_concordance_of_two_classes_is_auroc(rng):
    y, score = (rng.random(40) < 0.4).astype(float), rng.integers(0, 9, 40).astype(float)
    assert ordinal_c(y, score) == pytest.approx(auroc(y, score))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: auroc(np.array([0.0, 2.0]), np.zeros(2)), "y: wanted 0 or 1, got 2.0 in row 1"),
        (lambda: auroc(np.array([0.0, 1.0]), np.array([np.nan, 0])), "score: wanted finite numbers, got nan in row 0"),
        (lambda: auroc(np.array([0.0, 1.0]), np.zeros(3)), "score: wanted 2 values"),
        (lambda: log_loss(np.array([0]), np.array([1.2])), "wanted 1 rows between 0 and 1"),
        (lambda: log_loss(np.array([5]), np.array([[0.5, 0.5]])), "class indices from 0 to 1, got 5"),
        (lambda: accuracy(np.zeros(2), np.zeros(3)), r"shapes \(2,\) and \(3,\)"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(DataError, match=match):
        call()
