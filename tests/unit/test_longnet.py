"""LongNet: order, padding, batches, slides of a patient, readouts, released weights, training options."""

import dataclasses
import math

import pytest
import torch

from oncoweave.core.errors import ConfigError
from oncoweave.encoders.longnet import VARIANTS, Config, LongNet, build, from_upstream
from oncoweave.nn.packed_slides import unpack
from oncoweave.nn.sequence_parallel import Ranks
from oncoweave.nn.tokens import Tokens

TINY = VARIANTS["tiny"]
DIM = 5


def network(config: Config = TINY, **changes) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(dataclasses.replace(config, **changes), dim_in=DIM, num_tokens=None, dim_out=3).eval()


def batch(counts: list[int], *, seed: int = 0, slides: int = 1) -> Tokens:
    """Tiles of as many patients, each with ``slides`` slides of tiles in a square of 12 cells a side."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(counts)
    values = torch.randn(len(counts), longest, DIM, generator=generator)
    keep = torch.arange(longest) < torch.tensor(counts)[:, None]
    places = torch.stack([torch.randperm(144, generator=generator)[:longest] for _ in counts])
    number = torch.arange(longest).expand(len(counts), -1) % slides
    return Tokens(values=values, keep=keep, positions=torch.stack([places % 12, places // 12, number], dim=-1).float())


def shuffled(tokens: Tokens) -> tuple[Tokens, torch.Tensor]:
    order = torch.randperm(tokens.keep.shape[1], generator=torch.Generator().manual_seed(1))
    return Tokens(values=tokens.values[:, order], keep=tokens.keep[:, order], positions=tokens.positions[:, order]), order


@pytest.mark.parametrize("readout", ["mean", "cls"])
def test_the_order_of_tiles_does_not_count(readout):
    tokens = batch([60, 33])
    made = network(readout=readout)
    assert torch.equal(made(tokens).values, made(shuffled(tokens)[0]).values)


def test_contextual_tiles_come_back_in_the_order_they_came_in():
    tokens, made = batch([60, 33]), network(readout="tokens")
    moved, order = shuffled(tokens)
    assert torch.equal(made(tokens).values[:, order], made(moved).values)


@pytest.mark.parametrize("upstream", [False, True], ids=["exact", "upstream"])
def test_a_padded_batch_is_its_slides_one_by_one(upstream):
    tokens, made = batch([60, 33, 1, 47]), network(upstream_compatible=upstream)
    whole = made(tokens).values
    for row, count in enumerate([60, 33, 1, 47]):
        alone = Tokens(
            values=tokens.values[row : row + 1, :count],
            keep=tokens.keep[row : row + 1, :count],
            positions=tokens.positions[row : row + 1, :count],
        )
        torch.testing.assert_close(made(alone).values, whole[row : row + 1], rtol=1e-5, atol=1e-6)


def test_a_masked_tile_is_a_deleted_tile():
    tokens, made = batch([60]), network(readout="tokens")
    keep = torch.rand(1, 60, generator=torch.Generator().manual_seed(2)) < 0.6
    masked = made(dataclasses.replace(tokens, keep=keep)).values[keep]
    deleted = made(Tokens(values=tokens.values[keep][None], keep=keep[keep][None], positions=tokens.positions[keep][None]))
    assert torch.equal(masked, deleted.values[0])


def test_each_slide_of_a_patient_is_encoded_by_itself():
    both, made = batch([60], slides=2), network()
    came = made(both)
    assert came.values.shape[1] == 2
    for number in range(2):
        own = both.positions[0, :, 2] == number
        alone = Tokens(values=both.values[:, own], keep=both.keep[:, own], positions=both.positions[:, own])
        torch.testing.assert_close(made(alone).values[0, 0], came.values[0, number], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("readout", ["mean", "cls", "tokens"])
def test_training_and_inference_paths_agree(readout):
    tokens, made = batch([60, 33], slides=2), network(readout=readout, layers=(0, 2))
    with torch.no_grad():
        inferred = made(tokens).values
    torch.testing.assert_close(made(tokens).values, inferred, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("recompute", ["feed_forward", "layers"])
def test_recomputing_changes_neither_output_nor_gradient(recompute):
    tokens, found = batch([60, 33]), []
    for checkpoint in ("nothing", recompute):
        made = network(checkpoint=checkpoint).train()
        out = made(tokens).values
        out.sin().sum().backward()
        found.append((out, {key: parameter.grad for key, parameter in made.named_parameters()}))
    torch.testing.assert_close(found[0][0], found[1][0])
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], gradient, rtol=1e-4, atol=1e-6)


def test_drop_path_draws_the_same_again_where_layers_are_recomputed():
    tokens, found = batch([60, 33, 20, 41]), []
    for checkpoint in ("nothing", "layers"):
        made = network(checkpoint=checkpoint, drop_path=0.5, dropout=0.1).train()
        torch.manual_seed(3)
        made(tokens).values.sum().backward()
        found.append(made.network.encoder.layers[1].self_attn.v_proj.weight.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_drop_path_skips_whole_slides_and_keeps_the_mean():
    made = network(drop_path=0.25).network.train()
    layer = made.encoder.layers[-1]
    torch.manual_seed(0)
    drawn = torch.cat([layer._drop_path(torch.zeros(5, 32), [3, 2]) for _ in range(4000)], dim=1)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
    assert sorted(drawn.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert float(drawn.mean()) == pytest.approx(1, abs=4 * math.sqrt(0.25 / 0.75 / 8000))
    assert made.encoder.layers[0].config.drop_path == 0


def test_states_are_the_layers_and_final_is_their_end():
    tokens, made = batch([20, 11]), network().network
    grid = tokens.positions[..., :2].long()
    states = made.tokens(tokens.values, keep=tokens.keep, grid=grid)
    assert [tuple(x.shape) for x in states] == [(2, 21, 32)] * 3
    torch.testing.assert_close(states[0][:, 0], made.cls_token[0].expand(2, -1))
    assert not states[2][1, 12:].any()
    final = made.norm(made.encoder.layer_norm(states[-1]))
    came = made.final(tokens.values, keep=tokens.keep, grid=grid)
    torch.testing.assert_close(came[0], final[0])
    pooled = made.norm(states[1][0, 1:].mean(dim=0))
    slides = made.rows(tokens.values, tokens.keep, grid)
    torch.testing.assert_close(made.readouts(slides, pool="mean", layers=(1,))[0][0], pooled)


def test_a_row_without_a_tile_is_no_slide():
    tokens = batch([20, 11])
    keep = tokens.keep.clone()
    keep[1] = False
    states = network().network.tokens(tokens.values, keep=keep, grid=tokens.positions[..., :2].long())
    assert not states[-1][1].any()
    assert states[-1][0].abs().sum() > 0


def test_what_a_network_cannot_place_names_the_fix():
    tokens, made = batch([20]), network()
    with pytest.raises(ValueError, match=r"LongNet needs positions: .*in tiles"):
        made(Tokens(values=tokens.values, keep=tokens.keep))
    pixels = dataclasses.replace(tokens, positions=tokens.positions * 256)
    with pytest.raises(ValueError, match="divide level-0 pixels by the tile's pitch"):
        made(pixels)
    with pytest.raises(ValueError, match="wanted 0 to 999"):
        made.network.tokens(tokens.values, keep=tokens.keep, grid=tokens.positions[..., :2].long() * 256)


def test_autocast_stays_near():
    tokens, made = batch([60, 33]), network()
    with torch.no_grad():
        exact = made(tokens).values
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (made(tokens).values.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dilations": (1, 2)}, "3 segments and 2 dilations"),
        ({"heads": 5}, "width 32 does not divide into 5 heads"),
        ({"layers": (1, 3)}, r"layers \[3\] do not exist; there are 0 .* to 2"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_the_released_sizes():
    counts = {}
    for name in ("base", "large", "wide"):
        with torch.device("meta"):
            made = LongNet(VARIANTS[name], dim_in=1536)
        counts[name] = (len(made.state_dict()), sum(p.numel() for p in made.parameters()))
    assert counts["base"] == (247, 86_330_880)
    assert counts["large"][0] == 487


def test_released_weights_are_loaded_strictly():
    config = dataclasses.replace(TINY, key_bias=True)
    state = LongNet(config, dim_in=DIM).state_dict()
    loaded = from_upstream({"model": state, "epoch": 3}, config)
    assert loaded.config.upstream_compatible
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    spoilt = {key: value for key, value in state.items() if "fc1" not in key} | {"head.weight": torch.zeros(2)}
    with pytest.raises(ConfigError, match=r"missing: encoder.layers.0.ffn.fc1.bias, .*; unexpected: head.weight"):
        from_upstream(spoilt, config)
    with pytest.raises(ConfigError, match=r"norm.bias has shape \(7,\), wanted \(32,\)"):
        from_upstream(state | {"norm.bias": torch.zeros(7)}, config)
    with pytest.raises(ConfigError, match=r"not weights of LongNet: no key 'patch_embed.proj.weight' among 1: pos_embed"):
        from_upstream({"pos_embed": torch.zeros(1)})


def test_tiles_shared_by_processes_are_not_put_back_together():
    made = network(readout="tokens")
    tokens = batch([20])
    whole = made.network.rows(tokens.values, tokens.keep, tokens.positions[..., :2].long())
    slides = dataclasses.replace(whole, ranks=Ranks(rank=0, size=2))
    with pytest.raises(ValueError, match="several processes share"):
        unpack(torch.zeros(10, 32), slides)
