"""Attention among streams: closed forms of the exchange, masked equals deleted, shares that are renormalised, complete maps."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from oncoweave.nn.bidirectional import EXCHANGES, Block, MultimodalTransformer, Shape, routes, split_maps
from oncoweave.nn.tokens import Tokens

SHAPE = Shape(width=16, heads=4, depth=3, mixing=2, ratio=2.0)
TOLERANCE = 1e-12
"""In double precision."""


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """Parameters moved from their starts, so that shares that start alike differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def transformer(streams: int, **changes) -> MultimodalTransformer:
    torch.manual_seed(0)
    return moved(MultimodalTransformer(replace(SHAPE, **changes), streams=streams))


def drawn(lengths: tuple[int, ...], *, batch: int = 3, seed: int = 2) -> list[Tokens]:
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(batch, n, 16, generator=generator) for n in lengths]
    return [Tokens(values=v, keep=torch.ones(v.shape[:2], dtype=torch.bool)) for v in values]


def wide(network: MultimodalTransformer, tokens: list[Tokens]) -> torch.Tensor:
    """What is kept of the result, in double precision."""
    network = network.double()
    return kept(network([Tokens(values=t.values.double(), keep=t.keep) for t in tokens]))


def masked(tokens: Tokens, count: int) -> Tokens:
    """The last tokens masked, with NaN under the mask."""
    keep = tokens.keep.clone()
    keep[:, count:] = False
    return Tokens(values=torch.where(keep.unsqueeze(-1), tokens.values, torch.nan), keep=keep)


def cut(tokens: Tokens, count: int) -> Tokens:
    return Tokens(values=tokens.values[:, :count], keep=tokens.keep[:, :count])


def kept(tokens: Tokens) -> torch.Tensor:
    return tokens.values[tokens.keep].reshape(len(tokens.keep), -1, tokens.values.shape[2])


# ---- what a block computes


def by_hand(block: Block, xs: list[torch.Tensor], shares: list[list[float]]) -> list[torch.Tensor]:
    """A block over full streams from its weights, with given shares of each query stream."""
    parts = []
    for stream, x in zip(block.streams, xs, strict=True):
        weights = stream.qkv.weight.chunk(3)
        biases = stream.qkv.bias.chunk(2)
        h = stream.norm_attention(x)
        projected = (h @ weights[0].T + biases[0], h @ weights[1].T, h @ weights[2].T + biases[1])
        parts.append([p.unflatten(2, (4, 4)).transpose(1, 2) for p in projected])
    results = []
    for m, (stream, x) in enumerate(zip(block.streams, xs, strict=True)):
        mixed = sum(
            share * (torch.softmax(parts[m][0] @ key.transpose(2, 3) / 2, dim=-1) @ value)
            for share, (_, key, value) in zip(shares[m], parts, strict=True)
        )
        x = x + block.out(mixed.transpose(1, 2).flatten(2))
        results.append(x + stream.feed[3](functional.gelu(stream.feed[0](stream.norm_feed(x)))))
    return results


THIRD = 1 / 3


