"""The multimodal diagnosis transformer over modalities: streams, readouts, missing modalities, maps."""

import itertools
from dataclasses import replace

import pytest
import torch

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.fusion.mdt import Config, build, without_effect
from oncoweave.nn.bidirectional import EXCHANGES
from oncoweave.nn.tokens import Tokens

DIMS = {"rna": 3, "slide.he": 5, "clinical": 1}
LENGTHS = {"rna": 4, "slide.he": 6, "clinical": 3}
SMALL = Config(width=16, heads=2, depth=2, mixing=1, dropout=0.0)
CHOICES = [
    {"exchange": exchange, "streams": streams, "readout": readout}
    for exchange, streams, readout in zip(
        EXCHANGES, itertools.cycle(("two", "modalities")), itertools.cycle(("summary", "mean", "modalities")), strict=False
    )
]


def network(bags: frozenset[str] = frozenset({"slide.he"}), **changes) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build(replace(SMALL, **changes), dims=DIMS, dim_out=7, bags=bags).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return model


def drawn(batch: int = 2) -> dict[str, Tokens]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: Tokens(
            values=torch.randn(batch, LENGTHS[name], dim, generator=generator, dtype=torch.float64),
            keep=torch.ones(batch, LENGTHS[name], dtype=torch.bool),
        )
        for name, dim in DIMS.items()
    }


def without(tokens: dict[str, Tokens], *gone: str) -> dict[str, Tokens]:
    return {
        name: Tokens(values=torch.full_like(t.values, torch.nan), keep=torch.zeros_like(t.keep)) if name in gone else t
        for name, t in tokens.items()
    }


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: "-".join(c.values()))
def test_every_choice_gives_every_subset_an_answer_of_its_own_and_leaves_nothing_dead(choice):
    model, tokens = network(mixing=2, **choice), drawn()
    subsets = [gone for count in range(3) for gone in itertools.combinations(DIMS, count)]
    outputs = torch.stack([model(without(tokens, *gone))[0] for gone in subsets])
    assert (torch.cdist(outputs, outputs) + torch.eye(len(subsets))).min() > 1e-4
    model(tokens).matmul(torch.linspace(-1, 1, 7, dtype=torch.float64)).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12] == []


@pytest.mark.parametrize("readout", ["modalities", "mean", "summary"])
def test_masked_equals_deleted_in_every_readout(readout):
    model, tokens = network(readout=readout), drawn()
    keep = torch.zeros(2, 6, dtype=torch.bool)
    keep[:, 2:4] = True
    slide = tokens["slide.he"].values
    holes = Tokens(values=torch.where(keep.unsqueeze(-1), slide, torch.nan), keep=keep)
    deleted = Tokens(values=slide[:, 2:4], keep=keep[:, 2:4])
    torch.testing.assert_close(model(tokens | {"slide.he": holes}), model(tokens | {"slide.he": deleted}), rtol=0, atol=1e-12)


def test_readouts_weigh_as_they_say():
    """Of one modality alone the mean of the modalities is that of its tokens; of several it is not."""
    tokens = drawn()
    by_modality, by_token = network(readout="modalities"), network(readout="mean")
    by_token.load_state_dict(by_modality.state_dict())
    alone = without(tokens, "rna", "clinical")
    torch.testing.assert_close(by_modality(alone), by_token(alone), rtol=0, atol=1e-12)
    assert (by_modality(tokens) - by_token(tokens)).abs().max() > 1e-3


def test_two_streams_are_bags_against_the_rest():
    tokens = drawn()
    model = network(streams="two", exchange="none", mixing=2)
    assert model.groups == (("slide.he",), ("rna", "clinical"))
    maps = model.attention(tokens)
    assert maps["1:rna->clinical"].sum() > 0
    assert maps["1:rna->slide.he"].sum() == 0
    assert network(streams="two", bags=frozenset()).groups == (("rna", "slide.he", "clinical"),)
    assert network().groups == (("slide.he",), ("rna",), ("clinical",))


def test_one_way_goes_from_bags_to_the_rest():
    tokens = drawn()
    for exchange, informed in (("one_way", "rna->slide.he"), ("one_way_back", "slide.he->rna")):
        maps = network(streams="two", exchange=exchange).attention(tokens)
        other = "->".join(reversed(informed.split("->")))
        assert maps[f"0:{informed}"].sum() > 0
        assert maps[f"0:{other}"].sum() == 0


