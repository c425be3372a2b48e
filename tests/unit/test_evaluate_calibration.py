import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.calibration import recalibrate, recalibrate_survival, reliability, survival_reliability
from oncoweave.evaluate.curves import kaplan_meier


def test_reliability_by_hand():
    found = reliability(np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8]), bins=2)
    assert found.predicted == pytest.approx([0.2, 0.7])
    assert found.observed == pytest.approx([0.5, 1.0])
    assert found.n.tolist() == [2, 2]
    assert found.expected_error == pytest.approx(0.3)
    assert (found.low <= found.observed).all() and (found.observed <= found.high).all() and found.high[1] == 1.0


def test_equal_predictions_share_a_bin():
    found = reliability(np.array([0, 1, 0, 1]), np.full(4, 0.5), bins=5)
    assert found.n.tolist() == [4]
    assert found.expected_error == 0.0


def test_true_probabilities_are_calibrated_and_stretched_ones_are_not(rng):
    logit = rng.normal(size=20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(float)
    honest = recalibrate(y, 1 / (1 + np.exp(-logit)))
    assert honest.slope == pytest.approx(1.0, abs=0.06)  # 3 standard errors
    assert honest.intercept == pytest.approx(0.0, abs=0.06)
    assert honest.ici < 0.01
    bold = recalibrate(y, 1 / (1 + np.exp(-(2 * logit + 1))))
    assert bold.slope == pytest.approx(honest.slope / 2)
    assert bold.intercept < -0.5
    assert bold.ici > 0.1


def test_survival_bins_are_kaplan_meier(rng):
    time, event = rng.exponential(size=200), rng.random(200) < 0.6
    survival = rng.random(200)
    found = survival_reliability(time, event, survival, horizon=0.7, bins=1)
    curve = kaplan_meier(time, event)
    assert found.observed[0] == curve.at(np.array([0.7]))[0]
    assert found.predicted[0] == pytest.approx(survival.mean())
    assert found.low[0] < found.observed[0] < found.high[0]


def test_a_bin_that_nobody_is_followed_through_is_not_estimated():
    time, event = np.array([1.0, 2.0, 5.0, 6.0]), np.array([1.0, 0.0, 1.0, 0.0])
    found = survival_reliability(time, event, np.array([0.2, 0.2, 0.9, 0.9]), horizon=4.0, bins=2)
    assert np.isnan(found.observed[0]) and np.isnan(found.low[0])
    assert found.observed[1] == 1.0
    assert found.expected_error == pytest.approx(0.1)
    extinct = survival_reliability(np.array([1.0, 2.0]), np.ones(2), np.array([0.2, 0.2]), horizon=4.0, bins=1)
    assert extinct.observed[0] == 0.0


def test_a_bin_without_a_death_is_as_sure_as_those_followed_to_the_horizon():
    # One death after the horizon, one patient lost before it: five are known to live, as sure as five positives of five.
    time, event = np.array([7.0, 9.0, 3.0, 8.0, 5.0, 9.0]), np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = survival_reliability(time, event, np.full(6, 0.9), horizon=5.0, bins=1)
    five = reliability(np.ones(5), np.full(5, 0.9), bins=1)
    assert (found.observed[0], found.low[0], found.high[0]) == (1.0, five.low[0], 1.0) and found.n[0] == 6
    assert found.low[0] == pytest.approx(5 / (5 + 1.959964**2))  # Wilson's lower end of a share of 1: n / (n + z^2)
    wide = survival_reliability(time, event, np.full(6, 0.9), horizon=5.0, bins=1, level=0.99)
    assert wide.low[0] == pytest.approx(5 / (5 + 2.575829**2))


def test_true_survival_is_calibrated_and_stretched_is_not(rng):
    risk = 0.6 * rng.normal(size=6000)
    event_time, lost = rng.exponential(size=6000) / np.exp(risk), rng.exponential(size=6000) * 2
    time, event = np.minimum(event_time, lost), event_time <= lost
    honest = recalibrate_survival(time, event, np.exp(-0.5 * np.exp(risk)), horizon=0.5)
    assert honest.slope == pytest.approx(1.0, abs=0.15)  # 3 standard errors
    assert honest.intercept == pytest.approx(0.0, abs=0.1)
    assert honest.ici < 0.02
    bold = recalibrate_survival(time, event, np.exp(-0.5 * np.exp(2 * risk)), horizon=0.5)
    assert bold.slope == pytest.approx(honest.slope / 2, rel=5e-3)  # the most certain predictions are clipped
    assert bold.ici > 0.05


@pytest.mark.parametrize(
    ("y", "p", "match"),
    [
        ([0, 0], [0.1, 0.2], "wanted both classes and predictions that differ, got 0 positive of 2"),
        ([0, 1], [0.1, 1.2], "between 0 and 1, got 0.1 to 1.2"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "separate the classes completely"),
    ],
)
def test_recalibration_refuses_what_has_no_answer(y, p, match):
    with pytest.raises(DataError, match=match):
        recalibrate(np.array(y, dtype=float), np.array(p))
