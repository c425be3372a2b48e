import numpy as np
import pytest
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.ranking import critical_difference, rank_models


def test_critical_values_of_demsar():
    # Demsar (2006), table 5(a): q at 5 % of 2, 5 and 10 classifiers; section 3.2.4: 4 classifiers on 14 data sets.
    for num, q in ((2, 1.960), (5, 2.728), (10, 3.164)):
        assert critical_difference(num, 10) == pytest.approx(q * np.sqrt(num * (num + 1) / 60), abs=1e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


@pytest.mark.parametrize("decimals", [8, 1], ids=["no ties", "ties"])
def test_friedman_is_scipys(rng, decimals):
    values = np.round(rng.random((14, 4)) + np.array([0.3, 0, 0.1, 0.2]), decimals)
    found = rank_models(values, ("a", "b", "c", "d"))
    expected = stats.friedmanchisquare(*values.T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    f = 13 * found.statistic / (14 * 3 - found.statistic)  # Iman and Davenport
    assert (found.f_statistic, found.f_p) == pytest.approx((f, stats.f.sf(f, 3, 39)))
    assert (np.diff(found.mean_ranks) >= 0).all() and found.mean_ranks.sum() == pytest.approx(10)


def test_groups_join_models_that_cannot_be_told_apart():
    values = np.tile([0.9, 0.8, 0.7, 0.6], (30, 1))  # ranks 1 to 4 on every task, critical difference .86
    assert rank_models(values, ("a", "b", "c", "d")).groups == ()
    few = rank_models(values[:5], ("a", "b", "c", "d"))  # critical difference 2.1
    assert few.groups == ((0, 2), (1, 3))
    assert np.isinf(few.f_statistic) and few.f_p == 0.0
    errors = rank_models(values, ("a", "b", "c", "d"), higher_is_better=False)
    assert errors.models == ("d", "c", "b", "a")


def test_equal_models_are_one_group_without_a_p_value():
    found = rank_models(np.ones((6, 3)), ("a", "b", "c"))
    assert found.groups == ((0, 2),) and np.isnan(found.p) and found.mean_ranks.tolist() == [2, 2, 2]


def test_holes_are_refused():
    with pytest.raises(DataError, match="leave out tasks that a model does not have"):
        rank_models(np.array([[0.1, np.nan], [0.2, 0.3]]), ("a", "b"))
