"""Metrics under weights: equal weights give the plain metric, and weights are as good as copies of patients."""

from itertools import permutations

import numpy as np
import pytest

from oncoweave.core.errors import DataError, NoComparablePairsError
from oncoweave.evaluate import discrimination, weighted
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.pairs import horizon_pairs, ordered_pairs, survival_pairs, uno_pairs
from oncoweave.evaluate.survival import cumulative_dynamic_auc, harrell_c, uno_c


@pytest.fixture
def cohort(rng):
    time, event = np.ceil(rng.exponential(size=60) * 12), rng.random(60) < 0.6
    return time, event, rng.integers(0, 15, 60).astype(float)


def once(n):
    return np.ones((1, n), dtype=np.float32)


ALL = np.zeros(60, dtype=int)


def survival_statistics(time, event, risk, strata):
    curve = fit_censoring(*TRAIN)
    curves = {int(s): curve for s in np.unique(strata)}
    return {
        "harrell": survival_pairs(time, event, risk, strata),
        "uno": uno_pairs(time, event, risk, strata, curves),
        "auc": horizon_pairs(time, event, risk, strata, horizon=9.0, censoring=curves),
    }


TRAIN = (np.ceil(np.linspace(1, 60, 90)), np.arange(90) % 3 > 0)


def plain(name, time, event, risk):
    if name == "harrell":
        return harrell_c(time, event, risk)
    if name == "uno":
        return uno_c(*TRAIN, time, event, risk)
    return cumulative_dynamic_auc(time, event, risk, horizons=np.array([9.0]), censoring=fit_censoring(*TRAIN)).values[0]


@pytest.mark.parametrize("name", ["harrell", "uno", "auc"])
def test_equal_weights_give_the_plain_metric(cohort, name):
    statistic = survival_statistics(*cohort, ALL)[name]
    assert statistic(once(60))[0] == pytest.approx(plain(name, *cohort), abs=1e-12)


@pytest.mark.parametrize("name", ["harrell", "uno", "auc"])
def test_weights_are_copies_of_patients(cohort, rng, name):
    copies = rng.integers(0, 4, 60)
    rows = np.repeat(np.arange(60), copies)
    statistic = survival_statistics(*cohort, ALL)[name]
    expected = plain(name, *(column[rows] for column in cohort))
    assert statistic(copies[None].astype(np.float32))[0] == pytest.approx(expected, abs=1e-12)


def test_pairs_are_formed_within_folds_only(cohort, rng):
    time, event, risk = cohort
    fold = rng.integers(0, 3, 60)
    shifted = risk + 100 * fold  # each fold's model has a scale of its own
    value = survival_pairs(time, event, shifted, fold)(once(60))[0]
    right = total = 0.0
    for k in range(3):
        inside = fold == k
        t, e = time[inside], event[inside]
        comparable = (e[:, None] & ((t[:, None] < t) | ((t[:, None] == t) & ~e))).sum()
        right += harrell_c(t, e, risk[inside]) * comparable
        total += comparable
    assert value == pytest.approx(right / total, abs=1e-12)
    assert survival_pairs(time, event, risk, fold)(once(60))[0] == value


def test_indicator_rows_give_the_metric_of_each_fold(cohort, rng):
    time, event, risk = cohort
    fold = rng.integers(0, 3, 60)
    indicators = (fold == np.arange(3)[:, None]).astype(np.float32)
    expected = [harrell_c(time[fold == k], event[fold == k], risk[fold == k]) for k in range(3)]
    assert survival_pairs(time, event, risk, fold)(indicators) == pytest.approx(expected)


def test_blocks_of_a_large_stratum_add_up(cohort, monkeypatch):
    whole = survival_pairs(*cohort, ALL)
    monkeypatch.setattr("oncoweave.evaluate.pairs._CASES", 3)
    cut = survival_pairs(*cohort, ALL)
    assert len(cut.strata[0].blocks) > len(whole.strata[0].blocks) == 1
    assert cut(once(60))[0] == pytest.approx(whole(once(60))[0], abs=1e-15)


def test_without_comparable_pairs_the_statistic_is_nan():
    time, event = np.array([1.0, 2.0]), np.array([False, False])
    assert np.isnan(survival_pairs(time, event, time, np.zeros(2, dtype=int))(once(2))[0])
    with pytest.raises(NoComparablePairsError):
        harrell_c(time, event, time)


@pytest.mark.parametrize(
    ("make", "metric"),
    [(ordered_pairs, discrimination.auroc), (weighted.average_precision, discrimination.auprc)],
    ids=["auroc", "auprc"],
)
def test_classification_rankings_under_weights(rng, make, metric):
    y, score = (rng.random(60) < 0.4).astype(float), rng.integers(0, 9, 60).astype(float)
    copies = rng.integers(0, 4, 60)
    rows = np.repeat(np.arange(60), copies)
    statistic = make(y, score, ALL)
    assert statistic(once(60))[0] == pytest.approx(metric(y, score), abs=1e-7)  # precision is a quotient of float32
    assert statistic(copies[None].astype(np.float32))[0] == pytest.approx(metric(y[rows], score[rows]), abs=1e-7)
    assert np.isnan(make(np.zeros(60), score, ALL)(once(60))[0])


