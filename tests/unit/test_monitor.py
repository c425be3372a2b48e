"""Measures of collapse in closed form."""

import math

import pytest
import torch
from torch import nn

from oncoweave.nn.tokens import Tokens
from oncoweave.train.curves import write_curves
from oncoweave.train.monitor import collapse, embed, rank_me, spread_of, watch


def orthonormal(rows: int, dim: int) -> torch.Tensor:
    drawn = torch.randn(rows, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(drawn - drawn.mean(dim=0)).Q


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_rank_of_equal_directions_is_their_number(rank):
    basis = orthonormal(40, rank)  # centred columns, orthonormal
    turned = basis @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q[:rank]
    assert rank_me(turned.float() + 3.0) == pytest.approx(rank, rel=1e-3)


def test_rank_counts_directions_by_their_weight():
    """Singular values 3 and 1: shares 3/4 and 1/4, entropy -(3/4 ln 3/4 + 1/4 ln 1/4)."""
    weighted = orthonormal(40, 2) * torch.tensor([3.0, 1.0])
    wanted = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert rank_me(weighted.float()) == pytest.approx(wanted, rel=1e-4)


def test_one_point_has_neither_rank_nor_spread():
    point = torch.ones(30, 8) * 0.3
    assert rank_me(point) == 0.0
    assert spread_of(point) == pytest.approx(0.0, abs=1e-9)


def test_directions_that_fill_the_sphere_have_spread_one():
    drawn = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert spread_of(drawn) == pytest.approx(1.0, abs=0.02)
    assert rank_me(drawn) > 15.5


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: x * 0 + 1, "nearly the same embedding"),
        (lambda x: x * 1e-4 + 1, "nearly the same embedding"),
        (lambda x: x[:, :1] * torch.linspace(-1, 1, 8), "lie on a line"),
        (lambda x: x * math.nan, "not finite"),
        (lambda x: x, ""),
    ],
)
def test_collapse_is_told_from_health(make, reason):
    drawn = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return make(drawn)

    found = collapse(watch(Given(), {"image": torch.zeros(64, 3, 4, 4)}))
    assert reason in found
    assert bool(reason) == bool(found)


def test_slides_are_embedded_as_the_mean_of_their_tokens():
    class Double(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, tokens):
            return Tokens(values=tokens.values * self.weight, keep=tokens.keep)

    values = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    keep = torch.tensor([[True, True, False], [True, True, True]])
    network = Double().train()
    assert embed(network, Tokens(values=values, keep=keep)).tolist() == [[4.0], [14.0]]
    assert network.training


def test_curves_hold_a_panel_a_quantity_and_survive_gaps(tmp_path):
    rows = [{"step": i, "loss": 2.0 - i / 100, **({"rank": float(i)} if i % 10 == 0 else {})} for i in range(100)]
    rows[50]["loss"] = math.nan
    write_curves(tmp_path / "c.svg", rows, title="a < b")
    text = (tmp_path / "c.svg").read_text()
    assert text.count("<polyline") == 2
    assert "1.01 to 2, last 1.01" in text
    assert "a &lt; b" in text
    assert "nan" not in text
