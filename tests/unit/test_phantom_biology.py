"""Latent biology, hazard, outcomes and missingness of phantom patients."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.phantom import biology
from oncoweave.phantom.biology import EFFECTS, MODALITIES, Config, draw_outcome, draw_truths
from oncoweave.phantom.cohort import _patient_row
from oncoweave.phantom.missingness import ABSENCES, absence_probability, draw_presence
from oncoweave.phantom.record import GAPS, draw_record

MANY = Config(patients=800, seed=5)


@pytest.fixture(scope="module")
def many():
    return draw_truths(MANY)


@pytest.fixture(scope="module")
def survival(many):
    outcomes = [draw_outcome(MANY, i, t) for i, t in enumerate(many)]
    event = np.array([o.death_months <= o.censored_months for o in outcomes])
    return event, np.array([min(o.death_months, o.censored_months) for o in outcomes])


@pytest.fixture(scope="module")
def presence(many):
    return [draw_presence(MANY, i, t) for i, t in enumerate(many)]


@pytest.fixture(scope="module")
def records(many):
    drawn = [draw_record(MANY, i, t) for i, t in enumerate(many)]
    return tuple(pd.DataFrame(rows) for rows in zip(*drawn, strict=True))


def standard_scores(truths, factor):
    return np.array([float(getattr(t, factor)) for t in truths])


def concordance(survival, risk):
    """Harrell's C over all pairs in which the first patient died before the second was last seen."""
    event, time = survival
    earlier = event[:, None] & (time[:, None] < time[None, :])
    return float((risk[:, None] > risk[None, :])[earlier].mean())


def scores(truths, factors):
    return sum(e.coefficient * (standard_scores(truths, e.factor) - e.centre) / e.scale for e in EFFECTS if e.factor in factors)


def test_a_patient_is_the_same_in_a_small_and_a_large_cohort(many):
    assert draw_truths(replace(MANY, patients=3)) == many[:3]


def test_another_seed_draws_other_patients(many):
    assert draw_truths(replace(MANY, patients=3, seed=6))[0].immune != many[0].immune


def test_the_hazard_is_the_sum_of_the_planted_effects(many):
    truth = replace(
        many[0], proliferation=1.0, immune=2.0, stage=3, driver_b=True, private_slide=-1.0, private_expression=0.5,
        private_record=1.5, age_years=74.0, private_report=False, private_volume=2.0, synergy=-2.0, site_effect=0.25,
    )  # fmt: skip
    by_hand = 0.45 - 0.52 * 2 + 0.50 * 0.7 + 0.45 * 0.55 - 0.62 + 0.24 + 0.62 * 1.5 + 0.28 - 0.90 * 0.3 + 0.38 * 2 - 1.2 + 0.25
    assert biology.log_hazard(truth) == pytest.approx(by_hand)


def test_the_oracle_ranks_patients_as_well_as_wanted(many, survival):
    assert 0.78 <= concordance(survival, standard_scores(many, "log_hazard")) <= 0.82
    assert 0.5 <= survival[0].mean() <= 0.7


@pytest.mark.parametrize("modality", ["slide", "expression", "record"])
def test_one_modality_alone_knows_part_and_all_know_more(many, survival, modality):
    alone = scores(many, {e.factor for e in EFFECTS if modality in e.shown_by and e.kind != "synergistic"})
    everything = scores(many, {e.factor for e in EFFECTS if e.kind != "synergistic"})
    assert 0.60 <= concordance(survival, alone) <= 0.72
    assert concordance(survival, everything) > concordance(survival, alone) + 0.05


@pytest.mark.parametrize(("modality", "least", "most"), [("film", 0.57, 0.71), ("report", 0.66, 0.78), ("record", 0.63, 0.77)])
def test_whatever_plays_adverse_outcome_tells_of_progression(many, modality, least, most):
    rows = [_patient_row(t, draw_outcome(MANY, i, t)) for i, t in enumerate(many)]
    progressed = np.array([row["progression_24m"] for row in rows])
    alone = scores(many, {e.factor for e in EFFECTS if modality in e.shown_by})
    pairs = alone[progressed == 1][:, None] - alone[progressed == 0][None, :]
    assert least <= (pairs > 0).mean() + (pairs == 0).mean() / 2 <= most


def test_cox_on_the_true_factors_recovers_every_sign(many, survival):
    from scipy.optimize import minimize

    effects = [e for e in EFFECTS if e.factor != "site_effect"]
    columns = np.stack([(standard_scores(many, e.factor) - e.centre) / e.scale for e in effects], axis=1)
    event, time = survival
    order = np.argsort(-time)  # continuous times, so no ties

    rows, died = columns[order], event[order]

    def negative_partial_likelihood(beta):
        risk = rows @ beta
        weight = np.exp(risk)[:, None]
        at_risk = np.cumsum(weight, axis=0)
        centred = rows - np.cumsum(weight * rows, axis=0) / at_risk
        return -(risk - np.log(at_risk[:, 0]))[died].sum(), -centred[died].sum(axis=0)

    fitted = minimize(negative_partial_likelihood, np.zeros(len(effects)), jac=True).x
    planted = np.array([e.coefficient for e in effects])
    assert (np.sign(fitted) == np.sign(planted)).all()
    assert np.abs(fitted - planted).max() < 0.25  # about four standard errors of the binary factors at n = 800


def test_synergy_needs_both_of_its_parts(many):
    collagen, tgf = standard_scores(many, "synergy_slide"), standard_scores(many, "synergy_expression")
    product, hazard = standard_scores(many, "synergy"), standard_scores(many, "log_hazard")
    assert product == pytest.approx(collagen * tgf)
    assert abs(np.corrcoef(collagen, hazard)[0, 1]) < 0.1  # sd of a null correlation at n = 800 is 0.035
    assert abs(np.corrcoef(tgf, hazard)[0, 1]) < 0.1
    assert np.corrcoef(product, hazard)[0, 1] > 0.25


