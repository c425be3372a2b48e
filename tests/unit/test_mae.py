"""Masked autoencoding of slides: the loss in closed form, what may influence it, and that it learns."""

import dataclasses

import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.encoders import longnet
from oncoweave.nn.coordinates import SlideView
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives import mae

DIM = 5
CONFIG = mae.Config(mask_ratio=0.5, decoder_dim=16, decoder_depth=1, decoder_heads=2, views=SlideView(grid=40))


def _build(config=CONFIG, seed=0, **encoder):
    size = dataclasses.replace(longnet.VARIANTS["tiny"], dim=16, depth=1, heads=2, **encoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = longnet.LongNet(size, dim_in=DIM)
    return mae.build(config, encoder=network, generator=torch.Generator().manual_seed(seed))


def _batch(sizes, seed=0, side=6):
    generator = torch.Generator().manual_seed(seed)
    keep = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    values = torch.where(keep[..., None], torch.randn(len(sizes), max(sizes), DIM, generator=generator), torch.nan)
    index = torch.arange(max(sizes))
    places = torch.stack([index % side, index // side, torch.zeros_like(index)], dim=1).float()
    return Tokens(values=values, keep=keep, positions=places.expand(len(sizes), -1, -1).clone())


def _loss(module, batch, seed=1):
    return module(batch, step=0, steps=1, generator=torch.Generator().manual_seed(seed))


def test_a_decoder_that_says_nothing_has_the_error_of_the_training_mean():
    module, batch = _build(), _batch([12, 7])
    nn.init.zeros_(module.decoder.predict.weight)
    nn.init.zeros_(module.decoder.predict.bias)
    found = _loss(module, batch)
    torch.testing.assert_close(found["loss"].detach(), found["mean_error"])
    torch.testing.assert_close(found["explained"], torch.tensor(0.0))


def test_the_loss_is_the_mean_square_over_hidden_tiles_whichever_slide_they_are_of():
    module, batch = _build(), _batch([12, 6])
    nn.init.zeros_(module.decoder.predict.weight)
    nn.init.constant_(module.decoder.predict.bias, 2.0)
    batch = dataclasses.replace(batch, values=torch.where(torch.arange(2)[:, None, None] == 0, 3.0, 7.0).expand_as(batch.values))
    found = _loss(module, batch)  # six hidden tiles of the first slide, three of the second
    torch.testing.assert_close(found["loss"].detach(), torch.tensor((6 * 1.0 + 3 * 25.0) / 9))
    torch.testing.assert_close(found["mean_error"], torch.tensor((6 * 9.0 + 3 * 49.0) / 9))


def _hidden(batch, seed=3):
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.rand(batch.keep.shape, generator=generator) < 0.5) & batch.keep
    hidden[:, 0] = False
    return hidden


def test_hidden_tiles_do_not_reach_the_prediction():
    module, batch = _build(), _batch([15, 9])
    hidden = _hidden(batch)
    other = dataclasses.replace(batch, values=torch.where(hidden[..., None], 1e4, batch.values))
    torch.testing.assert_close(module.predict(other, hidden), module.predict(batch, hidden), rtol=0, atol=0)
    seen = dataclasses.replace(batch, values=torch.where(hidden[..., None], batch.values, batch.values + 1))
    assert not torch.allclose(module.predict(seen, hidden), module.predict(batch, hidden))


def test_masked_equals_deleted_for_the_encoder():
    """What the encoder gets is the slide without the hidden tiles, not the slide with zeros in their place."""
    module, batch = _build(), _batch([15])
    hidden = _hidden(batch)
    calls = []
    module.encoder.register_module("spy", nn.Identity())
    final = module.encoder.final

    def spy(values, *, keep, grid):
        calls.append((values[keep], grid[keep]))
        return final(values, keep=keep, grid=grid)

    module.encoder.final = spy
    module.predict(batch, hidden)
    shown = batch.keep & ~hidden
    assert torch.equal(calls[0][0], batch.values[shown])
    assert torch.equal(calls[0][1].float(), batch.positions[shown][:, :2])


def test_each_slide_is_by_itself_whatever_the_padding_and_its_neighbours():
    module, batch = _build(), _batch([15, 9, 4])
    hidden = _hidden(batch)
    together = module.predict(batch, hidden).split(hidden.sum(dim=1).tolist())
    for row, wanted in enumerate(together):
        n = int(batch.keep[row].sum())
        alone = Tokens(
            values=batch.values[row : row + 1, :n],
            keep=batch.keep[row : row + 1, :n],
            positions=batch.positions[row : row + 1, :n],
        )
        torch.testing.assert_close(module.predict(alone, hidden[row : row + 1, :n]), wanted)


def test_absent_slides_change_neither_loss_nor_gradient():
    module, batch = _build(), _batch([15, 9])
    _loss(module, batch)["loss"].backward()
    wanted = {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    nowhere = torch.zeros(1, 15, dtype=torch.bool)
    padded = Tokens(
        values=torch.cat([batch.values[:1], torch.full((1, 15, DIM), torch.nan), batch.values[1:]]),
        keep=torch.cat([batch.keep[:1], nowhere, batch.keep[1:]]),
        positions=torch.cat([batch.positions[:1], torch.full((1, 15, 3), torch.nan), batch.positions[1:]]),
    )
    _loss(module, padded)["loss"].backward()
    for key, parameter in module.named_parameters():
        if key in wanted:
            torch.testing.assert_close(parameter.grad, wanted[key], msg=key)


def test_nothing_to_hide_gives_zero_and_zero_gradients():
    module = _build()
    for batch in (_batch([1, 1]), dataclasses.replace(_batch([3]), keep=torch.zeros(1, 3, dtype=torch.bool))):
        module.zero_grad()
        found = _loss(module, batch)
        found["loss"].backward()
        assert found["loss"].detach() == 0
        assert all((p.grad == 0).all() for p in module.parameters() if p.grad is not None)


def test_the_order_of_tiles_does_not_matter_given_what_is_hidden():
    for config in (CONFIG, dataclasses.replace(CONFIG, segments=(4, 16), dilations=(1, 2))):
        module, batch = _build(config), _batch([20])
        hidden = _hidden(batch)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
        moved = Tokens(values=batch.values[:, order], keep=batch.keep, positions=batch.positions[:, order])
        wanted, found = batch.values.new_zeros(20, DIM), batch.values.new_zeros(20, DIM)
        wanted[hidden[0]] = module.predict(batch, hidden).detach()
        found[hidden[0, order]] = module.predict(moved, hidden[:, order]).detach()
        torch.testing.assert_close(found, wanted[order])


def test_places_matter():
    module, batch = _build(), _batch([20])
    hidden = _hidden(batch)
    moved = dataclasses.replace(batch, positions=batch.positions.flip(1))
    assert not torch.allclose(module.predict(moved, hidden), module.predict(batch, hidden))


def test_dropout_follows_the_generator_and_leaves_the_global_one_alone():
    module, batch = _build(dropout=0.5).train(), _batch([20])
    state = torch.get_rng_state()
    losses = [float(_loss(module, batch, seed=s)["loss"].detach()) for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_the_class_token_is_trained():
    module = _build()
    _loss(module, _batch([20]))["loss"].backward()
    assert module.encoder.cls_token.grad.abs().max() > 0


def test_what_is_exported_is_the_network_before_a_readout():
    wrapped = longnet.build(longnet.VARIANTS["tiny"], dim_in=DIM, num_tokens=None, dim_out=3)
    module = mae.build(CONFIG, encoder=wrapped, generator=torch.Generator())
    assert module.exported is wrapped.network
    assert not any("decoder" in key for key in module.exported.state_dict())


def test_it_learns_what_the_mean_does_not_know():
    """Each slide is of one colour, which no training mean knows and any visible tile shows."""
    module = _build(segments=(64,), dilations=(1,)).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(40):
        batch = _coloured(torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        found = module(batch, step=step, steps=40, generator=generator)
        found["loss"].backward()
        optimizer.step()
    fresh = [_loss(module, _coloured(torch.Generator().manual_seed(999 + k)))["explained"] for k in range(3)]
    assert torch.stack(fresh).mean() > 0.3  # reaches .5; predicting the mean gives 0


def _coloured(generator):
    colour = torch.randn(5, 1, DIM, generator=generator)
    batch = _batch([6] * 5)
    return dataclasses.replace(batch, values=colour + 0.1 * torch.randn(5, 6, DIM, generator=generator))


def test_slides_that_cannot_be_used_are_refused():
    module, batch = _build(), _batch([9, 9])
    with pytest.raises(ValueError, match="without positions"):
        _loss(module, dataclasses.replace(batch, positions=None))
    several = batch.positions.clone()
    several[1, 4:, 2] = 1
    with pytest.raises(ValueError, match="row 1 of the batch holds tiles of several slides"):
        _loss(module, dataclasses.replace(batch, positions=several))
    with pytest.raises(ValueError, match="wanted 0 to 39") as caught:
        _loss(module, dataclasses.replace(batch, positions=batch.positions * 256))
    assert "in row 0 of the batch" in caught.value.__notes__
    with pytest.raises(ValueError, match="no visible tile"):
        module.predict(batch, batch.keep)


@pytest.mark.parametrize(
    "wrong", [{"mask_ratio": 0.0}, {"mask_ratio": 1.0}, {"mask_block": 0}, {"decoder_depth": 0}, {"segments": (8,)}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="wanted"):
        shelf.configure("objectives", "mae", wrong)
