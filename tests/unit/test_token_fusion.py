"""Operators that read tokens, against dense references, closed forms and hand values."""

import math

import numpy as np
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.data.gmt import find_gmt, read_gmt
from oncoweave.fusion import bottleneck, mcat, motcat, perceiver, survpath
from oncoweave.nn.few_many import FewManyBlock
from oncoweave.nn.latents import LatentReading
from oncoweave.nn.token_sets import Joined, Roles
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.transport import unbalanced_plan
from oncoweave.train.default_encoders import default_encoder

OPERATORS = ("mcat", "motcat", "survpath", "mmp", "perceiver", "bottleneck")


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _all_kept(batch, count):
    return torch.ones(batch, count, dtype=torch.bool)


def _tokens(batch, count, dim):
    return Tokens(values=torch.randn(batch, count, dim), keep=_all_kept(batch, count))


def _absent(tokens):
    return Tokens(values=tokens.values, keep=torch.zeros_like(tokens.keep))


# ---- attention without the bag-bag block


def test_few_and_many_equal_dense_attention_whose_many_to_many_scores_are_cut():
    block = FewManyBlock(8, heads=2, ratio=2.0, dropout=0.0).double().eval()
    few, many = torch.randn(3, 4, 8).double(), torch.randn(3, 7, 8).double()
    keep_few, keep_many = torch.rand(3, 4) < 0.7, torch.rand(3, 7) < 0.7
    keep_few[:, 0] = True
    x, keep = torch.cat([few, many], dim=1), torch.cat([keep_few, keep_many], dim=1)
    bag = torch.arange(11) >= 4
    allowed = keep[:, None, :] & ~(bag[:, None] & bag[None, :])
    normed = block.norm_attention(x)
    query, (key, value) = block.attention.query(normed), block.attention.key_value(normed).chunk(2, dim=-1)
    query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (query, key, value))
    scores = (query @ key.transpose(-1, -2) / 2.0).masked_fill(~allowed[:, None], -torch.inf)
    dense = x + block.attention.out((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(start_dim=2))
    dense = dense + block.feed(block.norm_feed(dense))
    out = torch.cat(block(few, many, keep_few=keep_few, keep_many=keep_many), dim=1)
    torch.testing.assert_close(out, dense, rtol=0, atol=1e-12)
    ahead, back = block.weights(few, many, keep_few=keep_few, keep_many=keep_many)
    full = torch.cat([ahead, torch.cat([back, torch.zeros(3, 2, 7, 7)], dim=3)], dim=2)
    torch.testing.assert_close(full, scores.softmax(dim=-1) * keep[:, None, :, None], rtol=0, atol=1e-12)


def test_survpath_tiles_reach_each_other_only_through_the_few():
    """After one block a tile has not seen another tile: its output moves with its own value and the few's."""
    block = FewManyBlock(8, heads=1, ratio=2.0, dropout=0.0).eval()
    few, many = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    keeps = {"keep_few": _all_kept(1, 3), "keep_many": _all_kept(1, 6)}
    other = many.clone()
    other[0, 5] = torch.randn(8)  # adding a constant would be undone by the layer norm
    (few_a, many_a), (few_b, many_b) = block(few, many, **keeps), block(few, other, **keeps)
    assert torch.equal(many_a[0, :5], many_b[0, :5])
    assert not torch.allclose(few_a, few_b)


# ---- optimal transport


def _plan(cost, *, reg, relax, iterations=200):
    keep = _all_kept(*cost.shape[:2]), _all_kept(cost.shape[0], cost.shape[2])
    return unbalanced_plan(cost, keep_query=keep[0], keep_key=keep[1], reg=reg, relax=relax, iterations=iterations)


def test_transport_has_uniform_marginals_in_the_balanced_limit():
    plan = _plan(torch.rand(2, 5, 9).double(), reg=0.1, relax=1e9, iterations=300)
    torch.testing.assert_close(plan.sum(dim=2), torch.full((2, 5), 1 / 5, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((2, 9), 1 / 9, dtype=torch.float64), rtol=0, atol=1e-9)


def test_transport_of_two_points_to_two_has_its_closed_form():
    """Cost 0 on the diagonal and c off it: by symmetry the balanced plan is a (1, q; q, 1) with q = exp(-c / reg), sum one."""
    c, reg = 0.3, 0.2
    q = math.exp(-c / reg)
    expected = torch.tensor([[[1.0, q], [q, 1.0]]], dtype=torch.float64) / (2 + 2 * q)
    cost = torch.tensor([[[0.0, c], [c, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(_plan(cost, reg=reg, relax=1e9), expected, rtol=0, atol=1e-9)


def test_transport_matches_point_clouds_shifted_against_each_other():
    """On a line, the sharp balanced plan of a cloud and its shift by a constant pairs them in order (squared distance)."""
    x = torch.linspace(0, 4, 5).double()
    y = (x + 0.3)[torch.tensor([3, 0, 4, 1, 2])]
    plan = _plan((x[:, None] - y[None, :]).square()[None], reg=0.1, relax=1e9, iterations=1000)
    assert plan[0].argmax(dim=1).tolist() == [1, 3, 4, 0, 2]
    # pairs that hardly see each other settle their masses slowly: a thousandth after a thousand iterations
    torch.testing.assert_close(plan[0].amax(dim=1), torch.full((5,), 0.2, dtype=torch.float64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("relax", [0.1, 0.5, 5.0])
def test_transport_of_one_point_to_one_has_its_closed_form(relax):
    """Minimise c p + (reg + 2 relax) (p log p - p): p = exp(-c / (reg + 2 relax))."""
    plan = _plan(torch.full((1, 1, 1), 0.7, dtype=torch.float64), reg=0.1, relax=relax)
    assert float(plan) == pytest.approx(math.exp(-0.7 / (0.1 + 2 * relax)), abs=1e-12)


def _dense_solver(cost, a, b, *, reg, relax):
    """Minimise the objective itself, by a quasi-Newton method on the log of the plan."""
    from scipy.optimize import minimize

    def kl(p, q):
        return float((p * np.log(p / q) - p + q).sum())

    def objective(flat):
        plan = np.exp(flat).reshape(cost.shape)
        rows, columns = plan.sum(axis=1), plan.sum(axis=0)
        value = (plan * cost).sum() + reg * kl(plan, np.outer(a, b)) + relax * (kl(rows, a) + kl(columns, b))
        slope = cost + reg * np.log(plan / np.outer(a, b)) + relax * (np.log(rows / a)[:, None] + np.log(columns / b)[None, :])
        return value, (plan * slope).ravel()

    start = np.log(np.outer(a, b)).ravel()
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-12})
    return np.exp(found.x).reshape(cost.shape)


def test_unbalanced_transport_minimises_its_objective_and_leaves_masked_rows_and_columns_empty(rng):
    cost = rng.random((4, 7))
    keep_query, keep_key = np.array([1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 1, 0, 1], bool)
    expected = np.zeros((4, 7))
    part = _dense_solver(cost[np.ix_(keep_query, keep_key)], np.full(3, 1 / 3), np.full(5, 1 / 5), reg=0.1, relax=0.5)
    expected[np.ix_(keep_query, keep_key)] = part
    plan = unbalanced_plan(
        torch.from_numpy(cost)[None],
        keep_query=torch.from_numpy(keep_query)[None],
        keep_key=torch.from_numpy(keep_key)[None],
        reg=0.1,
        relax=0.5,
        iterations=20,
    )
    np.testing.assert_allclose(plan[0].numpy(), expected, atol=1e-7)
    assert (plan[0].numpy()[expected == 0] == 0).all()


def test_transport_gradient_is_that_of_finite_differences_after_few_iterations():
    cost = torch.rand(1, 3, 3).double().requires_grad_()
    keeps = {"keep_query": torch.tensor([[True, True, False]]), "keep_key": _all_kept(1, 3)}

    def plan(c):
        return unbalanced_plan(c, **keeps, reg=0.1, relax=0.5, iterations=30)

    assert torch.autograd.gradcheck(plan, (cost,), eps=1e-6, atol=1e-6)


def test_a_tile_that_comes_twice_counts_as_one_of_double_mass():
    cost = torch.rand(1, 3, 4).double()
    twice = _plan(torch.cat([cost, cost], dim=2), reg=0.1, relax=0.5)
    torch.testing.assert_close(twice[:, :, :4] + twice[:, :, 4:], _plan(cost, reg=0.1, relax=0.5), rtol=0, atol=1e-12)


def _joined(values, keep):
    return Joined(values=values, keep=keep, spans={})


def test_motcat_reads_the_mean_of_tiles_that_all_match():
    """Equal tiles at no cost: the plan is uniform with mass one, and each gene token reads the tiles' common value."""
    reader = motcat.TransportAttention(motcat.Config())
    tile = torch.randn(1, 1, 6)
    read = reader(_joined(tile.expand(1, 3, 6), _all_kept(1, 3)), _joined(tile.expand(1, 8, 6), _all_kept(1, 8)))
    torch.testing.assert_close(read, tile.expand(1, 3, 6), rtol=1e-5, atol=1e-5)


# ---- co-attention


def test_mcat_reads_by_hand_computed_weights():
    reader = mcat.CoAttention(2)
    with torch.no_grad():
        reader.attention.query.weight.copy_(torch.eye(2))
        reader.attention.key_value.weight.copy_(torch.cat([torch.eye(2), torch.eye(2)]))
        reader.attention.out.weight.copy_(torch.eye(2))
        reader.attention.out.bias.zero_()
    gene = torch.tensor([[[math.sqrt(2) * math.log(3), 0.0]]])
    tiles = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    asking, asked = _joined(gene, _all_kept(1, 1)), _joined(tiles, torch.tensor([[True, True, False]]))
    # scores log 3 and 0: weights 3/4 and 1/4
    torch.testing.assert_close(reader.weights(asking, asked), torch.tensor([[[[0.75, 0.25, 0.0]]]]))
    torch.testing.assert_close(reader(asking, asked), torch.tensor([[[0.75, 0.25]]]))


def test_bags_without_a_learned_token_are_refused():
    with pytest.raises(ValueError, match="at least one learned token"):
        Roles({"rna": 3, "slide": 4}, frozenset({"slide"}), width=2, learned=0)


# ---- latents and bottlenecks


def _perceiver(dims, **settings):
    config = perceiver.Config(width=8, heads=2, latents=3, **settings)
    return perceiver.build(config, dims=dims, dim_out=4, bags=frozenset()).double().eval()


def test_perceiver_with_one_modality_equals_cross_attention_to_it_alone():
    both = _perceiver({"rna": 5, "slide": 6}, shared=False)
    rna, slide = _tokens(2, 4, 5), _tokens(2, 7, 6)
    rna, slide = (Tokens(values=t.values.double(), keep=t.keep) for t in (rna, slide))
    latents, context = both.latents.expand(2, -1, -1), both.projections.layers[1](slide.values)
    for part in both.rounds:
        reading = part.readings[1]
        normed, cross = reading.norm(latents), reading.cross
        query, (key, value) = cross.query(normed), cross.key_value(context).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (query, key, value))
        mixed = (query @ key.transpose(-1, -2) / 2.0).softmax(dim=-1) @ value
        latents = latents + cross.out(mixed.transpose(1, 2).flatten(start_dim=2))
        latents = latents + reading.feed(reading.norm_feed(latents))
        latents = part.among(latents, keep=_all_kept(2, 3))
    expected = both.out(both.norm(latents).mean(dim=1))
    torch.testing.assert_close(both({"rna": _absent(rna), "slide": slide}), expected, rtol=0, atol=1e-12)


def test_perceiver_latents_of_patients_who_lack_a_modality_are_untouched():
    reading = LatentReading(8, heads=2, ratio=2.0, dropout=0.1).eval()
    latents, context = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    keep = torch.tensor([[True] * 5, [False] * 5])
    read = reading(latents, context, keep=keep)
    assert torch.equal(read[1], latents[1])
    assert not torch.equal(read[0], latents[0])


def test_perceiver_shared_rounds_have_the_weights_of_one():
    count = [sum(p.numel() for p in _perceiver({"rna": 5}, shared=s, depth=3).rounds.parameters()) for s in (True, False)]
    assert 3 * count[0] == count[1]


def _bottleneck(dims, bags=frozenset()):
    return bottleneck.build(bottleneck.Config(width=8, heads=2), dims=dims, dim_out=4, bags=bags).double().eval()


def test_bottleneck_of_one_modality_is_a_plain_transformer_over_its_tokens_and_the_bottlenecks():
    network = _bottleneck({"rna": 5, "slide": 6})
    rna = Tokens(values=torch.randn(2, 4, 5).double(), keep=_all_kept(2, 4))
    slide = Tokens(values=torch.randn(2, 3, 6).double(), keep=torch.zeros(2, 3, dtype=torch.bool))
    parts = [network.summaries[0].expand(2, -1, -1), network.bottlenecks.expand(2, -1, -1)]
    x = torch.cat([*parts, network.projections.layers[0](rna.values)], dim=1)
    for layer in network.layers:
        x, _ = layer[0](x, None, keep_few=_all_kept(2, x.shape[1]), keep_many=None)
    torch.testing.assert_close(network({"rna": rna, "slide": slide}), network.outs[0](x[:, 0]), rtol=0, atol=1e-12)


def test_bottleneck_modalities_meet_in_the_second_layer_and_not_without_bottlenecks_between():
    """A change of the slide moves what the rna stream makes of itself, through the bottlenecks alone."""
    network = _bottleneck({"rna": 5, "slide": 6}, frozenset({"slide"}))
    rna, slide = (Tokens(values=torch.randn(1, 4, d).double(), keep=_all_kept(1, 4)) for d in (5, 6))
    other = Tokens(values=slide.values + 1, keep=slide.keep)
    streams = [
        network._run(network.projections({"rna": rna, "slide": s}), depth)[0]["rna"].summary
        for depth in (1, 2)
        for s in (slide, other)
    ]
    assert torch.equal(streams[0], streams[1])
    assert not torch.allclose(streams[2], streams[3])


# ---- roles


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("bags", [(), ("slide",), ("slide", "report"), ("slide", "report", "rna")], ids=str)
def test_roles_may_be_empty_or_several(name, bags):
    """Whatever is a bag, every modality alone gives an answer of its own, and all that is trained takes part."""
    dims = {"rna": 5, "slide": 6, "report": 4}
    module = shelf.load("fusion", name)
    network = module.build(module.Config(dropout=0.0), dims=dims, dim_out=4, bags=frozenset(bags))
    given = {m: _tokens(4, 3, d) for m, d in dims.items()}
    for row, absent in enumerate([("slide", "report"), ("rna", "report"), ("rna", "slide"), ()]):
        for m in absent:
            given[m].keep[row] = False
    output = network(given)
    assert torch.pdist(output.detach()).min() > 1e-4
    output.square().sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_bags_that_are_no_modality_are_refused(name):
    module = shelf.load("fusion", name)
    with pytest.raises(ValueError, match=r"bags .'ct'. are not among the modalities .'rna'."):
        module.build(module.Config(), dims={"rna": 5}, dim_out=4, bags=frozenset({"ct"}))


def test_survpath_attention_of_tiles_goes_to_the_pathways_only():
    network = survpath.build(survpath.Config(), dims={"rna": 5, "slide": 6}, dim_out=4, bags=frozenset({"slide"})).eval()
    maps = network.attention({"rna": _tokens(2, 3, 5), "slide": _tokens(2, 8, 6)})
    assert "slide->slide" not in maps
    back = maps["slide->rna"].sum(dim=-1) + maps["slide->(learned)"].sum(dim=-1)
    torch.testing.assert_close(back, torch.ones(2, 1, 8))
    ahead = sum(maps[f"rna->{key}"].sum(dim=-1) for key in ("rna", "slide", "(learned)"))
    torch.testing.assert_close(ahead, torch.ones(2, 1, 3))


HALLMARK = tuple(dict.fromkeys(gene for genes in read_gmt(find_gmt("hallmark")).values() for gene in genes))


@pytest.mark.parametrize("operator", OPERATORS)
def test_fusions_of_tokens_read_tables_of_genes_by_gene_sets_and_mmp_slides_by_prototypes(operator):
    usual = {"slide": "project", "expression": "pathways", "record": "tabular/tokens", "variants": "pathways"}
    came = {kind: default_encoder(kind, operator=operator, columns=HALLMARK[:500]) for kind in usual}
    own = {"slide": "prototypes"} if operator == "mmp" else {}
    assert {kind: choice.encoder for kind, choice in came.items()} == usual | own
    assert not any(choice.note for choice in came.values())


def test_a_large_table_that_no_sets_divide_is_one_token():
    choice = default_encoder("expression", operator="mdt", columns=tuple(f"MIR{k}" for k in range(1800)))
    assert choice.encoder == "linear"
    assert choice.note.startswith("linear instead of pathways: none of 50 gene sets")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (("ENSG00000141510", "ENSG00000133703"), "none of 50 gene sets has 5 or more of the 2 columns"),
        (tuple(f"{gene}_mut" for gene in HALLMARK[:12]), "2 of 50 gene sets have 5 or more of the 12 columns, wanted 10"),
    ],
)
def test_a_table_of_too_few_genes_of_the_sets_keeps_a_token_a_gene_and_says_why(columns, why):
    for operator in ("mmp", "survpath", "mcat", "motcat"):
        choice = default_encoder("expression", operator=operator, columns=columns)
        assert choice.encoder == "project"
        assert choice.note.startswith("project instead of pathways: " + why)
