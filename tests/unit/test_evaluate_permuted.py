import numpy as np
import pytest
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.permuted import ENOUGH, permuted_null
from oncoweave.train.study import Protocol


def null(values, **changed):
    given = {"bootstrap_sd": np.full(len(values), 0.04), "fold_sd": np.full(len(values), 0.06), "num_folds": 3} | changed
    return permuted_null(np.array(values), **given)


def test_many_runs_are_judged_by_their_own_spread():
    values = np.array([0.61, 0.41, 0.55, 0.47, 0.43, 0.58])
    found, expected = null(values), stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), expected.low, expected.high))
    assert found.enough and found.runs == 6


def test_one_run_counts_patients_and_permutation():
    found = null([0.6], fold_sd=np.array([0.09]), num_folds=3)
    assert found.high - 0.6 == pytest.approx(1.959964 * np.sqrt(0.04**2 + 0.09**2 / 3))
    # folds that agree by luck do not make the permutation certain
    assert null([0.6], fold_sd=np.array([0.0])).high - 0.6 == pytest.approx(1.959964 * np.sqrt(2) * 0.04)
    assert null([0.6], fold_sd=np.array([np.nan])).high == pytest.approx(null([0.6], fold_sd=np.array([0.0])).high)
    assert not found.enough
    # a run that is alike in every bootstrap sample has no spread over patients, and that between folds stands for it
    bare = null([0.6], bootstrap_sd=np.array([np.nan]), fold_sd=np.array([0.09]))
    assert bare.high - 0.6 == pytest.approx(1.959964 * np.sqrt(2 * 0.09**2 / 3))
    assert np.isnan(null([0.6], bootstrap_sd=np.array([np.nan]), fold_sd=np.array([0.0])).low)


def test_the_luck_of_the_permutation_shrinks_with_runs_and_that_of_the_patients_does_not():
    assert null([0.6] * 4).high - 0.6 == pytest.approx(1.959964 * np.sqrt(0.04**2 * 1.25))


@pytest.mark.parametrize("runs", [1, 4, 5, 20])
def test_an_honest_procedure_is_seldom_called_beyond_chance(rng, runs):
    # patients and permutation each move the score; all runs of a study share the patients
    alarms = 0
    for _ in range(400):
        values = 0.5 + rng.normal(0, 0.06, size=runs)
        alarms += null(values, bootstrap_sd=np.full(runs, 0.045), fold_sd=np.full(runs, 0.1)).low > 0.5
    assert alarms / 400 < 0.05


def test_a_study_permutes_often_enough_by_default():
    assert Protocol().permutations >= ENOUGH


def test_no_run_is_refused():
    with pytest.raises(DataError, match="wanted the metric of one permuted run or more"):
        null([])
