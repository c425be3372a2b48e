"""Every fusion, by its stage: what is absent has no influence, any subset runs, nobody without any modality gets through."""

from itertools import chain, combinations

import numpy as np
import pytest
import torch
from scored import KINDS, scored_patients

from oncoweave.core import shelf
from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.core.state import load_state, save_state
from oncoweave.nn.tokens import Tokens

STAGES = {entry.name: entry.constants["STAGE"] for entry in shelf.catalogue("fusion")}
DIMS = {"clinical": 5, "slide.he": 8, "rna": 3}
SUBSETS = [set(s) for s in chain.from_iterable(combinations(DIMS, k) for k in range(1, len(DIMS) + 1))]
GARBAGE = (1e6, np.nan, np.inf)
N = 12


def _named(stage):
    return [name for name, s in STAGES.items() if s == stage]


def _who(rng, n=N):
    """Who has what: every pattern of the non-empty subsets, then at random."""
    rows = [[m in s for m in DIMS] for s in SUBSETS]
    rows += [row if any(row) else [True] * len(DIMS) for row in (rng.random((n - len(rows), len(DIMS))) < 0.7).tolist()]
    return np.array(rows[:n])


def test_every_fusion_states_its_stage():
    assert set(STAGES.values()) == {"early", "intermediate", "late"}


# ---- early: feature blocks


@pytest.fixture(params=_named("early"))
def early(request):
    return shelf.load("fusion", request.param)


def _blocks(rng, n=40):
    who = _who(rng, n)
    shared = rng.normal(size=(n, 1))
    blocks = {m: 10 + 3 * (rng.normal(size=(n, d)) + shared) for m, d in DIMS.items()}
    for j, m in enumerate(DIMS):
        blocks[m][~who[:, j]] = np.nan
    return blocks


def _take(blocks, rows):
    return {m: b[rows] for m, b in blocks.items()}


def test_early_output_is_finite_named_and_grouped(early, rng):
    blocks = _blocks(rng)
    before = {m: b.copy() for m, b in blocks.items()}
    fitted = early.fit(blocks, early.Config())
    output = fitted.transform(blocks)
    assert np.isfinite(output).all()
    assert output.shape == (40, len(fitted.names))
    assert len(set(fitted.names)) == len(fitted.groups) == output.shape[1]
    assert set(fitted.groups) == set(DIMS)
    for m, b in blocks.items():
        np.testing.assert_array_equal(b, before[m])


def test_early_modalities_weigh_alike_whatever_their_width_and_unit(early, rng):
    blocks = _blocks(rng, 200)
    blocks["rna"] = blocks["rna"] * 1e5
    fitted = early.fit(blocks, early.Config())
    variance = fitted.transform({m: np.where(np.isnan(b), np.nanmean(b, axis=0), b) for m, b in blocks.items()}).var(axis=0)
    totals = [variance[np.array(fitted.groups) == m].sum() for m in DIMS]
    assert max(totals) < 1.5 * min(totals)


def test_early_mixed_availability_equals_one_by_one_and_follows_order(early, rng):
    blocks = _blocks(rng)
    fitted = early.fit(blocks, early.Config())
    together = fitted.transform(blocks)
    alone = np.vstack([fitted.transform(_take(blocks, [i])) for i in range(40)])
    np.testing.assert_allclose(alone, together, atol=1e-12)
    order = rng.permutation(40)
    np.testing.assert_allclose(fitted.transform(_take(blocks, order)), together[order], atol=1e-12)


def test_early_absent_patients_do_not_touch_the_statistics_of_a_modality(early, rng):
    blocks = _blocks(rng)
    has = ~np.isnan(blocks["rna"]).all(axis=1)
    config = early.Config(indicator=False) if "indicator" in early.Config.__dataclass_fields__ else early.Config()
    with_absent = early.fit(blocks, config)
    columns = np.array(with_absent.groups) == "rna"
    deleted = early.fit({"rna": blocks["rna"][has]}, config)
    np.testing.assert_allclose(with_absent.transform(blocks)[has][:, columns], deleted.transform({"rna": blocks["rna"][has]}))
    # an absent patient stands at the training mean
    np.testing.assert_allclose(with_absent.transform(blocks)[~has][:, columns], 0.0, atol=1e-12)


