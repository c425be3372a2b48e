"""A network that has learned a patch, a word and a value: what is attended, and what the outputs do without it."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.explain.attention import FOLLOWED, attend, attend_from
from oncoweave.explain.occlusion import agreement, delete_modalities, delete_tokens
from oncoweave.explain.patches import grid_map, overlay, word_map, write_overlay
from oncoweave.explain.ranking import mean_shares, rank_columns
from oncoweave.explain.words import Word, rank_words, top_words, words_of
from oncoweave.modalities import report
from planted_tokens import KINDS, LABS, PLANTED_LAB, PLANTED_PATCH, YES, patients, trained, untrained, with_fusion

pytest.importorskip("tokenizers")
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def data():
    return patients()


@pytest.fixture(scope="module")
def network(data):
    return trained(data, depth=2, steps=40)


@pytest.fixture(scope="module")
def attention(network, data):
    return attend(network, data)


@pytest.fixture(scope="module")
def changes(network, data):
    return {name: delete_tokens(network, data, name) for name in KINDS}


@pytest.fixture(scope="module")
def modality_changes(network, data):
    return delete_modalities(network, data)


def positive(data, outcome: int) -> list[int]:
    name = list(KINDS)[outcome]
    return [i for i in range(len(data)) if data.outcome.values[i, outcome] == 1 and data.samples[name][i] is not None]


def words(network, data, attention, i: int) -> tuple[Word, ...]:
    return words_of(network.preparations["report"], data.samples["report"][i], attention.rollout.tokens["report"][i])


def test_the_network_has_learned_what_was_planted(network, data):
    scores, y = network.predict(data), data.outcome.values
    for k in range(3):
        assert scores[y[:, k] == 1, k].min() > scores[y[:, k] == 0, k].max()


def test_shares_sum_to_one_and_what_is_absent_gets_none(attention, data):
    for received in (attention.rollout, attention.last):
        np.testing.assert_allclose(received.shares.sum(axis=1), 1.0, atol=1e-6)
        assert (received.shares[~data.availability] == 0).all()
        assert received.shares[data.availability].min() > 0
    means = mean_shares(attention.rollout.shares, attention.modalities, generator=RNG(0), replicates=200)
    assert sum(m.value for m in means.values()) == pytest.approx(1.0)
    assert all(m.low < m.value < m.high for m in means.values())


def test_values_that_were_not_measured_receive_nothing(attention, data):
    table = attention.rollout.table("record")
    missing = [[s.values[name] is None for name in LABS] for s in data.samples["record"]]
    np.testing.assert_array_equal(np.isnan(table), missing)
    ragged = dataclasses.replace(attention.rollout, tokens={"report": (np.ones(3), None, np.ones(2))})
    with pytest.raises(DataError, match=r"modality 'report': wanted the same tokens for every patient, got \[2, 3\]"):
        ragged.table("report")


@pytest.mark.parametrize("readout", ["modalities", "mean", "summary"])
def test_one_patient_gives_the_row_of_the_batch_in_every_readout(data, readout):
    few = data.take(np.arange(3, 7))
    network = untrained(data, readout=readout, depth=2)
    together = attend(network, few, at_once=4)
    for i in range(4):
        alone = attend(network, few.take(np.array([i])))
        np.testing.assert_allclose(alone.rollout.shares, together.rollout.shares[i : i + 1], atol=1e-6)
        np.testing.assert_allclose(alone.last.shares.sum(), 1.0, atol=1e-6)
        for name in KINDS:
            a, b = alone.rollout.tokens[name][0], together.rollout.tokens[name][i]
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, atol=1e-6)


def test_members_are_averaged(network, data):
    few = data.take(np.arange(4))
    other = untrained(data, depth=2)
    both = attend(dataclasses.replace(network, members=network.members + other.members), few)
    singles = [attend(one, few).rollout.shares for one in (network, other)]
    np.testing.assert_allclose(both.rollout.shares, np.mean(singles, axis=0), atol=1e-9)


def test_streams_that_exchange_by_the_average_share_alike_whatever_was_learned(data):
    """With exchange ``average`` in all blocks and a summary a modality, shares are set by design: they say nothing."""
    network = untrained(data, depth=2, mixing=2, readout="summary")
    shares = attend(network, data.take(np.arange(4))).rollout.shares
    np.testing.assert_allclose(shares, 1 / 3, atol=1e-6)


def test_a_patient_without_anything_has_no_shares_and_no_changes(network, data):
    nobody = dataclasses.replace(data.take(np.arange(2)), samples={m: (None, s[1]) for m, s in data.samples.items()})
    found = attend(network, nobody).rollout
    assert np.isnan(found.shares[0]).all()
    assert found.tokens["film"][0] is None
    changes = delete_modalities(network, nobody)
    assert np.isnan(changes[0]).all()
    assert np.isfinite(changes[1]).all()
    assert delete_tokens(network, nobody, "report")[0] is None


@pytest.mark.parametrize("outcome", range(3))
def test_deletion_changes_an_outcome_most_for_the_modality_it_stands_in(data, modality_changes, outcome):
    changes = np.abs(modality_changes[positive(data, outcome), :, outcome])
    assert changes.mean(axis=0).argmax() == outcome
    lacks = np.array([s is None for s in data.samples["report"]])
    assert (modality_changes[lacks, 1] == 0).all()


def test_deletion_finds_the_planted_patch_word_and_value(network, data, attention, changes):
    x, y = PLANTED_PATCH
    assert [int(np.abs(changes["film"][i][:, 0]).argmax()) for i in positive(data, 0)] == [4 * y + x] * len(positive(data, 0))
    decisive = []
    for i in positive(data, 1):
        found = words(network, data, attention, i)
        pieces = [np.abs(changes["report"][i][list(w.pieces), 1]).max() for w in found]
        decisive.append(found[int(np.argmax(pieces))].text)
    assert decisive.count(YES) > 0.7 * len(decisive)
    size = np.nanmean(np.abs(np.stack(changes["record"])[:, :, 2]), axis=0)
    assert LABS[int(size.argmax())] == PLANTED_LAB
    assert size.max() > 3 * np.sort(size)[-2]


def test_deleting_a_modality_is_predicting_without_it(network, data):
    few = data.take(np.arange(3))
    without = dataclasses.replace(few, samples=few.samples | {"film": (None,) * 3})
    changes = delete_modalities(network, few)[:, 0]
    logit = [np.log(p / (1 - p)) for p in (network.predict(few), network.predict(without))]
    np.testing.assert_allclose(changes, logit[0] - logit[1], atol=1e-4)


def test_attention_need_not_rank_as_deletion_does(data, attention, changes):
    """The planted value decides its outcome in every patient, and others are attended as much: attention attributes nothing."""
    ranked = rank_columns(attention.rollout.table("record"), LABS, generator=RNG(0), replicates=200)
    assert max(r.value.value for r in ranked) < 1.5
    agreed = {name: agreement(attention.rollout.tokens[name], changes[name], generator=RNG(0)) for name in KINDS}
    assert agreed["record"].correlation.high < 0.9
    assert agreed["record"].patients == len(data)
    # a patch that no other is like is attended most as well
    x, y = PLANTED_PATCH
    patches = [attention.rollout.tokens["film"][i] for i in positive(data, 0)]
    assert grid_map(np.mean(patches, axis=0), PLACES).argmax() == 4 * y + x


PLACES = np.array([(x, y, 0) for y in range(4) for x in range(4)], dtype=float)


def test_words_stand_where_their_offsets_say_and_hold_all_attention(network, data, attention):
    for i in positive(data, 1):
        found, text = words(network, data, attention, i), data.samples["report"][i].text
        assert [w.text for w in found] == [text[w.start : w.end] for w in found]
        assert " ".join(w.text for w in found).replace(" .", ".") == text
        assert sum(w.attention for w in found) == pytest.approx(attention.rollout.tokens["report"][i].sum())
        assert list(itertools.chain(*(w.pieces for w in found))) == list(range(len(attention.rollout.tokens["report"][i])))
    assert YES not in repr(found)


def test_hidden_words_are_no_words_and_move_nothing():
    texts = ["Intubated at night, dyspnoea.", "dyspnoea at night, intubated"] * 6
    samples = [report.Sample(patient_id=str(i), text=t, mask_words=("intubat*",)) for i, t in enumerate(texts)]
    preparation = report.fit(samples)
    count = int(preparation.collate(samples[:1]).keep.sum())
    found = words_of(preparation, samples[0], np.ones(count))
    assert [(w.text, w.start) for w in found] == [("at", 10), ("night", 13), (",", 18), ("dyspnoea", 20), (".", 28)]
    with pytest.raises(DataError, match=r"tokens and attention on"):
        words_of(preparation, samples[0], np.ones(count + 1))


def word(text: str, attention: float, start: int) -> Word:
    return Word(start=start, end=start + len(text), pieces=(start,), attention=attention, text=text)


def test_a_quarter_of_the_words_is_important_and_one_patients_words_are_not_listed():
    first = [word(t, a, i) for i, (t, a) in enumerate([("a", 0.1), ("Fever", 0.4), ("b", 0.1), ("Smith", 0.3), ("c", 0.1)])]
    assert [w.text for w in top_words(first)] == ["Fever", "Smith"]
    assert [w.text for w in top_words(first[:4])] == ["Fever"]
    second = [word("fever", 0.2, 0), word("a", 0.2, 1)]
    ranked = rank_words([first, second], generator=RNG(0), least_patients=2)
    assert [(w.text, w.patients) for w in ranked] == [("fever", 2), ("a", 2)]
    assert ranked[0].attention.value == pytest.approx((5 * 0.4 + 2 * 0.2 / 0.4) / 2)
    assert ranked[0].top == 1.0
    with pytest.raises(DataError, match="two patients or more"):
        rank_words([first], generator=RNG(0), least_patients=1)
    with pytest.raises(DataError, match="above 0 and at most 1"):
        top_words(first, share=0)


def test_the_map_of_a_word_lies_in_the_films_grid(network, data, attention, tmp_path):
    i = next(i for i in positive(data, 0) if data.samples["report"][i] is not None)
    patient = data.take(np.array([i]))
    chosen = words(network, data, attention, i)[0]
    grid = word_map(network, patient, chosen)
    received = attend_from(network, patient, modality="report", places=chosen.pieces)
    np.testing.assert_allclose(grid.ravel(), received["film"])
    assert grid.shape == (4, 4)
    assert 0.9 < grid.sum() + received["report"].sum() + received["record"].sum() < 1  # the rest is the report's summary's
    x, y = PLANTED_PATCH
    assert np.unravel_index(grid.argmax(), grid.shape) == (y, x)
    film = data.samples["film"][i].films[0]
    with Image.open(write_overlay(tmp_path / "word.png", grid, film.pixels)) as picture:
        assert picture.size == film.pixels.shape[::-1]


def test_a_grid_keeps_places_and_films_apart():
    values = np.array([1.0, 2.0, 3.0])
    positions = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(grid_map(values, positions), [[np.nan, 1.0], [2.0, np.nan]])
    np.testing.assert_array_equal(grid_map(values, positions, film=1), [[3.0]])
    with pytest.raises(DataError, match=r"no patch is of film 2; there are films \[0, 1\]"):
        grid_map(values, positions, film=2)


def test_the_overlay_colours_the_patch_and_leaves_grey_what_has_none():
    pixels = np.full((40, 40), 100, dtype=np.uint8)
    grid = np.array([[np.nan, 0.0], [0.0, 1.0]])
    drawn = np.asarray(overlay(grid, pixels)).astype(int)
    assert (drawn[:20, :20] == 100).all()
    assert np.ptp(drawn[20:, 20:].reshape(-1, 3), axis=0).max() == 0
    assert drawn[30, 30].sum() > drawn[30, 10].sum() > 0
    with pytest.raises(DataError, match="no value"):
        overlay(np.full((2, 2), np.nan), pixels)


def test_an_encoder_that_pools_leaves_a_share_and_no_tokens(data):
    network = untrained(data, encoders={"film": "film_vit/tiny", "report": "bert/tiny", "record": "linear"}, depth=2)
    found = attend(network, data.take(np.arange(4))).rollout
    assert all(t is None for tokens in found.tokens.values() for t in tokens)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0, atol=1e-6)
    with pytest.raises(ConfigError, match="modality 'report' has no tokens that can be told apart"):
        attend_from(network, data.take(np.array([0])), modality="report", places=(0,))


def test_what_cannot_be_followed_is_refused(network, data):
    with pytest.raises(
        ConfigError, match=r"'gated' has no attention that leads from its vector back to the tokens, .*, mdt, mmp"
    ):
        attend(with_fusion(network, "gated"), data.take(np.arange(2)))
    with pytest.raises(DataError, match="wanted one patient"):
        attend_from(network, data.take(np.arange(2)), modality="report", places=(0,))
    with pytest.raises(DataError, match=r"wanted places among .* got \[99\]"):
        attend_from(network, data.take(np.arange(1)), modality="report", places=(99,))
    with pytest.raises(UnknownNameError, match="no modality of the network named 'rna'"):
        delete_tokens(network, data, "rna")


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_fusion_with_attention_is_followed_to_the_tokens(network, data, name):
    few = data.take(np.arange(3, 6))
    found = attend(with_fusion(network, name), few)
    np.testing.assert_allclose(found.rollout.shares.sum(axis=1), 1.0, atol=1e-6)
    assert (found.rollout.shares[~few.availability] == 0).all()
    assert found.rollout.shares[few.availability].min() > 0
    assert (found.last is None) == (name in ("mcat", "motcat", "modality_transformer", "perceiver"))
    for modality, tokens in found.rollout.tokens.items():
        assert [t is None for t in tokens] == [sample is None for sample in few.samples[modality]]


def test_who_has_too_many_tokens_is_left_out(network, data, monkeypatch):
    monkeypatch.setattr("oncoweave.explain.batches.MAX_TOKENS", 10)
    found = attend(network, data.take(np.arange(1)))
    assert found.left_out.tolist() == [True]
    assert np.isnan(found.rollout.shares).all()
    assert found.rollout.tokens["film"] == (None,)


def test_nothing_is_trained_or_changed_by_looking(network, data):
    before = {name: value.copy() for name, value in network.members[0].items()}
    attend(network, data.take(np.arange(2)))
    assert torch.is_grad_enabled()
    assert all((before[name] == value).all() for name, value in network.members[0].items())
