"""Calibration errors with their luck taken off, D-calibration, and rescaling on training scores."""

import numpy as np
import pytest
from scipy import special

from oncoweave.core.errors import DataError
from oncoweave.evaluate.calibration import excess_distance, recalibrate, recalibrate_survival, reliability, survival_reliability
from oncoweave.evaluate.calibration_error import calibration_index, expected_error
from oncoweave.evaluate.curves import kaplan_meier
from oncoweave.evaluate.distribution_calibration import distribution_calibration, survival_at_own_time
from oncoweave.evaluate.intervals import draw_weights
from oncoweave.evaluate.rescale import fit_isotonic, fit_platt, fit_temperature

ALL = np.zeros(400, dtype=int)
ONCE = np.ones((1, 400), dtype=np.float32)


@pytest.fixture
def predictions(rng):
    logit = rng.normal(size=400) - 1
    return (rng.random(400) < special.expit(logit)).astype(float), logit


def test_width_bins_by_hand():
    found = reliability(np.array([0, 1, 1, 1]), np.array([0.0, 0.2, 0.25, 0.9]), bins=5, by="width")
    assert found.n.tolist() == [2, 1, 1]  # 0 and .2 share [0, .2]
    assert found.expected_error == pytest.approx((2 * 0.4 + 0.75 + 0.1) / 4)


def test_excess_is_what_the_noise_adds(rng):
    # The mean distance from 0 of N(0, 1) is sqrt(2 / pi), and far away noise adds nothing.
    assert excess_distance(np.array([0.0, 8.0, 0.3]), np.array([1.0, 1.0, 0.0])) == pytest.approx([-np.sqrt(2 / np.pi), 8, 0.3])
    draws = 0.5 + rng.normal(size=200_000)
    surplus = np.abs(draws).mean() - 0.5
    assert 0.5 - excess_distance(np.array([0.5]), np.array([1.0]))[0] == pytest.approx(surplus, abs=0.005)


def test_debiased_errors_are_smaller_and_near_zero_for_true_probabilities(predictions):
    y, logit = predictions
    honest, bold = special.expit(logit), special.expit(2.5 * logit)
    for p in (honest, bold):
        plain = reliability(y, p, bins=10)
        assert plain.debiased_error < plain.expected_error
        assert expected_error(y, p, ALL)(ONCE)[0] == pytest.approx(plain.debiased_error, abs=1e-6)
        assert calibration_index(y, p, ALL)(ONCE)[0] < recalibrate(y, p).ici
    assert calibration_index(y, bold, ALL)(ONCE)[0] == pytest.approx(recalibrate(y, bold).ici, rel=0.1)


@pytest.mark.parametrize("statistic", [expected_error, calibration_index])
@pytest.mark.parametrize("stretch", [1.0, 2.5])
def test_replicates_gather_around_the_value(predictions, rng, statistic, stretch):
    y, logit = predictions
    measure = statistic(y, special.expit(stretch * logit), ALL)
    value, replicates = measure(ONCE)[0], measure(draw_weights(400, replicates=100, generator=rng))
    low, high = np.quantile(replicates, [0.025, 0.975])
    assert low <= value <= high


def test_repeats_are_averaged_and_folds_of_one_class_are_not_defined(predictions):
    y, logit = predictions
    p, repeat = special.expit(2 * logit), np.arange(400) % 2
    whole = calibration_index(y, p, repeat)(ONCE)[0]
    halves = [calibration_index(y[repeat == r], p[repeat == r], repeat[repeat == r])(ONCE[:, :200])[0] for r in (0, 1)]
    assert whole == pytest.approx(np.mean(halves), rel=1e-5)
    assert np.isnan(calibration_index(y, p, ALL)((y == 0)[None].astype(np.float32))[0])
    assert np.isnan(expected_error(y, p, ALL)(0 * ONCE)[0])


def test_distances_and_ratio_of_a_shift(predictions):
    y, logit = predictions
    found = recalibrate(y, special.expit(logit - 1))
    assert found.ratio == pytest.approx(y.mean() / special.expit(logit - 1).mean())
    assert found.e50 <= found.e90 and found.ici <= found.e90


