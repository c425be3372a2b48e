"""What every encoder on the shelf promises; names are read from disk, so a new file is tested without a change here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import DIM_OUT, GOLDEN_BELOW, build, golden_output, images, num_parameters, replace, shape, tile_encoder, tokens, told
from safetensors.torch import load_file, save_file
from torch import nn

from oncoweave.core import shelf
from oncoweave.nn.tokens import Tokens

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "encoders.json").read_text())
TILE = "tile"

SERVED = {entry.name: entry.constants["KINDS"] for entry in shelf.catalogue("encoders")}
VARIANTS = {name: tuple(shelf.load("encoders", name).VARIANTS) for name in SERVED}
TILE_CASES = [name for name, kinds in SERVED.items() if TILE in kinds]
TOKEN_CASES = [
    (f"{name}/{variant}", kind)
    for name, kinds in SERVED.items()
    for kind in kinds
    for variant in VARIANTS[name]
    if kind in shelf.names("modalities")
    and (variant == "tiny" or (kind == kinds[0] and num_parameters(name, variant) < 7_000_000))
]
"""The tiny variant with every kind it serves, the other variants (but those too large for a quick test) with the first."""

of_tokens = pytest.mark.parametrize(("name", "kind"), TOKEN_CASES, ids=lambda value: value)
of_tiles = pytest.mark.parametrize("name", TILE_CASES)


def encoder(name: str, kind: str) -> nn.Module:
    return build(shelf.load("encoders", name), shelf.variant("encoders", name), shape(kind), kind)


def assert_rows_equal(a: Tokens, b: Tokens, rows=None) -> None:
    """Kept outputs agree patient by patient; how far each is padded does not count."""
    for row_a, row_b in rows or [(i, i) for i in range(len(a.keep))]:
        torch.testing.assert_close(a.values[row_a][a.keep[row_a]], b.values[row_b][b.keep[row_b]], rtol=1e-5, atol=1e-5)


def backward(network: nn.Module, tokens: Tokens) -> dict[str, torch.Tensor]:
    """Gradients of a loss over kept outputs, each with its own weight, and of the encoder's own penalty where it has one."""
    network.zero_grad()
    encoded, penalty = (
        network.forward_with_penalty(tokens) if hasattr(network, "forward_with_penalty") else (network(tokens), 0.0)
    )
    weights = torch.linspace(-1, 2, DIM_OUT) + torch.arange(len(encoded.keep))[:, None, None]
    total = torch.where(encoded.keep.unsqueeze(-1), encoded.values * weights, 0.0).sum()
    (total + torch.as_tensor(penalty).sum()).backward()
    return {key: parameter.grad.clone() for key, parameter in network.named_parameters()}


def test_every_encoder_serves_a_kind_and_has_a_tiny_variant():
    for name, kinds in SERVED.items():
        assert set(kinds) <= {*shelf.names("modalities"), TILE}, name
        assert "tiny" in VARIANTS[name], name


@of_tokens
def test_output_has_the_width_asked_for_and_is_finite(name, kind):
    given = tokens(kind)
    encoded = encoder(name, kind)(given)
    assert encoded.values.shape[2] == DIM_OUT
    assert encoded.values.dtype == torch.float32
    assert torch.isfinite(encoded.values).all()
    assert torch.equal(encoded.present, given.present)


@of_tokens
def test_every_parameter_gets_a_gradient(name, kind):
    for key, gradient in backward(encoder(name, kind), tokens(kind)).items():
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().max() > 1e-7, key


@of_tokens
def test_a_penalty_is_one_number_a_patient_and_leaves_the_output_as_it_is(name, kind):
    network, given = encoder(name, kind), tokens(kind)
    if not hasattr(network, "forward_with_penalty"):
        pytest.skip("this encoder has no penalty of its own")
    encoded, penalty = network.forward_with_penalty(given)
    assert torch.equal(encoded.values, network(given).values)
    assert penalty.shape == (len(given.keep),)
    assert torch.isfinite(penalty).all()
    assert (penalty != 0).tolist() == given.present.tolist()
    alone = [network.forward_with_penalty(given.take(torch.tensor([row])))[1] for row in range(len(given.keep))]
    torch.testing.assert_close(torch.cat(alone), penalty, rtol=1e-5, atol=1e-6)


@of_tokens
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30])
def test_what_is_not_kept_has_no_influence(name, kind, garbage):
    given, network = tokens(kind), encoder(name, kind)
    assert not given.keep.all()
    places = None if given.positions is None else torch.where(given.keep.unsqueeze(-1), given.positions, garbage)
    spoilt = replace(given, values=torch.where(given.keep.unsqueeze(-1), given.values, garbage), positions=places)
    clean = replace(given, values=given.clean)
    a, b = network(clean), network(spoilt)
    assert torch.equal(a.keep, b.keep)
    assert torch.equal(a.values[a.keep], b.values[b.keep])
    wanted, came = backward(network, clean), backward(network, spoilt)
    assert all(torch.equal(wanted[key], came[key]) for key in wanted)


@of_tokens
def test_padding_changes_nothing(name, kind):
    if shape(kind)[1] is not None:
        pytest.skip("this modality has a fixed number of tokens")
    given, network = tokens(kind), encoder(name, kind)
    extra = (len(given.keep), 7)
    padded = Tokens(
        values=torch.cat([given.values, torch.full((*extra, given.values.shape[2]), torch.nan)], dim=1),
        keep=torch.cat([given.keep, torch.zeros(extra, dtype=torch.bool)], dim=1),
        positions=None if given.positions is None else torch.cat([given.positions, torch.full((*extra, 3), torch.nan)], dim=1),
    )
    assert_rows_equal(network(given), network(padded))


