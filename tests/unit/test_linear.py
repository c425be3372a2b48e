"""Linear models: penalties, blocks, refusals, storage."""

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.core.state import load_state, save_state
from oncoweave.train.linear import (
    fit_block_cox,
    fit_block_logistic,
    fit_block_regression,
    fit_ridge,
    fit_ridge_cox,
    fit_ridge_logistic,
)


def _survival(rng, risk):
    time = rng.exponential(np.exp(-risk))
    censoring = rng.exponential(2.0, size=len(risk))
    return np.minimum(time, censoring), time <= censoring


def test_more_columns_than_patients_gives_the_solution_of_the_plain_columns(rng):
    x = rng.normal(size=(30, 50))
    time, event = _survival(rng, x[:, 0])
    wide = fit_ridge_cox(x, time, event, penalty=3.0)
    gradient = wide_gradient(wide, x, time, event)
    # at the optimum the score equals penalty x coefficients, column by column
    np.testing.assert_allclose(gradient, 3.0 * wide.coefficients, atol=1e-5)


def wide_gradient(model, x, time, event):
    from oncoweave.evaluate.partial_likelihood import partial_likelihood

    return (x - model.centre).T @ partial_likelihood(time, event).gradient(model.predict(x)[:, 0])


def test_a_column_with_a_large_penalty_factor_is_shrunk_and_a_factor_equals_a_scaled_column(rng):
    x = rng.normal(size=(80, 3))
    time, event = _survival(rng, x.sum(axis=1))
    factors = np.array([1.0, 1e6, 4.0])
    model = fit_ridge_cox(x, time, event, penalty=2.0, penalty_factors=factors)
    assert abs(model.coefficients[1]) < 1e-3
    scaled = fit_ridge_cox(x / np.sqrt(factors), time, event, penalty=2.0)
    np.testing.assert_allclose(model.coefficients, scaled.coefficients / np.sqrt(factors), rtol=1e-6)


def test_the_chosen_penalty_is_strong_where_nothing_can_be_learnt_and_weak_where_much_can(rng):
    x = rng.normal(size=(200, 5))
    signal = fit_ridge_cox(x, *_survival(rng, 2 * x[:, 0]))
    noise = fit_ridge_cox(x, *_survival(rng, np.zeros(200)))
    assert signal.penalty.values[0] < 0.02 * noise.penalty.values[0]
    assert np.abs(noise.coefficients).max() < 0.15 < 1.0 < signal.coefficients[0]


@pytest.mark.parametrize("width", [5, 200], ids=["fewer columns than patients", "more"])
def test_a_block_of_noise_is_shrunk_away(rng, width):
    good, noise = rng.normal(size=(150, 4)), rng.normal(size=(150, width))
    time, event = _survival(rng, good @ np.array([0.8, -0.6, 0.4, 0.0]))
    x, groups = np.hstack([good, noise]), np.array(["good"] * 4 + ["noise"] * width)
    blockwise = fit_block_cox(x, groups, time, event)
    alone = fit_ridge_cox(good, time, event)
    kept, lost = blockwise.coefficients[:4], blockwise.coefficients[4:]
    assert np.linalg.norm(lost) < 0.35 * np.linalg.norm(kept)
    assert np.corrcoef(blockwise.predict(x)[:, 0], alone.predict(good)[:, 0])[0, 1] > 0.93
    assert blockwise.penalty.blocks == ("good", "noise")
    assert blockwise.penalty.values[1] > 5 * blockwise.penalty.values[0]


def test_blocks_of_equal_penalty_are_the_plain_model(rng):
    from oncoweave.evaluate.likelihoods import cox_likelihood
    from oncoweave.train.block_ridge import fit_blocks, split_blocks

    x = rng.normal(size=(40, 60))
    time, event = _survival(rng, x[:, 0])
    plain = fit_ridge_cox(x, time, event, penalty=7.0)
    blocks = split_blocks(x - x.mean(axis=0), np.repeat(["a", "b"], 30))
    beta = fit_blocks(cox_likelihood(time, event), blocks, np.array([7.0, 7.0]))
    np.testing.assert_allclose(beta[:, 0], plain.coefficients, atol=1e-6)


def test_logistic_and_regression_shrink_a_noise_block_too(rng):
    good, noise = rng.normal(size=(150, 3)), rng.normal(size=(150, 20))
    x, groups = np.hstack([good, noise]), np.array(["good"] * 3 + ["noise"] * 20)
    value = good @ np.array([1.0, -1.0, 0.5]) + rng.normal(size=150)
    for model in (
        fit_block_logistic(x, groups, (value > 0).astype(int)),
        fit_block_regression(x, groups, 1000 * value),
        fit_block_logistic(x, groups, np.digitize(value, [-1, 1]), num_classes=3),
    ):
        weight = np.abs(model.coefficients)
        assert weight[3:].max() < 0.25 * weight[:3].max()


