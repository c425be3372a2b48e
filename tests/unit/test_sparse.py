"""Sparse linear models: optimality conditions, the library's solution where it has one, planted blocks."""

import numpy as np
import pytest

from oncoweave.evaluate.likelihoods import GaussianLikelihood, SoftmaxLikelihood, cox_likelihood
from oncoweave.train.sparse import Offset, _Problem, fit_sparse, solve

GROUPS = np.array(["a"] * 4 + ["b"] * 6 + ["c"] * 5)
MEMBER = np.array([0] * 4 + [1] * 6 + [2] * 5)


def _columns(rng, n=150):
    x = rng.normal(size=(n, 15))
    return x - x.mean(axis=0)


def _likelihoods(rng, eta):
    time, censoring = rng.exponential(np.exp(-eta)), rng.exponential(2.0, size=len(eta))
    y = (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(int)
    return {
        "cox": cox_likelihood(np.minimum(time, censoring), time <= censoring),
        "logistic": SoftmaxLikelihood(one_hot=np.eye(2)[y]),
        "softmax": SoftmaxLikelihood(one_hot=np.eye(3)[np.digitize(eta + rng.normal(size=len(eta)), [-1, 1])]),
        "gaussian": GaussianLikelihood(values=eta + rng.normal(size=len(eta))),
    }


def _labels(n):
    return np.arange(n) % 5


@pytest.mark.parametrize("kind", ["cox", "logistic", "softmax", "gaussian"])
@pytest.mark.parametrize("norm", ["group", "columns"])
def test_solutions_meet_the_conditions_of_optimality(kind, norm, rng):
    x = _columns(rng)
    likelihood = _likelihoods(rng, x[:, 0] - x[:, 5])[kind]
    weights, penalty = np.array([1.0, 2.0, 0.5]), 12.0
    problem = _Problem(x=x, member=MEMBER, weights=weights, norm=norm)
    start = np.zeros((15 + likelihood.has_intercept, likelihood.num_columns))
    theta = solve(likelihood, problem, penalty=penalty, start=start, tolerance=1e-9)
    eta = x @ theta[:15] + (theta[-1] if likelihood.has_intercept else 0.0)
    residual = likelihood.gradient(eta)
    if likelihood.has_intercept:
        np.testing.assert_allclose(residual.sum(axis=0), 0.0, atol=1e-4)
    gradient, beta = x.T @ residual, theta[:15]
    if norm == "columns":
        limit = penalty * weights[MEMBER][:, None] * np.ones_like(beta)
        free = beta != 0
        np.testing.assert_allclose(gradient[free], (limit * np.sign(beta))[free], atol=1e-3)
        assert (np.abs(gradient[~free]) <= limit[~free] + 1e-3).all()
        assert 0 < free.sum() < free.size
        return
    kept = []
    for b in range(3):
        block, pull = beta[b == MEMBER], gradient[b == MEMBER]
        kept.append(bool(np.any(block)))
        if kept[-1]:
            np.testing.assert_allclose(pull, penalty * weights[b] * block / np.linalg.norm(block), atol=1e-3)
        else:
            assert np.linalg.norm(pull) <= penalty * weights[b] + 1e-3
    assert any(kept)


def test_lasso_is_that_of_the_library(rng):
    from sklearn.linear_model import Lasso

    x = _columns(rng)
    y = x @ rng.normal(size=15) + rng.normal(size=150)
    problem = _Problem(x=x, member=np.zeros(15, dtype=int), weights=np.ones(1), norm="columns")
    theta = solve(GaussianLikelihood(values=y), problem, penalty=30.0, start=np.zeros((16, 1)), tolerance=1e-10)
    theirs = Lasso(alpha=30.0 / 150, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(theta[:15, 0], theirs.coef_, atol=1e-6)
    assert theta[15, 0] == pytest.approx(theirs.intercept_)


def test_group_lasso_keeps_the_block_that_tells_and_drops_wide_noise(rng):
    good, noise = rng.normal(size=(120, 5)), rng.normal(size=(120, 300)) / np.sqrt(60)
    x = np.hstack([good, noise]) - np.hstack([good, noise]).mean(axis=0)
    likelihood = _likelihoods(rng, 1.2 * good[:, 0] - good[:, 1])["cox"]
    groups = np.array(["good"] * 5 + ["noise"] * 300)
    fitted = fit_sparse(likelihood, x, groups, _labels(120), kind="group_lasso")
    assert fitted.names == ("good", "noise")
    size = [np.linalg.norm(x[:, groups == g] @ fitted.beta[groups == g]) for g in fitted.names]
    assert size[1] < 0.6 * size[0]
    assert (fitted.beta[groups == "good"] != 0).all()
    # the wide block was solved in as many columns as patients: its conditions hold in its own columns too
    eta = x @ fitted.beta
    pull = x[:, groups == "noise"].T @ likelihood.gradient(eta)
    assert np.linalg.norm(pull) <= fitted.penalties[1] * 1.01


def test_out_of_fold_predictors_are_by_models_that_left_the_patient_out(rng):
    x = _columns(rng)
    likelihood = _likelihoods(rng, x[:, 0])["gaussian"]
    fitted = fit_sparse(likelihood, x, GROUPS, _labels(150), kind="group_lasso")
    weights = np.sqrt(np.bincount(MEMBER, weights=x.var(axis=0)))
    for k in range(5):
        rest = _labels(150) != k
        problem = _Problem(x=x[rest], member=MEMBER, weights=weights, norm="group")
        penalty = fitted.penalties[0] / weights[0]
        theta = solve(likelihood.take(np.flatnonzero(rest)), problem, penalty=penalty, start=np.zeros((16, 1)), tolerance=1e-8)
        np.testing.assert_allclose(fitted.out_of_fold[~rest], x[~rest] @ theta[:15] + theta[15], atol=0.01)


def test_penalty_factors_are_found_where_one_block_tells_more(rng):
    x = _columns(rng, 200)
    likelihood = _likelihoods(rng, x[:, :4] @ np.array([1.0, -1.0, 0.8, 0.6]))["logistic"]
    fitted = fit_sparse(likelihood, x, GROUPS, _labels(200), kind="ipf_lasso")
    assert fitted.penalties[0] < 0.4 * fitted.penalties[1:].min()
    assert (fitted.beta[:4] != 0).all()
    assert (fitted.beta[4:15] == 0).mean() > 0.5


def test_blocks_of_priority_come_first_and_later_ones_get_what_they_leave(rng):
    z = rng.normal(size=200)
    x = np.stack([z + 0.1 * rng.normal(size=200), z + 0.1 * rng.normal(size=200), rng.normal(size=200)], axis=1)
    x = x - x.mean(axis=0)
    likelihood = _likelihoods(rng, z + x[:, 2])["gaussian"]
    first = fit_sparse(likelihood, x, np.array(["a", "b", "c"]), _labels(200), kind="priority_lasso")
    turned = fit_sparse(likelihood, x[:, [1, 0, 2]], np.array(["b", "a", "c"]), _labels(200), kind="priority_lasso")
    assert first.names == ("a", "b", "c")
    assert abs(first.beta[0, 0]) > 5 * abs(first.beta[1, 0])
    assert abs(turned.beta[0, 0]) > 5 * abs(turned.beta[1, 0])
    assert first.beta[2, 0] > 0.7
    assert np.corrcoef(first.out_of_fold[:, 0], z + x[:, 2])[0, 1] > 0.95


def test_an_offset_is_a_part_of_the_predictor(rng):
    eta, given = rng.normal(size=(30, 1)), rng.normal(size=(30, 1))
    plain = _likelihoods(rng, eta[:, 0])["logistic"]
    told = Offset(likelihood=plain, offset=given)
    assert told.value(eta) == plain.value(eta + given)
    np.testing.assert_array_equal(told.gradient(eta), plain.gradient(eta + given))
    np.testing.assert_array_equal(told.curvature(eta, given), plain.curvature(eta + given, given))
    rows = np.arange(0, 30, 2)
    assert told.take(rows).value(eta[rows]) == plain.take(rows).value((eta + given)[rows])


@pytest.mark.parametrize("kind", ["group_lasso", "ipf_lasso", "priority_lasso"])
@pytest.mark.parametrize("outcome", ["cox", "logistic", "softmax", "gaussian"])
def test_every_kind_fits_every_likelihood_and_columns_that_do_not_vary_stay_out(kind, outcome, rng):
    x = _columns(rng, 60)
    x[:, 7] = 0.0
    noise = _likelihoods(rng, np.zeros(60))[outcome]
    fitted = fit_sparse(noise, x, GROUPS, _labels(60), kind=kind)
    assert np.isfinite(fitted.out_of_fold).all()
    np.testing.assert_array_equal(fitted.beta[7], 0.0)
    assert fitted.beta.shape == (15 + noise.has_intercept, noise.num_columns)