@of_tokens
def test_a_batch_of_one_equals_its_row_of_a_batch(name, kind):
    given, network = tokens(kind), encoder(name, kind)
    whole = network(given)
    for row in range(len(given.keep)):
        assert_rows_equal(network(given.take(torch.tensor([row]))), whole, [(0, row)])
    order = torch.tensor([3, 5, 2, 0, 1, 4])
    assert_rows_equal(network(given.take(order)), whole, list(enumerate(order.tolist())))


@of_tokens
def test_absent_patients_come_out_absent(name, kind):
    given, network = tokens(kind), encoder(name, kind)
    assert not given.present[2]
    assert not network(given).keep[2].any()
    nobody = replace(given, keep=torch.zeros_like(given.keep))
    assert not network(nobody).keep.any()
    network.zero_grad()
    network(nobody).values.sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


@of_tokens
def test_order_of_tokens_counts_only_where_it_may(name, kind):
    module = shelf.load("encoders", name)
    if not module.ORDER_INVARIANT:
        pytest.skip("this encoder does not promise it")
    given, network = tokens(kind), encoder(name, kind)
    order = torch.from_numpy(np.random.default_rng(0).permutation(given.keep.shape[1]))
    places = None if given.positions is None else given.positions[:, order]
    shuffled = Tokens(values=given.values[:, order], keep=given.keep[:, order], positions=places)
    wanted, came = network(given), network(shuffled)
    if came.keep.shape[1] == 1 + len(order):  # a summary, then one output for each token, in the tokens' order
        back = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.argsort(order)])
        came = Tokens(values=came.values[:, back], keep=came.keep[:, back])
    assert_rows_equal(wanted, came)


@of_tokens
def test_input_is_not_changed(name, kind):
    given = tokens(kind)
    values, keep = given.values.clone(), given.keep.clone()
    encoder(name, kind)(given)
    assert torch.equal(given.values, values)
    assert torch.equal(given.keep, keep)


@of_tokens
def test_wrong_width_raises(name, kind):
    given, network = tokens(kind), encoder(name, kind)
    wide = replace(given, values=torch.cat([given.values, given.values], dim=2))
    with pytest.raises(ValueError, match=f"width {wide.values.shape[2]}"):
        network(wide)


@of_tokens
def test_wrong_number_of_tokens_raises_where_it_is_fixed(name, kind):
    module = shelf.load("encoders", name)
    dim, num_tokens = shape(kind)
    try:
        module.build(shelf.variant("encoders", name), dim_in=dim, num_tokens=None, dim_out=DIM_OUT, **told(module, kind))
    except ValueError as error:
        assert "same number of tokens" in str(error)
    else:
        pytest.skip("this encoder takes any number of tokens")
    given, network = tokens(kind), encoder(name, kind)
    longer = Tokens(values=torch.cat([given.values] * 2, dim=1), keep=torch.cat([given.keep] * 2, dim=1))
    with pytest.raises(ValueError, match=f"wanted {num_tokens} tokens"):
        network(longer)


@of_tokens
def test_stored_weights_give_identical_output(name, kind, tmp_path):
    module = shelf.load("encoders", name)
    network, given = encoder(name, kind), tokens(kind)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    dim, num_tokens = shape(kind)
    fresh = module.build(
        shelf.variant("encoders", name), dim_in=dim, num_tokens=num_tokens, dim_out=DIM_OUT, **told(module, kind)
    ).eval()
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(network(given).values, fresh(given).values)


@of_tiles
def test_tile_encoder_gives_one_finite_vector_a_tile(name):
    network = tile_encoder(shelf.load("encoders", name), shelf.variant("encoders", f"{name}/tiny"))
    encoded = network(images())
    assert encoded.shape == (len(images()), network.dim)
    assert torch.isfinite(encoded).all()
    assert torch.isfinite(network(torch.full((1, 3, 64, 64), 0.5))).all()


@of_tiles
def test_tile_encoder_gives_every_parameter_a_gradient(name):
    network = tile_encoder(shelf.load("encoders", name), shelf.variant("encoders", f"{name}/tiny"))
    parameters = dict(network.named_parameters())
    if not parameters:
        pytest.skip("this encoder has no parameters")
    encoded = network(images())
    (encoded * torch.linspace(-1, 2, encoded.shape[1])).sum().backward()
    for key, parameter in parameters.items():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 1e-7, key


@of_tiles
def test_a_tile_does_not_see_its_batch(name):
    network = tile_encoder(shelf.load("encoders", name), shelf.variant("encoders", f"{name}/tiny"))
    with torch.no_grad():
        whole = network(images())
        alone = torch.cat([network(images()[i : i + 1]) for i in range(len(images()))])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)


@of_tiles
def test_stored_weights_of_a_tile_encoder_give_identical_output(name, tmp_path):
    module, config = shelf.load("encoders", name), shelf.variant("encoders", f"{name}/tiny")
    network = tile_encoder(module, config)
    fresh = tile_encoder(module, config)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(network(images()), fresh(images()))


def test_every_variant_has_golden_numbers():
    wanted = {f"{n}/{variant}" for n in SERVED for variant in VARIANTS[n] if num_parameters(n, variant) < GOLDEN_BELOW}
    assert set(GOLDEN) == wanted, "run python tests/reference/make_golden.py"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_numbers(name):
    """The numbers come from tests/reference/make_golden.py; weights and inputs do not depend on torch's random numbers."""
    came = np.array(golden_output(*name.split("/")))[:, :12]
    np.testing.assert_allclose(came, GOLDEN[name], rtol=1e-4, atol=1e-5)  # sums differ a little by CPU
