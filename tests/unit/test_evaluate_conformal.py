import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.conformal import calibrate_intervals, calibrate_sets, conformal_quantile, coverage


def patients(rng, n):
    """Three classes, of which the last is rare, and probabilities that are wrong (too sure of the first class)."""
    y = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    logit = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[y] + [1.0, 0.0, -1.0]
    p = np.exp(logit)
    return y, p / p.sum(axis=1, keepdims=True)


def test_the_quantile_is_the_next_higher_score_of_one_more_patient():
    scores = np.arange(1.0, 10.0)  # nine patients: the 9th of ten is the largest
    assert conformal_quantile(scores, 0.9) == 9.0 and conformal_quantile(scores, 0.5) == 5.0
    assert np.isinf(conformal_quantile(scores, 0.91))
    with pytest.raises(DataError, match=r"level inside \(0, 1\)"):
        conformal_quantile(scores, 1.0)


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("randomised", [False, True])
def test_sets_hold_the_truth_as_often_as_they_say_whatever_the_model(rng, score, randomised):
    held = []
    for _ in range(60):
        luck = rng if randomised else None
        fitted = calibrate_sets(*patients(rng, 60), level=0.9, score=score, generator=luck)
        y, p = patients(rng, 60)
        held.append(fitted.sets(p, generator=luck)[np.arange(60), y].mean())
    spread = np.std(held) / np.sqrt(len(held))
    assert np.mean(held) >= 0.9 - 3 * spread
    if score == "lac":
        assert np.mean(held) <= 0.9 + 1 / 61 + 3 * spread  # continuous scores: never more than one patient too many


def test_class_conditional_sets_hold_the_rare_class_where_marginal_ones_do_not(rng):
    train, test = patients(rng, 3000), patients(rng, 6000)
    shares = {}
    for by_class in (False, True):
        sets = calibrate_sets(*train, level=0.9, by_class=by_class).sets(test[1])
        found = coverage(sets[np.arange(6000), test[0]], sets.sum(axis=1), test[0])
        shares[by_class] = found["2"].covered
        assert found["all"].n == 6000 == sum(found[k].n for k in "012")
    assert shares[False] < 0.8 and shares[True] == pytest.approx(0.9, abs=0.05)


def test_a_class_that_too_few_calibrate_is_in_every_set():
    y = np.array([0] * 30 + [1] * 3)
    p = np.where(y[:, None] == [0, 1], 0.8, 0.2)
    fitted = calibrate_sets(y, p, level=0.9, by_class=True)
    assert np.isinf(fitted.cutoffs[1]) and fitted.n.tolist() == [30, 3]
    assert fitted.sets(np.array([[1.0, 0.0]]))[0].tolist() == [True, True]


def test_aps_adds_classes_in_order_of_probability_and_is_never_empty(rng):
    fitted = calibrate_sets(*patients(rng, 200), score="aps", level=0.8)
    p = patients(rng, 100)[1]
    sets = fitted.sets(p)
    assert sets.any(axis=1).all()
    assert (np.where(sets, p, 1.0).min(axis=1) >= np.where(sets, 0.0, p).max(axis=1)).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(rng, scaled):
    held = []
    for _ in range(200):
        spread = rng.uniform(0.2, 3.0, size=80)
        error = spread * rng.standard_t(3, size=80)
        fitted = calibrate_intervals(error[:40], np.zeros(40), spread=spread[:40] if scaled else None, level=0.8)
        low, high = fitted.intervals(np.zeros(40), spread[40:] if scaled else None)
        held.append(((low <= error[40:]) & (error[40:] <= high)).mean())
    assert np.mean(held) == pytest.approx(0.8 + 0.5 / 41, abs=3 * np.std(held) / np.sqrt(200) + 0.5 / 41)


def test_scaled_intervals_serve_easy_and_hard_patients_alike(rng):
    spread = np.repeat([0.5, 3.0], 500)
    error = spread * rng.normal(size=1000)
    shares = {}
    for name, given in (("plain", None), ("scaled", spread)):
        low, high = calibrate_intervals(error, np.zeros(1000), spread=given).intervals(np.zeros(1000), given)
        found = coverage((low <= error) & (error <= high), high - low, np.where(spread > 1, "hard", "easy"))
        shares[name] = found["easy"].covered - found["hard"].covered
    assert shares["plain"] > 0.15 and abs(shares["scaled"]) < 0.05


def test_coverage_has_clopper_pearsons_interval():
    found = coverage(np.arange(10) < 9, np.ones(10))["all"]
    assert (found.covered, found.n, found.size) == (0.9, 10, 1.0)
    assert (round(found.low, 4), round(found.high, 4)) == (0.5550, 0.9975)  # R: binom.test(9, 10)


def test_what_breaks_the_guarantee_is_refused(rng):
    fitted = calibrate_sets(*patients(rng, 50), score="aps", generator=rng)
    with pytest.raises(DataError, match="was randomised, so the sets must be alike"):
        fitted.sets(patients(rng, 5)[1])
    with pytest.raises(DataError, match="wanted 3 classes, got 2"):
        fitted.sets(np.full((4, 2), 0.5), generator=rng)
    with pytest.raises(DataError, match="class indices from 0 to 1"):
        calibrate_sets(np.array([0, 2]), np.array([0.1, 0.2]))
    with pytest.raises(DataError, match="spread: wanted values above 0"):
        calibrate_intervals(np.ones(3), np.ones(3), spread=np.array([1.0, 0.0, 1.0]))
