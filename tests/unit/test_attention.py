"""Masked softmax and attention against torch's own on what is kept."""

import pytest
import torch
from torch import nn

from oncoweave.nn.attention import MultiheadAttention, masked_softmax
from oncoweave.nn.blocks import SelfNormalisingStack


def test_masked_softmax_is_the_softmax_of_what_is_kept():
    scores = torch.tensor([[1.0, torch.nan, -2.0, 3.0]])
    keep = torch.tensor([[True, False, True, True]])
    weights = masked_softmax(scores, keep)
    wanted = torch.softmax(torch.tensor([1.0, -2.0, 3.0]), dim=0)
    torch.testing.assert_close(weights[0, [0, 2, 3]], wanted)
    assert weights[0, 1] == 0


def test_an_empty_row_gives_zeros_and_finite_gradients():
    scores = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf]], requires_grad=True)
    keep = torch.tensor([[True, True], [False, False]])
    weights = masked_softmax(scores, keep)
    (weights * torch.tensor([1.0, 3.0])).sum().backward()
    assert weights[1].tolist() == [0.0, 0.0]
    assert scores.grad[1].tolist() == [0.0, 0.0]
    assert scores.grad[0].abs().min() > 0


def test_huge_scores_do_not_overflow():
    weights = masked_softmax(torch.tensor([[1e38, -1e38]]), torch.tensor([[True, True]]))
    assert weights.tolist() == [[1.0, 0.0]]


def test_attention_equals_torch_multihead_attention():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = MultiheadAttention(8, heads=2), nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        ours.out.bias.zero_()
    x = torch.randn(3, 5, 8, generator=generator)
    keep = torch.tensor([[True] * 5, [True, False, True, False, True], [False, False, False, False, True]])
    wanted, wanted_weights = theirs(x, x, x, key_padding_mask=~keep, average_attn_weights=False)
    torch.testing.assert_close(ours(x, x, keep=keep), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.weights(x, x, keep=keep), wanted_weights, rtol=1e-5, atol=1e-6)


def test_attention_to_nothing_is_the_output_bias_with_finite_gradients():
    attention = MultiheadAttention(4, heads=2, dim_context=3)
    context = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    keep = torch.tensor([[False] * 6, [True] * 6])
    out = attention(torch.ones(2, 1, 4), context, keep=keep)
    torch.testing.assert_close(out[0, 0], attention.out.bias)
    out.sum().backward()
    assert context.grad[0].abs().max() == 0
    assert torch.isfinite(context.grad).all()


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 10 does not divide into 4 heads"):
        MultiheadAttention(10, heads=4)


def test_self_normalising_stack_keeps_mean_and_variance():
    """The point of the initialisation: after 8 layers of standard normal input, spread is neither lost nor blown up."""
    torch.manual_seed(0)
    stack = SelfNormalisingStack(128, (128,) * 8, dropout=0.0)
    with torch.no_grad():
        out = stack(torch.randn(256, 128))
    assert 0.2 < float(out.std()) < 1.5
    assert abs(float(out.mean())) < 0.3
