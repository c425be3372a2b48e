"""KoLeo, the kernel density and NT-Xent against brute force and closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from oncoweave.nn.contrast import nt_xent
from oncoweave.nn.spread import kde, koleo


def features(rows, dim=4, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def test_koleo_equals_brute_force():
    x = features(9)
    unit = F.normalize(x.double(), dim=1)
    nearest = [min(float((a - b).norm()) for j, b in enumerate(unit) if j != i) for i, a in enumerate(unit)]
    assert float(koleo(x)) == pytest.approx(-sum(math.log(d) for d in nearest) / 9, abs=1e-5)


def test_koleo_of_a_square_in_closed_form():
    """Four points a right angle apart: each nearest neighbour is at the square root of 2."""
    square = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-0.5, 0.0], [0.0, -2.0]])
    assert float(koleo(square)) == pytest.approx(-0.5 * math.log(2), abs=1e-6)


def test_twins_and_single_tiles_stay_finite():
    twins = features(1).repeat(3, 1).requires_grad_()
    loss = koleo(twins)
    loss.backward()
    assert loss.isfinite()
    assert twins.grad.isfinite().all()
    assert float(koleo(features(1))) == 0


def test_kernel_density_equals_brute_force_and_its_ends():
    x = features(6)
    unit = F.normalize(x.double(), dim=1)
    densities = [sum(math.exp(5 * float(a @ b)) for b in unit) / 6 for a in unit]
    assert float(kde(x, concentration=5.0)) == pytest.approx(sum(math.log(d) for d in densities) / 6, abs=1e-5)
    assert float(kde(features(1).repeat(8, 1), concentration=5.0)) == pytest.approx(5.0, abs=1e-5)
    apart = math.log((math.exp(5) + 3) / 4)  # itself, and three at right angles
    assert float(kde(torch.eye(4), concentration=5.0)) == pytest.approx(apart, abs=1e-5)


@pytest.mark.parametrize("loss", [koleo, lambda x: kde(x, concentration=5.0)], ids=["koleo", "kde"])
def test_descent_moves_tiles_apart(loss):
    """A sign turned round, as in a public copy of the kernel density, would draw them together."""
    x = (torch.ones(8, 4) + 0.1 * features(8)).requires_grad_()
    before = torch.pdist(F.normalize(x.detach(), dim=1)).mean()
    for _ in range(50):
        (gradient,) = torch.autograd.grad(loss(x), x)
        x = (x - 0.05 * gradient).detach().requires_grad_()
    assert torch.pdist(F.normalize(x.detach(), dim=1)).mean() > 1.5 * before


def test_nt_xent_of_two_tiles_by_hand():
    """Views a, b of two tiles at right angles: cosines with the partner are 1, with both views of the other tile 0."""
    first, second = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 3.0]])
    wanted = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(nt_xent(first, second, temperature=0.5)) == pytest.approx(wanted, abs=1e-6)
    crossed = -math.log(1 / (math.exp(2) + 2))  # partners swapped: the right one is at 0, a wrong one at 1
    assert float(nt_xent(first, second.flip(0), temperature=0.5)) == pytest.approx(crossed, abs=1e-6)


def test_nt_xent_equals_brute_force():
    first, second = features(5), features(5, seed=1)
    unit = F.normalize(torch.cat([first, second]).double(), dim=1)
    total = 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        exponents = [math.exp(float(unit[i] @ unit[j]) / 0.2) for j in others]
        total -= math.log(exponents[others.index((i + 5) % 10)] / sum(exponents))
    assert float(nt_xent(first, second, temperature=0.2)) == pytest.approx(total / 10, abs=1e-5)


def test_one_tile_alone_has_nothing_to_be_told_from():
    assert float(nt_xent(features(1), features(1, seed=1), temperature=0.1)) == 0
