"""Masked equals deleted, for whatever is kept and whatever garbage lies under the mask."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oncoweave.nn.attention import MultiheadAttention, masked_softmax
from oncoweave.nn.pooling import GatedAttentionPool, masked_max, masked_mean

DIM = 4
GARBAGE = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e38, 0.0])

with torch.random.fork_rng():
    torch.manual_seed(0)
    ATTENTION = MultiheadAttention(DIM, heads=2).eval()
    POOL = GatedAttentionPool(DIM, hidden=3, heads=2).eval()


@st.composite
def bags(draw) -> tuple[Tensor, Tensor]:
    """One bag of up to 6 tokens, garbage where not kept; nothing at all may be kept."""
    keep = draw(st.lists(st.booleans(), min_size=1, max_size=6))
    number = st.floats(-1e3, 1e3, width=32)
    rows = [draw(st.lists(number, min_size=DIM, max_size=DIM)) if k else [draw(GARBAGE)] * DIM for k in keep]
    return torch.tensor(rows, dtype=torch.float32)[None], torch.tensor(keep)[None]


@settings(max_examples=60, deadline=None)
@given(bags())
def test_masked_equals_deleted(bag):
    values, keep = bag
    clean = torch.where(keep.unsqueeze(-1), values, 0.0)
    left = values[:, keep[0]]
    everything = torch.ones(1, left.shape[1], dtype=torch.bool)
    if not left.shape[1]:
        assert masked_mean(values, keep).tolist() == masked_max(values, keep).tolist() == [[0.0] * DIM]
        assert not POOL(clean, keep).any()
        assert not masked_softmax(values[..., 0], keep).any()
        return
    close = {"rtol": 1e-4, "atol": 1e-4}  # values reach 1000, sums are formed in another order
    torch.testing.assert_close(masked_mean(values, keep), left.mean(dim=1), **close)
    torch.testing.assert_close(masked_max(values, keep), left.amax(dim=1))
    torch.testing.assert_close(masked_softmax(values[..., 0], keep)[keep], torch.softmax(left[..., 0], dim=1)[0], **close)
    torch.testing.assert_close(POOL(clean, keep), POOL(left, everything), **close)
    query = torch.ones(1, 2, DIM)
    torch.testing.assert_close(ATTENTION(query, clean, keep=keep), ATTENTION(query, left, keep=everything), **close)


@settings(max_examples=60, deadline=None)
@given(bags())
def test_gradients_are_finite_and_stop_at_the_mask(bag):
    values, keep = bag
    for pool in (masked_mean, masked_max, lambda v, k: POOL(torch.where(k.unsqueeze(-1), v, 0.0), k)):
        leaf = values.clone().requires_grad_()
        pool(leaf, keep).sum().backward()
        assert torch.isfinite(leaf.grad).all()
        assert not leaf.grad[~keep].any()
