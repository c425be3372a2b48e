import numpy as np
import pytest
from scipy import special, stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.intervals import (
    bca_interval,
    bootstrap,
    draw_weights,
    expanded_level,
    jackknife,
    logit_interval,
    percentile_interval,
    replicate,
    worth,
)
from oncoweave.evaluate.weighted import mean_of


def test_draws_are_bootstrap_samples(rng):
    weights = draw_weights(50, replicates=4000, generator=rng)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.08)  # 5 standard errors
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_a_generator_of_the_same_seed_gives_the_same_interval(rng):
    values, patients = rng.normal(size=40), np.arange(40)
    one, other = (bootstrap(mean_of(values), patients, replicates=200, generator=np.random.default_rng(3)) for _ in range(2))
    assert one == other


def test_rows_of_a_patient_are_drawn_together(rng):
    # Repeating every patient's row tells nothing new, so the interval must not shrink.
    values = rng.normal(size=60)
    single = bootstrap(mean_of(values), np.arange(60), replicates=1000, generator=np.random.default_rng(1))
    tenfold = bootstrap(
        mean_of(np.tile(values, 10)), np.tile(np.arange(60), 10), replicates=1000, generator=np.random.default_rng(1)
    )
    assert (tenfold.low, tenfold.high) == pytest.approx((single.low, single.high), abs=1e-9)
    naive = bootstrap(mean_of(np.tile(values, 10)), np.arange(600), replicates=1000, generator=np.random.default_rng(1))
    assert naive.high - naive.low < 0.5 * (single.high - single.low)


def test_the_interval_of_a_mean_is_the_textbook_one(rng):
    values = rng.normal(size=400)
    found = bootstrap(mean_of(values), np.arange(400), replicates=4000, generator=rng)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_turns_do_not_change_the_replicates(rng, monkeypatch):
    values, index = rng.normal(size=30), np.arange(30)
    weights = draw_weights(30, replicates=25, generator=rng)
    whole = replicate({"mean": mean_of(values)}, weights, index)["mean"]
    monkeypatch.setattr("oncoweave.evaluate.intervals._CHUNK", 120)
    assert replicate({"mean": mean_of(values)}, weights, index)["mean"] == pytest.approx(whole, abs=1e-14)


def test_undefined_replicates_are_counted_out_and_too_many_leave_no_interval():
    some = percentile_interval(0.5, np.array([0.4, 0.6, np.nan]))
    assert some.replicates == 2 and 0.4 <= some.low < some.high <= 0.6
    many = percentile_interval(0.5, np.array([0.4, np.nan, np.nan]))
    assert many.replicates == 1 and np.isnan(many.low) and np.isnan(many.high)


def test_strata_keep_their_patients_in_every_draw(rng):
    strata = np.array(["b", "a", "b", "c", "a", "b"] * 5)
    weights = draw_weights(30, replicates=200, generator=rng, strata=strata)
    for label, size in (("a", 10), ("b", 15), ("c", 5)):
        inside = weights[:, strata == label]
        assert (inside.sum(axis=1) == size).all()
        assert inside.var(axis=0).mean() == pytest.approx(1 - 1 / size, abs=0.15)


def test_a_patient_of_two_strata_is_refused(rng):
    with pytest.raises(DataError, match="wanted one stratum a patient"):
        bootstrap(mean_of(np.ones(3)), np.array([1, 1, 2]), generator=rng, strata=np.array(["a", "b", "a"]))


def test_jackknife_leaves_out_all_rows_of_a_patient(rng, monkeypatch):
    values, index = rng.normal(size=12), np.repeat(np.arange(4), 3)
    expected = [values[index != k].mean() for k in range(4)]
    monkeypatch.setattr("oncoweave.evaluate.intervals._CHUNK", 24)
    assert jackknife(mean_of(values), index) == pytest.approx(expected)