def test_early_refusals(early, rng):
    blocks = _blocks(rng)
    fitted = early.fit(blocks, early.Config())
    nobody = {m: b.copy() for m, b in blocks.items()}
    for b in nobody.values():
        b[3] = np.nan
    for call in (fitted.transform, lambda b: early.fit(b, early.Config())):
        with pytest.raises(DataError, match="row 3 has no modality"):
            call(nobody)
        partly = {m: b.copy() for m, b in blocks.items()}
        partly["rna"][0] = [1.0, np.nan, 2.0]
        with pytest.raises(DataError, match="modality 'rna': row 0, column 1 is nan"):
            call(partly)
        partly["rna"][0] = [1.0, np.inf, 2.0]
        with pytest.raises(DataError, match="column 1 is inf"):
            call(partly)
    with pytest.raises(DataError, match="modality 'clinical': wanted a block"):
        fitted.transform(blocks | {"clinical": np.ones((40, 1))})
    with pytest.raises(DataError, match=r"got .'rna'."):
        fitted.transform({"rna": blocks["rna"]})
    with pytest.raises(DataError, match="equally many patients"):
        fitted.transform(blocks | {"rna": np.ones((39, 3))})


def test_early_columns_that_do_not_vary_or_a_modality_nobody_has_stay_zero(early, rng):
    blocks = _blocks(rng)
    blocks["rna"][:] = np.nan
    blocks["clinical"][:] = 7.0
    fitted = early.fit(blocks, early.Config())
    new = {m: np.full((2, d), 9.0) for m, d in DIMS.items()}
    flat = np.isin(fitted.groups, ["rna", "clinical"])
    np.testing.assert_array_equal(fitted.transform(new)[:, flat], 0.0)


def test_early_state_round_trip(early, rng, tmp_path):
    blocks = _blocks(rng)
    fitted = early.fit(blocks, early.Config())
    save_state(tmp_path / "fusion.safetensors", fitted)
    again = load_state(tmp_path / "fusion.safetensors")
    np.testing.assert_array_equal(again.transform(blocks), fitted.transform(blocks))
    assert again.names == fitted.names


# ---- intermediate: tokens


@pytest.fixture(params=_named("intermediate"))
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = shelf.load("fusion", request.param)
        model = module.build(module.Config(), dims=dict(DIMS), dim_out=6)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))  # so that a zero start (missing tokens) hides nothing
        return model.eval()


@pytest.fixture
def tokens(rng):
    return _tokens(rng, _who(rng))


def _tokens(rng, who):
    """Ragged bags; rows differ in their number of tokens, and absent patients keep none."""
    result = {}
    for j, (m, d) in enumerate(DIMS.items()):
        counts = rng.integers(1, 5, len(who)) * who[:, j]
        keep = np.arange(5)[None, :] < counts[:, None]
        result[m] = Tokens(
            values=torch.tensor(rng.normal(size=(len(who), 5, d)), dtype=torch.float32), keep=torch.from_numpy(keep)
        )
    return result


def _rows(tokens, index):
    return {m: t.take(torch.as_tensor(index)) for m, t in tokens.items()}


def _fill(tokens, value):
    return {
        m: Tokens(values=torch.where(t.keep.unsqueeze(-1), t.values, torch.tensor(value, dtype=t.values.dtype)), keep=t.keep)
        for m, t in tokens.items()
    }


