import numpy as np
import pytest

from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.pairs import horizon_pairs
from oncoweave.evaluate.survival import (
    breslow_baseline,
    brier_score,
    cumulative_dynamic_auc,
    fit_censoring,
    harrell_c,
    hazard_ratio,
    integrated_brier_score,
    kaplan_meier,
    logrank,
    survival_at,
    uno_c,
)


def arrays(*columns):
    return tuple(np.array(c, dtype=float) for c in columns)


@pytest.mark.parametrize(
    ("time", "event", "risk", "expected"),
    [
        ([1, 2, 3], [1, 1, 1], [3, 2, 1], 1.0),
        ([1, 2, 3], [1, 1, 1], [1, 2, 3], 0.0),
        ([1, 2, 3], [1, 0, 1], [2, 3, 1], 0.5),  # pairs (1,2) wrong, (1,3) right; patient 2 is censored
        ([1, 2, 3], [1, 1, 1], [2, 2, 1], 2.5 / 3),  # an equal risk counts half
        ([2, 2, 3], [1, 0, 0], [2, 1, 3], 0.5),  # at one time, the event comes before the censored
        ([2, 2, 3], [1, 1, 0], [2, 1, 0], 1.0),  # two events at one time are not compared
        ([1, 2, 3, 4], [0, 1, 0, 1], [9, 3, 1, 5], 0.5),  # the first, censored, is compared with nobody
    ],
)
def test_harrell_c_of_few_patients_is_counted_by_hand(time, event, risk, expected):
    assert harrell_c(*arrays(time, event, risk)) == pytest.approx(expected, abs=1e-15)


def test_uno_c_weights_pairs_by_the_inverse_square_of_censoring():
    # Training: G is 1 before 2, then 2/3 (three at risk after the event at 1, one lost), so the event at 3 weighs (3/2)^2.
    train_time, train_event = arrays([1, 2, 3, 4], [1, 0, 1, 1])
    time, event, risk = arrays([1, 3, 5], [1, 1, 0], [3, 1, 2])
    right, wrong = 2 * 1.0, 1 * (3 / 2) ** 2
    assert uno_c(train_time, train_event, time, event, risk, tau=4.0) == pytest.approx(right / (right + wrong), abs=1e-12)


def test_uno_c_stops_where_training_follow_up_ends_by_default():
    train_time, train_event = arrays([1, 2, 3, 4], [0, 1, 0, 0])  # G: 3/4, 3/4, 3/8, 0, so tau is 3
    assert fit_censoring(train_time, train_event).horizon() == 3.0
    time, event, risk = arrays([1, 2, 3.5, 5], [1, 1, 1, 0], [4, 3, 1, 2])
    assert uno_c(train_time, train_event, time, event, risk) == 1.0  # the wrongly ordered pair at 3.5 is beyond tau


@pytest.mark.parametrize("statistic", [harrell_c, lambda t, e, r: uno_c(t, np.ones(len(t)), t, e, r)])
def test_all_censored_has_no_comparable_pairs(statistic):
    with pytest.raises(NoComparablePairsError, match="no comparable pairs among 3 patients with 0 usable event"):
        statistic(*arrays([1, 2, 3], [0, 0, 0], [1, 2, 3]))


