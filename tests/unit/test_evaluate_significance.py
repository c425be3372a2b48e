from itertools import product

import numpy as np
import pytest
from scipy import stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.significance import (
    auroc_error,
    c_index_error,
    cochran_q,
    combined_f_5x2,
    mcnemar,
    minimum_detectable,
    wilcoxon,
)


def test_combined_f_is_alpaydins(rng):
    d = rng.normal(0.02, 0.03, size=(5, 2))
    spread = ((d[:, 0] - d[:, 1]) ** 2 / 2).sum()  # variance of two values about their mean
    assert combined_f_5x2(d).statistic == pytest.approx((d**2).sum() / (2 * spread))
    assert combined_f_5x2(d).p == pytest.approx(stats.f.sf((d**2).sum() / (2 * spread), 10, 5))
    assert combined_f_5x2(d[:, ::-1]).p == pytest.approx(combined_f_5x2(-d).p)
    assert combined_f_5x2(np.zeros((5, 2))).p == 1.0
    assert np.isnan(combined_f_5x2(np.full((5, 2), 0.1)).p) and "variance is zero" in combined_f_5x2(np.full((5, 2), 0.1)).reason
    with pytest.raises(DataError, match="five repeats of two"):
        combined_f_5x2(d[:4])


def test_wilcoxon_of_hollander_and_wolfe():
    # Depression scores of nine patients before and after a tranquiliser; R's help of wilcox.test: V = 40, p = .03906 two-sided.
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = wilcoxon(before - after)
    assert found.p == pytest.approx(0.03906, abs=5e-6) and (found.statistic, found.n) == (45 - 40, 9)


@pytest.mark.parametrize(
    "differences",
    [
        [0.0, 0.0, 0.0, 0.1, 0.2, -0.15],
        [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, -0.1],
        [0.4, 0.0, -0.1, 0.2, 0.2, 0.3, 0.1, 0.2, -0.2],
        [-0.3, 0.1, 0.2],
    ],
)
def test_wilcoxon_of_ties_and_zeros_counts_all_signs_of_their_ranks(differences):
    d = np.array(differences)
    ranks = np.sign(d) * stats.rankdata(np.abs(d))
    sums = np.array([np.dot(signs, np.abs(ranks)) for signs in product((-1, 1), repeat=len(d))])
    found = wilcoxon(d)
    assert found.p == pytest.approx((np.abs(sums) >= abs(ranks.sum()) - 1e-9).mean()) and found.n == np.count_nonzero(d)
    assert found.statistic == min(ranks[ranks > 0].sum(), -ranks[ranks < 0].sum())


def test_wilcoxon_of_few_cannot_be_surer_than_their_signs():
    for tied in ([0.01, 0.01, 0.02, 0.03, 0.04], [0.02] * 5, [0.0, 0.0, *[0.02] * 5]):
        assert wilcoxon(np.array(tied)).p == pytest.approx(2 / 2**5)
    assert wilcoxon(np.zeros(4)).p == 1.0
    assert wilcoxon(np.append(np.zeros(3000), np.arange(1, 6))).p == pytest.approx(2 / 2**5)


def test_wilcoxon_is_scipys_without_ties_and_normal_beyond_fifty(rng):
    differences = rng.normal(0.3, 1, size=50)
    assert wilcoxon(differences).p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    many = np.round(rng.normal(0.1, 1, size=80), 1)
    expected = stats.wilcoxon(many, zero_method="pratt", method="asymptotic")
    assert wilcoxon(many).p == expected.pvalue and wilcoxon(many).statistic == expected.statistic


def test_mcnemar_exact_and_mid_p_of_fagerland():
    # Fagerland, Lydersen and Laake (2013), airway hyper-responsiveness before and after transplantation: 1 and 7 discordant;
    # exact p .0703, mid-p .0391.
    first = np.array([1] * 1 + [1] * 1 + [0] * 7 + [0] * 12)
    second = np.array([1] * 1 + [0] * 1 + [1] * 7 + [0] * 12)
    assert mcnemar(first, second, mid_p=False).p == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(first, second).p == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar(first, first).p == 1.0 and "alike" in mcnemar(first, first).reason
    assert mcnemar(np.array([1, 0, 1, 0]), np.array([0, 1, 0, 1])).p <= 1.0


def test_cochran_q_by_its_sums_and_as_mcnemar_of_two(rng):
    right = (rng.random((40, 3)) < [0.8, 0.6, 0.5]).astype(float)
    by_model, by_patient = right.sum(axis=0), right.sum(axis=1)
    # The form of the permutation test: between-model sum of squares over the mean within-patient variance.
    expected = ((by_model - by_model.mean()) ** 2).sum() * 3 * 2 / (by_patient * (3 - by_patient)).sum()
    assert cochran_q(right).statistic == pytest.approx(expected)
    two = right[:, :2]
    gained, lost = ((two[:, 0] > two[:, 1]).sum(), (two[:, 0] < two[:, 1]).sum())
    assert cochran_q(two).statistic == pytest.approx((gained - lost) ** 2 / (gained + lost))
    assert cochran_q(np.ones((4, 3))).p == 1.0
    with pytest.raises(DataError, match="0 or 1 for each patient"):
        cochran_q(two * 2)


def test_hanley_and_mcneils_error_and_sample():
    # Hanley and McNeil (1982), section on standard errors: theta .893, 51 abnormal, 58 normal, standard error .032.
    assert auroc_error(0.893, positives=51, negatives=58) == pytest.approx(0.032, abs=1e-3)


def test_the_c_index_error_is_near_that_of_kendalls_tau():
    # Without censoring and without skill C = (tau + 1) / 2, whose variance is known: (2 (2 n + 5)) / (9 n (n - 1)) / 4.
    n = 300
    exact = np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) / 2
    assert exact <= c_index_error(0.5, n=n, events=n) <= 1.05 * exact


def test_the_detectable_gain_has_the_power_it_says():
    gain = minimum_detectable(0.70, kind="auroc", n=400, events=150, correlation=0.6)
    errors = [auroc_error(v, positives=150, negatives=250) for v in (0.70, 0.70 + gain)]
    spread = np.sqrt(errors[0] ** 2 + errors[1] ** 2 - 1.2 * errors[0] * errors[1])
    assert stats.norm.sf(1.959964 - gain / spread) == pytest.approx(0.8, abs=1e-4)


def test_the_detectable_gain_shrinks_with_patients_events_and_correlation():
    def gain(n=300, events=100, correlation=0.5, alpha=0.05):
        return minimum_detectable(0.65, kind="c_index", n=n, events=events, correlation=correlation, alpha=alpha)

    assert gain(n=600, events=200) < gain() and gain(events=200) < gain() and gain(correlation=0.9) < gain() < gain(alpha=0.005)
    assert np.isnan(minimum_detectable(0.95, kind="auroc", n=20, events=5, correlation=0.0))
    with pytest.raises(DataError, match="0 < events <= n"):
        minimum_detectable(0.65, kind="auroc", n=20, events=20, correlation=0.5)