def test_network_masked_equals_deleted(network, tokens):
    output = network(tokens)
    for row in range(N):
        cut = {}
        for m, t in tokens.items():
            count = max(int(t.keep[row].sum()), 1)
            cut[m] = Tokens(values=t.clean[row : row + 1, :count], keep=t.keep[row : row + 1, :count])
        torch.testing.assert_close(network(cut)[0], output[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", GARBAGE, ids=str)
def test_network_garbage_under_a_mask_has_no_influence(network, tokens, value):
    spoiled = _fill(tokens, value)
    torch.testing.assert_close(network(spoiled), network(_fill(tokens, 0.0)), rtol=0, atol=0)
    network(spoiled).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_network_every_subset_matters_and_order_follows(network, rng, tokens):
    output = network(tokens)
    assert output.shape == (N, 6)
    assert output.isfinite().all()
    order = rng.permutation(N)
    torch.testing.assert_close(network(_rows(tokens, order)), output[order], rtol=1e-5, atol=1e-6)
    full = _tokens(rng, np.ones((1, 3), dtype=bool))
    seen = []
    for subset in SUBSETS:
        some = {m: Tokens(values=t.values, keep=t.keep & (m in subset)) for m, t in full.items()}
        seen.append(network(some)[0].detach())
    distances = torch.cdist(torch.stack(seen), torch.stack(seen)) + torch.eye(len(seen))
    assert distances.min() > 1e-4


def test_network_mixed_availability_equals_one_by_one(network, tokens):
    alone = torch.cat([network(_rows(tokens, [i])) for i in range(N)])
    torch.testing.assert_close(alone, network(tokens), rtol=1e-5, atol=1e-6)


def test_network_inputs_are_not_changed(network, tokens):
    before = {m: (t.values.clone(), t.keep.clone()) for m, t in tokens.items()}
    given = dict(tokens)
    network(given)
    assert list(given) == list(before)
    assert all(torch.equal(t.values, before[m][0]) and torch.equal(t.keep, before[m][1]) for m, t in given.items())


def test_network_refusals(network, tokens):
    nobody = {m: Tokens(values=t.values, keep=t.keep.clone()) for m, t in tokens.items()}
    for t in nobody.values():
        t.keep[4] = False
    with pytest.raises(ValueError, match="row 4 of the batch has no modality"):
        network(nobody)
    for width in (1, 4):
        wide = Tokens(values=torch.ones(N, 5, width), keep=tokens["rna"].keep)
        with pytest.raises(ValueError, match=f"modality 'rna': wanted tokens of width 3, got {width}"):
            network(tokens | {"rna": wide})
    with pytest.raises(ValueError, match=r"got .'clinical', 'rna'."):
        network({m: t for m, t in tokens.items() if m != "slide.he"})
    with pytest.raises(ValueError, match="'petscan'"):
        network(tokens | {"petscan": tokens["rna"]})
    with pytest.raises(ValueError, match="one batch size"):
        network(tokens | {"rna": tokens["rna"].take(torch.arange(3))})


def test_network_is_finite_in_bfloat16(network, tokens):
    half = {m: Tokens(values=t.values.bfloat16(), keep=t.keep) for m, t in _fill(tokens, 1e6).items()}
    output = network.bfloat16()(half)
    assert (output.dtype, bool(output.isfinite().all())) == (torch.bfloat16, True)
    output.float().pow(2).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_network_weights_of_an_absent_modality_get_no_gradient(network, rng):
    """What a patient lacks teaches nothing about it: perturbing a weight that only the absent modality uses changes nothing."""
    who = np.array([[True, False, True]] * 3)
    network(_tokens(rng, who)).pow(2).sum().backward()
    index = list(DIMS).index("slide.he")
    own = [p for name, p in network.named_parameters() if name.startswith(f"projections.layers.{index}.")]
    assert own
    assert all(p.grad is None or (p.grad == 0).all() for p in own)
    others = [p for name, p in network.named_parameters() if name.startswith("projections.layers.0.")]
    assert all((p.grad != 0).any() for p in others)


def test_network_every_parameter_gets_a_gradient(network, tokens):
    network(tokens).pow(2).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


@pytest.mark.parametrize("name", ["mean", "gated"])
def test_network_means_of_identical_vectors_do_not_depend_on_how_many_are_present(name, rng):
    module = shelf.load("fusion", name)
    model = module.build(module.Config(), dims=dict.fromkeys("abcde", 4), dim_out=6)
    for layer in model.projections.layers:
        layer.load_state_dict(model.projections.layers[0].state_dict())
    vector = torch.tensor(rng.normal(size=(1, 1, 4)), dtype=torch.float32)
    outputs = []
    for count in range(1, 6):
        keep = [torch.tensor([[j < count]]) for j in range(5)]
        outputs.append(model({m: Tokens(values=vector, keep=k) for m, k in zip("abcde", keep, strict=True)}))
    torch.testing.assert_close(torch.cat(outputs), outputs[0].expand(5, -1), rtol=1e-5, atol=1e-6)


# ---- late: out-of-fold scores


def _scored_missing(kind, rng):
    scores, target = scored_patients(kind, rng)
    scores[~_who(rng, len(scores))] = np.nan
    return scores, target


@pytest.fixture(params=_named("late"))
def late(request):
    return shelf.load("fusion", request.param)


@pytest.fixture(params=KINDS)
def scored(request, rng):
    return _scored_missing(request.param, rng)


def test_late_output_follows_the_convention_and_keeps_its_inputs(late, scored):
    scores, target = scored
    before = scores.copy(), target.values.copy()
    output = late.fit(scores, target, late.Config()).combine(scores)
    assert output.shape == (60, scores.shape[2])
    assert np.isfinite(output).all()
    if target.endpoint.kind not in ("survival", "regression"):
        assert ((output >= 0) & (output <= 1)).all()
    if target.endpoint.kind in ("multiclass", "ordinal"):
        np.testing.assert_allclose(output.sum(axis=1), 1.0)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(target.values, before[1])


def test_late_mixed_availability_equals_one_by_one_and_follows_order(late, scored, rng):
    scores, target = scored
    fitted = late.fit(scores, target, late.Config())
    together = fitted.combine(scores)
    np.testing.assert_allclose(np.vstack([fitted.combine(scores[i : i + 1]) for i in range(60)]), together, atol=1e-10)
    order = rng.permutation(60)
    np.testing.assert_allclose(fitted.combine(scores[order]), together[order], atol=1e-10)
    refitted = late.fit(scores[order], target.take(order), late.Config())
    np.testing.assert_allclose(refitted.combine(scores), together, atol=1e-4)  # 1e-4: stacking stops where its search stops


def test_late_a_modality_nobody_has_counts_as_deleted(late, scored):
    scores, target = scored
    scores = scores[:, :2].copy()
    scores[np.isnan(scores).all(axis=(1, 2))] = 0.5
    masked = np.concatenate([scores, np.full_like(scores[:, :1], np.nan)], axis=1)
    deleted = late.fit(scores, target, late.Config()).combine(scores)
    np.testing.assert_allclose(late.fit(masked, target, late.Config()).combine(masked), deleted, atol=1e-6)


def test_late_patients_with_an_unknown_outcome_do_not_break_the_fit(late, scored):
    scores, target = scored
    values = target.values.copy()
    values[::7] = np.nan
    assert np.isfinite(late.fit(scores, Target(endpoint=target.endpoint, values=values), late.Config()).combine(scores)).all()


@pytest.mark.parametrize("kind", ["survival", "binary", "regression"])
def test_late_more_risk_by_every_modality_is_more_risk(late, kind, rng):
    scores, target = _scored_missing(kind, rng)
    fitted = late.fit(scores, target, late.Config())
    low, high = (np.full((1, 3, 1), np.nanquantile(scores, q)) for q in (0.2, 0.8))
    assert fitted.combine(low)[0, 0] < fitted.combine(high)[0, 0]
    for j in range(3):
        some_low, some_high = low.copy(), high.copy()
        some_low[0, j] = some_high[0, j] = np.nan
        assert fitted.combine(some_low)[0, 0] <= fitted.combine(some_high)[0, 0]


def test_late_refusals(late, scored):
    scores, target = scored
    fitted = late.fit(scores, target, late.Config())
    nobody = scores.copy()
    nobody[2] = np.nan
    for call in (fitted.combine, lambda s: late.fit(s, target, late.Config())):
        with pytest.raises(DataError, match="row 2 has no modality"):
            call(nobody)
        broken = scores.copy()
        broken[0, 1] = np.inf
        with pytest.raises(DataError, match="row 0, modality 1: wanted scores all finite"):
            call(broken)
    with pytest.raises(DataError, match=r"got shape \(60, 2,"):
        fitted.combine(np.nan_to_num(scores[:, :2]))
    with pytest.raises(DataError, match="got shape"):
        fitted.combine(np.zeros((60, 3, scores.shape[2] + 1)))


@pytest.mark.parametrize("name", ["average", "weighted", "median", "rank"])
def test_late_means_of_identical_scores_do_not_depend_on_how_many_are_present(name, rng):
    for kind in KINDS:
        scores, target = _scored_missing(kind, rng)
        same = np.repeat(np.nan_to_num(scores[:, :1], nan=0.5), 3, axis=1)
        module = shelf.load("fusion", name)
        fitted = module.fit(same, target, module.Config())
        whole = fitted.combine(same)
        for gone in ([0], [1], [0, 2], [1, 2]):
            part = same.copy()
            part[:, gone] = np.nan
            np.testing.assert_allclose(fitted.combine(part), whole, atol=1e-9)


def test_late_state_round_trip(late, scored, tmp_path):
    scores, target = scored
    fitted = late.fit(scores, target, late.Config())
    save_state(tmp_path / "fusion.safetensors", fitted)
    np.testing.assert_array_equal(load_state(tmp_path / "fusion.safetensors").combine(scores), fitted.combine(scores))
