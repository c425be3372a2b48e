"""Attention followed through blocks, means over a cohort, ranks of columns, and their agreement with deletion, on arrays."""

import numpy as np
import pytest
import torch

from oncoweave.core.errors import DataError
from oncoweave.explain.occlusion import agreement
from oncoweave.explain.ranking import mean_shares, merge_levels, rank_columns
from oncoweave.explain.rollout import last_block, roll_out, whole_maps
from oncoweave.nn.bidirectional import split_maps

RNG = np.random.default_rng


def drawn_maps(batch: int = 3, heads: int = 2, sizes=(2, 3), blocks: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = sum(sizes)
    maps = [torch.randn(batch, heads, size, size, generator=generator).double().softmax(dim=3) for _ in range(blocks)]
    return split_maps(maps, {"film": sizes[0], "labs": sizes[1]})


def test_maps_of_pairs_are_put_together_as_they_were_cut():
    pairs = drawn_maps()
    spans, maps = whole_maps(pairs)
    assert spans == {"film": slice(0, 2), "labs": slice(2, 5)}
    assert len(maps) == 2
    torch.testing.assert_close(maps[1][:, 2:, :2], pairs["1:labs->film"].mean(dim=1))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda maps: maps.pop("1:labs->film"), "lacks '1:labs->film'"),
        (lambda maps: maps.update({"summary->film": maps.pop("0:film->film")}), "got 'summary->film'"),
    ],
)
def test_maps_that_are_not_all_of_a_block_are_refused(change, match):
    maps = drawn_maps()
    change(maps)
    with pytest.raises(DataError, match=match):
        whole_maps(maps)


def test_rollout_is_the_product_of_half_attention_and_half_identity():
    _, maps = whole_maps(drawn_maps())
    start = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0]]).double().expand(3, -1)
    one = torch.eye(5).double()
    wanted = torch.einsum("bq,bqk->bk", start, (maps[1] + one) @ (maps[0] + one) / 4)
    torch.testing.assert_close(roll_out(maps, start), wanted)
    torch.testing.assert_close(roll_out(maps, start).sum(dim=1), torch.ones(3).double())


def test_rollout_of_a_token_that_attends_to_one_other_in_one_block():
    attention = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    start = torch.tensor([[1.0, 0.0, 0.0]])
    assert roll_out([attention], start).tolist() == [[0.5, 0.5, 0.0]]
    assert roll_out([attention, attention], start).tolist() == [[0.25, 0.75, 0.0]]
    assert last_block([attention, attention], start).tolist() == [[0.0, 1.0, 0.0]]


def test_shares_are_averaged_over_patients_who_have_anything():
    shares = np.array([[1.0, 0.0], [0.5, 0.5], [np.nan, np.nan]])
    means = mean_shares(shares, ["film", "labs"], generator=RNG(0))
    assert means["film"].value == 0.75
    assert (means["film"].low, means["film"].high) == (0.5, 1.0)
    assert sum(m.value for m in means.values()) == 1.0
    with pytest.raises(DataError, match="no patient has any"):
        mean_shares(shares[2:], ["film", "labs"], generator=RNG(0))


def test_levels_of_a_category_count_as_one_column():
    received = np.array([[0.1, 0.2, 0.3], [0.4, np.nan, np.nan]])
    merged, names = merge_levels(received, ("age", "sex=f", "sex=m"), ("age", "sex"))
    assert names == ("age", "sex")
    np.testing.assert_allclose(merged, [[0.1, 0.5], [0.4, np.nan]])


def test_columns_are_ranked_and_a_clear_first_is_stable():
    rng = RNG(1)
    received = rng.dirichlet((1, 1, 8, 1), size=60)
    first, *others = rank_columns(received, ["a", "b", "c", "d"], generator=RNG(0))
    assert (first.name, first.rank, first.rank_low, first.rank_high, first.stability) == ("c", 1, 1, 1, 1.0)
    assert first.attention.value == pytest.approx(4 * received[:, 2].mean())
    assert first.attention.low < first.attention.value < first.attention.high
    assert [o.rank for o in others] == [2, 3, 4]
    assert max(o.stability for o in others) < 1


def test_a_column_is_not_first_because_those_who_have_it_have_little_else():
    """Half of the patients had two values measured, of equal attention; the others four."""
    received = np.array([[0.25, 0.25, 0.25, 0.25]] * 10 + [[0.5, 0.5, np.nan, np.nan]] * 10)
    ranked = rank_columns(received, ["a", "b", "c", "d"], generator=RNG(0), replicates=50)
    assert [r.attention.value for r in ranked] == [1.0] * 4
    assert [r.patients for r in ranked] == [20, 20, 10, 10]


def test_a_column_measured_in_nobody_is_refused():
    with pytest.raises(DataError, match="column 'b' was measured in no patient"):
        rank_columns(np.array([[0.5, np.nan], [0.2, np.nan]]), ["a", "b"], generator=RNG(0))


def test_agreement_is_the_mean_of_the_patients_rank_correlations():
    received = [np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, np.nan, 0.3]), None, np.array([0.5, 0.5])]
    changes = [
        np.array([[0.0], [-1.0], [2.0]]),
        np.array([[3.0], [2.0], [9.0], [1.0]]),
        None,
        np.array([[1.0], [2.0]]),  # all tokens attended alike: nothing to rank
    ]
    found = agreement(received, changes, generator=RNG(0))
    assert found.patients == 2
    assert found.correlation.value == pytest.approx(0.0)
    assert (found.correlation.low, found.correlation.high) == pytest.approx((-1.0, 1.0))
    with pytest.raises(DataError, match="same tokens, got 3 and 2"):
        agreement(received[:1], changes[3:], generator=RNG(0))
    with pytest.raises(DataError, match="nothing can be compared"):
        agreement(received[3:], changes[3:], generator=RNG(0))
