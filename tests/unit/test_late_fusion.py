"""Late fusions against what they should give, written out; and stacking in the company of noise."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.skill import skill
from oncoweave.fusion import average, product, rank, stacking, weighted
from oncoweave.nn.evidence import evidence_scale

NAN = np.nan


def _target(kind, values, classes=()):
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b")}.get(kind, ("y",))
    unit = "months" if kind == "survival" else None
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit)
    return Target(endpoint=endpoint, values=np.asarray(values, dtype=float))


def _scores(*rows):
    return np.array(rows, dtype=float)[:, :, None]


def _survival(rng, risk):
    time = rng.exponential(np.exp(-risk))
    censoring = rng.exponential(1.5, size=len(risk))
    return _target("survival", np.stack([np.minimum(time, censoring), time <= censoring], axis=1))


def test_average_of_log_risks_is_from_a_common_origin():
    train = _scores([10.0, 1.0], [12.0, 3.0], [14.0, NAN])
    fitted = average.fit(train, _target("survival", [[1, 1], [2, 1], [3, 0]]), average.Config())
    combined = fitted.combine(_scores([13.0, 4.0], [13.0, NAN], [NAN, 4.0]))
    np.testing.assert_allclose(combined[:, 0], [(1 + 2) / 2, 1, 2])


def test_weights_are_skill_above_chance():
    y = np.array([0, 0, 1, 1])
    train = _scores([0.1, 0.9, 0.2], [0.2, 0.8, 0.6], [0.8, 0.1, 0.4], [0.9, 0.2, 0.8])
    fitted = weighted.fit(train, _target("binary", y), weighted.Config())
    # AUROC 1, 0 and 3/4: skill .5, -.5 and .25
    np.testing.assert_allclose(fitted.weights, [2 / 3, 0, 1 / 3])
    alike = weighted.fit(train, _target("binary", y), weighted.Config(power=0.0))
    np.testing.assert_allclose(alike.weights, [1 / 2, 0, 1 / 2])  # whatever the power, none below chance
    new = _scores([0.3, 0.9, 0.6], [NAN, 0.9, 0.6], [NAN, 0.9, NAN])
    # a patient with nothing but the modality of weight 0 gets the training frequency
    np.testing.assert_allclose(fitted.combine(new)[:, 0], [0.4, 0.6, 0.5])


def test_ranks_are_against_training_patients():
    train = _scores([1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 30.0])
    fitted = rank.fit(train, _target("survival", [[1, 1], [2, 1], [3, 0], [4, 1]]), rank.Config())
    np.testing.assert_allclose(fitted.ranks(_scores([2.5, 30.0], [-9.0, NAN]))[..., 0], [[0.5, 0.75], [0.0, NAN]])
    # any monotone change of a modality, training and new scores alike, leaves the order of patients
    rng = np.random.default_rng(0)
    many, new = rng.normal(size=(50, 3, 1)), rng.normal(size=(9, 3, 1))
    target = _survival(rng, many[:, 0, 0])
    plain = rank.fit(many, target, rank.Config()).ranks(new)
    bent = rank.fit(np.exp(3 * many), target, rank.Config()).ranks(np.exp(3 * new))
    np.testing.assert_allclose(plain, bent)


def test_product_is_bayes_rule_with_the_prior_counted_once():
    y = np.array([1] * 2 + [0] * 6)
    target = _target("binary", y)
    fitted = product.fit(np.full((8, 2, 1), 0.25), target, product.Config())
    prior = 2.5 / 9  # half a patient on either side
    p = np.array([0.6, 0.3])
    odds = np.prod(p / (1 - p)) / (prior / (1 - prior))
    combined = fitted.combine(_scores([0.6, 0.3], [0.6, NAN], [prior, prior]))
    np.testing.assert_allclose(combined[:, 0], [odds / (1 + odds), 0.6, prior])


def test_product_of_classes():
    target = _target("multiclass", [0, 1, 2, 0, 1, 2], classes=("a", "b", "c"))
    fitted = product.fit(np.full((6, 2, 3), 1 / 3), target, product.Config())
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.1, 0.3])
    np.testing.assert_allclose(fitted.combine(np.stack([p, q])[None]), (p * q / (p * q).sum())[None])


def test_product_of_values_weighs_by_error_and_counts_the_prior_once(rng):
    truth = rng.normal(size=4000)
    # two measurements with error variance 1: each posterior mean is half the measurement, both together a third of their sum
    measured = truth[:, None] + rng.normal(size=(4000, 2))
    scores = (measured / 2)[:, :, None] + 100
    fitted = product.fit(scores, _target("regression", truth + 100), product.Config())
    np.testing.assert_allclose(fitted.combine(scores)[:, 0] - 100, measured.sum(axis=1) / 3, atol=0.15)
    alone = scores.copy()
    alone[:, 1] = NAN
    np.testing.assert_allclose(fitted.combine(alone)[:, 0], alone[:, 0, 0])


def test_evidence_and_scores_are_inverse(rng):
    y = rng.integers(0, 3, 30)
    p = rng.dirichlet(np.ones(3), size=(30, 2))
    for kind, scores, values in (
        ("ordinal", p, y),
        ("binary", p[:, :, :1], y > 0),
        ("regression", p[:, :, :1], 7 * y),
    ):
        scale = evidence_scale(scores, _target(kind, values, classes=("a", "b", "c") if kind == "ordinal" else ()))
        np.testing.assert_allclose(scale.scores(scale.evidence(scores)[:, 1]), scores[:, 1])


def test_skill_of_each_kind():
    increasing = np.arange(6.0)[:, None]
    survival = _target("survival", np.stack([np.arange(6.0)[::-1] + 1, np.ones(6)], axis=1))
    assert skill(survival, increasing) == 0.5
    assert skill(_target("regression", -np.arange(6)), increasing) == -0.5
    assert skill(_target("binary", [0, 0, 0, 1, 1, NAN]), increasing) == 0.5
    assert skill(_target("ordinal", [0, 0, 1, 1, 2, 2], ("a", "b", "c")), np.eye(3)[[0, 0, 1, 1, 2, 2]]) == 0.5
    assert skill(_target("multilabel", [[0, 0], [1, NAN]]), np.array([[0.1, 0.5], [0.9, 0.5]])) == 0.5
    assert np.isnan(skill(_target("binary", [1, 1, NAN]), increasing[:3]))
    assert np.isnan(skill(_target("survival", [[1, 0], [2, 0]]), increasing[:2]))


# ---- stacking


def _evidence(rng, n, noises):
    """Log-risk in two independent halves; modality 0 sees the first, 1 the second, the rest are noise."""
    truth = 0.8 * rng.normal(size=(n, 2))
    noise = 0.5 * rng.normal(size=(n, noises))
    return truth.sum(axis=1), np.hstack([truth + 0.5 * rng.normal(size=(n, 2)), noise])


def test_noise_modalities_do_not_hurt_stacking():
    """Over draws, ten modalities of noise beside two real ones cost less than .006 of C; the plain mean loses ten times that."""
    lost_stacked, lost_mean = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        risk, evidence = _evidence(rng, 900, 10)
        target = _survival(rng, risk)
        train, test = np.arange(300), np.arange(300, 900)

        def score(module, m, evidence=evidence, target=target, train=train, test=test):
            scores = evidence[:, :m, None]
            fitted = module.fit(scores[train], target.take(train), module.Config())
            held_out = target.take(test)
            return harrell_c(held_out.time, held_out.event, fitted.combine(scores[test])[:, 0])

        lost_stacked.append(score(stacking, 2) - score(stacking, 12))
        lost_mean.append(score(average, 2) - score(average, 12))
    assert np.mean(lost_stacked) < 0.006
    assert np.mean(lost_mean) > 0.05


def test_stacking_weighs_independent_calibrated_evidence_once_and_copies_by_their_share(rng):
    risk, evidence = _evidence(rng, 4000, 1)
    target = _survival(rng, risk)
    fitted = stacking.fit(evidence[:, :, None], target, stacking.Config())
    # regression of the truth on noisy evidence has slope .72; a hazard that is not fully explained attenuates it further
    real = fitted.weights[:2, 0]
    assert 0.5 < real.min() <= real.max() < 0.72
    assert fitted.weights[2, 0] < 0.05
    copies = evidence[:, [0, 0, 0, 1]][:, :, None]
    shared = stacking.fit(copies, target, stacking.Config()).weights[:, 0]
    np.testing.assert_allclose([shared[:3].sum(), shared[3]], real, atol=0.02)
    np.testing.assert_allclose(shared[:3], shared[0], atol=0.001)


def test_a_patient_who_lacks_a_modality_is_judged_by_what_the_others_tell_of_it(rng):
    risk, evidence = _evidence(rng, 1000, 1)
    target = _survival(rng, risk)
    copies = evidence[:, [0, 0, 1]][:, :, None]
    fitted = stacking.fit(copies, target, stacking.Config())
    without_copy, without_private = copies.copy(), copies.copy()
    without_copy[:, 1] = NAN
    without_private[:, 2] = NAN
    whole = fitted.combine(copies)[:, 0]
    np.testing.assert_allclose(
        fitted.combine(without_copy)[:, 0], whole, atol=0.12
    )  # 0.12: correlations are shrunk by a twentieth
    # what nobody else tells stays at the average patient: the rest is neither scaled up nor down
    np.testing.assert_allclose(
        fitted.combine(without_private)[:, 0],
        whole - fitted.weights[2, 0] * (copies[:, 2, 0] - copies[:, 2, 0].mean()),
        atol=0.15,
    )


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "regression"])
def test_stacking_of_other_endpoints_keeps_what_helps_and_drops_noise(kind, rng):
    truth = rng.normal(size=600)
    seen = truth[:, None] + np.array([0.7, 0.7]) * rng.normal(size=(600, 2))
    signal = np.hstack([seen, rng.normal(size=(600, 2))])
    if kind == "regression":
        values, scores, classes = truth, signal[:, :, None], ()
    elif kind in ("binary", "multilabel"):
        values = truth > 0 if kind == "binary" else np.stack([truth > 0, truth < -0.5], axis=1)
        p = 1 / (1 + np.exp(-signal[:, :, None]))
        scores, classes = p if kind == "binary" else np.concatenate([p, 1 - p], axis=2), ()
    else:
        values, classes = np.digitize(truth, [-0.5, 0.5]), ("low", "middle", "high")
        logits = -0.5 * (signal[:, :, None] - np.array([-1.0, 0.0, 1.0])) ** 2
        scores = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    target = _target(kind, values, classes)
    fitted = stacking.fit(scores, target, stacking.Config())
    assert (fitted.weights >= 0).all()
    assert fitted.weights[2:].max() < 0.25 * fitted.weights[:2].min()
    assert skill(target, fitted.combine(scores)) > max(skill(target, scores[:, m]) for m in range(4))


def test_stacking_where_nothing_has_skill_is_the_plain_mean(rng):
    scores = rng.normal(size=(300, 3, 1))
    # scores that order patients wrongly have no positive slope
    target = _survival(rng, -scores.sum(axis=(1, 2)))
    np.testing.assert_allclose(stacking.fit(scores, target, stacking.Config()).weights, 1 / 3)
