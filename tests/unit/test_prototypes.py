"""Prototypes of tiles: planted components come back, degenerate fits fall to k-means, summaries have their closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from oncoweave.core.errors import DataError
from oncoweave.encoders import prototypes
from oncoweave.nn.mixtures import fit_mixture, patient_components, responsibilities
from oncoweave.nn.tokens import Tokens, pad

MEANS = np.array([[-4.0, 0.0, 1.0], [4.0, 1.0, 0.0], [0.0, 5.0, -3.0]])
SPREADS = np.array([[0.5, 1.0, 0.3], [1.0, 0.4, 0.6], [0.7, 0.7, 1.2]])
SHARES = np.array([0.5, 0.3, 0.2])


def _drawn(rng, n, shares=SHARES):
    kinds = rng.choice(3, size=n, p=shares)
    return MEANS[kinds] + SPREADS[kinds] * rng.normal(size=(n, 3)), kinds


def _tokens(bags):
    return pad([None if b is None else torch.from_numpy(b).float() for b in bags], 3)


def _fitted(rng, **settings):
    config = prototypes.Config(**{"prototypes": 3, "floor": 1e-4} | settings)
    network = prototypes.build(config, dim_in=3, num_tokens=None, dim_out=4).eval()
    network.initialise(
        iter([_tokens([_drawn(rng, 150)[0] for _ in range(5)]) for _ in range(4)]), torch.Generator().manual_seed(0)
    )
    return network


def test_planted_components_come_back(rng):
    found = fit_mixture(_drawn(rng, 4000)[0], components=3, floor=1e-6, steps=100, seed=1)
    assert not found.by_k_means
    order = [int(np.linalg.norm(found.means - mean, axis=1).argmin()) for mean in MEANS]
    np.testing.assert_allclose(found.means[order], MEANS, atol=0.15)  # four standard errors of the rarest component
    np.testing.assert_allclose(np.sqrt(found.variances[order]), SPREADS, rtol=0.1)
    np.testing.assert_allclose(found.weights[order], SHARES, atol=0.03)


def test_em_that_loses_a_component_falls_to_k_means(rng):
    """Variances as wide as the gap: the component of a lone far tile shrinks below one tile, and k-means' cluster is taken."""
    values = np.append(rng.normal(size=500), 60.0)[:, None]
    found = fit_mixture(values, components=2, floor=3600.0, steps=100, seed=0)
    assert found.by_k_means
    lone = int(found.means[:, 0].argmax())
    np.testing.assert_allclose(found.means[[lone, 1 - lone], 0], [60.0, values[:500].mean()])
    np.testing.assert_allclose(found.weights[[lone, 1 - lone]], [1 / 501, 500 / 501])
    np.testing.assert_allclose(found.variances[[lone, 1 - lone], 0], [3600.0, values[:500].var() + 3600.0])


def test_too_few_different_tiles_are_refused():
    with pytest.raises(DataError, match=r"at least 3 different vectors .* got 2"):
        fit_mixture(np.array([[0.0], [1.0], [1.0], [0.0]]), components=3, floor=1e-3, steps=5, seed=0)


def test_responsibilities_are_bayes_rule(rng):
    values = rng.normal(size=(1, 6, 3)) * 3
    density = np.stack(
        [multivariate_normal.pdf(values[0], m, np.diag(s**2)) for m, s in zip(MEANS, SPREADS, strict=True)], axis=1
    )
    expected = SHARES * density / (SHARES * density).sum(axis=1, keepdims=True)
    came = responsibilities(
        torch.from_numpy(values),
        log_weights=torch.from_numpy(SHARES).log(),
        means=torch.from_numpy(MEANS),
        variances=torch.from_numpy(SPREADS**2),
    )
    np.testing.assert_allclose(came[0].numpy(), expected, atol=1e-12)


