import numpy as np
import pytest

from oncoweave.evaluate.intervals import bootstrap, draw_weights, percentile_interval, replicate
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