def test_average_precision_leaves_out_strata_without_a_negative():
    y, score = np.array([1.0, 0, 1, 1, 1, 0]), np.array([0.2, 0.9, 0.5, 0.4, 0.3, 0.1])
    strata = np.array([0, 0, 1, 1, 2, 2])  # precisions 1/2, none, 1
    statistic = weighted.average_precision(y, score, strata)
    assert statistic(once(6))[0] == pytest.approx((1 / 2 + 1) / 2)
    without = np.array([[1, 1, 1, 1, 1, 0]], dtype=np.float32)  # a replicate that draws no negative of the last stratum
    assert statistic(without)[0] == pytest.approx(1 / 2)
    assert np.isnan(weighted.average_precision(y, score, np.arange(6))(once(6))[0])


def test_chance_precision_is_the_mean_over_all_orders():
    y, strata = np.array([1.0, 1, 0, 0, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1, 2])
    orders = [np.array([*first, *second, 0.0]) for first in permutations(range(4)) for second in permutations(range(2))]
    each = [weighted.average_precision(y, score.astype(float), strata)(once(7))[0] for score in orders]
    assert weighted.chance_precision(y, strata) == pytest.approx(np.mean(each), abs=1e-6) and np.mean(each) > 0.65
    assert np.isnan(weighted.chance_precision(np.ones(3), np.zeros(3, dtype=int)))


def test_other_metrics_under_weights(rng):
    from scipy import stats
    from sklearn import metrics as theirs

    y, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    value, guess = rng.normal(size=60), rng.integers(0, 8, 60).astype(float)
    copies = rng.integers(0, 4, 60)
    rows, weights = np.repeat(np.arange(60), copies), copies[None].astype(np.float32)
    cases = [
        (weighted.mean_recall(y, y == predicted), theirs.balanced_accuracy_score(y[rows], predicted[rows])),
        (weighted.kappa(y, predicted, 3), theirs.cohen_kappa_score(y[rows], predicted[rows], weights="quadratic")),
        (weighted.explained_variance(value, guess), theirs.r2_score(value[rows], guess[rows])),
        (weighted.rank_correlation(value, guess, ALL), stats.spearmanr(value[rows], guess[rows]).statistic),
        (weighted.mean_of(value), value[rows].mean()),
    ]
    for statistic, expected in cases:
        assert statistic(weights)[0] == pytest.approx(expected, abs=1e-6)  # ranks are summed in float32


def test_r2_of_a_constant_outcome_is_not_defined():
    assert np.isnan(weighted.explained_variance(np.full(5, 3.0), np.arange(5.0))(once(5))[0])


def test_disjoint_pairs_are_nearly_the_most_that_can_be_had(rng):
    import networkx

    missed = 0
    for _ in range(30):
        time, event, fold = rng.integers(0, 6, 14).astype(float), rng.random(14) < 0.5, np.arange(14) // 9
        found = survival_pairs(time, event, rng.normal(size=14), fold)
        after = (time[:, None] < time) | ((time[:, None] == time) & ~event)
        can = event[:, None] & after & (fold[:, None] == fold) & ~np.eye(14, dtype=bool)
        graph = networkx.Graph(list(zip(*np.nonzero(can), strict=True)))
        most = len(networkx.max_weight_matching(graph, maxcardinality=True))
        missed += most - found.disjoint_pairs(np.arange(14))
        assert most - 1 <= found.disjoint_pairs(np.arange(14)) <= most
    assert missed <= 3
    again = ordered_pairs(np.tile([1.0, 0.0], 6), np.arange(12.0), np.arange(12) // 6)
    assert (again.disjoint_pairs(np.arange(12) % 6), again.disjoint_pairs(np.arange(12))) == (3, 6)


SURE = np.ones(3, dtype=bool)


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: survival_pairs(np.arange(3.0), SURE, bad, np.zeros(3, dtype=int)),
        lambda bad: survival_pairs(bad, SURE, np.arange(3.0), np.zeros(3, dtype=int)),
        lambda bad: ordered_pairs(np.array([0.0, 1.0, 1.0]), bad, np.zeros(3, dtype=int)),
        lambda bad: ordered_pairs(bad, np.arange(3.0), np.zeros(3, dtype=int)),
        lambda bad: uno_pairs(np.arange(3.0), SURE, bad, np.zeros(3, dtype=int), {}),
        lambda bad: weighted.average_precision(np.array([0.0, 1.0, 1.0]), bad, np.zeros(3, dtype=int)),
        lambda bad: weighted.mean_of(bad),
        lambda bad: weighted.improvement_over(np.ones(3), bad),
        lambda bad: weighted.explained_variance(np.arange(3.0), bad),
        lambda bad: weighted.rank_correlation(np.arange(3.0), bad, np.zeros(3, dtype=int)),
        lambda bad: weighted.micro_area(np.eye(3), np.tile(bad, (3, 1)), np.zeros(3, dtype=int)),
    ],
)
def test_a_value_that_is_not_a_number_is_refused_and_counted(make):
    with pytest.raises(DataError, match=r"wanted finite numbers, got nan in row 1 \([13] such row"):
        make(np.array([1.0, np.nan, 2.0]))


def test_rows_without_a_label_are_refused_and_counted():
    for bad in (np.array([0.0, np.nan, np.nan]), np.array(["a", None, None], dtype=object)):
        with pytest.raises(DataError, match=r"y: wanted a label in every row, got (nan|None) in row 1 \(2 such row"):
            weighted.mean_recall(bad, np.ones(3))
    with pytest.raises(DataError, match="strata: wanted 3 labels, one a patient"):
        ordered_pairs(np.array([0.0, 1.0, 1.0]), np.arange(3.0), np.zeros(2, dtype=int))
