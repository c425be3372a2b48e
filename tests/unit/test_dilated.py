"""Dilated attention against the dense masked softmax that defines it, forward and backward, by each kernel."""

import itertools
import math

import pytest
import torch
from dense_dilated import multiplicity, reference_attention

from oncoweave.nn.dilated import Branch, Span, dilated_attention, spans
from oncoweave.nn.dilated_kernels import Kernel, kernel_for
from oncoweave.nn.dilated_upstream import upstream_attention

PATTERNS = {
    "several segments": (4, 50, ((16, 1), (32, 2), (64, 4))),
    "heads that do not divide": (5, 77, ((10, 1), (21, 2), (33, 4), (200, 8))),
    "segments that do not divide": (4, 61, ((10, 1), (21, 2), (15, 4))),
    "more heads than phases": (8, 70, ((16, 1), (32, 2), (64, 16))),
    "queries that no branch keeps": (3, 40, ((13, 3), (50, 7))),
    "shorter than a segment": (4, 7, ((1024, 1), (5792, 2), (32768, 4))),
    "one token": (4, 1, ((1024, 1), (5792, 2))),
    "plain": (2, 30, ((10000000, 1),)),
}


def draw(heads: int, length: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(heads * length)
    return [torch.randn(heads, length, 8, dtype=dtype, generator=generator).requires_grad_() for _ in range(3)]


def branches(pairs: tuple[tuple[int, int], ...]) -> list[Branch]:
    return [Branch(segment=w, dilation=r) for w, r in pairs]


def gradients(out: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape).sin()
    return torch.autograd.grad((out * weights).sum(), inputs)


@pytest.mark.parametrize("kernel", ["cpu", "plain"])
@pytest.mark.parametrize("name", PATTERNS)
def test_branches_make_one_softmax_forward_and_backward(name, kernel):
    heads, length, pairs = PATTERNS[name]
    qkv, pattern = draw(heads, length), branches(pairs)
    came = dilated_attention(*qkv, branches=pattern, layout=spans([length]), kernel=Kernel(name=kernel))
    wanted = reference_attention(*qkv, branches=pattern)
    torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(came, qkv), gradients(wanted, qkv), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    qkv, pattern = draw(3, 11), branches(((4, 1), (7, 2), (30, 3)))
    assert torch.autograd.gradcheck(lambda *x: dilated_attention(*x, branches=pattern, layout=spans([11])), qkv, fast_mode=True)


def test_a_key_counts_as_often_as_branches_see_it():
    seen = multiplicity(branches(((4, 1), (8, 2))), length=8, heads=2)
    assert seen[0, 0].tolist() == [2, 1, 2, 1, 1, 0, 1, 0]
    assert seen[1, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert seen[1, 5].tolist() == [0, 1, 0, 1, 1, 2, 1, 2]


def test_weights_follow_the_counts_where_all_scores_are_equal():
    query = key = torch.zeros(2, 8, 8)
    value = torch.eye(8).expand(2, 8, 8).contiguous()
    pattern = branches(((4, 1), (8, 2)))
    came = dilated_attention(query, key, value, branches=pattern, layout=spans([8]))
    seen = multiplicity(pattern, length=8, heads=2)
    torch.testing.assert_close(came, seen / seen.sum(dim=-1, keepdim=True))


def test_packed_sequences_do_not_see_each_other():
    lengths, pattern = [13, 1, 40, 8], branches(((8, 1), (16, 2), (21, 4)))
    qkv = draw(4, sum(lengths))
    whole = dilated_attention(*qkv, branches=pattern, layout=spans(lengths))
    parts = [x.split(lengths, dim=1) for x in qkv]
    alone = [reference_attention(*own, branches=pattern) for own in zip(*parts, strict=True)]
    torch.testing.assert_close(whole, torch.cat(alone, dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PATTERNS)
def test_queries_in_parts_are_the_whole(name):
    heads, length, pairs = PATTERNS[name]
    qkv, pattern, found = draw(heads, length), branches(pairs), []
    cuts = sorted({0, length // 5, length // 3, length - 1, length})
    for low, high in itertools.pairwise(cuts):
        span = Span(key_start=0, key_count=length, query_start=0, query_count=high - low, offset=low)
        found.append(dilated_attention(qkv[0][:, low:high], *qkv[1:], branches=pattern, layout=[span]))
    whole = dilated_attention(*qkv, branches=pattern, layout=spans([length]))
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(torch.cat(found, dim=1), qkv), gradients(whole, qkv), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_long_runs_of_segments_are_cut_without_a_trace():
    qkv, pattern = draw(2, 40000, torch.float32), branches(((16, 1), (64, 4)))
    with torch.no_grad():
        whole = dilated_attention(*qkv, branches=pattern, layout=spans([40000]))
        far = [x[:, 32768:32832].contiguous() for x in qkv]  # 64 divides the start, so both branches begin a segment here
        torch.testing.assert_close(whole[:, 32768:32832], reference_attention(*far, branches=pattern), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype):
    qkv, pattern = draw(4, 50, torch.float32), branches(((16, 1), (32, 2), (64, 4)))
    came = dilated_attention(*(x.to(dtype) for x in qkv), branches=pattern, layout=spans([50]))
    assert came.dtype == dtype
    wanted = reference_attention(*(x.to(dtype).float() for x in qkv), branches=pattern)
    assert (came.float() - wanted).abs().max() < 4 * torch.finfo(dtype).eps


def test_large_scores_do_not_overflow():
    qkv = [200 * x.detach() for x in draw(4, 50, torch.float32)]
    pattern = branches(((16, 1), (32, 2), (64, 4)))
    came = dilated_attention(*qkv, branches=pattern, layout=spans([50]))
    torch.testing.assert_close(came, reference_attention(*qkv, branches=pattern), rtol=1e-3, atol=1e-2)


def test_what_the_peer_does_is_the_exact_attention_where_nothing_is_padded():
    qkv, pattern = draw(4, 64), branches(((16, 1), (32, 2), (64, 4)))
    peer = upstream_attention(*qkv, branches=pattern, layout=spans([64]))
    exact = dilated_attention(*qkv, branches=pattern, layout=spans([64]))
    torch.testing.assert_close(peer, exact, rtol=1e-12, atol=1e-12)
    detached, full = gradients(peer, qkv), gradients(exact, qkv)
    torch.testing.assert_close(detached[2], full[2], rtol=1e-11, atol=1e-12)
    assert (detached[0] - full[0]).abs().max() > 1e-3  # no gradient flows through its merge weights


def test_a_padding_key_of_the_peer_takes_a_share():
    query = key = torch.zeros(1, 3, 8)
    value = torch.ones(1, 3, 8)
    came = upstream_attention(query, key, value, branches=branches(((2, 1),)), layout=spans([3]))
    assert came[0, :, 0].tolist() == [1, 1, 0.5]


def test_the_peers_attention_is_not_split_over_processes():
    span = Span(key_start=0, key_count=8, query_start=0, query_count=4)
    with pytest.raises(ValueError, match="not split over processes"):
        upstream_attention(*draw(2, 8), branches=branches(((4, 1),)), layout=[span])


@pytest.mark.parametrize(("segment", "dilation"), [(0, 1), (4, 0)])
def test_a_branch_that_keeps_nothing_is_refused(segment, dilation):
    with pytest.raises(ValueError, match=f"at least 1, got {segment} and {dilation}"):
        Branch(segment=segment, dilation=dilation)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_of_cuda_agree(dtype):
    heads, length, pairs = PATTERNS["heads that do not divide"]
    qkv, pattern = [x.detach().to("cuda", dtype).requires_grad_() for x in draw(heads, length)], branches(pairs)
    assert kernel_for(qkv[0]).name != "plain"
    came = dilated_attention(*qkv, branches=pattern, layout=spans([length]))
    wide = [x.detach().double().cpu().requires_grad_() for x in qkv]
    wanted = reference_attention(*wide, branches=pattern)
    near = 40 * math.sqrt(torch.finfo(dtype).eps * 1e-3) if dtype == torch.float32 else 8 * torch.finfo(dtype).eps
    assert (came.double().cpu() - wanted).abs().max() < near
    for a, b in zip(gradients(came.double().cpu(), qkv), gradients(wanted, wide), strict=True):
        assert (a.double().cpu() - b).abs().max() < 4 * near
