"""Aggregators of tiles beyond their contract: closed forms, chunks, places on the slide, and what is refused."""

import dataclasses
from itertools import product

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.encoders import agata, perceiver, pool, transmil
from oncoweave.encoders.transmil import GridConvolution
from oncoweave.nn.pooling import GatedAttentionPool, ShortcutPool
from oncoweave.nn.tokens import Tokens


def drawn(batch=3, count=11, dim=4, seed=0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(batch, count, generator=generator) < 0.8
    keep[:, 0] = True
    tile = torch.arange(count)
    places = torch.stack([tile % 4, tile // 4, tile % 2], dim=1).float().expand(batch, -1, -1)
    return Tokens(values=torch.randn(batch, count, dim, generator=generator), keep=keep, positions=places)


def build(module, **changes):
    torch.manual_seed(0)
    config = dataclasses.replace(module.VARIANTS["tiny"], **changes)
    return module.build(config, dim_in=4, num_tokens=None, dim_out=5)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_agata_is_the_published_formula_over_kept_tiles(queries, scaled):
    network, tokens = build(agata, queries=queries, scaled=scaled), drawn()
    encoded = network(tokens).values[:, 0]
    for row in range(3):
        first = torch.relu(network.linear1(tokens.values[row][tokens.keep[row]]))
        second = torch.relu(network.linear2(first))
        scores = first @ network.queries.weight.T / (16**0.5 if scaled else 1)
        wanted = network.out((torch.softmax(scores, dim=0).T @ second).sum(dim=0))
        torch.testing.assert_close(encoded[row], wanted)
        weights = torch.zeros(queries, 11).masked_scatter(tokens.keep[row].expand(queries, -1), torch.softmax(scores, dim=0).T)
        torch.testing.assert_close(network.attention(tokens)[row], weights)


def test_agata_in_chunks_gives_the_values_and_gradients_of_one_softmax():
    tokens = drawn(count=50)
    tokens.keep[1, 10:20] = False  # a chunk without a kept tile
    found = []
    for chunk in (1000, 10, 7):
        network = build(agata, chunk=chunk).double()
        values = tokens.values.double().requires_grad_()
        encoded = network(Tokens(values=values, keep=tokens.keep)).values
        (encoded * torch.linspace(-1, 2, 5)).sum().backward()
        gradients = [p.grad for p in network.parameters()]
        found.append([encoded.detach(), values.grad, *gradients])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("module", [agata, perceiver, pool])
def test_tiles_that_occur_twice_count_as_one_share_of_the_slide(module):
    network, tokens = build(module).eval(), drawn()
    twice = Tokens(values=tokens.values.repeat(1, 2, 1), keep=tokens.keep.repeat(1, 2))
    torch.testing.assert_close(network(twice).values, network(tokens).values, rtol=1e-5, atol=1e-5)


def test_both_puts_mean_and_max_side_by_side():
    network, tokens = build(pool, how="both"), drawn()
    kept = [tokens.values[row][tokens.keep[row]] for row in range(3)]
    pooled = torch.stack([torch.cat([k.mean(dim=0), k.amax(dim=0)]) for k in kept])
    torch.testing.assert_close(network(tokens).values[:, 0], network.out(pooled))


def test_the_grid_convolution_is_a_sum_over_neighbours_on_the_same_slide():
    torch.manual_seed(0)
    layer, tokens = GridConvolution(4).double(), drawn()
    values = tokens.values.double()
    added = layer(values, keep=tokens.keep, positions=tokens.positions)
    for row, tile in product(range(3), range(11)):
        wanted = torch.zeros(4, dtype=torch.float64)
        if tokens.keep[row, tile]:
            wanted = sum(k.bias for k in layer.kernels).clone()
            for other in tokens.keep[row].nonzero().flatten().tolist():
                step = tokens.positions[row, other] - tokens.positions[row, tile]
                for kernel in layer.kernels:
                    x, y = (int(s) + kernel.kernel_size[0] // 2 for s in step[:2])
                    if step[2] == 0 and min(x, y) >= 0 and max(x, y) < kernel.kernel_size[0]:
                        wanted += kernel.weight[:, 0, x, y] * values[row, other]
        torch.testing.assert_close(added[row, tile], wanted)


@pytest.mark.parametrize("readout", ["class", "abmil"])
def test_transmil_sees_where_tiles_lie_to_each_other_and_nothing_else(readout):
    network, tokens = build(transmil, readout=readout).eval(), drawn()
    whole = network(tokens).values
    moved = tokens.positions + torch.tensor([37.0, 5.0, 0.0])  # the origin of a scan is arbitrary
    torch.testing.assert_close(network(dataclasses.replace(tokens, positions=moved)).values, whole, rtol=1e-5, atol=1e-5)
    jitter = tokens.positions + torch.tensor([0.01, -0.01, 0.0]) * (torch.arange(11) % 3 - 1)[:, None]
    torch.testing.assert_close(network(dataclasses.replace(tokens, positions=jitter)).values, whole, rtol=1e-5, atol=1e-5)
    apart = tokens.positions * torch.tensor([9.0, 9.0, 1.0])
    assert (network(dataclasses.replace(tokens, positions=apart)).values - whole).abs().max() > 1e-3


def test_transmil_says_what_is_wrong_with_positions():
    network, tokens = build(transmil), drawn()
    with pytest.raises(ValueError, match="needs the tiles' positions"):
        network(Tokens(values=tokens.values, keep=tokens.keep))
    with pytest.raises(ValueError, match="divide level-0 pixels by the tile's pitch"):
        network(dataclasses.replace(tokens, positions=tokens.positions * 1024))


def test_the_shortcut_brings_the_tile_itself_past_its_context():
    torch.manual_seed(0)
    head, tokens = ShortcutPool(6, dim_tile=4, hidden=3), drawn()
    plain = GatedAttentionPool(6, hidden=3)
    plain.load_state_dict(head.pool.state_dict())
    tiles = torch.where(tokens.keep.unsqueeze(-1), tokens.values, 0.0)
    without_context = head(torch.zeros(3, 11, 6), tiles, tokens.keep)
    torch.testing.assert_close(without_context, plain(head.shortcut(tiles), tokens.keep))
    context = torch.randn(3, 11, 6)
    torch.testing.assert_close(head(context, torch.zeros_like(tiles), tokens.keep), plain(context, tokens.keep))


def test_aggregators_are_on_the_shelf():
    served = {entry.name for entry in shelf.catalogue("encoders") if "slide" in entry.constants["KINDS"]}
    assert served >= {"abmil", "agata", "longnet", "perceiver", "pool", "transmil"}
