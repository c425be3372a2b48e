"""Late fusions by decisions, beliefs, variances and curves against what they should give, written out."""

import numpy as np
import pytest

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.state import load_state, save_state
from oncoweave.evaluate.curves import BaselineHazard, breslow_baseline, continued, survival_at
from oncoweave.evaluate.hypotheses import Hypotheses, decision_cutoffs, fit_hypotheses
from oncoweave.fusion import dempster_shafer, max, min, product, rules, survival_average, uncertainty, vote

NAN = np.nan
COIN = np.array([[0.5, 0.5]])


def _target(kind, values, classes=()):
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b")}.get(kind, ("y",))
    unit = "months" if kind == "survival" else None
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit=unit)
    return Target(endpoint=endpoint, values=np.asarray(values, dtype=float))


def _scores(*rows):
    return np.array(rows, dtype=float)[:, :, None]


def _binary(prior=COIN, num=2):
    return Hypotheses(kind="binary", prior=np.asarray(prior), origin=np.zeros(num), unit=np.ones(num))


def _survival(rng, n=80):
    risk = rng.normal(size=n)
    time, censoring = rng.exponential(np.exp(-risk)), rng.exponential(1.5, size=n)
    return risk, _target("survival", np.stack([np.minimum(time, censoring), time <= censoring], axis=1))