def test_a_single_last_event_has_no_comparable_pairs():
    with pytest.raises(NoComparablePairsError, match="1 usable event"):
        harrell_c(*arrays([1, 2, 3], [0, 0, 1], [1, 2, 3]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_risk_that_is_not_a_number_is_refused_with_its_row(bad):
    time, event, risk = arrays([1, 2, 3], [1, 1, 0], [1, bad, 3])
    for statistic in (harrell_c, breslow_baseline, lambda t, e, r: uno_c(t, e, t, e, r)):
        with pytest.raises(DataError, match=f"risk: wanted finite numbers, got {bad} in row 1"):
            statistic(time, event, risk)


@pytest.mark.parametrize(
    ("time", "event", "match"),
    [
        ([1, -2], [1, 1], "time: wanted zero or more, got -2.0 in row 1"),
        ([1, 2], [1, 2], "event: wanted 1 .happened. or 0 .censored., got 2.0 in row 1"),
        ([1, 2, 3], [1, 0], "event: wanted 3 values"),
        ([], [], "at least one patient"),
    ],
)
def test_unusable_outcomes_are_refused(time, event, match):
    with pytest.raises(DataError, match=match):
        kaplan_meier(*arrays(time, event))


def test_large_cohorts_are_counted_exactly(rng):
    # Against the definition, all pairs at once, with many ties of time and of risk.
    time, event, risk = rng.integers(1, 60, 700).astype(float), rng.random(700) < 0.5, rng.integers(0, 40, 700).astype(float)
    comparable = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    favour = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    assert harrell_c(time, event, risk) == pytest.approx(favour[comparable].mean(), abs=1e-13)


def test_kaplan_meier_by_hand():
    km = kaplan_meier(*arrays([1, 2, 2, 3, 4], [1, 1, 0, 0, 1]))
    assert km.times.tolist() == [0, 1, 2, 3, 4]
    assert km.at_risk.tolist() == [5, 5, 4, 2, 1]
    assert km.survival == pytest.approx([1, 4 / 5, 4 / 5 * 3 / 4, 3 / 5, 0])
    assert km.at(np.array([0.5, 2.0, 2.9, 99.0])) == pytest.approx([1, 0.6, 0.6, 0])
    assert (km.low <= km.survival).all() and (km.survival <= km.high).all()
    assert km.low[0] == km.high[0] == 1.0
    assert km.low[-1] == 0.0 and km.high[-1] == km.high[-2]


def test_logrank_by_hand():
    # Times 1 (group a dies, 2 of 4 at risk in a) and 2 (b dies, 1 of 3): E = 1/2 + 1/3, V = 1/4 + 2/9.
    found = logrank(*arrays([1, 5, 2, 5], [1, 0, 1, 0]), np.array(["a", "a", "b", "b"]))
    assert found.statistic == pytest.approx((1 - (1 / 2 + 1 / 3)) ** 2 / (1 / 4 + 2 / 9))
    assert found.degrees == 1


def test_logrank_of_one_group_is_refused():
    with pytest.raises(DataError, match=r"two groups or more, got 2 event.s. and 1 group"):
        logrank(*arrays([1, 2], [1, 1]), np.array(["a", "a"]))


def test_breslow_baseline_of_equal_risks_is_nelson_aalen():
    baseline = breslow_baseline(*arrays([1, 2, 2, 3], [1, 1, 1, 0], [0, 0, 0, 0]))
    assert baseline.times.tolist() == [1, 2]
    assert baseline.cumulative_hazard == pytest.approx([1 / 4, 1 / 4 + 2 / 3])
    survival = survival_at(baseline, np.array([0.0, np.log(2)]), np.array([0.5, 1.0, 9.0]))
    assert survival[0] == pytest.approx(np.exp([0, -1 / 4, -11 / 12]))
    assert survival[1] == pytest.approx(np.exp([0, -1 / 2, -11 / 6]))


def test_a_shift_of_all_risks_leaves_predicted_survival(rng):
    time, event, risk = rng.exponential(size=50), rng.random(50) < 0.7, rng.normal(size=50)
    horizons = np.array([0.2, 1.0])
    plain = survival_at(breslow_baseline(time, event, risk), risk, horizons)
    for shift in (-300.0, 300.0):
        moved = survival_at(breslow_baseline(time, event, risk + shift), risk + shift, horizons)
        assert moved == pytest.approx(plain, abs=1e-9)


def test_risks_out_of_range_are_refused_instead_of_predicting_nothing():
    with pytest.raises(DataError, match="leave the range of numbers; centre them"):
        breslow_baseline(*arrays([1, 2], [1, 1], [5000, 5000]))


def test_hazard_ratio_is_inverse_when_groups_swap(rng):
    time, event, high = rng.exponential(size=80), rng.random(80) < 0.7, rng.random(80) < 0.5
    one, other = hazard_ratio(time, event, high), hazard_ratio(time, event, ~high)
    assert one.value == pytest.approx(1 / other.value, rel=1e-9)
    assert one.low == pytest.approx(1 / other.high, rel=1e-9)
    assert one.p == pytest.approx(other.p, rel=1e-6)


def test_hazard_ratio_without_events_in_a_group_is_refused():
    with pytest.raises(DataError, match="the low-risk group has no event among 2 patient"):
        hazard_ratio(*arrays([1, 2, 3, 4], [1, 1, 0, 0], [1, 1, 0, 0]))


def test_brier_without_censoring_is_the_mean_squared_error(rng):
    time, survival = rng.exponential(size=30), rng.random((30, 1))
    censoring = fit_censoring(time, np.ones(30))
    score = brier_score(time, np.ones(30), survival, horizons=np.array([1.0]), censoring=censoring)
    assert score[0] == pytest.approx(((time > 1.0) - survival[:, 0]).__pow__(2).mean())


def test_brier_of_the_truth_known_beforehand_is_zero(rng):
    time = rng.exponential(size=30)
    horizons = np.array([0.5, 1.0, 1.5])
    truth = (time[:, None] > horizons).astype(float)
    censoring = fit_censoring(time, np.ones(30))
    assert integrated_brier_score(time, np.ones(30), truth, horizons=horizons, censoring=censoring) == 0.0


def test_survival_scores_refuse_what_they_cannot_weigh():
    time, event = arrays([1, 2, 3], [1, 0, 0])
    censoring = fit_censoring(time, event)
    with pytest.raises(DataError, match="Brier score at 3: no training patient is followed that long"):
        brier_score(time, event, np.full((3, 1), 0.5), horizons=np.array([3.0]), censoring=censoring)
    died_last = fit_censoring(np.arange(1.0, 20.0), np.ones(19))
    for score in (
        lambda: brier_score(time, event, np.full((3, 1), 0.5), horizons=np.array([30.0]), censoring=died_last),
        lambda: cumulative_dynamic_auc(time, event, time, horizons=np.array([30.0]), censoring=died_last),
        lambda: horizon_pairs(time, event, time, np.zeros(3, dtype=int), horizon=30.0, censoring={0: died_last}),
    ):
        with pytest.raises(DataError, match=r"at 30: no training patient is followed that long \(the last to 19\)"):
            score()
    assert brier_score(time, event, np.full((3, 1), 0.5), horizons=np.array([2.5]), censoring=died_last) == 0.25 * 2 / 3
    with pytest.raises(DataError, match=r"wanted \[3, 1\] probabilities, got shape \(3, 1\)"):
        brier_score(time, event, np.full((3, 1), 1.5), horizons=np.array([1.0]), censoring=censoring)
    with pytest.raises(DataError, match="two increasing horizons"):
        integrated_brier_score(time, event, np.full((3, 1), 0.5), horizons=np.array([1.0]), censoring=censoring)
    with pytest.raises(NoComparablePairsError, match=r"AUC at 0.5: 0 case"):
        cumulative_dynamic_auc(time, event, time, horizons=np.array([0.5]), censoring=censoring)


def test_time_dependent_auc_by_hand():
    # Up to 2, patients 1 and 2 had the event; 3 and 4 live on. Nobody is lost before, so weights are equal: 3 of 4 pairs right.
    time, event, risk = arrays([1, 2, 3, 4], [1, 1, 0, 0], [4, 2, 3, 1])
    found = cumulative_dynamic_auc(time, event, risk, horizons=np.array([2.0]), censoring=fit_censoring(time, event))
    assert found.values.tolist() == [0.75]
    assert found.mean == 0.75


def test_censoring_lets_events_come_first():
    censoring = fit_censoring(*arrays([1, 2, 2, 3], [1, 1, 0, 0]))
    assert censoring.at(np.array([0.0, 1.0, 2.0, 3.0, 9.0])) == pytest.approx([1, 1, 1 / 2, 0, 0])
