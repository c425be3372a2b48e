"""Net benefit, reclassification, restricted means, cut-offs and Antolini's C: closed forms, published values, copies."""

from itertools import permutations

import numpy as np
import pytest

from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.compare import paired_bootstrap
from oncoweave.evaluate.concordance import antolini_c, harrell_c
from oncoweave.evaluate.curves import kaplan_meier, logrank, numbers_at_risk, weighted_kaplan_meier
from oncoweave.evaluate.cutoffs import maximal_logrank, quantile_cutoffs, risk_groups
from oncoweave.evaluate.reclassification import integrated_discrimination, outcome_at, reclassification, reclassification_of
from oncoweave.evaluate.restricted import restricted_mean, restricted_mean_difference, restricted_mean_of
from oncoweave.evaluate.survival import brier_score, prediction_accuracy
from oncoweave.evaluate.utility import (
    decision_curve,
    net_benefit,
    number_needed_to_test,
    survival_benefit,
    survival_decision_curve,
)

# Remission of leukaemia, weeks (Freireich et al. 1963): 6-mercaptopurine and placebo.
DRUG = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35.0])
DRUG_EVENT = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])
ONCE = np.ones((1, 60), dtype=np.float32)


@pytest.fixture
def cohort(rng):
    time, event = np.ceil(rng.exponential(size=60) * 12), rng.random(60) < 0.6
    time[-1] = 60.0
    return time, event


@pytest.fixture
def copies(rng):
    return np.append(rng.integers(0, 4, 59), 1)


def test_net_benefit_by_hand():
    y, p = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.6, 0.2, 0.3, 0.1])
    curve = decision_curve(y, p, thresholds=np.array([0.0, 0.25, 0.5, 0.95]))
    assert curve.model == pytest.approx([2 / 5, (1 - 2 / 3) / 5, (1 - 1) / 5, 0.0])
    assert curve.treat_all == pytest.approx([2 / 5, (2 - 3 / 3) / 5, (2 - 3) / 5, (2 - 3 * 19) / 5])
    assert (curve.n, curve.events) == (5, 2)


def test_censored_net_benefit_without_censoring_is_that_of_the_outcome(rng):
    time, p = rng.exponential(size=50), rng.random(50)
    thresholds = np.array([0.1, 0.4, 0.7])
    found = survival_decision_curve(time, np.ones(50), p, horizon=0.8, thresholds=thresholds)
    expected = decision_curve((time <= 0.8).astype(float), p, thresholds=thresholds)
    assert found.model == pytest.approx(expected.model)
    assert found.treat_all == pytest.approx(expected.treat_all)
    assert found.events == expected.events


def test_censored_net_benefit_is_kaplan_meier_of_the_treated(cohort, rng):
    time, event = cohort
    p = rng.random(60)
    treated = p >= 0.3
    survival = kaplan_meier(time[treated], event[treated]).at(np.array([10.0]))[0]
    expected = treated.mean() * ((1 - survival) - survival * 3 / 7)
    assert survival_benefit(time, event, p, horizon=10, threshold=0.3)(ONCE)[0] == pytest.approx(expected)
    assert survival_benefit(time, event, p * 0.2, horizon=10, threshold=0.3)(ONCE)[0] == 0.0
    short = survival_benefit(np.ones(3), np.zeros(3), np.ones(3), horizon=5, threshold=0.3)
    assert np.isnan(short(np.ones((1, 3)))[0])


def test_the_difference_in_net_benefit_gets_its_interval_from_the_bootstrap(rng):
    y = (rng.random(300) < 0.4).astype(float)
    good, bad = np.clip(0.4 + 0.3 * (y - 0.4) + rng.normal(size=300) * 0.05, 0, 1), rng.random(300)
    first, second = net_benefit(y, good, threshold=0.4), net_benefit(y, bad, threshold=0.4)
    found = paired_bootstrap(first, second, np.arange(300), replicates=200, generator=rng)
    assert 0 < found.low < found.value < found.high
    assert number_needed_to_test(0.05) == pytest.approx(20.0)
    assert np.isnan(number_needed_to_test(0.0)) and "the gain in net benefit is 0" in number_needed_to_test(0.0).reason


def test_reclassification_of_framingham_patients():
    # Pencina et al. (2008), HDL in the Framingham model: of 183 with the event 29 go up and 7 down, of 3081 without 173 and 174.
    moves = [(1, 29, 7, 147), (0, 173, 174, 2734)]
    y = np.concatenate([np.full(sum(m[1:]), m[0]) for m in moves])
    new = np.concatenate([np.repeat([0.25, 0.01, 0.1], m[1:]) for m in moves])
    old = np.full(len(y), 0.1)
    found = reclassification(y, old, new, cutoffs=(0.06, 0.2))
    assert (found.num_events, found.n) == (183, 3264)
    assert found.events == pytest.approx(0.120, abs=5e-4)
    assert found.total == pytest.approx(0.121, abs=1e-3)
    assert found.nonevents == pytest.approx(1 / 3081)
    assert reclassification(y, old, np.where(new > 0.1, 0.15, new), cutoffs=(0.2,)).events == 0.0  # within a category


