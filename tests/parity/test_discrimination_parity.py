"""Discrimination and calibration against scikit-learn, scipy and lifelines."""

import numpy as np
import pytest

from oncoweave.evaluate import discrimination as ours
from oncoweave.evaluate.calibration import recalibrate, reliability
from oncoweave.evaluate.compare import holm

TOLERANCE = 1e-12


@pytest.fixture(params=[1, 3], ids=["many ties", "few ties"])
def scores(request, rng):
    y = (rng.random(300) < 0.3).astype(float)
    return y, np.round(np.clip(0.3 * y + rng.random(300) * 0.7, 0, 1), request.param)


def test_binary(scores):
    from sklearn import metrics as theirs

    y, p = scores
    assert ours.auroc(y, p) == pytest.approx(theirs.roc_auc_score(y, p), abs=TOLERANCE)
    assert ours.auprc(y, p) == pytest.approx(theirs.average_precision_score(y, p), abs=TOLERANCE)
    assert ours.balanced_accuracy(y, p > 0.5) == pytest.approx(theirs.balanced_accuracy_score(y, p > 0.5), abs=TOLERANCE)
    inside = p.clip(0.01, 0.99)
    assert ours.log_loss(y, inside) == pytest.approx(theirs.log_loss(y, inside), abs=TOLERANCE)


def test_multiclass(rng):
    from sklearn import metrics as theirs

    y = rng.integers(0, 4, 200)
    p = rng.dirichlet(np.ones(4), 200)
    expected = theirs.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert ours.macro_auroc(y, p) == pytest.approx(expected, abs=TOLERANCE)
    expected = theirs.average_precision_score(np.eye(4)[y], p, average="macro")
    assert ours.macro_auprc(y, p) == pytest.approx(expected, abs=TOLERANCE)
    assert ours.log_loss(y, p) == pytest.approx(theirs.log_loss(y, p), abs=TOLERANCE)
    expected = theirs.cohen_kappa_score(y, p.argmax(1), weights="quadratic")
    assert ours.kappa(y, p.argmax(1), 4, weighting="quadratic") == pytest.approx(expected, abs=TOLERANCE)


def test_recalibration_is_a_logistic_regression(scores):
    from scipy.special import logit
    from sklearn.linear_model import LogisticRegression

    y, p = scores
    p = p.clip(0.01, 0.99)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], y)
    assert recalibrate(y, p).slope == pytest.approx(model.coef_[0, 0], abs=1e-5)


def test_reliability_bins(scores):
    from sklearn.calibration import calibration_curve

    y, p = scores
    p = p + np.linspace(0, 1e-6, len(p))  # no ties, so that both cut quantiles alike
    p = p / p.max()
    observed, predicted = calibration_curve(y, p, n_bins=5, strategy="quantile")
    found = reliability(y, p, bins=5)
    assert found.predicted == pytest.approx(predicted, abs=0.01)  # quantile edges differ by one patient
    assert found.observed == pytest.approx(observed, abs=0.02)
    assert found.n.tolist() == [60] * 5


def test_wilson_interval(scores):
    from scipy import stats

    y, p = scores
    found = reliability(y, p, bins=3)
    for index, (n, share) in enumerate(zip(found.n, found.observed, strict=True)):
        expected = stats.binomtest(round(share * n), int(n)).proportion_ci(method="wilson")
        assert (found.low[index], found.high[index]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_holm():
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
