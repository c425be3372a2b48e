"""DeLong's variance against the ovarian cancer example of DeLong et al. (1988) as worked in the SAS/STAT manual."""

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.delong import delong

# Albumin, total protein, ten minus K-G score, benefit from surgery: 43 patients (SAS/STAT User's Guide, LOGISTIC, ROC example).
OVARIAN = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1 3.7 6.7 6 1
    3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1
    3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1
    3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
    3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(-1, 4)


@pytest.fixture
def ovarian():
    return delong(OVARIAN[:, 3], OVARIAN[:, :3] * [1, 1, -1])


def test_published_areas_and_errors(ovarian):
    assert (ovarian.n, ovarian.events) == (43, 31)
    assert ovarian.values.round(4).tolist() == [0.7366, 0.6478, 0.7258]
    assert np.sqrt(np.diag(ovarian.covariance)).round(4).tolist() == [0.0927, 0.1000, 0.1028]


def test_published_contrasts(ovarian):
    protein, albumin = ovarian.difference(1, 2), ovarian.difference(0, 2)
    assert [round(v, 4) for v in (protein.value, protein.low, protein.high, protein.p)] == [-0.0780, -0.2830, 0.1271, 0.4561]
    assert [round(v, 4) for v in (albumin.value, albumin.low, albumin.p)] == [0.0108, -0.1761, 0.9102]
    statistic, degrees, p = ovarian.equal()
    assert (round(statistic, 4), degrees, round(p, 4)) == (2.5340, 2, 0.2817)


def test_midranks_give_the_shares_counted_pair_by_pair(rng):
    y, scores = (rng.random(70) < 0.4).astype(float), rng.integers(0, 8, size=(70, 2)).astype(float)
    mine, theirs = scores[y > 0.5], scores[y < 0.5]
    favour = (mine[:, None] > theirs) + 0.5 * (mine[:, None] == theirs)
    found = delong(y, scores)
    assert found.values == pytest.approx(favour.mean(axis=(0, 1)), abs=1e-14)
    covariance = np.cov(favour.mean(axis=1).T) / len(mine) + np.cov(favour.mean(axis=0).T) / len(theirs)
    assert found.covariance == pytest.approx(covariance, abs=1e-14)


def test_intervals_stay_inside_and_any_monotone_score_is_the_same(rng):
    y = np.repeat([0.0, 1.0], 12)
    score = rng.normal(size=24) + 2.5 * y
    found = delong(y, np.column_stack([score, np.exp(score)]))
    low, high = found.interval(0)
    assert 0 < low < found.values[0] < high < 1
    same = found.difference(0, 1)
    assert (same.value, same.p) == (0.0, 1.0) and np.isnan([same.low, same.high]).all()
    assert found.equal()[2] == pytest.approx(1.0)


def test_what_the_patients_do_not_define_is_nan():
    lone = delong(np.array([1.0, 0.0, 0.0]), np.array([0.3, 0.2, 0.1]))
    assert lone.values[0] == 1.0 and np.isnan(lone.covariance).all() and np.isnan(lone.interval()[0])
    none = delong(np.zeros(3), np.arange(6.0).reshape(3, 2))
    assert np.isnan(none.values).all() and np.isnan(none.difference().p) and np.isnan(none.equal()[0])
    assert np.isnan(delong(np.array([1.0, 1.0, 0.0, 0.0]), np.array([4.0, 3.0, 2.0, 1.0])).interval()[0])


def test_areas_without_variance_are_no_certainty():
    y = np.array([1.0, 1.0, 0.0, 0.0])
    for other in (1 - y, np.full(4, 0.5)):
        found = delong(y, np.column_stack([y, other]))
        difference = found.difference()
        assert np.isnan([difference.low, difference.high, difference.p]).all() and "variance" in difference.reason
        assert np.isnan(found.equal()[0]) and np.isnan(found.equal()[2])
    assert delong(y, np.column_stack([y, y])).equal()[2] == 1.0


def test_other_labels_are_refused():
    with pytest.raises(DataError, match=r"wanted 0 or 1, got 2\.0"):
        delong(np.array([0.0, 2.0]), np.zeros(2))


def test_strata_add_up_and_equal_rows_of_a_patient_are_no_evidence(rng):
    y, scores = (rng.random(90) < 0.4).astype(float), rng.normal(size=(90, 2))
    fold = np.arange(90) % 3
    parts = [delong(y[fold == f], scores[fold == f]) for f in range(3)]
    pairs = np.array([p.events * (p.n - p.events) for p in parts])
    share = pairs / pairs.sum()
    found = delong(y, scores + 100 * fold[:, None], strata=fold)
    assert found.values == pytest.approx(sum(s * p.values for s, p in zip(share, parts, strict=True)))
    assert found.covariance == pytest.approx(sum(s**2 * p.covariance for s, p in zip(share, parts, strict=True)))
    twice = delong(np.tile(y, 2), np.tile(scores, (2, 1)), strata=np.append(fold, fold + 3), patients=np.tile(np.arange(90), 2))
    alone = delong(y, scores, strata=fold)
    assert (twice.n, twice.events) == (alone.n, alone.events)
    assert twice.values == pytest.approx(alone.values) and twice.covariance == pytest.approx(alone.covariance)


def test_a_patient_with_two_outcomes_is_refused():
    with pytest.raises(DataError, match="wanted one outcome a patient, got both in the rows of 1"):
        delong(np.array([0.0, 1, 1]), np.arange(3.0), patients=np.array([4, 4, 5]))