def test_survival_ratio_and_errors_are_kaplan_meiers(rng):
    time, event = rng.exponential(size=200), rng.random(200) < 0.6
    survival = rng.uniform(0.2, 0.9, 200)
    curve = kaplan_meier(time, event)
    found = recalibrate_survival(time, event, survival, horizon=0.5)
    assert found.ratio == pytest.approx((1 - curve.at(np.array([0.5]))[0]) / (1 - survival).mean())
    bins = survival_reliability(time, event, survival, horizon=0.5, bins=1)
    at = np.searchsorted(curve.times, 0.5, side="right") - 1
    spread = np.log(np.log(curve.low[at]) / np.log(curve.high[at])) / (2 * 1.959964)  # back from the log-log interval
    assert bins.error[0] == pytest.approx(spread * -np.log(curve.survival[at]) * curve.survival[at], rel=1e-5)
    assert bins.debiased_error <= bins.expected_error


def test_censored_mass_is_spread_by_hand():
    # An event at .95; a patient lost at .5 may have his event anywhere below, a fifth of his mass in each bin of .1.
    found = distribution_calibration(np.array([0.95, 0.5]), np.array([1, 0]), bins=10)
    assert found.counts == pytest.approx([0.2] * 5 + [0] * 4 + [1])
    partly = distribution_calibration(np.array([0.25]), np.array([0]), bins=10)
    assert partly.counts[:3] == pytest.approx([0.4, 0.4, 0.2])
    assert distribution_calibration(np.array([0.0]), np.array([0]), bins=2).counts.tolist() == [1, 0]
    assert (found.n, found.events, found.degrees) == (2, 1, 9)


def test_true_curves_are_d_calibrated_and_shifted_ones_are_not(rng):
    risk, size = rng.normal(size=800), 800
    event_time, lost = rng.exponential(size=size) * np.exp(-risk), rng.exponential(size=size) * 2
    time, event = np.minimum(event_time, lost), event_time <= lost
    assert distribution_calibration(np.exp(-time * np.exp(risk)), event).p > 0.05
    assert distribution_calibration(np.exp(-time * np.exp(risk + 0.7)), event).p < 1e-4


def test_curves_are_read_at_each_patients_own_time():
    survival = np.array([[0.8, 0.4], [0.9, 0.5], [1.0, 0.6]])
    own, event = survival_at_own_time(np.array([1.0, 3.0, 9.0]), np.ones(3), survival, times=np.array([2.0, 4.0]))
    assert own == pytest.approx([0.9, 0.7, 0.6])
    assert event.tolist() == [True, True, False]  # beyond the curve


def test_platt_is_a_logistic_regression_on_softened_targets(predictions):
    from sklearn.linear_model import LogisticRegression

    y, logit = predictions
    score = 3 * logit + 5
    positive = y.sum()
    target = np.where(y > 0, (positive + 1) / (positive + 2), 1 / (400 - positive + 2))
    twice, weight = np.repeat([1, 0], 400), np.concatenate([target, 1 - target])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(np.tile(score, 2)[:, None], twice, sample_weight=weight)
    found = fit_platt(y, score)
    assert (found.slope, found.intercept) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), abs=1e-4)
    assert found.apply(score) == pytest.approx(special.expit(found.intercept + found.slope * score))
    assert np.isfinite(fit_platt(np.array([0, 0, 1, 1]), np.arange(4.0)).slope)


def test_isotonic_is_that_of_sklearn(predictions, rng):
    from sklearn.isotonic import IsotonicRegression

    y, logit = predictions
    score, others = np.round(logit, 1), rng.normal(size=50) * 4
    expected = IsotonicRegression(out_of_bounds="clip").fit(score, y).predict(others)
    assert fit_isotonic(y, score).apply(others) == pytest.approx(expected, abs=1e-6)  # theirs is float32 inside


def test_temperature_undoes_overconfidence(rng):
    logit = rng.normal(size=(4000, 3))
    honest = special.softmax(logit, axis=1)
    y = (rng.random((4000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    bold = special.softmax(3 * logit, axis=1)
    found = fit_temperature(y, bold)
    assert found.value == pytest.approx(3.0, rel=0.1)
    assert (found.apply(bold).argmax(axis=1) == bold.argmax(axis=1)).all()
    assert found.apply(bold).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: fit_platt(np.zeros(3), np.arange(3.0)), "got 0 positive of 3 training patients"),
        (lambda: fit_isotonic(np.array([0, 1]), np.zeros(2)), "scores that vary"),
        (lambda: fit_temperature(np.array([3]), np.array([[0.5, 0.5]])), r"class indices from 0 to 1, got 3 in row"),
        (lambda: distribution_calibration(np.array([1.2]), np.array([1])), "wanted probabilities"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(DataError, match=match):
        call()