def test_a_patients_components_are_weighted_moments_that_shrink_to_the_common_ones(rng):
    values, keep = torch.from_numpy(rng.normal(size=(2, 5, 3))), torch.tensor([[True] * 5, [True, True, False, False, False]])
    share = torch.zeros(2, 5, 2).double()
    share[:, :, 0] = 1.0  # every tile is of the first kind
    means, variances = torch.zeros(2, 3).double(), torch.full((2, 3), 2.0).double()
    known = {"means": means, "variances": variances}
    probability, mean, variance = patient_components(values, keep, share, **known, prior=0.0 + 1e-12)
    np.testing.assert_allclose(probability.numpy(), [[1, 0], [1, 0]])
    np.testing.assert_allclose(mean[1, 0].numpy(), values[1, :2].mean(dim=0).numpy(), atol=1e-9)
    np.testing.assert_allclose(variance[0, 0].numpy(), values[0].var(dim=0, correction=0).numpy(), atol=1e-9)
    np.testing.assert_allclose(mean[0, 1].numpy(), 0.0)  # none of its tiles: the common component
    np.testing.assert_allclose(variance[0, 1].numpy(), 2.0)
    _, shrunk, _ = patient_components(values, keep, share, **known, prior=5.0)
    np.testing.assert_allclose(shrunk[0, 0].numpy(), values[0].mean(dim=0).numpy() / 2, atol=1e-12)


def test_tokens_tell_how_much_of_each_kind_a_patient_has(rng):
    network = _fitted(rng)
    tiles, kinds = _drawn(rng, 400, np.array([0.1, 0.2, 0.7]))
    assign = network.assign(_tokens([tiles]))[0].argmax(dim=1).numpy()
    order = [int(np.bincount(assign[kinds == k]).argmax()) for k in range(3)]
    assert sorted(order) == [0, 1, 2]
    assert (np.array(order)[kinds] == assign).mean() > 0.99
    probability, deviation = network._summaries(_tokens([tiles]))
    np.testing.assert_allclose(probability[0, order].numpy(), np.bincount(kinds) / 400, atol=0.01)
    # a patient drawn from the common components: their means and spreads hardly deviate
    assert deviation[0].abs().max() < 0.6


def test_weights_bring_their_prototypes_and_unfitted_ones_are_refused(rng):
    network, given = _fitted(rng), _tokens([_drawn(rng, 9)[0], None])
    fresh = prototypes.build(network.config, dim_in=3, num_tokens=None, dim_out=4).eval()
    with pytest.raises(ValueError, match="have not been fitted"):
        fresh(given)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(given).values, network(given).values)
    assert fresh(given).keep.tolist() == [[True] * 3, [False] * 3]
    assert not network.get_buffer("by_k_means")


def test_the_same_generator_gives_the_same_prototypes_whatever_the_batches(rng):
    bags = [_drawn(rng, 20)[0] for _ in range(6)]
    means = []
    for step in (1, 6):
        network = prototypes.build(prototypes.Config(prototypes=3), dim_in=3, num_tokens=None, dim_out=4)
        batches = (_tokens(bags[i : i + step]) for i in range(0, 6, step))
        network.initialise(batches, torch.Generator().manual_seed(5))
        means.append(network.get_buffer("means"))
    assert torch.equal(*means)
    with pytest.raises(DataError, match="no training patient has a tile"):
        network.initialise(iter([_tokens([None])]), torch.Generator())


def test_a_dimension_that_does_not_vary_and_half_precision_do_no_harm(rng):
    network = prototypes.build(prototypes.Config(prototypes=2), dim_in=3, num_tokens=None, dim_out=4).eval()
    values = rng.normal(size=(40, 3))
    values[:, 1] = 7.0
    network.initialise(iter([_tokens([values])]), torch.Generator().manual_seed(0))
    assert torch.isfinite(network(_tokens([values])).values).all()
    half = network.bfloat16()(Tokens(values=torch.from_numpy(values)[None].bfloat16(), keep=torch.ones(1, 40, dtype=torch.bool)))
    assert half.values.dtype == torch.bfloat16
    assert torch.isfinite(half.values).all()