@pytest.mark.parametrize(
    ("exchange", "shares"),
    [
        ("average", [[THIRD] * 3] * 3),
        ("co_only", [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        ("one_way", [[1, 0, 0], [0.5, 0.5, 0], [THIRD] * 3]),
        ("one_way_back", [[THIRD] * 3, [0, 0.5, 0.5], [0, 0, 1]]),
        ("none", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_three_streams_exchange_as_the_formula_says(exchange, shares):
    block = transformer(3, exchange=exchange).blocks[0]
    tokens = drawn((5, 3, 4))
    came = block([t.values for t in tokens], routes([t.keep for t in tokens], exchange))
    for one, wanted in zip(came, by_hand(block, [t.values for t in tokens], shares), strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("exchange", ["learned", "gated"])
def test_shares_that_are_learnt_start_as_the_average(exchange):
    tokens = drawn((5, 3, 4))
    torch.manual_seed(0)
    network = MultimodalTransformer(replace(SHAPE, exchange=exchange), streams=3).eval()
    plain = MultimodalTransformer(SHAPE, streams=3).eval()
    missing = plain.load_state_dict(network.state_dict(), strict=False)
    assert missing.missing_keys == []
    assert all("preference" in key or "gate" in key for key in missing.unexpected_keys)
    torch.testing.assert_close(network(tokens).values, plain(tokens).values, rtol=0, atol=1e-6)


def test_learned_shares_are_the_softmax_of_their_numbers():
    network = transformer(2, exchange="learned")
    tokens = drawn((5, 3))
    network.blocks[0].preference.data[:] = torch.tensor([1.0, -1.0])[None, None]
    whole = network.attention(tokens)[0]
    share = float(torch.sigmoid(torch.tensor(2.0)))
    torch.testing.assert_close(whole[..., :5].sum(dim=3), torch.full((3, 4, 8), share), rtol=0, atol=1e-6)


def test_gates_differ_from_query_to_query():
    whole = transformer(2, exchange="gated").attention(drawn((5, 3)))[0]
    assert whole[..., :5].sum(dim=3).std(dim=2).min() > 1e-4


def test_no_stream_apart_is_one_ordinary_transformer():
    """With no block that exchanges, streams are joined at once: cutting the same tokens elsewhere changes nothing."""
    network = transformer(2, mixing=0)
    one = drawn((8,))[0]
    halves = [
        Tokens(values=one.values[:, :3], keep=one.keep[:, :3]),
        Tokens(values=one.values[:, 3:], keep=one.keep[:, 3:]),
    ]
    torch.testing.assert_close(wide(network, halves), wide(transformer(1, mixing=0), [one]), rtol=0, atol=TOLERANCE)


def test_streams_that_never_meet_do_not_see_each_other():
    network, tokens = transformer(2, mixing=3, exchange="none"), drawn((5, 3))
    other = [tokens[0], drawn((3,), seed=9)[0]]
    torch.testing.assert_close(network(tokens).values[:, :5], network(other).values[:, :5], rtol=0, atol=0)
    assert not torch.equal(network(tokens).values[:, 5:], network(other).values[:, 5:])


# ---- masks


@pytest.mark.parametrize("mixing", [0, 2, 3])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_masked_equals_deleted(exchange, mixing):
    network, tokens = transformer(3, exchange=exchange, mixing=mixing), drawn((5, 3, 4))
    counts = (2, 3, 1)
    hidden, deleted = ([how(t, n) for t, n in zip(tokens, counts, strict=True)] for how in (masked, cut))
    pooled = kept(network(hidden)).mean(dim=1)
    torch.testing.assert_close(pooled, network(deleted).values.mean(dim=1), rtol=0, atol=2e-6)  # rounding, of values up to 4
    torch.testing.assert_close(wide(network, hidden), wide(network, deleted), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize("exchange", ["average", "co_only"])
def test_an_absent_stream_takes_no_share(exchange, gone):
    """1/2 + 1/2 + 0 where one of three is empty: as two streams with the same weights."""
    network, tokens = transformer(3, exchange=exchange), drawn((5, 3, 4))
    left = [m for m in range(3) if m != gone]
    two = MultimodalTransformer(replace(SHAPE, exchange=exchange), streams=2).eval()
    renamed = {}
    for key, value in network.state_dict().items():
        index = key.split("streams.")[1][0] if "streams." in key and key.startswith(("blocks.0.", "blocks.1.")) else None
        if index is None:
            renamed[key] = value
        elif int(index) in left:
            renamed[key.replace(f"streams.{index}.", f"streams.{left.index(int(index))}.")] = value
    two.load_state_dict(renamed)
    hidden = [masked(t, 0 if m == gone else t.keep.shape[1]) for m, t in enumerate(tokens)]
    torch.testing.assert_close(wide(network, hidden), wide(two, [tokens[m] for m in left]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_stream_alone_attends_to_itself_only(exchange):
    """1 + 0 where the other stream is empty, in the same batch as a patient who has both."""
    network, tokens = transformer(2, exchange=exchange), drawn((5, 3))
    keep = tokens[1].keep.clone()
    keep[0] = False
    some = [tokens[0], Tokens(values=torch.where(keep[..., None], tokens[1].values, torch.nan), keep=keep)]
    whole = network.attention(some)[0]
    torch.testing.assert_close(whole[0, :, :5, :5].sum(dim=2), torch.ones(4, 5), rtol=0, atol=1e-6)
    together, alone = network(some).values, network([t.take(torch.tensor([0])) for t in some]).values
    torch.testing.assert_close(together[0, :5], alone[0, :5], rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(together[1:], network(tokens).values[1:], rtol=1e-5, atol=2e-6)


def test_nothing_flows_back_into_what_is_masked():
    network, tokens = transformer(2), [masked(t, 2) for t in drawn((5, 3))]
    for t in tokens:
        t.values.requires_grad_()
    mixed = network(tokens)
    mixed.values[mixed.keep].square().sum().backward()
    for t in tokens:
        assert (t.values.grad[~t.keep] == 0).all()
        assert (t.values.grad[t.keep] != 0).all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


# ---- maps


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_maps_are_whole_and_zero_where_not_kept(exchange):
    tokens = [masked(t, n) for t, n in zip(drawn((5, 3, 4)), (4, 3, 1), strict=True)]
    maps = transformer(3, exchange=exchange).attention(tokens)
    keep = torch.cat([t.keep for t in tokens], dim=1)
    assert len(maps) == SHAPE.depth
    for whole in maps:
        torch.testing.assert_close(whole.sum(dim=3), keep[:, None].expand(-1, 4, -1).float(), rtol=0, atol=1e-6)
        assert (whole[(~keep)[:, None, None].expand_as(whole)] == 0).all()


def test_maps_reproduce_what_the_block_computes():
    network, tokens = transformer(2, exchange="gated"), drawn((5, 3))
    block, xs = network.blocks[0], [t.values for t in tokens]
    way = routes([t.keep for t in tokens], "gated")
    _, projected = block._project(xs)
    values = torch.cat([p[2] for p in projected], dim=2)
    mixed = (block.maps(xs, way) @ values).transpose(1, 2).flatten(2)
    for x, own, came in zip(xs, mixed.split((5, 3), dim=1), block(xs, way), strict=True):
        stream = block.streams[0 if x.shape[1] == 5 else 1]
        after = x + block.out(own)
        torch.testing.assert_close(after + stream.feed(stream.norm_feed(after)), came, rtol=1e-5, atol=1e-5)


def test_maps_are_cut_by_pair():
    maps = [torch.arange(49.0).reshape(1, 1, 7, 7), torch.ones(1, 1, 7, 7)]
    cells = split_maps(maps, {"slide": 4, "rna": 2, "age": 1})
    assert len(cells) == 2 * 9
    torch.testing.assert_close(cells["0:rna->slide"], maps[0][:, :, 4:6, :4])
    torch.testing.assert_close(cells["0:slide->age"], maps[0][:, :, :4, 6:])


# ---- parameters


@pytest.mark.parametrize("mixing", [0, 1, 3])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_no_parameter_is_dead(exchange, mixing):
    network = transformer(2, exchange=exchange, mixing=mixing).double()
    tokens = [Tokens(values=t.values.double(), keep=t.keep) for t in drawn((5, 3))]
    network(tokens).values.square().matmul(torch.linspace(-1, 1, 16, dtype=torch.float64)).sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-10] == []


def test_what_the_peer_keeps_for_nothing():
    """Second output projection without a gradient, biases of keys with one of zero; ours has neither."""
    network = transformer(2, upstream_compatible=True).double()
    tokens = [Tokens(values=t.values.double(), keep=t.keep) for t in drawn((5, 3))]
    network(tokens).values.square().matmul(torch.linspace(-1, 1, 16, dtype=torch.float64)).sum().backward()
    assert [k for k, p in network.named_parameters() if p.grad is None] == [
        f"blocks.{i}.out_unused.{kind}" for i in (0, 1) for kind in ("weight", "bias")
    ]
    for block in network.blocks:
        for stream in block.streams:
            parts = stream.qkv.bias.grad.chunk(3)
            assert parts[1].abs().max() < 1e-12 < min(parts[0].abs().max(), parts[2].abs().max())
    assert sum(p.numel() for p in transformer(2).parameters()) == sum(p.numel() for p in network.parameters()) - 2 * 272 - 5 * 16


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"heads": 5}, "width 16 does not divide into 5 heads"),
        ({"mixing": 4}, "got mixing 4, depth 3"),
        ({"depth": 0, "mixing": 0}, "wanted at least 1 block"),
        ({"exchange": "avarage"}, "no exchange 'avarage'; known: average, learned"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(SHAPE, **changes)
