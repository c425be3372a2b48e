"""Sinkhorn, centring and cross entropy against dense references and closed forms."""

import math

import pytest
import torch

from oncoweave.nn.assignments import Centre, cross_entropy, entropy, sinkhorn


def logits_of(tokens, prototypes, seed=0, scale=1.0):
    return scale * torch.randn(tokens, prototypes, generator=torch.Generator().manual_seed(seed))


def dense_sinkhorn(logits, temperature, iterations):
    """Scale the whole matrix, in float64, a round at a time: prototypes to 1 / K, tokens to 1 / B, as in SwAV's listing."""
    shares = torch.exp(logits.double().T / temperature)
    shares /= shares.sum()
    for _ in range(iterations):
        shares /= shares.sum(dim=1, keepdim=True) * shares.shape[0]
        shares /= shares.sum(dim=0, keepdim=True) * shares.shape[1]
    return (shares * shares.shape[1]).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize(("tokens", "prototypes"), [(7, 5), (3, 16), (1, 4)])
def test_sinkhorn_equals_the_dense_reference(tokens, prototypes, iterations):
    logits = logits_of(tokens, prototypes, scale=0.3)
    came = sinkhorn(logits, temperature=0.07, iterations=iterations)
    torch.testing.assert_close(came.double(), dense_sinkhorn(logits, 0.07, iterations), rtol=1e-4, atol=1e-6)


def test_sinkhorn_shares_tokens_out_evenly_in_the_limit():
    came = sinkhorn(logits_of(40, 8), temperature=1.0, iterations=200)
    torch.testing.assert_close(came.sum(dim=1), torch.ones(40))
    torch.testing.assert_close(came.sum(dim=0), torch.full((8,), 5.0))


def test_sinkhorn_of_two_by_two_in_closed_form():
    """The limit keeps the odds ratio: for [[a, 0], [0, 0]] it is [[x, 1 - x], [1 - x, x]] with (x / (1 - x))^2 = e^a."""
    came = sinkhorn(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), temperature=1.0, iterations=100)
    x = 1 / (1 + math.exp(-1.5))
    torch.testing.assert_close(came, torch.tensor([[x, 1 - x], [1 - x, x]]))


def test_sinkhorn_does_not_overflow_where_exponents_would():
    logits = 100 * torch.eye(4) + 300.0  # exp(400 / 1) is infinite in float32
    torch.testing.assert_close(sinkhorn(logits, temperature=1.0, iterations=3), torch.eye(4))


def test_sinkhorn_of_nothing_is_nothing():
    assert sinkhorn(torch.zeros(0, 4), temperature=0.1, iterations=3).shape == (0, 4)


def test_centring_is_a_moving_mean_that_counts_from_the_next_batch_on():
    centre = Centre(3, momentum=0.9).train()
    logits = logits_of(5, 3)
    torch.testing.assert_close(centre(logits, temperature=0.5), torch.softmax(logits / 0.5, dim=1))
    torch.testing.assert_close(centre.mean, 0.1 * logits.mean(dim=0))
    before = centre.mean.clone()
    torch.testing.assert_close(centre(logits, temperature=0.5), torch.softmax((logits - before) / 0.5, dim=1))
    torch.testing.assert_close(centre.mean, 0.19 * logits.mean(dim=0))
    centre.eval()(logits, temperature=0.5)
    torch.testing.assert_close(centre.mean, 0.19 * logits.mean(dim=0))


def test_a_batch_without_tokens_leaves_the_centre_where_it_was():
    centre = Centre(3, momentum=0.9).train()
    centre(logits_of(5, 3), temperature=0.5)
    before = centre.mean.clone()
    centre(torch.zeros(0, 3), temperature=0.5)
    assert torch.equal(centre.mean, before)


def test_cross_entropy_of_equal_distributions_is_their_entropy():
    logits = logits_of(6, 9)
    targets = torch.softmax(logits / 0.1, dim=1)
    torch.testing.assert_close(cross_entropy(logits, targets, temperature=0.1), entropy(targets), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy(torch.full((1, 8), 1 / 8))[0], torch.tensor(math.log(8)))
    assert entropy(torch.eye(3)).sum() == 0


def test_cross_entropy_and_its_gradient_equal_the_plain_formula():
    logits = logits_of(12, 7).unflatten(0, (3, 4)).double().requires_grad_()
    targets = 2 * torch.softmax(logits_of(4, 7, seed=1), dim=1)  # the sum of two teachers
    weights = torch.linspace(0.5, 2, 12, dtype=torch.float64).view(3, 4)
    plain = -(targets * torch.log_softmax(logits / 0.1, dim=-1)).sum(dim=-1)
    (wanted,) = torch.autograd.grad((plain * weights).sum(), logits)
    came = cross_entropy(logits, targets, temperature=0.1)
    torch.testing.assert_close(came.double(), plain, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad((came * weights.float()).sum(), logits)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_half_precision_is_summed_in_single():
    logits = logits_of(4, 50)
    targets = torch.softmax(logits_of(4, 50, seed=1) / 0.05, dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = cross_entropy(logits.bfloat16(), targets, temperature=0.1)
        shared = sinkhorn(logits, temperature=0.1, iterations=3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, cross_entropy(logits.bfloat16().float(), targets, temperature=0.1), rtol=0, atol=0)
    assert torch.equal(shared, sinkhorn(logits, temperature=0.1, iterations=3))