def test_highest_and_lowest_are_of_those_present_from_a_common_origin():
    train = _scores([10.0, 1.0], [12.0, 3.0], [14.0, NAN])
    target, new = _target("survival", [[1, 1], [2, 1], [3, 0]]), _scores([13.0, 6.0], [9.0, NAN])
    np.testing.assert_allclose(max.fit(train, target, max.Config()).combine(new)[:, 0], [4, -3])
    np.testing.assert_allclose(min.fit(train, target, min.Config()).combine(new)[:, 0], [1, -3])
    classes = _target("multiclass", [0, 1, 2], ("a", "b", "c"))
    p = np.array([[[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]] * 3)
    np.testing.assert_allclose(max.fit(p, classes, max.Config()).combine(p)[0], np.array([0.6, 0.3, 0.6]) / 1.5)
    np.testing.assert_allclose(min.fit(p, classes, min.Config()).combine(p)[0], np.array([0.2, 0.2, 0.1]) / 0.5)
    certain = np.array([[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]] * 3)
    np.testing.assert_allclose(min.fit(certain, classes, min.Config()).combine(certain), 1 / 3)


def test_hypotheses_of_survival_are_those_of_the_breslow_curve_at_the_median_event_time(rng):
    risk, target = _survival(rng)
    scores = (risk + 7)[:, None, None]
    fitted = fit_hypotheses(scores, target)
    assert fitted.horizon == np.median(target.time[target.event])
    baseline = breslow_baseline(target.time, target.event, risk - risk.mean())
    expected = 1 - survival_at(baseline, risk - risk.mean(), np.array([fitted.horizon]))[:, 0]
    p = fitted.probabilities(scores)
    np.testing.assert_allclose(p[:, 0, 0, 1], expected, atol=1e-6)
    # back from probabilities: log-risks that differ as those did
    np.testing.assert_allclose(np.diff(fitted.scores(p[:, 0])[:, 0]), np.diff(risk), atol=1e-6)
    # censored by the horizon counts for nothing, the others stand for them: weights sum to the patients
    truth, weight = fitted.truth(target)
    hidden = ~target.event & (target.time <= fitted.horizon)
    assert hidden.any()
    assert (weight[hidden] == 0).all()
    assert weight.sum() == pytest.approx(len(target), rel=0.05)
    np.testing.assert_array_equal(truth[~hidden, 0, 1], target.time[~hidden] <= fitted.horizon)


@pytest.mark.parametrize("of", ["curve", "hazard"])
def test_a_modality_of_patients_followed_for_less_time_is_no_sign_of_long_survival(rng, of):
    """One risk, two modalities of different patients; those of the second enrolled lately: few of their events are seen."""
    n = 4000
    risk, lately = rng.normal(size=n), rng.random(n) < 0.3
    time = rng.exponential(40 * np.exp(-risk))
    end = np.where(lately, rng.uniform(2, 10, n), rng.uniform(60, 120, n))
    target = _target("survival", np.stack([np.minimum(time, end), time <= end], axis=1))
    scores = np.stack([np.where(lately, NAN, risk), np.where(lately, risk, NAN)], axis=1)[:, :, None]
    combined = survival_average.fit(scores, target, survival_average.Config(of=of)).combine(scores)[:, 0]
    assert abs(combined[lately].mean() - combined[~lately].mean()) < 0.15
    p = fit_hypotheses(scores, target).probabilities(scores)[:, :, 0, 1]
    assert abs(np.nanmean(p[:, 0]) - np.nanmean(p[:, 1])) < 0.04
    # as long as anybody of the group is followed it stays level after its last event, and goes on from there
    group = BaselineHazard(times=np.array([1.0, 3.0]), cumulative_hazard=np.array([0.1, 0.4]))
    all_of_them = BaselineHazard(times=np.array([1.0, 3.0, 4.0, 6.0]), cumulative_hazard=np.array([0.1, 0.2, 0.5, 1.0]))
    longer = continued(group, 4.0, all_of_them)
    np.testing.assert_allclose(longer.times, [1, 3, 6])
    np.testing.assert_allclose(longer.cumulative_hazard, [0.1, 0.4, 0.4 * 1.0 / 0.5])
    assert continued(group, 6.0, all_of_them) is group


def test_curves_with_one_event_time_tell_nobody_from_nobody():
    target = _target("survival", [[3, 1], [3, 1], [5, 0], [6, 0]])
    scores = _scores([1.0, 0.5], [0.5, NAN], [-0.5, 0.0], [-1.0, -0.5])
    fitted = survival_average.fit(scores, target, survival_average.Config())
    np.testing.assert_array_equal(fitted.combine(scores), 0.0)


def test_hypotheses_round_trip_and_refuse_survival_without_events():
    p = np.array([[[0.2, 0.5, 0.3]], [[0.1, 0.1, 0.8]]])
    classes = fit_hypotheses(p, _target("ordinal", [0, 2], ("a", "b", "c")))
    np.testing.assert_allclose(classes.scores(classes.probabilities(p)[:, 0]), p[:, 0])
    np.testing.assert_allclose(classes.prior, [[1.5 / 3.5, 0.5 / 3.5, 1.5 / 3.5]])
    values = fit_hypotheses(_scores([2.0], [4.0], [9.0]), _target("regression", [1.0, 4.0, 10.0]))
    assert values.halves == (2.5, 10.0)
    np.testing.assert_allclose(values.unit, np.sqrt(2 / 3))
    np.testing.assert_allclose(values.probabilities(_scores([4.0]))[0, 0, 0], [0.5, 0.5])
    with pytest.raises(DataError, match="at least one event among 2 patients"):
        fit_hypotheses(_scores([1.0], [2.0]), _target("survival", [[1, 0], [2, 0]]))


def test_a_decision_calls_as_many_positive_as_are():
    p = np.linspace(0.01, 0.99, 100)[:, None, None]
    cut = decision_cutoffs(p, np.array([0.3]))
    assert (p > cut).sum() == 30
    np.testing.assert_array_equal(decision_cutoffs(np.full((3, 1, 1), NAN), np.array([0.3])), 0.5)


def test_votes_are_counted_with_one_vote_of_the_training_frequency():
    fitted = vote.Fitted(hypotheses=_binary(num=3), cutoffs=np.array([[0.5], [0.2], [0.9]]))
    new = _scores([0.6, 0.3, 0.95], [0.6, 0.3, 0.1], [0.6, 0.1, NAN], [NAN, NAN, 0.95])
    np.testing.assert_allclose(fitted.combine(new)[:, 0], [3.5 / 4, 2.5 / 4, 0.5, 0.75])
    classes = Hypotheses(kind="multiclass", prior=np.full((1, 3), 1 / 3), origin=np.zeros(2), unit=np.ones(2))
    of_classes = vote.Fitted(hypotheses=classes, cutoffs=np.zeros((2, 3)))
    split = of_classes.combine(np.array([[[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]]))
    np.testing.assert_allclose(split[0], (np.array([0.5, 0.5, 1]) + 1 / 3) / 3)


def test_uncertain_predictions_weigh_less_and_so_do_modalities_that_are_too_sure(rng):
    fitted = uncertainty.Fitted(hypotheses=_binary(), factor=np.array([[1.0], [2.0]]))
    a, b = 1 / (2 * 0.9 * 0.1), 1 / (2 * 2 * 0.5 * 0.5)
    np.testing.assert_allclose(fitted.combine(_scores([0.9, 0.5]))[0, 0], (a * 0.9 + b * 0.5) / (a + b))
    # a calibrated modality announces its error, one whose log-odds are tripled announces too little
    p = 1 / (1 + np.exp(-rng.normal(size=4000)))
    y = rng.random(4000) < p
    sure = p**3 / (p**3 + (1 - p) ** 3)
    learnt = uncertainty.fit(np.stack([p, sure], axis=1)[:, :, None], _target("binary", y), uncertainty.Config())
    assert learnt.factor[0, 0] == pytest.approx(1.0, abs=0.05)
    assert learnt.factor[1, 0] > 1.3
    values = _target("regression", [0.0, 0.0, 6.0])
    exact = uncertainty.fit(_scores([1.0, 2.0], [-1.0, 2.0], [5.0, 4.0]), values, uncertainty.Config())
    np.testing.assert_allclose(exact.combine(_scores([0.0, 5.0], [NAN, 5.0]))[:, 0], [(0 / 1 + 5 / 4) / (1 / 1 + 1 / 4), 5.0])


def test_two_sources_by_dempsters_rule_and_by_yagers():
    r, p = np.array([0.8, 0.5]), np.array([0.9, 0.3])
    fitted = dempster_shafer.Fitted(hypotheses=_binary(), reliability=r[:, None], rule="dempster")
    yes, no, spare = r * p, r * (1 - p), 1 - r
    both_yes = yes[0] * yes[1] + yes[0] * spare[1] + spare[0] * yes[1]
    both_no = no[0] * no[1] + no[0] * spare[1] + spare[0] * no[1]
    conflict, unknown = yes[0] * no[1] + no[0] * yes[1], spare.prod()
    single, ignorance, against = fitted.masses(_scores(p))
    np.testing.assert_allclose(single[0, 0], [both_no, both_yes])
    np.testing.assert_allclose([ignorance[0, 0], against[0, 0]], [unknown, conflict])
    # with a fair coin as prior, probability is in proportion to plausibility
    np.testing.assert_allclose(
        fitted.combine(_scores(p))[0, 0], (both_yes + unknown) / (both_yes + both_no + 2 * unknown), rtol=1e-9
    )
    cautious = dempster_shafer.Fitted(hypotheses=_binary(), reliability=r[:, None], rule="yager")
    spare_mass = unknown + conflict
    np.testing.assert_allclose(
        cautious.combine(_scores(p))[0, 0], (both_yes + spare_mass) / (both_yes + both_no + 2 * spare_mass), rtol=1e-9
    )


def test_full_reliability_is_bayesian_pooling_and_none_the_training_frequency(rng):
    prior = np.array([[0.7, 0.3]])
    p = _scores([0.6, 0.2], [0.1, 0.9], [NAN, 0.4])
    trusted = dempster_shafer.Fitted(hypotheses=_binary(prior), reliability=np.ones((2, 1)), rule="dempster")
    pooled = product.fit(np.full((99, 2, 1), 0.5), _target("binary", [1] * 29 + [0] * 70), product.Config())
    np.testing.assert_allclose(pooled.scale.scores(np.zeros((1, 1))), (29.5 / 100))
    exact = dempster_shafer.Fitted(hypotheses=_binary([[0.705, 0.295]]), reliability=np.ones((2, 1)), rule="dempster")
    np.testing.assert_allclose(exact.combine(p), pooled.combine(p), rtol=1e-6)
    np.testing.assert_allclose(trusted.combine(p[2:]), 0.4)
    doubted = dempster_shafer.Fitted(hypotheses=_binary(prior), reliability=np.zeros((2, 1)), rule="dempster")
    np.testing.assert_allclose(doubted.combine(p), 0.3)
    truth = rng.random(400) < 0.5
    told = np.where(truth, 0.95, 0.05)
    scores = np.stack([told, rng.permutation(told)], axis=1)[:, :, None]
    learnt = dempster_shafer.fit(scores, _target("binary", truth), dempster_shafer.Config())
    assert learnt.reliability[0, 0] > 0.95
    assert learnt.reliability[1, 0] < 0.1


def test_rules_take_k_of_those_present_and_let_the_named_modality_override():
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    column = np.linspace(0.1, 0.8, 8)
    train = np.stack([column] * 3, axis=1)[:, :, None]
    config = rules.Config(k=2, override="clinical", override_above=0.8)
    fitted = rules.fit(train, _target("binary", y), config, names=("rna", "clinical", "slide"))
    np.testing.assert_allclose(fitted.cutoffs[:, 0], 0.45)
    new = _scores([0.9, 0.1, 0.9], [0.9, 0.1, 0.1], [0.1, 0.79, 0.1], [0.9, NAN, NAN], [0.9, NAN, 0.1])
    np.testing.assert_array_equal(fitted.lines(new)[:, 0], [1, 0, 2, 1, 0])
    # lines 0, 1, 2 held 4, 2 and 2 training patients, none, all and all of whom had the outcome; pooled where they tie
    np.testing.assert_allclose(fitted.levels[:3, 0], [0.5 / 5, 2.5 / 3, 2.5 / 3])
    alone = rules.fit(train[:, :1], _target("binary", y), config, names=("rna",))  # an ablation leaves the override out
    assert alone.override == -1
    np.testing.assert_array_equal(alone.lines(_scores([0.9], [0.1]))[:, 0], [1, 0])


def test_if_then_rules_come_first_and_a_condition_on_what_is_absent_does_not_hold(tmp_path):
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    column = np.linspace(0.1, 0.8, 8)
    train = np.stack([column, column[::-1], column], axis=1)[:, :, None]
    written = "if rna above 0.5 and slide below 0.5 then high; blood below 0.25 then low ; rna above 0.75 then low"
    config = rules.Config(k=2, rules=written, override="blood", override_above=0.9)
    fitted = rules.fit(train, _target("binary", y), config, names=("rna", "slide", "blood"))
    np.testing.assert_allclose([rule.cutoffs[:, 0] for rule in fitted.rules[1:]], [[0.275], [0.625]])
    np.testing.assert_allclose(fitted.rules[0].cutoffs[:, 0], [0.45, 0.45])
    cases = {
        (0.46, 0.44, 0.1): 2,  # the first rule, though the second holds as well
        (0.46, NAN, 0.1): 3,  # no slide: only the second rule
        (0.46, NAN, 0.3): 0,  # neither; 1 of 2 positive, and 2 of 3 is 2 of 2
        (0.46, NAN, 0.5): 1,
        (0.7, 0.5, NAN): 3,  # the third rule; blood is neither below nor above
        (NAN, 0.1, NAN): 0,
        (NAN, 0.9, 0.79): 2,  # the override
        (0.1, 0.9, 0.2): 3,
    }
    new = _scores(*cases)
    np.testing.assert_array_equal(fitted.lines(new)[:, 0], list(cases.values()))
    lines = rules.statements(config, ("rna", "slide", "blood"))
    assert lines[3:] == ("override: blood above 0.9 then high", "k of n positive", "none of these")
    assert lines[0] == "rna above 0.5 and slide below 0.5 then high"
    assert fitted.decisions(new) == [lines[i] for i in (0, 1, 5, 4, 2, 5, 3, 1)]
    # rule 1 decides the upper four training patients, all with the outcome, and rule 2 the lower two, of whom none had it
    np.testing.assert_array_equal(fitted.lines(train)[:, 0], [3, 3, 0, 0, 2, 2, 2, 2])
    neither, k_of_n, high, low = fitted.levels[:, 0]
    assert low == pytest.approx(0.5 / 3)
    assert (neither, k_of_n, high) == pytest.approx((0.5 / 3, 0.5, 4.5 / 5))
    np.testing.assert_allclose(fitted.combine(new)[:, 0], fitted.levels[list(cases.values()), 0])
    save_state(tmp_path / "rules.safetensors", fitted)
    np.testing.assert_array_equal(load_state(tmp_path / "rules.safetensors").combine(new), fitted.combine(new))
    alone = rules.fit(train[:, :1], _target("binary", y), config, names=("rna",))  # rules about what an ablation leaves out
    assert [rule.places for rule in alone.rules] == [(0,)]


@pytest.mark.parametrize(
    ("written", "match"),
    [
        ("clinical over 0.8 then high", "wanted such as 'clinical above 0.8 .*, got 'clinical over 0.8'"),
        ("clinical above 0.8", "got 'clinical above 0.8'"),
        ("a above 0.8 and b below 80 then low", "shares from 0 to 1, got 'b below 80'"),
        ("a above 0.8 then positive", "got 'a above 0.8 then positive'"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(written, match):
    with pytest.raises(ConfigError, match=match):
        shelf.configure("fusion", "rules", {"rules": written})


def test_rules_about_a_modality_that_a_study_lacks_are_refused():
    with pytest.raises(UnknownNameError, match=r"no modality \(rules of rules\) named 'slid'; did you mean 'slide'"):
        rules.check(rules.Config(rules="rna above 0.5 and slid below 0.5 then high"), ("rna", "slide"))


def test_more_votes_than_modalities_are_refused():
    with pytest.raises(ConfigError, match=r"k 3 of rules, wanted at most the 2 modalities of the model: rna, slide"):
        rules.check(rules.Config(k=3), ("rna", "slide"))


def test_mean_of_curves_and_of_hazards_is_that_of_the_breslow_curves(rng):
    risk, target = _survival(rng)
    scores = np.stack([risk + 3, -2 * risk], axis=1)[:, :, None]
    time, event = target.time, target.event
    times, gap = np.unique(time[event]), np.diff(np.unique(time[event]), prepend=0.0)
    each = []
    for m in range(2):
        centred = scores[:, m, 0] - scores[:, m, 0].mean()
        each.append(survival_at(breslow_baseline(time, event, centred), centred, times))
    means = {"curve": (each[0] + each[1]) / 2, "hazard": np.sqrt(each[0] * each[1])}
    flat = breslow_baseline(time, event, np.zeros(len(time)))
    for of, mean in means.items():
        fitted = survival_average.fit(scores, target, survival_average.Config(of=of))
        np.testing.assert_allclose(fitted.curves(scores, np.ones((len(risk), 2), dtype=bool)), mean, atol=1e-12)
        score = fitted.combine(scores)[:, 0]
        # a proportional hazard with that log-risk has the same restricted mean
        same = survival_at(flat, score, times)
        restricted = [np.hstack([np.ones((len(risk), 1)), s[:, :-1]]) @ gap for s in (mean, same)]
        np.testing.assert_allclose(restricted[0], restricted[1], rtol=1e-3)
    # a single modality keeps its order
    alone = scores.copy()
    alone[:, 1] = NAN
    fitted = survival_average.fit(scores, target, survival_average.Config())
    np.testing.assert_array_equal(np.argsort(fitted.combine(alone)[:, 0]), np.argsort(risk))


def test_survival_average_refuses_other_endpoints():
    with pytest.raises(ConfigError, match="serves survival endpoints; 'y' is binary"):
        survival_average.fit(_scores([0.1], [0.2]), _target("binary", [0, 1]), survival_average.Config())
