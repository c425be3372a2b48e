"""Linear models against scikit-survival, lifelines and scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.evaluate.partial_likelihood import partial_likelihood
from oncoweave.train.linear import fit_ridge, fit_ridge_cox, fit_ridge_logistic

TIES = ["efron", "breslow"]


@pytest.fixture
def patients(rng):
    x = rng.normal(size=(150, 6))
    time = np.ceil(20 * rng.exponential(np.exp(-x[:, 0] + 0.5 * x[:, 1])))  # whole numbers: many ties
    return x, time, rng.random(150) < 0.6


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("penalty", [0.5, 30.0])
def test_ridge_cox_equals_scikit_survival(patients, ties, penalty):
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    x, time, event = patients
    theirs = CoxPHSurvivalAnalysis(alpha=penalty, ties=ties, tol=1e-13).fit(x, Surv.from_arrays(event, time))
    ours = fit_ridge_cox(x, time, event, penalty=penalty, ties=ties)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_, atol=1e-6)


def test_ridge_cox_equals_lifelines_with_its_penalty_a_patient_and_a_standard_deviation(patients):
    from lifelines import CoxPHFitter

    x, time, event = patients
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    table = pd.DataFrame(x).assign(time=time, event=event)
    theirs = CoxPHFitter(penalizer=0.2).fit(table, "time", "event", fit_options={"precision": 1e-12})
    ours = fit_ridge_cox(x, time, event, penalty=0.2 * len(x))
    np.testing.assert_allclose(ours.coefficients, theirs.params_, atol=1e-5)


@pytest.mark.parametrize("ties", TIES)
def test_log_partial_likelihood_and_its_derivatives(patients, ties, rng):
    from sksurv.linear_model.coxph import CoxPHOptimizer

    x, time, event = patients
    beta = rng.normal(size=6)
    sets = partial_likelihood(time, event, ties=ties)
    theirs = CoxPHOptimizer(x, event, time, np.zeros(6), ties)
    assert sets.value(x @ beta) == pytest.approx(-theirs.nlog_likelihood(beta) * len(x), abs=1e-6)
    theirs.update(beta)
    np.testing.assert_allclose(x.T @ sets.gradient(x @ beta), -theirs.gradient * len(x), atol=1e-8)
    hessian = np.stack([x.T @ sets.curvature(x @ beta, column) for column in x.T], axis=1)
    np.testing.assert_allclose(hessian, theirs.hessian * len(x), atol=1e-8)


def test_survival_curves_equal_scikit_survival(patients):
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    x, time, event = patients
    theirs = CoxPHSurvivalAnalysis(alpha=1.0, ties="efron", tol=1e-13).fit(x, Surv.from_arrays(event, time))
    at = np.unique(time)
    curves = fit_ridge_cox(x, time, event, penalty=1.0).survival(x[:5], at)
    np.testing.assert_allclose(curves, [f(at) for f in theirs.predict_survival_function(x[:5])], atol=1e-6)


def test_logistic_and_ridge_equal_scikit_learn(patients):
    from sklearn.linear_model import LogisticRegression, Ridge

    x, time, event = patients
    for y, num_classes in ((event.astype(int), 2), (np.digitize(time, [5, 25]), 3)):
        theirs = LogisticRegression(C=1 / 3.0, tol=1e-10, max_iter=2000).fit(x, y)
        ours = fit_ridge_logistic(x, y, num_classes=num_classes, penalty=3.0)
        np.testing.assert_allclose(ours.coefficients.T, theirs.coef_, atol=1e-5)
        p = theirs.predict_proba(x)
        np.testing.assert_allclose(ours.predict(x), p[:, 1:] if num_classes == 2 else p, atol=1e-5)
    theirs = Ridge(alpha=3.0).fit(x, time)
    np.testing.assert_allclose(fit_ridge(x, time, penalty=3.0).predict(x)[:, 0], theirs.predict(x), atol=1e-6)
