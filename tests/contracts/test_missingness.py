"""Every policy for absent blocks: what is present stays, what is filled in comes from training patients alone."""

import dataclasses

import numpy as np
import pytest
from fusion_checks import DIMS, who_has_what

from oncoweave.core import shelf
from oncoweave.core.errors import DataError
from oncoweave.core.state import load_state, save_state

ACTS_ON = {entry.name: entry.constants.get("ACTS_ON") for entry in shelf.catalogue("missingness")}


def _drawn(rng, n=60):
    """Blocks that tell of one another, so that there is something to fill them in by."""
    shared = rng.normal(size=(n, 2))
    blocks = {m: 10 + 3 * (shared @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n, d))) for m, d in DIMS.items()}
    who = who_has_what(rng, n)
    return blocks, {m: np.where(who[:, [j]], b, np.nan) for j, (m, b) in enumerate(blocks.items())}


def _take(blocks, rows):
    return {m: b[rows] for m, b in blocks.items()}


@pytest.fixture(params=[name for name, acts in ACTS_ON.items() if acts == "blocks"])
def policy(request):
    return shelf.load("missingness", request.param)


@pytest.mark.parametrize("name", ACTS_ON)
def test_every_policy_states_what_it_acts_on_and_is_set_by_scalars(name):
    assert ACTS_ON[name] in {"blocks", "encoded"}
    config = shelf.load("missingness", name).Config
    assert config.__dataclass_params__.frozen
    assert all(isinstance(value, float | int | str) for value in dataclasses.asdict(config()).values())


def test_blocks_become_finite_what_is_present_stays_and_nothing_handed_in_changes(policy, rng):
    _, blocks = _drawn(rng)
    before = {m: b.copy() for m, b in blocks.items()}
    filled = policy.fit(blocks, policy.Config()).transform(blocks)
    assert list(filled) == list(blocks)
    for m, b in blocks.items():
        assert np.isfinite(filled[m]).all()
        np.testing.assert_array_equal(b, before[m])
        has = ~np.isnan(b).all(axis=1)
        np.testing.assert_array_equal(filled[m][has], b[has])
        filled[m][:] = 0.0
        np.testing.assert_array_equal(b, before[m])


def test_blocks_one_by_one_equal_the_batch_and_follow_order(policy, rng):
    _, blocks = _drawn(rng)
    fitted = policy.fit(_take(blocks, np.arange(40)), policy.Config())
    together, order = fitted.transform(blocks), rng.permutation(60)
    alone = [fitted.transform(_take(blocks, [i])) for i in range(60)]
    shuffled = fitted.transform(_take(blocks, order))
    for m in DIMS:
        np.testing.assert_allclose(np.vstack([a[m] for a in alone]), together[m], rtol=1e-10)
        np.testing.assert_allclose(shuffled[m], together[m][order], rtol=1e-10)
    swapped = fitted.transform(dict(reversed(blocks.items())))
    assert all(np.array_equal(swapped[m], together[m]) for m in DIMS)


def test_blocks_of_test_patients_change_nothing_for_others(policy, rng):
    _, blocks = _drawn(rng)
    train, test = _take(blocks, np.arange(40)), _take(blocks, np.arange(40, 60))
    fitted = policy.fit(train, policy.Config())
    first = fitted.transform(test)
    spoiled = {m: np.where(np.arange(20)[:, None] > 0, 1e6 * b, b) for m, b in test.items()}
    for m, b in fitted.transform(spoiled).items():
        np.testing.assert_allclose(b[0], first[m][0], rtol=1e-12)
    # nor do those who train it keep hold of what was handed in
    for b in train.values():
        b[:] = -5.0
    for m, b in fitted.transform(test).items():
        np.testing.assert_array_equal(b, first[m])


def test_blocks_are_filled_with_what_patients_alike_have(policy, rng):
    """Better than the mean by far, but for the mean itself, and in the columns' own units."""
    truth, blocks = _drawn(rng, 200)
    filled = policy.fit(blocks, policy.Config()).transform(blocks)
    for m in DIMS:
        absent = np.isnan(blocks[m]).all(axis=1)
        # with only one other block there is less to go by
        error = ((filled[m] - truth[m])[absent] ** 2).mean() / ((np.nanmean(blocks[m], axis=0) - truth[m])[absent] ** 2).mean()
        assert error == pytest.approx(1.0) if policy.__name__.endswith(".mean") else error < 0.8


def test_blocks_nobody_had_in_training_and_columns_that_do_not_vary(policy, rng):
    _, blocks = _drawn(rng)
    blocks = _take(blocks, ~np.isnan(blocks["clinical"]).all(axis=1) | ~np.isnan(blocks["slide.he"]).all(axis=1))
    blocks["rna"][:] = np.nan
    blocks["clinical"][~np.isnan(blocks["clinical"])] = 7.0
    fitted = policy.fit(blocks, policy.Config())
    filled = fitted.transform(blocks)
    np.testing.assert_array_equal(filled["rna"], 0.0)
    np.testing.assert_allclose(filled["clinical"], 7.0)
    lonely = {m: np.full((1, d), np.nan) for m, d in DIMS.items()} | {"rna": np.ones((1, 3))}
    np.testing.assert_allclose(fitted.transform(lonely)["clinical"], 7.0)


def test_blocks_of_one_modality_stay_as_they_are(policy, rng):
    block = {"rna": rng.normal(size=(10, 3))}
    np.testing.assert_array_equal(policy.fit(block, policy.Config()).transform(block)["rna"], block["rna"])


def test_block_policies_refuse_what_does_not_fit(policy, rng):
    _, blocks = _drawn(rng)
    fitted = policy.fit(blocks, policy.Config())
    nobody = {m: b.copy() for m, b in blocks.items()}
    for b in nobody.values():
        b[3] = np.nan
    partly = {m: b.copy() for m, b in blocks.items()}
    partly["rna"][0] = [1.0, np.nan, 2.0]
    for call in (fitted.transform, lambda b: policy.fit(b, policy.Config())):
        with pytest.raises(DataError, match="row 3 has no modality"):
            call(nobody)
        with pytest.raises(DataError, match="modality 'rna': row 0, column 1 is nan"):
            call(partly)
    with pytest.raises(DataError, match="modality 'clinical': wanted a block"):
        fitted.transform(blocks | {"clinical": np.ones((60, 1))})
    with pytest.raises(DataError, match=r"got .'rna'."):
        fitted.transform({"rna": blocks["rna"]})
    with pytest.raises(DataError, match="'petscan'"):
        fitted.transform(blocks | {"petscan": blocks["rna"]})


def test_block_policies_round_trip(policy, rng, tmp_path):
    _, blocks = _drawn(rng)
    fitted = policy.fit(blocks, policy.Config())
    save_state(tmp_path / "policy.safetensors", fitted)
    again = load_state(tmp_path / "policy.safetensors").transform(blocks)
    for m, b in fitted.transform(blocks).items():
        np.testing.assert_array_equal(again[m], b)
