"""What stands in for absent modalities in networks: tokens in their place, predicted ones, and what studies refuse."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.missingness import latent, learned, mask
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import unpack
from oncoweave.train.study import ModelSpec, _resolve_model

DIMS = {"a": 3, "b": 4, "c": 3}
WHO = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0]], dtype=torch.bool)
ENCODED = [entry.name for entry in shelf.catalogue("missingness") if entry.constants["ACTS_ON"] == "encoded"]


def drawn(seed: int = 0, fill: float = 0.0) -> dict[str, Tokens]:
    g = torch.Generator().manual_seed(seed)
    tokens = {}
    for place, (name, dim) in enumerate(DIMS.items()):
        keep = torch.zeros(5, 3, dtype=torch.bool)
        keep[:, 1:] = WHO[:, place, None]  # the first token is never kept
        values = torch.randn(5, 3, dim, generator=g)
        tokens[name] = Tokens(values=torch.where(keep.unsqueeze(-1), values, fill), keep=keep, positions=values[..., :2] + 5)
    return tokens


def built(name: str, dims=DIMS) -> nn.Module:
    module = shelf.load("missingness", name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return module.build(module.Config(), dims=dims).eval()


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_present_stays_and_what_is_under_the_mask_has_no_influence(name):
    policy, tokens = built(name), drawn()
    filled, spoiled = policy(tokens), policy(drawn(fill=float("nan")))
    for place, (m, t) in enumerate(tokens.items()):
        has = WHO[:, place]
        assert torch.equal(filled[m].keep[has], t.keep[has])
        assert torch.equal(filled[m].values[has], t.values[has])
        assert torch.equal(filled[m].clean, spoiled[m].clean)
        assert torch.equal(filled[m].present, torch.ones(5).bool() if name != "mask" else has)
        if name != "mask":
            assert torch.equal(filled[m].keep[~has].sum(dim=1), torch.ones(int((~has).sum()), dtype=torch.long))
            assert (filled[m].positions[~has][:, 0] == 0).all()
    for row in range(5):
        one = policy({m: t.take(torch.tensor([row])) for m, t in tokens.items()})
        for m, t in one.items():
            torch.testing.assert_close(t.clean[0], filled[m].clean[row])


@pytest.mark.parametrize("name", ENCODED)
def test_empty_patients_and_other_names_are_refused(name):
    policy, tokens = built(name), drawn()
    nobody = {m: Tokens(values=t.values, keep=t.keep & (torch.arange(5) != 3)[:, None]) for m, t in tokens.items()}
    with pytest.raises(ValueError, match="row 3 of the batch has no modality"):
        policy(nobody)
    with pytest.raises(ValueError, match="wanted tokens of the modalities"):
        policy({"a": tokens["a"]})


def test_a_learned_token_is_the_same_for_all_who_lack_the_modality():
    policy = learned.build(learned.Config(), dims=DIMS)
    filled = policy(drawn())
    torch.testing.assert_close(filled["b"].values[[1, 3], 0], policy.tokens[1].expand(2, -1))
    filled["b"].values[1].sum().backward()
    assert torch.equal(policy.tokens[1].grad, torch.ones(4))
    assert policy.tokens[0].grad is None


def test_a_predicted_vector_comes_from_those_present_and_the_penalty_from_those_compared():
    policy, tokens = built("latent"), drawn()
    filled, penalty = policy.forward_with_penalty(tokens)
    means = {m: (t.clean.sum(dim=1) / 2) for m, t in tokens.items()}
    into, out = dict(zip(DIMS, policy.into, strict=True)), dict(zip(DIMS, policy.out, strict=True))
    torch.testing.assert_close(filled["b"].values[1, 0], out["b"](into["a"](means["a"][1])))
    torch.testing.assert_close(filled["a"].values[2, 0], out["a"]((into["b"](means["b"][2]) + into["c"](means["c"][2])) / 2))
    assert penalty[1] == penalty[3] == 0  # one modality alone: nothing to compare with
    b, c = out["b"](into["c"](means["c"][2])), out["c"](into["b"](means["b"][2]))
    wanted = 0.1 * ((b - means["b"][2]).pow(2).mean() + (c - means["c"][2]).pow(2).mean()) / 2
    torch.testing.assert_close(penalty[2], wanted)
    assert not list(latent.build(latent.Config(), dims={"a": 3}).parameters())


def test_latent_imputation_learns_what_modalities_share():
    g = torch.Generator().manual_seed(1)
    shared, keep = torch.randn(200, 3, generator=g), torch.ones(200, 1).bool()
    tokens = {m: Tokens(values=(shared @ torch.randn(3, d, generator=g)).unsqueeze(1), keep=keep) for m, d in DIMS.items()}
    policy = built("latent")
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
    before = policy.forward_with_penalty(tokens)[1].mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        policy.forward_with_penalty(tokens)[1].mean().backward()
        optimizer.step()
    assert policy.forward_with_penalty(tokens)[1].mean().item() < 0.2 * before


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("fusion", ["mean", "distilled"])
def test_a_network_trains_every_part_of_its_policy(name, fusion):
    shape = ModalityShape(encoder="linear/tiny", dim=1, num_tokens=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(
            ModelConfig(modalities=dict.fromkeys("abc", shape), fusion=fusion, num_outputs=1, width=8, missing=name, dropout=0.0)
        )
    keep = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1]]).bool()  # of one modality alone its student is asked, not the fusion
    tokens = {m: Tokens(values=torch.randn(3, 3, 1), keep=keep[:, [i]].expand(3, 3)) for i, m in enumerate("abc")}
    outputs = model.train()(tokens)
    if model.has_views:
        views = unpack(outputs, weight=model.view_weights, num_outputs=1)
        outputs = torch.cat([views.outputs.flatten(), views.penalty])
    outputs.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.missing.parameters())
    assert {id(p) for g in model.parameter_groups(layer_decay=1.0) for p in g.params} == {id(p) for p in model.parameters()}
    assert model.eval()(tokens).shape == (3, 1)


KINDS = {"a": "expression", "b": "record", "c": "report"}


@pytest.mark.parametrize(
    ("fusion", "missing", "error", "match"),
    [
        ("gated", "knn", ConfigError, r"network reads 'c' \(report\) as tokens that no columns give; use retrieval.* or mask"),
        ("concat", "learned", ConfigError, "is early: it fits a linear model on columns; use one that fills in columns .*knn"),
        ("average", "latent", ConfigError, "is late: it combines models that read one modality each; use one .*retrieval"),
        ("gated", "laerned", UnknownNameError, "did you mean 'learned'"),
        ("two_level", "learned", ConfigError, "acts inside a network"),
    ],
)
def test_a_policy_that_does_not_fit_the_stage_is_refused_with_those_that_do(fusion, missing, error, match):
    with pytest.raises(error, match=match):
        _resolve_model(ModelSpec(name="m", fusion=fusion, missing=missing), KINDS, "survival")


@pytest.mark.parametrize(
    ("fusion", "missing"),
    [
        ("gated", "learned"),
        ("concat", "knn"),
        ("concat", "mask"),
        ("two_level", "knn"),
        ("average", "mean"),
        ("average", "mask"),
        ("mcat", "retrieval"),
        ("auxiliary", "retrieval"),
    ],
)
def test_a_policy_that_fits_is_kept(fusion, missing):
    spec = _resolve_model(ModelSpec(name="m", fusion=fusion, missing=missing), KINDS, "survival")
    assert (spec.missing, spec.modalities) == (missing, ("a", "b", "c"))


def test_columns_may_stand_in_where_networks_read_tables_or_linear_models_read_texts():
    for fusion, encoders in (("gated", {}), ("average", {"record": "snn"})):
        modalities = ("a", "b") if fusion == "gated" else ("a", "b", "c")
        spec = ModelSpec(name="m", fusion=fusion, missing="mean", modalities=modalities, encoders=encoders)
        assert _resolve_model(spec, KINDS, "survival").missing == "mean"
    spec = ModelSpec(name="m", fusion="average", missing="mean", encoders={"report": "bert/tiny"})
    with pytest.raises(ConfigError, match="no columns give"):
        _resolve_model(spec, KINDS, "survival")


def test_settings_of_a_policy_are_checked_against_its_own():
    def asked(**given):
        return _resolve_model(ModelSpec(name="m", fusion="concat", **given), KINDS, "survival")

    assert asked(missing="knn", missing_settings={"neighbours": 3}).missing_settings == {"neighbours": 3}
    with pytest.raises(UnknownNameError, match=r"no setting of 'knn' .* named 'neighbors'; did you"):
        asked(missing="knn", missing_settings={"neighbors": 3})
    with pytest.raises(ConfigError, match="missing_settings belong to a policy"):
        asked(missing_settings={"neighbours": 3})


def test_a_network_takes_the_settings_of_its_policy():
    shape = ModalityShape(encoder="linear/tiny", dim=1, num_tokens=3)
    config = ModelConfig(modalities=dict.fromkeys("ab", shape), fusion="mean", num_outputs=1, width=8, missing="latent")
    assert Model(config).missing.into[0].out_features == 64
    assert Model(dataclasses.replace(config, missing_settings={"hidden": 5})).missing.into[0].out_features == 5


def test_mask_hands_on_what_it_gets():
    tokens = drawn()
    handed = mask.build(mask.Config(), dims=DIMS)(tokens)
    assert all(handed[m] is tokens[m] for m in DIMS)
    assert np.array_equal(list(handed), list(DIMS))
