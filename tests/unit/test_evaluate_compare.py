import numpy as np
import pytest
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.compare import (
    benjamini_hochberg,
    corrected_resampled_t,
    difference_of,
    holm,
    paired_bootstrap,
    paired_difference,
)
from oncoweave.evaluate.intervals import draw_weights
from oncoweave.evaluate.pairs import ordered_pairs, survival_pairs
from oncoweave.evaluate.weighted import mean_of


def test_without_overlap_the_corrected_test_is_a_t_test(rng):
    differences = rng.normal(0.3, 1, size=9)
    expected = stats.ttest_1samp(differences, 0)
    found = corrected_resampled_t(differences, test_to_train=1e-12)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_overlap_raises_the_variance_by_nadeau_and_bengio():
    differences = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    t = differences.mean() / np.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))
    assert corrected_resampled_t(differences, test_to_train=1 / 4).p == pytest.approx(2 * stats.t.sf(abs(t), 4))


def test_equal_models_do_not_differ():
    assert corrected_resampled_t(np.zeros(5), test_to_train=0.25).p == 1.0
    assert paired_difference(0.0, np.zeros(100)).p == 1.0


@pytest.mark.parametrize(("differences", "ratio"), [([0.1], 0.25), ([0.1, np.nan], 0.25), ([0.1, 0.2], 0.0)])
def test_folds_that_cannot_be_tested_are_refused(differences, ratio):
    with pytest.raises(DataError, match="two finite differences or more and a ratio above 0"):
        corrected_resampled_t(np.array(differences), test_to_train=ratio)


def test_paired_difference_is_narrower_than_its_parts(rng):
    shared = rng.normal(size=200)
    first, second = shared + 0.1 * rng.normal(size=200) + 0.05, shared + 0.1 * rng.normal(size=200)
    found = paired_bootstrap(mean_of(first), mean_of(second), np.arange(200), replicates=500, generator=rng)
    assert found.value == pytest.approx((first - second).mean())
    assert found.high - found.low < 0.1
    assert found.p < 0.01
    turned = paired_bootstrap(mean_of(second), mean_of(first), np.arange(200), replicates=500, generator=rng)
    assert turned.value == -found.value


def test_p_is_never_zero_and_missing_replicates_have_none():
    assert paired_difference(1.0, np.linspace(-0.1, 1, 99)).p > 0
    few = paired_difference(1.0, np.array([1.0, np.nan, np.nan]))
    assert np.isnan(few.p) and few.reason == "not defined in 2 of 3 bootstrap replicates"


def test_a_coarse_share_gives_way_to_the_normal_difference_whichever_is_smaller():
    draws = np.concatenate([np.full(190, 0.05), np.full(9, -0.2)])
    found = paired_difference(0.04, draws)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.04 / draws.std(ddof=1)))
    assert found.p > 2 * 10 / 200


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("strange", [1.4, -0.1, np.inf])
def test_no_p_lies_outside_0_and_1(adjust, strange):
    with pytest.raises(DataError, match=f"wanted numbers from 0 to 1, or NaN, got {strange:g} in place 1"):
        adjust(np.array([0.01, strange, np.nan]))
    assert adjust(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_holm_keeps_order_and_leaves_out_what_was_not_asked():
    assert holm(np.array([0.01, np.nan, 0.02])) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).shape == (0,)


def test_p_of_a_clear_difference_does_not_depend_on_how_many_replicates_were_drawn(rng):
    draws = rng.normal(0.08, 0.02, size=4000)
    few, many = paired_difference(0.08, draws[:200]), paired_difference(0.08, draws)
    assert few.p < 1e-3
    assert many.p == pytest.approx(2 * stats.norm.sf(4), rel=1.0)
    assert abs(np.log10(few.p) - np.log10(many.p)) < 1


def test_p_of_a_small_difference_is_the_share_of_replicates_beyond_zero():
    draws = np.concatenate([np.full(30, -1.0), np.full(169, 1.0)])
    assert paired_difference(0.7, draws).p == pytest.approx(2 * 31 / 200)


def test_two_rankings_are_subtracted_before_the_product(rng):
    time, event = np.ceil(rng.exponential(size=80) * 9), rng.random(80) < 0.6
    fold = np.arange(80) % 3
    first, second = (survival_pairs(time, event, np.round(rng.normal(size=80), 1), fold) for _ in range(2))
    weights = rng.integers(0, 4, size=(20, 80)).astype(np.float32)
    assert difference_of(first, second)(weights) == pytest.approx(first(weights) - second(weights), abs=1e-12)
    other = survival_pairs(time, event, rng.normal(size=80), np.arange(80) % 4)
    with pytest.raises(DataError, match="wanted the same rows, outcomes and strata"):
        difference_of(first, other)


def test_bootstrap_replicates_are_those_of_lifelines(rng):
    from lifelines.utils import concordance_index

    time, event = np.ceil(rng.exponential(size=60) * 20), rng.random(60) < 0.6
    risks = [np.round(rng.normal(size=60) - time / 20, 1) for _ in range(2)]
    between = difference_of(*(survival_pairs(time, event, risk, np.zeros(60, dtype=int)) for risk in risks))
    weights = draw_weights(60, replicates=5, generator=rng)
    for draw, found in zip(weights, between(weights), strict=True):
        rows = np.repeat(np.arange(60), draw.astype(int))
        first, second = (concordance_index(time[rows], -risk[rows], event[rows]) for risk in risks)
        assert found == pytest.approx(first - second, abs=1e-12)


def test_strata_keep_their_size_in_a_paired_bootstrap(rng):
    # Where all the difference is between strata, drawing within them leaves no uncertainty.
    stratum = np.repeat([0, 1], [30, 10])
    found = paired_bootstrap(mean_of(stratum), mean_of(np.zeros(40)), np.arange(40), generator=rng, strata=stratum)
    assert found.value == 0.25 and np.isnan(found.low) and "the same in every bootstrap replicate" in found.reason


def test_benjamini_hochberg_is_scipys(rng):
    p = rng.random(20) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg(np.array([0.01, np.nan, 0.02])) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert benjamini_hochberg(np.array([0.9, 0.8])).tolist() == [0.9, 0.9]


@pytest.mark.parametrize("differences", [[0.02, 0.02], [0.1 + 0.2, 0.3, 0.3]])
def test_equal_differences_have_no_variance_and_are_no_certainty(differences):
    for found in (
        corrected_resampled_t(np.array(differences), test_to_train=0.25),
        paired_difference(differences[0], np.repeat(differences, 50)),
    ):
        assert np.isnan([found.low, found.high, found.p]).all() and found.reason.startswith("the difference is the same in every")


def test_a_perfect_and_a_constant_model_of_few_patients_differ_by_an_unknown_amount(rng):
    y, patients = np.repeat([1.0, 0.0], 3), np.arange(6)
    first, second = (ordered_pairs(y, score, np.zeros(6, dtype=int)) for score in (y, np.full(6, 0.5)))
    found = paired_bootstrap(first, second, patients, generator=rng)
    assert found.value == 0.5 and np.isnan([found.low, found.high, found.p]).all()