def test_survival_of_the_average_patient_follows_the_baseline(rng):
    x = rng.normal(size=(100, 2))
    time, event = _survival(rng, x[:, 0])
    model = fit_ridge_cox(x, time, event, penalty=1.0)
    curve = model.survival(model.centre[None], np.array([0.0, np.median(time), time.max()]))[0]
    assert curve[0] == 1.0
    assert (np.diff(curve) < 0).all()
    np.testing.assert_allclose(curve[-1], np.exp(-model.baseline.cumulative_hazard[-1]))


def test_fitted_models_are_stored_and_read_back(rng, tmp_path):
    x = rng.normal(size=(60, 4))
    time, event = _survival(rng, x[:, 0])
    models = [
        fit_block_cox(x, np.array(["a", "a", "b", "b"]), time, event),
        fit_ridge_logistic(x, event.astype(int), penalty=1.0),
        fit_ridge(x, time, penalty=1.0),
    ]
    for index, model in enumerate(models):
        save_state(tmp_path / f"{index}.safetensors", model)
        again = load_state(tmp_path / f"{index}.safetensors")
        np.testing.assert_array_equal(again.predict(x), model.predict(x))
        assert again.penalty == model.penalty


def test_what_cannot_be_fitted_is_refused(rng):
    x, time = rng.normal(size=(10, 2)), np.arange(10.0)
    with pytest.raises(DataError, match="at least one event"):
        fit_ridge_cox(x, time, np.zeros(10), penalty=1.0)
    with pytest.raises(DataError, match="at least two classes"):
        fit_ridge_logistic(x, np.ones(10), penalty=1.0)
    with pytest.raises(DataError, match="class indices 0 to 1, got 2"):
        fit_ridge_logistic(x, np.arange(10) % 3, penalty=1.0)
    x[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3, column 1"):
        fit_ridge(x, time, penalty=1.0)
    with pytest.raises(DataError, match=r"wanted columns \[n, 2\]"):
        fit_ridge(np.ones((10, 2)), time, penalty=1.0).predict(np.ones((3, 5)))
    with pytest.raises(DataError, match="positive finite penalty factors"):
        fit_ridge(np.ones((10, 2)), time, penalty=1.0, penalty_factors=np.array([1.0, -1.0]))
    with pytest.raises(DataError, match="block name for each of 2"):
        fit_block_regression(np.ones((10, 2)), np.array(["a"]), time)


def test_a_path_is_judged_fold_by_fold_at_what_the_other_folds_choose():
    from oncoweave.train.ridge import PathScores

    scores = PathScores(
        penalties=np.array([4.0, 2.0, 1.0]),
        contributions=np.array([[0.0, 0.0, 0.0], [5.0, -1.0, 1.0], [-2.0, 6.0, 0.0]]),
        out_of_fold=np.zeros((9, 1)),
    )
    assert scores.best == 2.0
    # fold 0: the others prefer the third step; fold 1: the second; fold 2: the second and third tie, the first of them counts
    assert scores.fair_total == -2.0 + -1.0 + 1.0


def test_block_penalties_do_not_depend_on_the_units_of_a_block(rng):
    x = rng.normal(size=(120, 6))
    time, event = _survival(rng, x[:, 0] + x[:, 3])
    groups = np.repeat(["a", "b"], 3)
    factor = np.repeat([1.0, 1000.0], 3)
    plain = fit_block_cox(x, groups, time, event)
    scaled = fit_block_cox(x * factor, groups, time, event)
    np.testing.assert_allclose(scaled.predict(x * factor), plain.predict(x), atol=1e-4)


@pytest.mark.parametrize("width", [4, 90], ids=["fewer columns than patients", "more"])
def test_out_of_fold_scores_are_those_of_models_that_left_the_patient_out(rng, width):
    x = rng.normal(size=(60, width))
    time, event = _survival(rng, x[:, 0])
    labels = np.arange(60) % 3
    y = (rng.random(60) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    groups = np.where(np.arange(width) < 2, "a", "b")
    fits = {
        "cox": lambda t, e, y: fit_ridge_cox(x, t, e, inner=labels),
        "blocks": lambda t, e, y: fit_block_cox(x, groups, t, e, inner=labels),
        "logistic": lambda t, e, y: fit_ridge_logistic(x, y, inner=labels),
        "values": lambda t, e, y: fit_ridge(x, x[:, 0] + t, inner=labels),
    }
    for name, fit in fits.items():
        model = fit(time, event, y)
        assert model.out_of_fold.shape == (60, 1), name
        if name == "cox":
            for k in range(3):
                out, kept = labels == k, labels != k
                again = fit_ridge_cox(x[kept], time[kept], event[kept], penalty=model.penalty.values[0])
                # fitted about the mean of all, not of those kept: the same up to a shift, to the path's tolerance
                shift = model.out_of_fold[out, 0] - again.predict(x[out])[:, 0]
                assert np.ptp(shift) < 0.05
    assert fit_ridge_cox(x, time, event, penalty=1.0).out_of_fold is None