def test_integrated_discrimination_is_the_change_of_the_slopes(rng):
    y, old, new = (rng.random(60) < 0.4).astype(float), rng.random(60), rng.random(60)
    found = integrated_discrimination(y, old, new)
    slope = [p[y == 1].mean() - p[y == 0].mean() for p in (old, new)]
    assert found.total == pytest.approx(slope[1] - slope[0])
    assert found.total == pytest.approx(found.events + found.nonevents)
    assert np.isnan(integrated_discrimination(np.zeros(3), old[:3], new[:3]).events)


def test_improvements_of_survival_count_the_lost_by_weight(cohort, rng):
    time, event = cohort
    y, weight = outcome_at(time, event, horizon=10.0, censoring=fit_censoring(time, event))
    assert (weight[(time <= 10) & ~event] == 0).all()
    assert weight.sum() == pytest.approx(60, rel=0.05)  # the weights stand for everybody
    old, new = rng.random(60), rng.random(60)
    whole = reclassification_of(y, old, new, importance=np.ones(60))(ONCE)
    assert whole == pytest.approx(reclassification(y, old, new).total)


def test_restricted_mean_of_leukaemia_patients():
    # Klein and Moeschberger (2003), example 4.2, and R's print(survfit(...), rmean = 35): 23.287 (2.827) and 8.67 (1.38).
    drug = restricted_mean(DRUG, DRUG_EVENT, until=35)
    assert (drug.value, drug.error) == pytest.approx((23.287, 2.827), abs=1e-3)
    placebo = restricted_mean(PLACEBO, np.ones(21), until=35)
    assert (placebo.value, placebo.error) == pytest.approx((8.67, 1.38), abs=5e-3)
    assert placebo.error == pytest.approx(PLACEBO.std() / np.sqrt(21))  # nobody censored: that of a mean
    time, event = np.concatenate([DRUG, PLACEBO]), np.concatenate([DRUG_EVENT, np.ones(21)])
    found = restricted_mean_difference(time, event, np.arange(42) < 21, until=35)
    assert found.value == pytest.approx(23.287 - 8.667, abs=1e-3)
    assert found.error == pytest.approx(np.hypot(drug.error, placebo.error))
    assert found.p < 1e-5 and found.low > 0
    with pytest.raises(DataError, match="to which somebody is followed; the last is 35"):
        restricted_mean(DRUG, DRUG_EVENT, until=36)
    nobody_died = restricted_mean(DRUG, DRUG_EVENT, until=3)
    assert nobody_died.value == 3 and np.isnan([nobody_died.low, nobody_died.high]).all()


def test_restricted_mean_is_that_of_lifelines(cohort):
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    theirs = restricted_mean_survival_time(KaplanMeierFitter().fit(*cohort), t=20.0)
    assert restricted_mean(*cohort, until=20.0).value == pytest.approx(theirs, abs=1e-9)


def test_weighted_curves_are_those_of_copies(cohort, copies):
    time, event = cohort
    rows, times = np.repeat(np.arange(60), copies), np.array([3.0, 10.0, 59.0])
    curve = kaplan_meier(time[rows], event[rows])
    assert weighted_kaplan_meier(time, event, times)(copies[None])[0] == pytest.approx(curve.at(times))
    mean = restricted_mean(time[rows], event[rows], until=30.0)
    assert restricted_mean_of(time, event, until=30.0)(copies[None])[0] == pytest.approx(mean.value)
    early = (time < 20).astype(float)
    lost = kaplan_meier(time[time < 20], event[time < 20]).survival[-1] > 0
    assert np.isnan(weighted_kaplan_meier(time, event, np.array([25.0]))(early[None])[0, 0]) == lost


def test_numbers_at_risk_count_those_who_leave_at_that_time():
    assert numbers_at_risk(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0, 2, 3, 6])).tolist() == [4, 3, 1, 0]


def test_cutoffs_come_from_training_patients():
    train = np.arange(9.0)
    assert quantile_cutoffs(train).tolist() == [4.0]
    assert np.bincount(risk_groups(train, quantile_cutoffs(train, groups=3))).tolist() == [3, 3, 3]
    assert risk_groups(np.array([4.0, 4.1]), np.array([4.0])).tolist() == [0, 1]
    with pytest.raises(DataError, match="their risks are tied"):
        quantile_cutoffs(np.zeros(5))


