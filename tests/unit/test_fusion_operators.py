"""Fusions of one vector a modality against what can be worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.fusion.kronecker import fitting_width
from oncoweave.nn.gaussians import kl_to_standard, product_of_experts
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tensor_product import outer_with_ones
from oncoweave.nn.tokens import Tokens

DIMS = {"a": 3, "b": 4, "c": 2}
DIM_OUT = 4


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def build(name, dims=DIMS, dim_out=DIM_OUT, **settings):
    module = shelf.load("fusion", name)
    return module.build(module.Config(**settings), dims=dict(dims), dim_out=dim_out).eval()


def vectors(present="abc", n=1, dims=DIMS):
    return {m: Tokens(values=torch.randn(n, 1, d), keep=torch.full((n, 1), m in present)) for m, d in dims.items()}


def only(tokens, present):
    return {m: Tokens(values=t.values, keep=t.keep & (m in present)) for m, t in tokens.items()}


def test_sum_adds_and_maximum_takes_the_largest_of_what_each_modality_says_alone():
    tokens = vectors(n=5)
    for name, joined in (("sum", lambda alone: alone.sum(dim=0)), ("max_pool", lambda alone: alone.amax(dim=0))):
        network = build(name)
        for present in ("ab", "bc", "abc"):
            alone = torch.stack([network(only(tokens, m)) for m in present])
            torch.testing.assert_close(network(only(tokens, present)), joined(alone))


def test_multiplicative_holds_interactions_of_every_order_and_an_absent_modality_is_the_factor_one():
    network, tokens = build("multiplicative"), vectors(n=5)
    a, b, c = (network(only(tokens, m)) for m in "abc")  # (1 + h) - 1
    torch.testing.assert_close(network(only(tokens, "ab")), a + b + a * b)
    torch.testing.assert_close(network(tokens), a + b + c + a * b + a * c + b * c + a * b * c)


def test_kronecker_of_two_known_vectors():
    left, right = torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]])
    assert outer_with_ones([left, right]).tolist() == [[10, 14, 2, 15, 21, 3, 5, 7, 1]]
    assert outer_with_ones([torch.zeros(1, 2), right]).tolist() == [[0, 0, 0, 0, 0, 0, 5, 7, 1]]
    three = outer_with_ones([left, right, torch.tensor([[11.0]])])
    assert three.shape == (1, 18)
    assert three[0, :2].tolist() == [110, 10]


def test_kronecker_of_a_patient_who_lacks_a_modality_uses_the_terms_of_the_others():
    network, tokens = build("kronecker", width=2), vectors("ac", n=3)
    h = [torch.tanh(network.projections.layers[j](tokens[m].values[:, 0])) for j, m in ((0, "a"), (2, "c"))]
    weight = network.mix.weight.unflatten(1, (3, 3, 3))[:, :, -1, :].flatten(start_dim=1)
    torch.testing.assert_close(network(tokens), outer_with_ones(h) @ weight.T + network.mix.bias)


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("modality_transformer", {"heads": 3}, "width 4 does not divide into 3 heads"),
    ],
)
def test_settings_that_make_no_network_are_refused(name, settings, match):
    with pytest.raises(ValueError, match=match):
        build(name, **settings)


def test_kronecker_stays_within_its_terms():
    config = shelf.load("fusion", "kronecker").Config()
    assert [fitting_width(m, config) for m in (1, 2, 3, 4, 6, 12)] == [32, 32, 15, 7, 3, 1]
    with pytest.raises(ValueError, match=r"of 13 modalities has at least 8192 terms, more than max_terms=4096"):
        fitting_width(13, config)
    with pytest.raises(ConfigError, match="or fuse by low_rank"):  # a study is refused before anything is fitted
        shelf.load("fusion", "kronecker").check(config, "abcdefghijklm")
    assert build("kronecker", dict.fromkeys("abcdefghijkl", 2)).mix.in_features == 4096


def test_low_rank_equals_the_full_tensor_with_its_weights_multiplied_out():
    network, tokens = build("low_rank", rank=3), vectors(n=5)
    factors = [
        torch.cat([f.weight, f.bias.unsqueeze(1)], dim=1).unflatten(0, (3, DIM_OUT)) for f in network.factors
    ]  # [rank, out, dim + 1]
    weight = torch.einsum("r,roi,roj,rok->oijk", network.rank_weight, *factors).flatten(start_dim=1)
    for present in ("abc", "ab", "c"):
        some = only(tokens, present)
        full = outer_with_ones([masked_mean(t.values, t.keep) for t in some.values()])
        torch.testing.assert_close(network(some), full @ weight.T + network.bias)


def test_embracenet_in_evaluation_is_the_expectation_of_its_draws():
    network, tokens = build("embracenet"), vectors("ac")
    expected = network(tokens)[0].detach()
    many = {m: Tokens(values=t.values.expand(4000, -1, -1), keep=t.keep.expand(4000, -1)) for m, t in tokens.items()}
    drawn = network.train()(many).detach()
    docked = torch.stack([network.projections.layers[j](tokens[m].values[0, 0]).relu() for j, m in ((0, "a"), (2, "c"))]).detach()
    assert (drawn.unsqueeze(1) == docked).any(dim=1).all()  # each dimension is one modality's, never a mixture or an absent one's
    error = 4 * (docked[0] - docked[1]).abs() / 2 / 4000**0.5  # four standard errors of a fair coin between the two
    assert ((drawn.mean(dim=0) - expected).abs() <= error + 1e-6).all()
    both = (docked[0] - docked[1]).abs() > 1e-3
    picked = (drawn == docked[0])[:, both].float()
    assert picked.shape[1] >= 2
    assert abs(float(torch.corrcoef(picked.T)[0, 1])) < 4 / 4000**0.5  # dimensions are drawn apart


def test_film_at_zero_is_the_masked_mean_and_no_modality_modulates_itself():
    network, tokens = build("film"), vectors(n=5)
    alone = {m: network(only(tokens, m)) for m in "abc"}
    torch.testing.assert_close(network(tokens), (alone["a"] + alone["b"] + alone["c"]) / 3)
    for modulator in network.modulators:
        torch.nn.init.normal_(modulator.weight)
    for m in "abc":
        torch.testing.assert_close(network(only(tokens, m)), alone[m])
    a, b = alone["a"], alone["b"]
    scale_a, shift_a = (network.modulators[0].weight @ b.T).T.chunk(2, dim=1)
    scale_b, shift_b = (network.modulators[1].weight @ a.T).T.chunk(2, dim=1)
    torch.testing.assert_close(network(only(tokens, "ab")), ((1 + scale_a) * a + shift_a + (1 + scale_b) * b + shift_b) / 2)


def test_film_conditions_on_the_mean_of_the_others():
    network, tokens = build("film"), vectors(n=5)
    a, b, c = (network(only(tokens, m)) for m in "abc")
    with torch.no_grad():
        network.modulators[0].weight[DIM_OUT:] = torch.eye(DIM_OUT)  # a is shifted by its condition, all else is as it was
    torch.testing.assert_close(network(tokens), (a + (b + c) / 2 + b + c) / 3)


def test_experts_share_one_among_generalists_and_specialists_of_what_is_present():
    network = build("experts", generalists=2)
    for present in ("abc", "ab", "c"):
        shares = network.shares(*network.projections(vectors(present, n=6)))
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
        assert (shares > 0).all(dim=0).tolist() == [m in present for m in "abc"] + [True, True]
    # who is present moves the gate even where what is present says the same
    some = vectors("ab", n=6)
    nothing_more = torch.cat([network.projections(some)[0][:, :2], torch.zeros(6, 1, DIM_OUT)], dim=1)
    present = torch.ones(6, 3, dtype=torch.bool)
    ratio = [s[:, 0] / s[:, 1] for s in (network.shares(*network.projections(some)), network.shares(nothing_more, present))]
    assert (ratio[0] - ratio[1]).abs().min() > 1e-4


def test_experts_with_a_flat_gate_and_silent_experts_average():
    network, tokens = build("experts", generalists=1), vectors("ab", n=5)
    for p in (*network.gate.parameters(), *network.experts.parameters()):
        torch.nn.init.zeros_(p)
    # two specialists and one generalist, which reads the mean of the two
    torch.testing.assert_close(network(tokens), network.projections(tokens)[0].sum(dim=1) / 2)


def test_product_of_experts_is_the_normalised_product_of_gaussian_densities():
    means, logs = torch.randn(1, 3, 1, dtype=torch.float64), torch.randn(1, 3, 1, dtype=torch.float64)
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    for present in itertools.product([False, True], repeat=3):
        density = Normal(0, 1).log_prob(x)
        for m in range(3):
            if present[m]:
                density = density + Normal(means[0, m, 0], (0.5 * logs[0, m, 0]).exp()).log_prob(x)
        weight = torch.softmax(density, dim=0)
        mean, log = product_of_experts(means, logs, torch.tensor([present]))
        np.testing.assert_allclose(float(mean), float((weight * x).sum()), atol=1e-9)
        np.testing.assert_allclose(float(log.exp()), float((weight * (x - mean[0]) ** 2).sum()), rtol=1e-9)


def test_divergence_from_the_standard_gaussian():
    mean, log = torch.randn(7), torch.randn(7)
    torch.testing.assert_close(kl_to_standard(mean, log), kl_divergence(Normal(mean, (0.5 * log).exp()), Normal(0.0, 1.0)))


def test_vae_penalty_of_a_network_that_knows_nothing():
    network, tokens = build("poe_vae", kl=0.3, reconstruction=0.7), vectors("ab", n=1)
    for p in network.parameters():
        torch.nn.init.zeros_(p)  # every expert is N(0, 1), every decoder says 0
    for t in tokens.values():
        t.values.requires_grad_()
    output, penalty = network.forward_with_penalty(tokens)
    assert output.tolist() == [[0.0] * DIM_OUT]
    error = sum(0.5 * float(tokens[m].values.detach().square().mean()) for m in "ab") / 2
    divergence = [0.5 * (1 / (1 + k) - 1 + math.log(1 + k)) for k in (2, 1, 1)]  # joint of two experts, then each by itself
    np.testing.assert_allclose(float(penalty.detach()), 0.7 * error + 0.3 * np.mean(divergence), rtol=1e-5)
    penalty.sum().backward()
    assert not any(t.values.grad.any() for t in tokens.values())  # a target takes no gradient


def test_vae_draws_from_its_posterior_in_training_and_gives_its_mean_in_evaluation():
    network, tokens = build("poe_vae"), vectors("bc")
    mean, raw = (x.detach() for x in network.experts(tokens)[0].chunk(2, dim=-1))
    log = 6 * torch.tanh(raw / 6)
    centre, spread = product_of_experts(mean, log, torch.tensor([[False, True, True]]))
    torch.testing.assert_close(network(tokens).detach(), centre)
    many = {m: Tokens(values=t.values.expand(4000, -1, -1), keep=t.keep.expand(4000, -1)) for m, t in tokens.items()}
    drawn = network.train()(many).detach()
    sigma = (0.5 * spread[0]).exp()
    assert ((drawn.mean(dim=0) - centre[0]).abs() < 4 * sigma / 4000**0.5).all()
    torch.testing.assert_close(drawn.std(dim=0), sigma, rtol=4 / 8000**0.5, atol=0.0)


def test_vae_learns_to_tell_one_modality_from_another():
    network = build("poe_vae", {"a": 2, "b": 2}, kl=1e-3, reconstruction=1.0)
    tokens = vectors(n=64, dims={"a": 2, "b": 2})
    tokens["b"] = Tokens(values=tokens["a"].values.flip(-1), keep=tokens["b"].keep)  # b says what a says, swapped
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(30):
        optimiser.zero_grad()
        network.forward_with_penalty(tokens)[1].mean().backward()
        optimiser.step()
    told = network.decoders[1](network(only(tokens, "a")))
    assert (told - tokens["b"].values[:, 0]).square().mean() < 0.1


def test_transformer_without_queries_attends_evenly_to_the_summary_and_what_is_present():
    network = build("modality_transformer", depth=1)
    torch.nn.init.zeros_(network.blocks[0].attention.query.weight)
    weights = network.attention(vectors("ac"))["0:tokens->tokens"]
    expected = torch.tensor([1.0, 1.0, 0.0, 1.0]) / 3
    torch.testing.assert_close(weights[0], torch.outer(expected * 3, expected).expand(4, 4, 4))
