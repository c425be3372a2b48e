"""What no ranking statistic may depend on, over drawn outcomes with extremes: ties, few patients, large risks."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oncoweave.core.errors import NoComparablePairsError
from oncoweave.evaluate.discrimination import auroc
from oncoweave.evaluate.pairs import survival_pairs
from oncoweave.evaluate.survival import harrell_c, kaplan_meier, uno_c

PATIENT = st.tuples(st.integers(0, 12), st.booleans(), st.integers(-6, 6))


def columns(patients):
    time, event, risk = (np.array(c, dtype=float) for c in zip(*patients, strict=True))
    return time, event, risk


def pairwise_c(time, event, risk):
    """The definition, one pair after the other."""
    right = total = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                total += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / total if total else None


@given(st.lists(PATIENT, min_size=1, max_size=25))
def test_harrell_c_is_its_definition(patients):
    time, event, risk = columns(patients)
    expected = pairwise_c(time, event, risk)
    if expected is None:
        with pytest.raises(NoComparablePairsError):
            harrell_c(time, event, risk)
    else:
        assert harrell_c(time, event, risk) == pytest.approx(expected, abs=1e-12)
        stratum = np.zeros(len(time), dtype=int)
        once = np.ones((1, len(time)), dtype=np.float32)
        assert survival_pairs(time, event > 0, risk, stratum)(once)[0] == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(PATIENT, min_size=2, max_size=25),
    st.randoms(use_true_random=False),
    st.sampled_from([np.exp, np.cbrt, lambda r: 1e300 * r]),
)
def test_ranks_and_order_are_all_that_counts(patients, random, monotone):
    time, event, risk = columns(patients)
    assume(pairwise_c(time, event, risk) is not None)
    value = harrell_c(time, event, risk)
    assert 0 <= value <= 1
    assert harrell_c(time, event, monotone(risk)) == pytest.approx(value, abs=1e-12)
    assert harrell_c(time * 30.4375, event, risk) == pytest.approx(value, abs=1e-12)
    assert harrell_c(time, event, -risk) == pytest.approx(1 - value, abs=1e-12)
    shuffled = list(patients)
    random.shuffle(shuffled)
    assert harrell_c(*columns(shuffled)) == pytest.approx(value, abs=1e-12)


@given(st.lists(PATIENT, min_size=2, max_size=25))
def test_unos_c_with_uncensored_training_is_harrells(patients):
    time, event, risk = columns(patients)
    assume(pairwise_c(time, event, risk) is not None)
    train = np.array([0.0, 5.0, 20.0])
    assert uno_c(train, np.ones(3), time, event, risk, tau=99.0) == pytest.approx(harrell_c(time, event, risk), abs=1e-12)


@given(st.lists(PATIENT, min_size=1, max_size=25))
def test_kaplan_meier_falls_between_its_bounds(patients):
    time, event, _ = columns(patients)
    km = kaplan_meier(time, event)
    assert (np.diff(km.survival) <= 1e-15).all() and (np.diff(km.at_risk) <= 0).all()
    assert (km.low >= 0).all() and (km.low <= km.survival + 1e-12).all()
    assert (km.high >= km.survival - 1e-12).all() and (km.high <= 1).all()
    if event.all():
        assert km.at(np.array([3.0]))[0] == pytest.approx((time > 3).mean(), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=30))
def test_auroc_is_its_definition(patients):
    y, score = (np.array(c, dtype=float) for c in zip(*patients, strict=True))
    positive, negative = score[y == 1], score[y == 0]
    value = auroc(y, score)
    if not len(positive) or not len(negative):
        assert np.isnan(value) and value.reason
    else:
        wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        assert value == pytest.approx(wins.mean(), abs=1e-12)