def test_the_best_of_many_cutoffs_is_corrected(rng):
    time, event, risk = rng.exponential(size=80), rng.random(80) < 0.7, rng.normal(size=80)
    found = maximal_logrank(time, event, risk, generator=np.random.default_rng(0), permutations=500)
    halves = maximal_logrank(time, event, risk, generator=np.random.default_rng(0), margin=0.4, permutations=1)
    assert halves.statistic**2 == pytest.approx(logrank(time, event, risk > halves.cutoff).statistic, rel=0.15)
    assert found.p_corrected > found.p_naive
    assert 8 <= (risk <= found.cutoff).sum() <= 72
    timed = np.where(risk > 0, 0.1, 1.0) * time
    planted = maximal_logrank(timed, event, risk, generator=np.random.default_rng(0), permutations=500)
    assert planted.p_corrected == pytest.approx(1 / 501) and abs(planted.cutoff) < 0.7
    with pytest.raises(DataError, match="events at which others are left"):
        maximal_logrank(np.ones(20), np.ones(20), np.arange(20.0), generator=rng)


def test_a_searched_cutoff_of_few_patients_has_the_p_of_all_their_orders():
    # Seven patients with a tied risk and two deaths at once; scores by hand: event less the sum of deaths / at risk.
    time, event = np.array([1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.array([1, 1, 1, 0, 1, 0, 1])
    risk = np.array([9.0, 5.0, 8.0, 5.0, 2.0, 3.0, 1.0])
    a, b, c, d = np.cumsum([1 / 7, 2 / 6, 1 / 3, 1 / 1])
    scores = np.array([1 - a, 1 - b, 1 - b, -b, 1 - c, -c, 1 - d])
    low = np.array([2, 3, 5])  # patients of the lowest risks; a margin of .2 leaves these three cut-offs
    spread = np.sqrt((scores**2).sum() / 6 * low * (7 - low) / 7)
    orders = np.array(list(permutations(scores)))
    largest = (np.abs(np.cumsum(orders, axis=1)[:, low - 1]) / spread).max(axis=1)
    mine = np.abs(np.cumsum(scores[np.argsort(risk, kind="stable")])[low - 1]) / spread
    found = maximal_logrank(time, event, risk, generator=np.random.default_rng(0), margin=0.2)
    assert (found.statistic, found.cutoff) == (pytest.approx(mine.max()), [2.0, 3.0, 5.0][mine.argmax()])
    assert found.p_corrected == pytest.approx((largest >= mine.max() - 1e-9).mean(), abs=0.02)  # four standard errors


def test_antolini_under_proportional_hazards_is_harrell(cohort, rng):
    time, event = cohort
    risk, times = np.round(rng.normal(size=60), 1), np.unique(time)
    survival = np.exp(-0.01 * times * np.exp(risk)[:, None])
    assert antolini_c(time, event, survival, times=times) == pytest.approx(harrell_c(time, event, risk))


def test_antolini_sees_curves_that_cross():
    time, event = np.array([1.0, 2.0, 3.0]), np.ones(3)
    early, late = np.array([[0.1, 0.1, 0.1], [0.8, 0.2, 0.2], [0.9, 0.7, 0.1]]), np.array([0.5, 1.5, 2.5])
    assert antolini_c(time, event, early, times=late) == 1.0
    assert antolini_c(time, event, early, times=late + 10) == 0.5  # before the first time all curves are at 1
    with pytest.raises(NoComparablePairsError, match="no comparable pairs"):
        antolini_c(time, np.zeros(3), early, times=late)
    with pytest.raises(DataError, match=r"wanted \[3, 2\] probabilities at increasing times"):
        antolini_c(time, event, early, times=late[:2])


def test_prediction_accuracy_is_zero_for_the_marginal_curve(cohort, rng):
    train = np.ceil(rng.exponential(size=100) * 12), rng.random(100) < 0.6
    horizons, curve = np.array([5.0, 12.0]), fit_censoring(*train)
    marginal = np.tile(kaplan_meier(*train).at(horizons), (60, 1))
    assert prediction_accuracy(*cohort, marginal, horizons=horizons, censoring=curve) == pytest.approx([0, 0])
    survival = np.sort(rng.random((60, 2)))[:, ::-1]
    ratio = [brier_score(*cohort, s, horizons=horizons, censoring=curve) for s in (survival, marginal)]
    found = prediction_accuracy(*cohort, survival, horizons=horizons, censoring=curve)
    assert found == pytest.approx(1 - ratio[0] / ratio[1])