def test_expanded_percentiles_reach_as_far_as_the_t_distribution(rng):
    for n, lost in ((16, 1), (worth(np.array([2.0, 1.0, 1.0, 1.0, 0.0])), 1), (60, 5)):
        reach = stats.norm.ppf(0.5 + expanded_level(0.95, n, lost=lost) / 2)  # in standard deviations of the replicates of a mean
        assert reach * np.sqrt((n - lost) / n) == pytest.approx(stats.t.ppf(0.975, n - lost), rel=1e-3)
    assert worth(np.array([2.0, 1.0, 1.0, 1.0, 0.0])) == pytest.approx(25 / 7)
    assert expanded_level(0.95, 2) < 1.0
    assert np.isnan([expanded_level(0.95, worth(weight)) for weight in (np.array([3.0]), np.zeros(4), np.empty(0))]).all()
    values, strata = rng.normal(size=60), np.arange(60) % 5
    drawn = {"generator": rng, "replicates": 4000, "method": "expanded", "strata": strata}
    found = bootstrap(mean_of(values), np.arange(60), **drawn)
    spread = np.sqrt(np.mean([values[strata == k].var(ddof=1) for k in range(5)]) / 60)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 55) * spread, rel=0.06)


def test_where_draws_leave_no_degree_of_freedom_there_is_no_interval(rng):
    """Of two patients in a stratum one alone counts: half a degree is left, though the replicates vary."""
    level = expanded_level(0.95, 2, lost=1.5)
    assert np.isnan(level)
    found = percentile_interval(0.5, rng.random(100), level=level)
    assert (found.value, found.replicates) == (0.5, 100)
    assert np.isnan([found.low, found.high]).all()


def test_bca_is_scipys_on_the_same_replicates():
    values = np.random.default_rng(5).exponential(size=25)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=400, method="BCa", rng=np.random.default_rng(0))
    draws = theirs.bootstrap_distribution
    left_out = jackknife(mean_of(values), np.arange(25))
    found = bca_interval(values.mean(), draws, left_out=left_out)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    percentile = percentile_interval(values.mean(), draws)
    assert found.low > percentile.low and found.high > percentile.high  # a right-skewed mean moves up


def test_logit_interval_is_centred_on_the_value_whatever_the_bias_of_its_replicates(rng):
    draws = special.expit(1.0 + 0.5 * rng.normal(size=20_000))  # around .73, of a value of .5
    found = logit_interval(0.5, draws, n=100)
    assert special.logit(found.high) == pytest.approx(1.96 * 0.5, rel=0.03) == pytest.approx(-special.logit(found.low), rel=0.03)
    assert np.isfinite(logit_interval(0.9, np.array([0.9, 1.0, 1.0]), n=100).high)
    for value, replicates in ((1.0, draws), (0.5, np.array([0.5, np.nan, np.nan]))):
        assert np.isnan(logit_interval(value, replicates, n=100).low)


def test_bca_of_symmetric_replicates_is_the_percentile_interval():
    draws = np.linspace(-1, 1, 1001)
    found = bca_interval(0.0, draws, left_out=np.array([-0.1, 0.1, -0.2, 0.2]))
    assert (found.low, found.high) == pytest.approx((-0.95, 0.95))
    assert np.isnan(bca_interval(2.0, draws, left_out=np.zeros(4)).low)


def test_bca_counts_influence_within_strata(rng):
    strata = np.repeat([0, 1], 20)
    values = rng.exponential(size=40) + 50 * strata
    found = bootstrap(mean_of(values), np.arange(40), generator=rng, replicates=2000, method="bca", strata=strata)
    spread = np.sqrt(sum(values[strata == k].var() / 80 for k in (0, 1)))
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_what_is_the_same_in_every_replicate_has_no_interval(rng, method):
    found = bootstrap(mean_of(np.ones(20)), np.arange(20), replicates=50, generator=rng, method=method)
    assert found.value == 1.0 and found.replicates == 50 and np.isnan([found.low, found.high]).all()
