"""The chance that luck orders patients so well, against counting every order."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.evaluate.concordance import count_pairs
from oncoweave.train.audits.baselines import _varying
from oncoweave.train.audits.columns import _P, _telling
from oncoweave.train.audits.luck import chance_of_area, chance_of_correlation, chance_of_order

BINARY = Endpoint(name="r", kind="binary", columns=("r",))
SURVIVAL = Endpoint(name="s", kind="survival", columns=("t", "e"), time_unit="months")


@pytest.mark.parametrize(("positives", "negatives"), [(1, 6), (4, 9), (7, 7), (20, 33)])
def test_the_chance_of_an_area_is_that_of_mann_and_whitney(rng, positives, negatives):
    for shift in (0.0, 1.5, 9.0):
        one, other = rng.normal(size=positives) + shift, rng.normal(size=negatives)
        wanted = stats.mannwhitneyu(one, other, method="exact").pvalue
        assert chance_of_area(one, other) == pytest.approx(wanted, rel=1e-9)
        assert chance_of_area(-one, -other) == pytest.approx(wanted, rel=1e-9)


def test_the_chance_of_a_concordance_is_that_of_all_orders():
    time, event = np.array([1.0, 2, 2, 2, 3, 3, 4]), np.array([1, 1, 1, 0, 1, 0, 0])
    wrong = []
    for order in permutations(range(7)):
        counts = count_pairs(time, event, -np.array(order, dtype=float))
        wrong.append(int((counts.comparable - counts.lower).sum()))
    blocks = [(1, 6), (2, 4), (1, 2)]  # events at 1, 2 and 3 with those who are followed beyond
    for most in (0, 1, 4, 9, 16):
        assert chance_of_order(blocks, most) == pytest.approx(np.mean(np.array(wrong) <= most), rel=1e-12)


def test_equal_values_count_as_wrong_and_long_work_is_not_done():
    assert chance_of_area(np.ones(5), np.r_[np.zeros(19), 1.0]) > chance_of_area(np.arange(5.0) + 9, np.arange(20.0) / 9)
    assert np.isnan(chance_of_order([(10_000, 10_000)], 1_000_000))
    assert chance_of_correlation(1.0, 5) == pytest.approx(2 / 120)
    assert chance_of_correlation(0.99, 40) == pytest.approx(2 * stats.t.sf(0.99 * np.sqrt(38 / (1 - 0.99**2)), 38))


@pytest.mark.parametrize(("n", "positives", "columns"), [(40, 5, 100), (60, 6, 1000), (200, 6, 500), (100, 10, 5000)])
def test_a_perfect_leak_of_few_patients_is_found(rng, n, positives, columns):
    y = (np.arange(n) < positives).astype(float)
    values = rng.normal(size=(n, columns))
    values[:, 0] = 10 * y + 0.1 * rng.normal(size=n)
    found = _telling(pd.DataFrame(values).rename(columns=str), Target(endpoint=BINARY, values=y), set())
    assert [(name, area) for name, _, area, chance in found if chance < _P] == [("0", 1.0)]


def test_the_follow_up_of_few_patients_is_found_and_what_luck_can_do_is_told_apart(rng):
    time, event = rng.exponential(20, 40), (np.arange(40) < 10).astype(float)
    values = rng.normal(size=(40, 20))
    values[:, 0] = time
    found = _telling(
        pd.DataFrame(values).rename(columns=str), Target(endpoint=SURVIVAL, values=np.stack([time, event], 1)), set()
    )
    assert ("0", "orders follow-up with C-index", 1.0) in [told[:3] for told in found if told[3] < _P]
    lone = _telling(pd.DataFrame({"a": np.arange(30.0)}), Target(endpoint=BINARY, values=np.arange(30) > 28.5), set())
    assert [(name, area) for name, _, area, _ in lone] == [("a", 1.0)] and lone[0][3] > _P


def test_shares_that_differ_by_rounding_are_no_indicators():
    shares = np.full((30, 2), np.full(7, 1.0 / 7).sum())
    shares[::3, 0] = np.repeat(1.0 / 21, 21).sum()
    assert shares[:, 0].std() > 0 and _varying(shares).shape == (30, 0)
    shares[0, 1] = 0.5
    assert _varying(shares).std(axis=0) == pytest.approx([1.0])