@pytest.mark.parametrize("readout", ["modalities", "summary"])
def test_maps_of_every_block_and_pair_are_whole(readout):
    model, tokens = network(readout=readout), without(drawn(), "clinical")
    maps = model.attention(tokens)
    extra = readout == "summary"
    assert len(maps) == 2 * 9
    assert maps["1:slide.he->rna"].shape == (2, 2, 6 + extra, 4 + extra)
    for block, query in itertools.product((0, 1), ("rna", "slide.he")):
        whole = sum(maps[f"{block}:{query}->{key}"].sum(dim=3) for key in DIMS)
        torch.testing.assert_close(whole, torch.ones_like(whole), rtol=0, atol=1e-12)
    assert all(cell.sum() == 0 for name, cell in maps.items() if "clinical" in name)


def test_maps_halve_between_two_streams_and_are_whole_for_one():
    maps = network().attention(without(drawn(), "clinical"))
    assert maps["0:rna->rna"].sum(dim=3) == pytest.approx(0.5)
    maps = network().attention(without(drawn(), "clinical", "slide.he"))
    assert maps["0:rna->rna"].sum(dim=3) == pytest.approx(1.0)


def test_width_of_the_output_does_not_shrink_with_the_number_of_tokens():
    torch.manual_seed(0)
    model = build(Config(), dims={"slide.he": 8}, dim_out=32, bags=frozenset({"slide.he"})).eval()
    spread = []
    for count in (1, 200):
        values = torch.randn(20, count, 8, generator=torch.Generator().manual_seed(count))
        output = model({"slide.he": Tokens(values=values, keep=torch.ones(20, count, dtype=torch.bool))})
        spread.append(float(output.detach().square().mean().sqrt()))
    assert spread == pytest.approx([1.0, 1.0], abs=0.5)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"streams": "three"}, "setting 'streams' of 'mdt' .* wanted modalities . two as in"),
        ({"readout": "cls"}, "wanted modalities . mean . summary as in"),
        ({"exchange": "avarage"}, "got 'avarage'; did you mean 'average'"),
        ({"width": 16, "heads": 3}, "settings of 'mdt' .*: width 16 does not divide into 3 heads"),
        ({"depth": 1, "mixing": 2}, "got mixing 2, depth 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        shelf.configure("fusion", "mdt", settings)


def test_bags_that_are_no_modality_are_refused():
    with pytest.raises(ValueError, match=r"bags .'slide'. are not among"):
        build(SMALL, dims=DIMS, dim_out=7, bags=frozenset({"slide"}))


@pytest.mark.parametrize(("exchange", "first", "second"), [("one_way", "rest", "bag"), ("one_way_back", "bag", "rest")])
def test_one_way_of_many_streams_is_by_side_whatever_their_order(exchange, first, second):
    bags = ("slide", "notes")
    for order in itertools.permutations((*bags, "rna", "clinical")):
        torch.manual_seed(0)
        model = build(replace(SMALL, exchange=exchange), dims=dict.fromkeys(order, 3), dim_out=7, bags=frozenset(bags))
        tokens = {name: Tokens(values=torch.randn(2, 4, 3), keep=torch.ones(2, 4, dtype=torch.bool)) for name in order}
        maps = model.eval().attention(tokens)
        side = {name: "bag" if name in bags else "rest" for name in order}
        for query, key in itertools.product(order, order):
            reads = side[query] == side[key] or (side[query], side[key]) == (first, second)
            assert (maps[f"0:{query}->{key}"].sum() > 0) == reads


@pytest.mark.parametrize("bags", [frozenset(), frozenset({"slide.he"}), frozenset(DIMS)], ids=len)
@pytest.mark.parametrize("streams", ["modalities", "two"])
@pytest.mark.parametrize("exchange", [e for e in EXCHANGES if e not in ("average", "learned", "gated")])
def test_what_is_said_to_have_no_effect_has_none_and_all_else_has(exchange, streams, bags):
    average, other = network(bags, streams=streams), network(bags, streams=streams, exchange=exchange)
    other.load_state_dict(average.state_dict())
    said = without_effect(other.config, modalities=tuple(DIMS), bags=bags)
    assert bool(said) == torch.equal(average(drawn()), other(drawn()))
    assert exchange in said or not said
