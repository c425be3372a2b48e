"""What a network that learned a planted patch, word and value shows over a cohort: deletion finds them beside attention."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.explain.attention import attend
from oncoweave.explain.cohort import Options, explain_cohort
from oncoweave.explain.occlusion import delete_groups, delete_tokens, sizes
from oncoweave.explain.patient import explain_patient
from oncoweave.explain.ranking import mean_interval, rank_means
from oncoweave.explain.words import same_words, words_of
from oncoweave.modalities import record
from oncoweave.objectives.classify import Classify
from oncoweave.serve.explain.about import About
from oncoweave.serve.explain.patients import write_patient
from oncoweave.serve.explain.sections import columns_sections
from oncoweave.serve.page import Prose
from planted_tokens import KINDS, LABS, NO, PLANTED_LAB, YES, patients, trained, untrained, with_fusion

pytest.importorskip("tokenizers")
RNG = np.random.default_rng
ABOUT = About(
    study="s", model="m", fusion="f", encoders={}, members=1, endpoint="y", endpoint_kind="multilabel", unit="log-odds",
    scale="", own=True, seen=0, hashes={"model": "0", "cohort": "0"}, versions={}, sample=50, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return patients()


@pytest.fixture(scope="module")
def network(data):
    return trained(data, depth=2, steps=40)


@pytest.fixture(scope="module")
def findings(network, data):
    options = Options(sample=24, hidden=frozenset({"walking"}), replicates=200)
    return explain_cohort(network, data, generator=RNG(0), options=options)


def test_shares_stand_beside_what_deleting_the_modality_does(findings, network, data):
    shares = findings.shares.set_index("modality")
    assert shares["share"].sum() == pytest.approx(1.0)
    assert (shares["low"] < shares["share"]).all() and (shares["share"] < shares["high"]).all()
    assert (shares["change_low"] < shares["change"]).all() and (shares["change"] < shares["change_high"]).all()
    np.testing.assert_array_equal(shares["patients"], data.availability.sum(axis=0))
    followed = attend(network, data).rollout.shares
    np.testing.assert_allclose(shares["share"], followed.mean(axis=0))
    report = data.availability[:, 1]
    assert shares.loc["report", "share_where_present"] == pytest.approx(followed[report, 1].mean())
    assert shares.loc["report", "change_where_present"] == pytest.approx(shares.loc["report", "change"] * 40 / report.sum())
    assert (findings.patients, findings.without, findings.sampled, findings.outputs) == (40, 0, 24, 3)


def test_deletion_names_the_planted_column_and_the_planted_word(findings):
    columns = findings.columns.set_index("column")
    assert set(columns.index) == set(LABS)
    assert columns["change"].idxmax() == PLANTED_LAB
    assert (columns.loc[PLANTED_LAB, "change_rank"], columns.loc[PLANTED_LAB, "change_stability"]) == (1, 1.0)
    assert (columns["patients"] <= 40).all() and columns.loc[PLANTED_LAB, "patients"] == 40
    assert columns.loc[PLANTED_LAB, "change_patients"] == 24
    words = findings.words.set_index("word")
    assert set(words["change"].nlargest(2).index) == {YES, NO}  # one of the two is in every report
    assert words.loc[YES, "change_low"] < words.loc[YES, "change"] < words.loc[YES, "change_high"]


def test_words_of_few_patients_and_parts_of_identifiers_are_not_listed(findings, data):
    texts = [s.text for s in data.samples["report"] if s is not None]
    counts = Counter(word for text in texts for word in set(text.rstrip(".").split()))
    listed = findings.words.set_index("word")["patients"]
    assert listed.to_dict() == {word: n for word, n in counts.items() if n >= 5 and word != "walking"}
    assert findings.unlisted == {"report": 1, "record": 0}
    assert 0 < findings.punctuation["report"] < 1


def test_agreement_is_told_of_every_level(findings):
    agreed = findings.agreement.set_index(["level", "modality"])
    assert list(agreed.index) == [("modalities", ""), ("patches", "film"), ("words", "report"), ("columns", "record")]
    assert agreed["correlation"].between(-1, 1).all()
    assert (agreed["low"] <= agreed["correlation"]).all() and (agreed["correlation"] <= agreed["high"]).all()
    assert agreed.loc[("columns", "record"), "patients"] == 24


def test_no_table_holds_a_patient(findings, data):
    cells = {str(v) for t in (findings.shares, findings.columns, findings.words, findings.agreement) for v in t.to_numpy().flat}
    assert not cells & set(data.patient_ids)


def test_what_cannot_be_told_apart_is_named(data):
    encoders = {"film": "film_vit/tiny", "report": "bert/tiny", "record": "linear"}
    found = explain_cohort(untrained(data, encoders=encoders), data.take(np.arange(6)), generator=RNG(0))
    assert found.pooled == ("film", "report", "record")
    assert found.columns.empty and found.words.empty
    assert list(found.agreement["level"]) == ["modalities"]


def test_a_cohort_in_which_nobody_has_anything_is_refused(network, data):
    nobody = dataclasses.replace(data.take(np.arange(2)), samples=dict.fromkeys(KINDS, (None, None)))
    with pytest.raises(DataError, match=r"none of the 2 patients has any of the network's modalities \(film, report, record\)"):
        explain_cohort(network, nobody, generator=RNG(0))


def test_a_patient_without_anything_has_no_findings(network, data):
    nobody = dataclasses.replace(data.take(np.arange(1)), samples=dict.fromkeys(KINDS, (None,)))
    found = explain_patient(network, nobody)
    assert (found.modalities, found.columns, found.readings, found.pictures) == ((), {}, {}, ())


def test_a_patients_words_are_deleted_one_place_at_a_time(network, data):
    i = next(i for i in range(40) if data.availability[i].all())
    patient = data.take(np.array([i]))
    found = explain_patient(network, patient)
    assert [item.name for item in found.modalities] == list(KINDS)
    assert sum(item.attention for item in found.modalities) == pytest.approx(1.0)
    reading = found.readings["report"]
    (pieces,) = delete_groups(network, patient, "report", [[w.pieces for w in reading.words]])
    np.testing.assert_allclose(reading.changes, sizes(network, pieces), atol=1e-9)
    assert reading.words[reading.ranked[0]].text in (YES, NO)
    assert reading.decisive[0].text in (YES, NO) and len({w.text for w in reading.decisive}) == 4
    (picture,) = found.pictures
    assert [m.kind for m in picture.maps] == ["attention", "deletion", *["word"] * 4]
    measured = {item.name: item.value for item in found.columns["record"]}
    assert measured == {k: v for k, v in patient.samples["record"][0].values.items() if v is not None}
    assert YES not in repr(found) and NO not in repr(found)


def test_where_no_word_attends_to_a_patch_no_word_has_a_map(network, data, tmp_path):
    patient = data.take(np.array([next(i for i in range(40) if data.availability[i].all())]))
    found = explain_patient(with_fusion(network, "perceiver"), patient)
    (picture,) = found.pictures
    assert [m.kind for m in picture.maps] == ["attention", "deletion"]
    assert found.readings["report"].decisive
    write_patient(tmp_path / "1", found, ABOUT, number=1)
    assert "so no word has a map" in (tmp_path / "1" / "patient.html").read_text(encoding="utf-8")


def test_progress_counts_every_patient(data):
    told = []
    network = untrained(data, depth=2)
    explain_cohort(network, data.take(np.arange(5)), generator=RNG(0), options=Options(sample=3, replicates=10),
                   progress=lambda *now: told.append(now))  # fmt: skip
    assert ("following attention", 5, 5) in told and ("deleting modalities", 5, 5) in told
    assert {what for what, done, of in told if done == of == 3} == {f"deleting tokens of {name}" for name in KINDS}


def test_deleting_a_group_is_predicting_without_it(network, data):
    few = data.take(np.array([1, 2]))
    pair = [LABS.index("crp"), LABS.index("ferritin")]
    changes = delete_groups(network, few, "record", [[pair, [0]]] * 2)

    def lacks(sample):
        return record.Sample(patient_id=sample.patient_id, values=dict(sample.values) | {"crp": None, "ferritin": None})

    without = dataclasses.replace(few, samples=few.samples | {"record": tuple(map(lacks, few.samples["record"]))})
    logit = [np.log(p / (1 - p)) for p in (network.predict(few), network.predict(without))]
    np.testing.assert_allclose([c[0] for c in changes], logit[0] - logit[1], atol=1e-4)
    alone = delete_tokens(network, few, "record")
    np.testing.assert_allclose([c[1] for c in changes], [c[0] for c in alone], atol=1e-6)


def test_a_group_of_nothing_and_one_of_everything_have_no_change(network, data):
    row = next(i for i, s in enumerate(data.samples["record"]) if s.values["albumin"] is None)
    only = dataclasses.replace(data, samples=data.samples | {"film": (None,) * 40, "report": (None,) * 40})
    one = only.take(np.array([row]))
    (changes,) = delete_groups(network, one, "record", [[[LABS.index("albumin")], range(len(LABS)), [2]]])
    assert np.isnan(changes[0]).all() and np.isnan(changes[1]).all() and np.isfinite(changes[2]).all()


def test_a_word_is_deleted_wherever_it_stands(network, data):
    i = next(i for i, s in enumerate(data.samples["report"]) if s is not None)
    sample = dataclasses.replace(data.samples["report"][i], text="Cough, and cough.")
    count = int(network.preparations["report"].collate([sample]).keep.sum())
    words = words_of(network.preparations["report"], sample, np.ones(count))
    found = same_words(words)
    assert list(found) == ["cough", ",", "and", "."]
    assert sorted(p for places in found.values() for p in places) == list(range(count))
    assert found["cough"] == words[0].pieces + words[3].pieces


def test_what_all_classes_of_a_softmax_share_is_no_change(network):
    changes = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0]])
    np.testing.assert_allclose(sizes(network, changes), [1.0, (2 / 3) ** 0.5])
    softmax = dataclasses.replace(network, objective=Classify(weights=np.ones(3), num_outputs=3))
    np.testing.assert_allclose(sizes(softmax, changes + 5.0), [0.0, (2 / 3) ** 0.5], atol=1e-12)


def test_means_are_over_those_who_have_a_value():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 5.0]])
    first, second = rank_means(values, ["a", "b"], generator=RNG(0), replicates=50)
    assert [(r.name, r.value.value, r.patients) for r in (first, second)] == [("b", 5.0, 2), ("a", 2.0, 2)]
    assert mean_interval(values[:, 0], generator=RNG(0)).value == 2.0
    with pytest.raises(DataError, match="nothing to average"):
        mean_interval(values[:0, 0], generator=RNG(0))
    with pytest.raises(DataError, match="got 1 names of 2 columns"):
        rank_means(values, ["a"], generator=RNG(0))


def test_a_column_that_few_of_those_drawn_have_gets_no_rank_by_deletion(network, data):
    """A mean of a handful of patients would be ranked first by luck, with an interval of no width."""
    samples = [
        record.Sample(patient_id=s.patient_id, values=dict(s.values) | ({"sodium": None} if i > 3 else {}))
        for i, s in enumerate(data.samples["record"])
    ]
    rare = dataclasses.replace(data, samples=data.samples | {"record": tuple(samples)})
    found = explain_cohort(network, rare.take(np.arange(12)), generator=RNG(0), options=Options(replicates=50))
    columns = found.columns.set_index("column")
    assert columns.loc["sodium", "patients"] == 4
    assert np.isnan(columns.loc["sodium", "change"]) and columns.loc["sodium", "change_patients"] == 0
    assert sorted(columns["change_rank"].dropna()) == [1, 2, 3, 4]
    (section,) = columns_sections(found, ABOUT)
    page = " ".join(block.text if isinstance(block, Prose) else block.caption for block in section.blocks)
    attention = columns.loc["sodium", "attention"]
    assert "Columns of record that 5 or more of those drawn have, most attended first" in page
    assert (
        "In columns.parquet: 1 column that fewer than 5 of those drawn have, too few to delete:"
        f" sodium (attention {attention:.2f})." in page
    )
