"""Dropout by lots of sixteen bits: its rate, its mean, its gradient, and the state it draws from."""

import pytest
import torch

from oncoweave.nn.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.999])
def test_the_rate_is_met_and_what_stays_is_scaled_by_it(rate):
    torch.manual_seed(0)
    ones = torch.ones(1001, 503, dtype=torch.float64)
    dropped = Dropout(rate)(ones)
    gone = (dropped == 0).double().mean()
    assert gone == pytest.approx(rate, abs=4 * (rate * (1 - rate) / ones.numel()) ** 0.5 + 2**-17)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - round(rate * 2**16) / 2**16)]).double())


def test_lots_are_independent_of_their_neighbours():
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).double() - 0.5
    for lag in range(1, 9):
        assert abs((kept[:-lag] * kept[lag:]).mean()) < 0.25 * 4 / 400_000**0.5


def test_the_gradient_flows_where_numbers_stayed():
    torch.manual_seed(2)
    given = torch.randn(7, 5, requires_grad=True)
    dropped = Dropout(0.4)(given)
    dropped.sum().backward()
    torch.testing.assert_close(given.grad * given, dropped)


def test_the_same_state_gives_the_same_lots_and_evaluation_none():
    given, layer = torch.randn(3, 11), Dropout(0.3)
    first, second = (torch.manual_seed(s) and layer(given) for s in (5, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, layer(given))
    assert torch.equal(layer.eval()(given), given)


@pytest.mark.parametrize(("rate", "factor"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_are_all_and_nothing(rate, factor):
    given = torch.randn(5, 3)
    assert torch.equal(Dropout(rate)(given), given * factor)


def test_half_precision_keeps_its_type():
    dropped = Dropout(0.2)(torch.ones(64, dtype=torch.bfloat16))
    assert dropped.dtype == torch.bfloat16
    assert set(dropped.unique().tolist()) <= {0.0, 1.25}
