"""Policies for absent blocks against what they should fill in, written out."""

import numpy as np

from oncoweave.missingness import iterative, knn, retrieval

NAN = np.nan


def _column(*values):
    return np.array(values, dtype=float)[:, None]


def test_neighbours_are_the_nearest_who_have_the_block_and_share_one():
    train = {"a": _column(0, 1, 2, 10, NAN, 1.4), "b": _column(5, 7, 9, 100, 8, NAN)}
    fitted = knn.fit(train, knn.Config(neighbours=2))
    new = {"a": _column(1.4, NAN), "b": _column(NAN, 8)}
    filled = fitted.transform(new)
    # patient 5 is nearest but lacks b, patient 4 shares nothing
    np.testing.assert_allclose(filled["b"][:, 0], [(7 + 9) / 2, 8])
    np.testing.assert_allclose(filled["a"][1, 0], (1 + 2) / 2)  # patient 4 has b = 8 but lacks a
    few = knn.fit(train, knn.Config(neighbours=99)).transform(new)
    np.testing.assert_allclose(few["b"][0, 0], np.mean([5, 7, 9, 100]))


def test_a_donor_gives_all_that_is_lacking_and_only_blocks_that_patients_have_are_given():
    train = {"a": _column(0, 1, 2, 3), "b": _column(5, NAN, 7, 8), "c": _column(50, 60, NAN, 80)}
    fitted = retrieval.fit(train, retrieval.Config())
    filled = fitted.transform({"a": _column(1.9, 1.9), "b": _column(NAN, 7.0), "c": _column(NAN, NAN)})
    assert (filled["b"][0, 0], filled["c"][0, 0]) == (8, 80)  # of 0 and 3, who have both, 3 is the nearer
    assert filled["c"][1, 0] in (60, 80)
    nobody_has_both = {"a": _column(0, 1, 2), "b": _column(5, NAN, NAN), "c": _column(NAN, 60, 70)}
    apart = retrieval.fit(nobody_has_both, retrieval.Config())
    filled = apart.transform({"a": _column(1.9), "b": _column(NAN), "c": _column(NAN)})
    assert (filled["b"][0, 0], filled["c"][0, 0]) == (5, 70)


def test_without_a_shared_block_the_training_mean_stands_in():
    train = {"a": _column(1, 2, NAN), "b": _column(NAN, NAN, 4)}
    for policy in (knn, retrieval):
        filled = policy.fit(train, policy.Config()).transform({"a": _column(NAN), "b": _column(9)})
        np.testing.assert_allclose(filled["a"], 1.5)


def test_a_regression_reaches_patients_unlike_those_it_was_fitted_on(rng):
    """The block is measured only where the other is high: the line goes on where it is low."""
    told = rng.normal(size=(400, 1))
    told -= told.mean()
    block = 3 * told + 0.1 * rng.normal(size=(400, 1)) + 7
    given = {"a": np.where(told > 0, block, NAN), "b": told}
    filled = iterative.fit(given, iterative.Config()).transform(given)["a"]
    np.testing.assert_allclose(filled[told < 0], (3 * told + 7)[told < 0], atol=0.3)


def test_regressions_recover_blocks_that_follow_from_the_others(rng):
    z = rng.normal(size=(150, 2))
    blocks = {"a": z @ rng.normal(size=(2, 6)) + 3, "b": z @ rng.normal(size=(2, 30)) - 9, "c": z @ rng.normal(size=(2, 2))}
    given = {m: b.copy() for m, b in blocks.items()}
    given["a"][:40], given["b"][30:80], given["c"][70:75] = NAN, NAN, NAN
    filled = iterative.fit(given, iterative.Config()).transform(given)
    for m, b in blocks.items():
        absent = np.isnan(given[m]).all(axis=1)
        assert ((filled[m] - b)[absent] ** 2).mean() < 0.05 * b.var(axis=0).mean()
