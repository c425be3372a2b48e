"""Intervals of calibration errors: what they hold at perfect calibration, off it, and where nothing can be told."""

import numpy as np
import pytest
from scipy import special

from oncoweave.evaluate.calibration_error import binned_distance, smooth_distance
from oncoweave.evaluate.calibration_interval import Simulation


@pytest.mark.parametrize("make", [binned_distance, smooth_distance])
def test_intervals_of_calibration_errors_hold_zero_just_where_calibration_is_not_refuted(rng, make):
    logit = rng.normal(size=120) - 1
    chance = special.expit(logit)
    y = (rng.random(120) < chance).astype(float)
    everyone, once = np.arange(120), np.zeros(120, dtype=int)
    honest, bold = (
        Simulation(distance=make(y, p, once), patients=everyone, seed=1) for p in (chance, special.expit(2.5 * logit))
    )
    assert honest.p() > 0.025 and honest.interval(0.0).low == 0 < honest.interval(0.0).high
    true = np.abs(special.expit(2.5 * logit) - chance).mean()
    found = bold.interval(true)
    assert bold.p() < 0.01 and 0.02 < found.low < true < found.high < 0.4
    narrow = bold.interval(true, level=0.5)
    assert narrow.low > found.low and narrow.high < found.high


def test_perfectly_calibrated_models_are_called_off_in_one_cohort_of_forty(rng):
    low = []
    for seed in range(60):
        chance = special.expit(1.2 * rng.normal(size=100) - 1)
        y = (rng.random(100) < chance).astype(float)
        distance = binned_distance(y, chance, np.zeros(100, dtype=int))
        low.append(Simulation(distance=distance, patients=np.arange(100), seed=seed).p() <= 0.025)
    assert np.mean(low) < 0.1  # of the bootstrap's intervals, four of five left out zero


def test_rows_of_a_patient_share_their_luck(rng):
    # Two repeats that predict alike are the evidence of one.
    chance = special.expit(rng.normal(size=200))
    y = (rng.random(200) < chance).astype(float)
    bold = special.expit(2 * special.logit(chance))
    alone = Simulation(distance=binned_distance(y, bold, np.zeros(200, dtype=int)), patients=np.arange(200), seed=2)
    both = binned_distance(np.tile(y, 2), np.tile(bold, 2), np.repeat([0, 1], 200))
    twice = Simulation(distance=both, patients=np.tile(np.arange(200), 2), seed=2)
    assert twice.interval(0.1) == alone.interval(0.1)


def test_without_observed_distances_or_defined_ones(rng):
    y = np.array([1.0, 0] * 20)
    exact = Simulation(distance=binned_distance(y, np.full(40, 0.5), np.zeros(40, dtype=int)), patients=np.arange(40), seed=3)
    assert exact.interval(0.0).low == 0 and exact.p() == 1
    apart = smooth_distance(y, np.where(y > 0, 0.9, 0.1), np.zeros(40, dtype=int))
    assert np.isnan(Simulation(distance=apart, patients=np.arange(40), seed=3).interval(0.1).low)
