"""Hybrid fusions: heads of modalities, slowed encoders, students of the fused output, two levels, and trees."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.fusion import balanced, hierarchical
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.views import pack
from oncoweave.train.training_objective import TrainingObjective

N, WIDTH = 256, 8


class Squares:
    num_outputs = 1

    def loss(self, outputs, values):
        known = values.isfinite()
        return ((outputs[known, 0] - values[known]) ** 2).mean()


class Network(nn.Module):
    """A deep encoder a modality, and the hybrid."""

    def __init__(self, name: str, **settings) -> None:
        super().__init__()
        module, dims = shelf.load("fusion", name), {"strong": WIDTH, "weak": WIDTH}
        joint = shelf.load("fusion", "joint")
        fusion = joint.build(joint.Config(), dims=dims, dim_out=WIDTH)
        self.encoders = nn.ModuleDict({m: nn.Sequential(nn.Linear(6, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)) for m in dims})
        self.hybrid = module.build(module.Config(**settings), dims=dims, dim_out=WIDTH, num_outputs=1, fusion=fusion)

    def encode(self, tokens):
        return {m: Tokens(values=encoder(tokens[m].values), keep=tokens[m].keep) for m, encoder in self.encoders.items()}


def planted(seed: int = 0, n: int = N):
    """Most of the outcome is read easily from one modality, the rest with more effort from the other."""
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 2, generator=g)
    strong = torch.cat([signal[:, :1] * 3, torch.randn(n, 5, generator=g)], dim=1)
    weak = torch.cat([signal[:, 1:] * 0.7, torch.randn(n, 5, generator=g)], dim=1)
    keep = torch.ones(n, 1, dtype=torch.bool)
    tokens = {m: Tokens(values=v.unsqueeze(1), keep=keep) for m, v in (("strong", strong), ("weak", weak))}
    return tokens, signal @ torch.tensor([1.5, 0.5])


def train(name: str, steps: int, tokens=None, values=None, **settings) -> Network:
    torch.manual_seed(1)
    network = Network(name, **settings)
    objective = TrainingObjective(
        goal=Squares(), view_weights=network.hybrid.view_weights, observe=getattr(network.hybrid, "observe", None)
    )
    tokens, values = (tokens, values) if tokens is not None else planted()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.loss(pack(network.hybrid.views(network.encode(tokens))), values).backward()
        optimizer.step()
    return network


def test_the_modality_that_runs_ahead_is_slowed_and_the_other_is_not():
    network = train("balanced", 12)
    strong, weak = network.hybrid.coefficients.tolist()
    assert strong < 0.8
    assert weak == 1.0
    assert train("balanced", 3, alpha=0.0).hybrid.coefficients.tolist() == [1.0, 1.0]


def test_coefficients_scale_the_gradient_of_an_encoder_and_nothing_else():
    torch.manual_seed(1)
    network, (tokens, values) = Network("balanced"), planted()

    def gradients(coefficients):
        network.zero_grad()
        network.hybrid.coefficients.copy_(torch.tensor(coefficients))
        views = network.hybrid.views(network.encode(tokens))
        Squares().loss(views.outputs[:, 0], values).backward()
        return views.outputs.detach(), {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}

    (plain, before), (same, after) = gradients([1.0, 1.0]), gradients([0.25, 1.0])
    assert torch.equal(plain, same)
    for name, gradient in after.items():
        torch.testing.assert_close(gradient, before[name] * (0.25 if "encoders.strong" in name else 1.0))


def test_coefficients_follow_the_losses_and_forget_what_nobody_has():
    network = balanced.build(
        balanced.Config(alpha=1.0, memory=0.5), dims={"a": 2, "b": 2, "c": 2}, dim_out=2, num_outputs=1, fusion=nn.Identity()
    )
    network.observe(torch.tensor([0.5, 0.4, 0.8, torch.nan]))
    np.testing.assert_allclose(network.coefficients, [1 - np.tanh(np.exp(0.4) - 1), 1.0, 1.0], rtol=1e-6)
    network.observe(torch.tensor([0.5, 0.6, 0.8, 0.5]))  # a: the mean of 0.4 and 0.6
    ahead = 1 - np.tanh(np.exp(-0.5) / ((np.exp(-0.5) + np.exp(-0.8)) / 2) - 1)
    np.testing.assert_allclose(network.coefficients, [ahead, 1.0, ahead], rtol=1e-6)
    network.observe(torch.tensor([0.5, torch.inf, torch.nan, 0.5]))  # a batch without events
    np.testing.assert_allclose(network.relative, [0.5, 0.8, 0.5])


def test_an_encoder_is_slowed_and_never_stopped_however_far_ahead_it_is():
    network = balanced.build(balanced.Config(), dims={"a": 2, "b": 2}, dim_out=2, num_outputs=1, fusion=nn.Identity())
    for far in (1.0, 3.0, 1e6):  # saying less than a constant is no further behind than saying what a constant does
        network.observe(torch.tensor([0.0, 0.0, far]))
        np.testing.assert_allclose(network.coefficients, [1 - np.tanh(np.e - 1), 1.0], rtol=1e-5)


def alone(tokens, modality):
    return {m: dataclasses.replace(t, keep=t.keep & (m == modality)) for m, t in tokens.items()}


def test_patients_with_one_modality_gain_from_distillation():
    """Labels are few; what the fused model says of the unlabelled is worth more to a student than the few labels alone."""
    (tokens, truth), (new, outcome) = planted(seed=3), planted(seed=4, n=1000)
    few = torch.where(torch.arange(N) < 32, truth, torch.nan)
    errors = {}
    for follow in (1e-6, 1.0):
        network = train("distilled", 60, tokens, few, follow=follow)
        with torch.no_grad():
            seen = network.hybrid(network.encode(alone(new, "weak")))[:, 0]
            taught = network.hybrid.views(network.encode(new)).outputs
        torch.testing.assert_close(seen, taught[:, 2, 0])  # alone: by its own head
        errors[follow] = float(((seen - outcome) ** 2).mean())
    assert errors[1.0] < 0.95 * errors[1e-6], errors


def test_the_teacher_is_not_taught_by_its_students():
    torch.manual_seed(1)
    network, (tokens, _) = Network("distilled"), planted()
    network.hybrid.views(network.encode(tokens)).penalty.sum().backward()
    assert network.hybrid.head.weight.grad is None
    assert all(p.grad is None for p in network.hybrid.fusion.parameters())
    assert network.hybrid.heads.layers[0].weight.grad.abs().sum() > 0
    assert (network.hybrid.views(network.encode(alone(tokens, "weak"))).penalty == 0).all()


def test_deep_supervision_reaches_an_encoder_that_the_fused_head_does_not():
    network, (tokens, values) = Network("auxiliary", weight=0.8), planted()
    nn.init.zeros_(network.hybrid.head.weight)
    objective = TrainingObjective(goal=Squares(), view_weights=network.hybrid.view_weights)
    views = network.hybrid.views(network.encode(tokens))
    loss = objective.loss(pack(views), values)
    each = [((views.outputs[:, v, 0] - values) ** 2).mean() for v in range(3)]
    assert loss.item() == pytest.approx((each[0] + 0.4 * each[1] + 0.4 * each[2]).item())
    loss.backward()
    assert network.encoders["weak"][0].weight.grad.abs().max() > 0


# ---- trees


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("((rna, cnv), slide), clinical", ((("rna", "cnv"), "slide"), "clinical")),
        ("(((rna,cnv),slide),clinical)", ((("rna", "cnv"), "slide"), "clinical")),
        (" a b ,(c, d)", ("a b", ("c", "d"))),
        ("a, b, c", (("a", "b"), "c")),
        ("a", "a"),
    ],
)
def test_trees_are_read_and_written(text, tree):
    assert hierarchical.parse(text) == tree
    assert hierarchical.parse(hierarchical.write(hierarchical.parse(text))) == tree


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("((rna, cnv), slide", "at letter 1: a bracket opens that never closes"),
        ("(rna, cnv)), slide", "at letter 11: a bracket closes that was never opened"),
        ("rna,, cnv", "at letter 5: wanted a modality"),
        ("(rna, cnv) slide", "at letter 12: wanted a comma after a bracket"),
        ("rna (cnv)", "at letter 5: wanted a comma before a bracket"),
        ("", "at letter 1: wanted a modality"),
        ("(rna, slide), cnv, rna", "'rna' stands there 2 times"),
        ("rna, slide", "'cnv' is not in it; wanted every modality once"),
    ],
)
def test_trees_that_are_none_are_refused_with_the_place(text, match):
    with pytest.raises(ConfigError, match=match):
        hierarchical.check(hierarchical.Config(tree=text), ("rna", "cnv", "slide"))


def test_a_tree_with_a_name_that_misses_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'slide'"):
        hierarchical.check(hierarchical.Config(tree="rna, cnv, slides"), ("rna", "cnv", "slide"))
    with pytest.raises(ConfigError, match="found from training rows"):
        hierarchical.build(hierarchical.Config(tree="correlation"), dims={"a": 1, "b": 1}, dim_out=2)


def test_a_tree_is_cut_to_the_modalities_of_an_ablation():
    settings = {"tree": "((rna, cnv), slide), clinical"}
    assert hierarchical.narrow(settings, ("rna", "slide", "clinical"))["tree"] == "((rna, slide), clinical)"
    assert hierarchical.narrow(settings, ("cnv",))["tree"] == "cnv"
    assert hierarchical.narrow({"tree": "correlation"}, ("cnv",)) == {"tree": "correlation"}


def test_an_absent_branch_passes_the_other_unchanged():
    torch.manual_seed(0)
    dims = {"a": 3, "b": 3, "c": 3}
    tree = hierarchical.build(hierarchical.Config(tree="(a, c), b"), dims=dims, dim_out=4)
    tokens = {m: Tokens(values=torch.randn(5, 1, 3), keep=torch.ones(5, 1).bool()) for m in dims}
    vectors, _ = tree.projections(tokens)
    torch.testing.assert_close(tree(alone(tokens, "c")), vectors[:, 2])
    pair = {m: dataclasses.replace(t, keep=t.keep & (m != "b")) for m, t in tokens.items()}
    torch.testing.assert_close(tree(pair), tree.nodes[0](vectors[:, 0], vectors[:, 2]))
    torch.testing.assert_close(tree(tokens), tree.nodes[1](tree(pair), vectors[:, 1]))


def test_what_is_alike_is_joined_first(rng):
    shared, other = rng.normal(size=(80, 2)), rng.normal(size=(80, 2))
    blocks = {
        "slide": rng.normal(size=(80, 30)),
        "rna": shared @ rng.normal(size=(2, 200)) + 0.5 * rng.normal(size=(80, 200)),
        "clinical": other @ rng.normal(size=(2, 4)),
        "cnv": shared @ rng.normal(size=(2, 50)) + 0.5 * rng.normal(size=(80, 50)),
        "labs": other @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(80, 6)),
    }
    blocks["cnv"][::7] = np.nan
    tree = hierarchical.correlation_tree(blocks)
    assert ("rna", "cnv") in _nodes(tree)
    assert ("clinical", "labs") in _nodes(tree)
    assert hierarchical.similarity(shared, shared @ np.linalg.qr(rng.normal(size=(2, 2)))[0]) == pytest.approx(1.0)
    unrelated = [hierarchical.similarity(rng.normal(size=(40, 300)), rng.normal(size=(40, 300))) for _ in range(20)]
    assert abs(np.mean(unrelated)) < 0.03  # the biased estimator gives about .9 for so many columns
    assert hierarchical.similarity(shared[:9], shared[:9]) == 0.0
    assert hierarchical.settle(hierarchical.Config(tree="correlation"), blocks)["tree"] == hierarchical.write(tree)


def _nodes(tree) -> set:
    return set() if isinstance(tree, str) else {tree} | _nodes(tree[0]) | _nodes(tree[1])


@pytest.mark.parametrize("missing", ["mask", "learned", "latent"])
@pytest.mark.parametrize("name", ["auxiliary", "balanced", "distilled"])
def test_what_stands_in_for_absent_modalities_reaches_the_operator_and_no_head_of_a_modality(name, missing):
    torch.manual_seed(0)
    shapes = {m: ModalityShape(encoder="linear", dim=1, num_tokens=4) for m in "ab"}
    model = Model(ModelConfig(modalities=shapes, fusion=name, num_outputs=1, width=8, missing=missing)).eval()
    present = {"a": [True, True], "b": [True, False]}
    tokens = {m: Tokens(values=torch.randn(2, 4, 1), keep=torch.tensor(k)[:, None].expand(2, 4)) for m, k in present.items()}
    views, encoded = model.views(tokens), model.encode(tokens)
    assert views.keep.tolist() == [[True, True, True], [True, True, False]]
    torch.testing.assert_close(model(tokens), views.outputs[:, 0], rtol=0, atol=0)
    fused = model.fusion.head(model.fusion.fusion(model.missing(encoded)))
    alone = model.fusion.heads(encoded)[0][1, 0]
    torch.testing.assert_close(model(tokens)[1], alone if name == "distilled" else fused[1], rtol=0, atol=0)
    assert (fused[1] - alone).detach().abs().item() > 1e-3
