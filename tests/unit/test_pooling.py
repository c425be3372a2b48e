"""Pooling against closed forms."""

import torch

from oncoweave.nn.pooling import GatedAttentionPool, masked_max, masked_mean, summary

VALUES = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [torch.nan, torch.inf]], [[torch.nan] * 2] * 3])
KEEP = torch.tensor([[True, True, False], [False, False, False]])


def test_mean_and_max_are_taken_over_what_is_kept():
    assert masked_mean(VALUES, KEEP).tolist() == [[2.0, -3.0], [0.0, 0.0]]
    assert masked_max(VALUES, KEEP).tolist() == [[3.0, -1.0], [0.0, 0.0]]


def test_pooling_passes_no_nan_gradient():
    for pool in (masked_mean, masked_max):
        values = VALUES.clone().requires_grad_()
        pool(values, KEEP).sum().backward()
        assert torch.isfinite(values.grad).all()
        assert values.grad[~KEEP].abs().max() == 0


def test_mean_of_equal_vectors_does_not_depend_on_their_number():
    values = torch.ones(5, 5, 3)
    keep = torch.arange(5)[None, :] <= torch.arange(5)[:, None]
    torch.testing.assert_close(masked_mean(values, keep), torch.ones(5, 3))


def test_gated_attention_equals_the_paper():
    """Ilse et al. 2018, eq. 9, written out for one bag."""
    pool = GatedAttentionPool(4, hidden=3).eval()
    bag = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    v, u, w = pool.tanh[0], pool.gate[0], pool.score.weight[0]
    logits = torch.stack([w @ (torch.tanh(v.weight @ h + v.bias) * torch.sigmoid(u.weight @ h + u.bias)) for h in bag])
    attention = torch.exp(logits) / torch.exp(logits).sum()
    keep = torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(pool.weights(bag[None], keep)[0, 0], attention)
    torch.testing.assert_close(pool(bag[None], keep)[0], (attention[:, None] * bag).sum(dim=0))


def test_summary_keeps_present_patients_and_zeroes_the_others():
    tokens = summary(torch.tensor([[2.0], [torch.nan]]), torch.tensor([True, False]))
    assert tokens.values.tolist() == [[[2.0]], [[0.0]]]
    assert tokens.keep.tolist() == [[True], [False]]
