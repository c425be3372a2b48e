"""Diseases of phantom lungs: what film, report and record show of them, and that nothing else does."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import laplace
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from oncoweave.phantom import lungs, radiology
from oncoweave.phantom.biology import Config, draw_truths, stream
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.phantom.lung_signs import MM_PER_PX, draw_signs
from oncoweave.phantom.lungs import CARRIERS, COMPLAINT, DISEASES, SHIFT, SIGN, draw_lungs, evidence
from oncoweave.tasks.pulmonary_diseases import LABELS

MANY = Config(patients=1600, seed=5, missing=0.0)
WITHOUT = ("slide", "expression", "volume", "film")
NAMES = [d.name for d in DISEASES]


@pytest.fixture(scope="module")
def drawn():
    return [draw_lungs(MANY, i) for i in range(MANY.patients)]


def aurocs(drawn, scores):
    truth = np.array([d.present for d in drawn])
    return np.array([roc_auc_score(truth[:, k], scores[:, k]) for k in range(len(DISEASES))])


def test_the_labels_are_the_tasks_and_some_are_unknown(drawn):
    assert tuple(NAMES) == lungs.ENDPOINT.classes == LABELS
    labels, present = np.array([d.labels for d in drawn]), np.array([d.present for d in drawn], dtype=float)
    known = ~np.isnan(labels)
    assert (labels[known] == present[known]).all()
    assert np.abs((~known).mean(axis=0) - [d.unknown for d in DISEASES]).max() < 0.03
    assert (present.mean(axis=0) > 0.07).all()
    assert (present.sum(axis=1) > 1).mean() > 0.3


def test_diseases_occur_together_as_planted(drawn):
    present = {name: np.array([d.present[k] for d in drawn]) for k, name in enumerate(NAMES)}
    for disease in DISEASES:
        for cause in disease.raised_by:
            assert present[disease.name][present[cause]].mean() > present[disease.name][~present[cause]].mean() + 0.02
    assert present["tuberculosis"][present["COPD"]].mean() == pytest.approx(present["tuberculosis"].mean(), abs=0.04)


def test_each_carrier_knows_as_much_as_the_closed_form_says_and_all_together_more(drawn):
    told = [evidence(d) for d in drawn]
    per = {carrier: np.array([t[carrier] for t in told]) for carrier in CARRIERS}
    film, report = ((1 + with_it - without) / 2 for with_it, without in (SIGN, COMPLAINT))
    closed = {"film": film, "report": report, "record": norm.cdf(SHIFT / 2**0.5)}
    for carrier in CARRIERS:
        found = aurocs(drawn, per[carrier])
        assert found.mean() == pytest.approx(closed[carrier], abs=0.015), carrier
        assert np.abs(found - closed[carrier]).max() < 0.05
    assert closed["film"] == pytest.approx(0.80) and closed["report"] == pytest.approx(0.75)
    assert aurocs(drawn, sum(per.values())).mean() == pytest.approx(0.91, abs=0.015)


def test_nothing_else_of_a_patient_tells_of_them(drawn):
    truths = draw_truths(MANY)
    factors = ("stage", "immune", "proliferation", "private_slide", "private_expression", "private_volume", "age_years")
    for factor in factors:
        found = aurocs(drawn, np.tile([[float(getattr(t, factor))] for t in truths], len(DISEASES)))
        assert found.mean() == pytest.approx(0.5, abs=0.04)
        assert np.abs(found - 0.5).max() < 0.08


def test_words_and_values_as_drawn_tell_of_the_labels_and_a_table_that_carries_nothing_does_not():
    cohort, revealed, _ = draw_cohort(replace(MANY, patients=600, without=WITHOUT, lung_diseases=True))
    drawn, text = revealed.lungs, cohort.tables["report"]["text"].str.lower()
    words = [np.any([text.str.contains(w.lower(), regex=False) for w in d.complaints], axis=0) for d in DISEASES]
    values = [cohort.tables["record"][d.value] * np.sign(d.spread) for d in DISEASES]
    assert aurocs(drawn, np.stack(words, axis=1)).mean() == pytest.approx(0.75, abs=0.03)
    assert aurocs(drawn, np.stack(values, axis=1)).mean() == pytest.approx(0.66, abs=0.03)
    calls = cohort.tables["variants"].drop(columns=["patient_id", "sample_id"]).fillna(0).to_numpy(dtype=float)
    half = len(calls) // 2
    weights = np.linalg.pinv(calls[:half]) @ np.array([d.present for d in drawn[:half]], dtype=float)
    assert aurocs(drawn[half:], calls[half:] @ weights).mean() == pytest.approx(0.5, abs=0.05)


def test_asking_for_them_changes_no_other_draw():
    config = Config(patients=6, seed=4, without=WITHOUT)
    plain, before, _ = draw_cohort(config)
    asked, after, _ = draw_cohort(replace(config, lung_diseases=True))
    assert "pulmonary_diseases" not in plain.endpoints and not before.lungs
    assert asked.endpoints["pulmonary_diseases"] == lungs.ENDPOINT
    assert plain.patients.equals(asked.patients[plain.patients.columns])
    for name, table in plain.tables.items():
        same = [c for c in table.columns if c != "text"]
        assert table[same].equals(asked.tables[name][same]), name
    added = {d.value for d in DISEASES}
    assert set(asked.tables["record"].columns) - set(plain.tables["record"].columns) == added
    reports = asked.tables["report"]["text"].tolist()
    assert all(new.endswith(f"\n\n{old}") for new, old in zip(reports, plain.tables["report"]["text"], strict=True))
    assert [r[1] for r in before.reports] == [r[1] for r in after.reports]


def test_complaints_are_in_other_words_than_the_labels_and_tell_of_one_disease_each():
    said = [w for d in DISEASES for w in d.complaints]
    assert len(set(said)) == len(said)
    own = re.compile("copd|bronch|pneumo|thorax|interstitial|lung|disease|tubercul|cancer|pleura|effusion", re.IGNORECASE)
    assert not [w for w in said if own.search(w)]
    none, everything = (replace(draw_lungs(MANY, 0), complaints=(told,) * len(DISEASES)) for told in (False, True))
    text = lungs.write_history(MANY, 0, everything).lower()
    assert all(sum(w.lower() in text for w in d.complaints) == 1 for d in DISEASES)
    assert not any(w.lower() in lungs.write_history(MANY, 0, none).lower() for w in said)


def test_values_move_with_their_disease_and_go_missing_at_random(drawn):
    complete, observed = (
        {d.value: np.array([lungs.laboratory(own)[part][d.value] for own in drawn[:1000]]) for d in DISEASES} for part in (0, 1)
    )
    for k, disease in enumerate(DISEASES):
        has = np.array([own.present[k] for own in drawn[:1000]])
        moved = np.log(complete[disease.value][has]).mean() - np.log(complete[disease.value][~has]).mean()
        assert moved / disease.spread == pytest.approx(SHIFT, abs=0.35)
        assert not np.isnan(observed[disease.value]).any()
    lost = [draw_lungs(replace(MANY, missing=1.0), i).measured for i in range(1000)]
    assert 1 - np.mean(lost) == pytest.approx(0.1, abs=0.02)


@pytest.fixture(scope="module")
def painted():
    """Films of two patients with random signs, and the same films without."""
    config = Config(patients=2, seed=7)
    bare = []
    for i, truth in enumerate(draw_truths(config)):
        lesion = radiology.draw_lesion(truth, stream(config, "lesion", i))
        volume = radiology.draw_volume(truth, lesion, stream(config, "scan", i))
        bare.append(radiology.draw_film(truth, volume, lesion, stream(config, "film", i)))
    rng = np.random.default_rng(0)
    shown = rng.random((80, len(DISEASES))) < 0.3
    films = [draw_signs(bare[i % 2], tuple(map(bool, row)), rng) for i, row in enumerate(shown)]
    return bare, shown, np.stack(films).astype(float)


def boxes(films, across, y):
    """Cut the same box, in millimetres, out of both sides: ``[film, side, ...]``, the right one mirrored."""
    height, width = films.shape[1:]
    rows = slice(*(round(height / 2 - v / MM_PER_PX[0]) for v in y[::-1]))
    columns = slice(*(round(width / 2 + v / MM_PER_PX[1]) for v in across))
    return np.stack([films[:, rows, columns], films[:, :, ::-1][:, rows, columns]], axis=1)


def edges(films, across, y):
    return boxes(np.abs(np.stack([laplace(f) for f in films])), across, y).mean(axis=(2, 3))


def bright(films, across, y, quantile):
    return np.quantile(boxes(films, across, y).reshape(len(films), 2, -1), quantile, axis=2)


MEASURES = {
    "COPD": lambda f: -bright(f, (60, 100), (-98, -80), 0.5).min(axis=1),
    "bronchiectasis": lambda f: (boxes(f, (45, 105), (-60, -12)) > 230).mean(axis=(2, 3)).max(axis=1),
    "pneumothorax": lambda f: -bright(f, (105, 134), (40, 100), 0.1).min(axis=1),
    "pneumonia": lambda f: bright(f, (62, 108), (-30, 20), 0.5).max(axis=1),
    "interstitial lung disease": lambda f: edges(f, (80, 125), (-60, -10)).min(axis=1),
    "tuberculosis": lambda f: -bright(f, (62, 100), (50, 96), 0.03).min(axis=1),
    "lung cancer": lambda f: bright(f, (34, 62), (0, 35), 0.5).max(axis=1),
    "pleural effusion": lambda f: bright(f, (95, 118), (-72, -50), 0.4).max(axis=1),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_sign_is_visible_by_a_simple_measure_whatever_else_is_drawn(painted, name):
    _, shown, films = painted
    assert roc_auc_score(shown[:, NAMES.index(name)], MEASURES[name](films)) > 0.85


@pytest.mark.parametrize("name", NAMES)
def test_a_sign_changes_its_place_and_leaves_the_rest_of_the_film(painted, name):
    bare, _, _ = painted
    alone = draw_signs(bare[0], tuple(n == name for n in NAMES), np.random.default_rng(3))
    changed = np.abs(alone.astype(int) - bare[0]) > 15
    assert 150 < changed.sum() < 0.5 * changed.size
    assert not changed[:, :12].any() and not changed[:, 154:166].any()
    assert (draw_signs(bare[0], (False,) * len(NAMES), np.random.default_rng(3)) == bare[0]).all()
    one_sided = name not in ("COPD", "interstitial lung disease")
    assert (min(changed[:, :160].sum(), changed[:, 160:].sum()) < 30) == one_sided