def test_every_kind_of_signal_is_planted():
    assert {e.kind for e in EFFECTS} == {"shared", "private", "synergistic"}
    assert all(len(e.shown_by) == 1 for e in EFFECTS if e.kind == "private")
    assert all(len(e.shown_by) == 2 for e in EFFECTS if e.kind == "synergistic")
    assert [e.factor for e in EFFECTS if e.coefficient < 0] == ["immune"]
    assert {m for e in EFFECTS for m in e.shown_by} == {*MODALITIES, "site"}


def test_the_confounder_changes_the_hazard_of_sites_and_no_biology():
    off = draw_truths(replace(MANY, patients=60))
    on = draw_truths(replace(MANY, patients=60, site_confounder=True))
    assert all(t.site_effect == 0 for t in off)
    by_site = {t.site: t.site_effect for t in on}
    assert max(by_site.values()) - min(by_site.values()) > 1
    for before, after in zip(off, on, strict=True):
        assert after.log_hazard - before.log_hazard == pytest.approx(by_site[after.site])
        assert replace(after, site_effect=0.0, log_hazard=before.log_hazard) == before


def test_findings_are_known_or_nan_and_never_wrong(many):
    outcomes = [draw_outcome(MANY, i, t) for i, t in enumerate(many[:300])]
    labels, findings = np.array([o.labels for o in outcomes]), np.array([o.findings for o in outcomes], dtype=float)
    known = ~np.isnan(labels)
    assert (labels[known] == findings[known]).all()
    assert np.abs((~known).mean(axis=0) - (0.1, 0.15, 0.2, 0.35)).max() < 0.08
    assert all(o.progression_months <= o.death_months for o in outcomes)


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda a: a.modality)
def test_absence_has_the_rate_and_the_cause_that_the_truth_says(many, presence, absence):
    absent = np.array([not p[absence.modality] for p in presence])
    expected = np.array([absence_probability(absence, t, missing=1.0) for t in many])
    assert absent.mean() == pytest.approx(expected.mean(), abs=4 * np.sqrt(0.25 / len(many)))
    hidden, seen = standard_scores(many, "private_record"), standard_scores(many, absence.factor or "age_years")
    gap = (seen[absent].mean() - seen[~absent].mean()) / seen.std()
    if absence.mechanism == "MCAR":
        assert abs(gap) < 0.45
        assert len(set(expected)) == 1
    else:
        assert np.sign(gap) == np.sign(absence.slope)
        assert abs(gap) > 0.35
    if absence.mechanism == "MAR":
        assert absence.factor in ("age_years", "stage")
    if absence.mechanism == "MNAR":
        assert hidden[absent].mean() > hidden[~absent].mean() + 0.5


def test_missing_scales_from_complete_patients_to_one_modality_each(many):
    none = [draw_presence(replace(MANY, missing=0.0), i, t) for i, t in enumerate(many[:50])]
    assert all(all(p.values()) for p in none)
    most = [draw_presence(replace(MANY, missing=100.0), i, t) for i, t in enumerate(many[:50])]
    assert all(sum(p.values()) == 1 for p in most)


def test_record_values_go_missing_by_their_stated_mechanism(records):
    complete, observed = records
    lost = observed.isna()
    assert set(lost.columns[lost.any()]) == {g.column for g in GAPS}
    assert {g.mechanism for g in GAPS} == {"MCAR", "MAR", "MNAR"}
    assert all((complete[c][~lost[c]] == observed[c][~lost[c]]).all() for c in complete)
    assert complete["ldh_u_l"][lost["ldh_u_l"]].mean() < complete["ldh_u_l"][~lost["ldh_u_l"]].mean() - 20
    assert lost["smoking"][complete["smoking"] == "current"].mean() > lost["smoking"][complete["smoking"] == "never"].mean() + 0.1
    assert lost["cea_ug_l"][complete["stage"] == "I"].mean() > lost["cea_ug_l"][complete["stage"] == "IV"].mean() + 0.2
    assert lost["bmi_kg_m2"].mean() == pytest.approx(0.1, abs=0.045)


def test_frailty_shows_in_the_record(many, records):
    table, _ = records
    frailty = standard_scores(many, "private_record")
    for column, sign in (("albumin_g_l", -1), ("crp_mg_l", 1), ("haemoglobin_g_dl", -1), ("ecog", 1)):
        assert sign * np.corrcoef(frailty, table[column])[0, 1] > 0.4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patients": 0}, "at least one patient"),
        ({"slide_px": 100}, "slide_px must be at least 512"),
        ({"without": ("slides",)}, "no phantom modality named 'slides'; known: slide"),
        ({"without": MODALITIES}, "leaves no modality"),
    ],
)
def test_a_cohort_that_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Config(**change)


def test_the_truth_is_plain_numbers(many):
    assert all(isinstance(v, str | int | float | bool) for v in asdict(many[0]).values())


def test_ki67_follows_proliferation_and_little_else(many):
    ki67 = np.array([draw_outcome(MANY, i, t).ki67_percent for i, t in enumerate(many)])
    assert ((ki67 >= 0) & (ki67 <= 100) & (ki67 == np.round(ki67))).all()
    assert np.median(ki67) == pytest.approx(20, abs=2)
    assert np.corrcoef(np.log(ki67 / (100 - ki67)), standard_scores(many, "proliferation"))[0, 1] > 0.9
    assert abs(np.corrcoef(ki67, standard_scores(many, "immune"))[0, 1]) < 0.15
