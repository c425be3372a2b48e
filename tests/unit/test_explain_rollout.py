"""Attention followed through steps, means over a cohort, ranks of columns, and their agreement with deletion, on arrays."""

import numpy as np
import pytest
import torch

from oncoweave.core.errors import DataError
from oncoweave.explain.occlusion import agreement
from oncoweave.explain.ranking import mean_shares, merge_levels, rank_columns
from oncoweave.explain.rollout import last_block, roll_out, to_modalities
from oncoweave.nn.attention_path import AttentionPath, Part

RNG = np.random.default_rng


def path(maps: list[torch.Tensor], size: int) -> AttentionPath:
    every = torch.arange(size)
    steps = tuple((Part(queries=every, keys=every, weights=m),) for m in maps)
    return AttentionPath(spans={"film": slice(0, 2), "labs": slice(2, size)}, steps=steps, readout=torch.zeros(1, size))


def test_rollout_is_the_product_of_half_attention_and_half_identity():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(3, 5, 5, generator=generator).double().softmax(dim=2) for _ in range(2)]
    start = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0]]).double().expand(3, -1)
    one = torch.eye(5).double()
    wanted = torch.einsum("bq,bqk->bk", start, (maps[1] + one) @ (maps[0] + one) / 4)
    received = roll_out(path(maps, 5), start)
    torch.testing.assert_close(received, wanted)
    torch.testing.assert_close(received.sum(dim=1), torch.ones(3).double())
    cut = to_modalities(path(maps, 5), received)
    torch.testing.assert_close(torch.cat([cut["film"], cut["labs"]], dim=1), wanted)


def test_parts_of_a_step_act_at_once_and_what_is_nobodys_is_left_out():
    """Token 2 is read anew from 0 and 1; token 3, nobody's, keeps all of what it was, as one that has nothing to read."""
    reading = Part(queries=torch.tensor([2]), keys=torch.tensor([0, 1]), weights=torch.tensor([[[0.25, 0.75]]]), carried=0.0)
    nothing = Part(queries=torch.tensor([3]), keys=torch.tensor([2]), weights=torch.zeros(1, 1, 1), carried=torch.ones(1))
    steps = AttentionPath(spans={"film": slice(0, 2)}, steps=((reading, nothing),), readout=torch.zeros(1, 4))
    received = roll_out(steps, torch.tensor([[0.0, 0.0, 0.4, 0.6]]))
    torch.testing.assert_close(received, torch.tensor([[0.1, 0.3, 0.0, 0.6]]))
    torch.testing.assert_close(to_modalities(steps, received)["film"], torch.tensor([[0.25, 0.75]]))


def test_rollout_of_a_token_that_attends_to_one_other_in_one_block():
    attention = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    start = torch.tensor([[1.0, 0.0, 0.0]])
    assert roll_out(path([attention], 3), start).tolist() == [[0.5, 0.5, 0.0]]
    assert roll_out(path([attention, attention], 3), start).tolist() == [[0.25, 0.75, 0.0]]
    assert last_block(path([attention, attention], 3), start).tolist() == [[0.0, 1.0, 0.0]]


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
    assert first.value.value == pytest.approx(4 * received[:, 2].mean())
    assert first.value.low < first.value.value < first.value.high
    assert [o.rank for o in others] == [2, 3, 4]
    assert max(o.stability for o in others) < 1


def test_a_column_is_not_first_because_those_who_have_it_have_little_else():
    """Half of the patients had two values measured, of equal attention; the others four."""
    received = np.array([[0.25, 0.25, 0.25, 0.25]] * 10 + [[0.5, 0.5, np.nan, np.nan]] * 10)
    ranked = rank_columns(received, ["a", "b", "c", "d"], generator=RNG(0), replicates=50)
    assert [r.value.value for r in ranked] == [1.0] * 4
    assert [r.patients for r in ranked] == [20, 20, 10, 10]


def test_a_category_is_not_first_because_it_has_a_token_a_level():
    """Even attention over two numbers and a category of three levels, which one patient lacks."""
    received = np.array([[0.2, 0.2, 0.6], [0.5, 0.5, np.nan]])
    ranked = rank_columns(received, ["a", "b", "c"], generator=RNG(0), tokens=[1, 1, 3], replicates=50)
    np.testing.assert_allclose([r.value.value for r in ranked], 1.0)


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
