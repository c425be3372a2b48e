"""Every fusion, by its stage: what is absent has no influence, any subset runs, nobody without any modality gets through."""

import dataclasses

import numpy as np
import pytest
import torch
from fusion_checks import (
    BAGS,
    CHECKS,
    DIM_OUT,
    DIMS,
    SUBSETS,
    attention_reaches_all_that_a_patient_has,
    who_has_what,
)
from fusion_promises import (
    identical_vectors_give_the_same_however_many_are_present,
    modality_dropout_drops_at_its_rate,
    output_starts_at_a_sane_scale,
    views_follow_the_mask,
)
from scored import KINDS, scored_patients

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.state import load_state, save_state
from oncoweave.explain.attention import FOLLOWED
from oncoweave.modalities import embedding
from oncoweave.model import drop_modalities
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, Study

STAGES = {entry.name: entry.constants["STAGE"] for entry in shelf.catalogue("fusion")}
KINDS_OF = {entry.name: entry.constants.get("KINDS") for entry in shelf.catalogue("fusion")}
READS = {entry.name: entry.constants.get("READS") for entry in shelf.catalogue("fusion")}


def _named(stage):
    return [name for name, s in STAGES.items() if s == stage]


@pytest.mark.parametrize("name", STAGES)
def test_every_fusion_states_its_stage_and_is_set_by_scalars(name):
    assert STAGES[name] in {"early", "intermediate", "late", "hybrid"}
    assert (READS[name] is not None) == (STAGES[name] == "intermediate")
    config = shelf.load("fusion", name).Config
    assert config.__dataclass_params__.frozen
    assert all(isinstance(value, float | int | str) for value in dataclasses.asdict(config()).values())


# ---- early: feature blocks


OUTCOME = np.random.default_rng(1).normal(size=200)
JOINT = {e.name for e in shelf.catalogue("fusion") if e.constants.get("JOINT")}
"""Their columns of one modality depend on what the others hold."""


@pytest.fixture(params=_named("early"))
def early(request):
    return shelf.load("fusion", request.param)


@pytest.fixture(params=sorted(set(_named("early")) - JOINT))
def apart(request):
    return shelf.load("fusion", request.param)


def _blocks(rng, n=40):
    who = who_has_what(rng, n)
    shared = rng.normal(size=(n, 1))
    blocks = {m: 10 + 3 * (rng.normal(size=(n, d)) + shared) for m, d in DIMS.items()}
    for j, m in enumerate(DIMS):
        blocks[m][~who[:, j]] = np.nan
    return blocks


def _take(blocks, rows):
    return {m: b[rows] for m, b in blocks.items()}


def _fit(early, blocks, rows=None, **settings):
    """Fit; what is supervised gets an outcome as well, that of ``rows`` where the blocks are some of more patients."""
    needs = {}
    if "target" in getattr(early, "NEEDS", ()):
        endpoint = Endpoint(name="y", kind="regression", columns=("y",))
        chosen = slice(len(next(iter(blocks.values())))) if rows is None else np.flatnonzero(rows)
        needs = {"target": Target(endpoint=endpoint, values=OUTCOME[chosen])}
    return early.fit(blocks, early.Config(**settings), **needs)


def test_early_output_is_finite_named_and_grouped(early, rng):
    blocks = _blocks(rng)
    before = {m: b.copy() for m, b in blocks.items()}
    fitted = _fit(early, blocks)
    output = fitted.transform(blocks)
    assert np.isfinite(output).all()
    assert output.shape == (40, len(fitted.names))
    assert len(set(fitted.names)) == len(fitted.groups) == output.shape[1]
    assert set(fitted.groups) == ({"shared"} if getattr(early, "SHARED", False) else set(DIMS))
    for m, b in blocks.items():
        np.testing.assert_array_equal(b, before[m])


def test_early_modalities_weigh_alike_whatever_their_width_and_unit(apart, rng):
    blocks = _blocks(rng, 200)
    blocks["rna"] = blocks["rna"] * 1e5
    fitted = _fit(apart, blocks)
    variance = fitted.transform({m: np.where(np.isnan(b), np.nanmean(b, axis=0), b) for m, b in blocks.items()}).var(axis=0)
    totals = [variance[np.array(fitted.groups) == m].sum() for m in DIMS]
    assert max(totals) < 1.5 * min(totals)


def test_early_mixed_availability_equals_one_by_one_and_follows_order(early, rng):
    blocks = _blocks(rng)
    fitted = _fit(early, blocks)
    together = fitted.transform(blocks)
    alone = np.vstack([fitted.transform(_take(blocks, [i])) for i in range(40)])
    np.testing.assert_allclose(alone, together, atol=1e-12)
    order = rng.permutation(40)
    np.testing.assert_allclose(fitted.transform(_take(blocks, order)), together[order], atol=1e-12)


def test_early_absent_patients_do_not_touch_the_statistics_of_a_modality(apart, rng):
    blocks = _blocks(rng)
    has = ~np.isnan(blocks["rna"]).all(axis=1)
    settings = {"indicator": False} if "indicator" in apart.Config.__dataclass_fields__ else {}
    with_absent = _fit(apart, blocks, **settings)
    columns = np.array(with_absent.groups) == "rna"
    deleted = _fit(apart, {"rna": blocks["rna"][has]}, has, **settings)
    np.testing.assert_allclose(with_absent.transform(blocks)[has][:, columns], deleted.transform({"rna": blocks["rna"][has]}))
    # an absent patient stands at the training mean
    np.testing.assert_allclose(with_absent.transform(blocks)[~has][:, columns], 0.0, atol=1e-12)


def test_early_every_subset_is_defined_and_differs(early, rng):
    fitted = _fit(early, _blocks(rng, 200))
    whole = {m: 10 + rng.normal(size=(1, d)) for m, d in DIMS.items()}
    outputs = np.vstack([fitted.transform({m: b if m in some else b * np.nan for m, b in whole.items()}) for some in SUBSETS])
    assert np.isfinite(outputs).all()
    distances = np.linalg.norm(outputs[:, None] - outputs[None], axis=2) + np.eye(len(SUBSETS))
    assert distances.min() > 1e-6, "two subsets of modalities give the same columns"


def test_early_masked_equals_deleted(early, rng):
    """A modality that nobody has changes nothing of what the others give."""
    blocks = {m: b for m, b in _blocks(rng, 200).items() if m != "rna"}
    blocks = _take(blocks, ~np.isnan(np.hstack(list(blocks.values()))).all(axis=1))
    masked = {m: blocks.get(m, np.full((len(blocks["clinical"]), d), np.nan)) for m, d in DIMS.items()}
    chosen = np.arange(len(OUTCOME)) < len(blocks["clinical"])
    with_it, without = _fit(early, masked, chosen), _fit(early, blocks, chosen)
    kept = np.array(with_it.groups) != "rna"
    np.testing.assert_allclose(with_it.transform(masked)[:, kept], without.transform(blocks), atol=1e-8)


def test_early_refusals(early, rng):
    blocks = _blocks(rng)
    fitted = _fit(early, blocks)
    nobody = {m: b.copy() for m, b in blocks.items()}
    for b in nobody.values():
        b[3] = np.nan
    for call in (fitted.transform, lambda b: _fit(early, b)):
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
    fitted = _fit(early, blocks)
    new = {m: np.full((2, d), 9.0) for m, d in DIMS.items()}
    flat = np.isin(fitted.groups, ["rna", "clinical"])
    np.testing.assert_array_equal(fitted.transform(new)[:, flat], 0.0)


def test_early_state_round_trip(early, rng, tmp_path):
    blocks = _blocks(rng)
    fitted = _fit(early, blocks)
    save_state(tmp_path / "fusion.safetensors", fitted)
    again = load_state(tmp_path / "fusion.safetensors")
    np.testing.assert_array_equal(again.transform(blocks), fitted.transform(blocks))
    assert again.names == fitted.names


# ---- intermediate and hybrid: tokens

AVERAGES = (
    "bottleneck", "embracenet", "film", "gated", "max_pool", "mcat", "mdt", "mean", "mmp", "motcat", "survpath",
)  # fmt: skip
"""Operators whose output is an average, or the largest, of what is present; others add up, multiply or tell modalities apart."""


def _builder(name, **settings):
    """``build(dims, dim_out)`` of an intermediate operator, or of a hybrid around the operator that its settings name."""
    module = shelf.load("fusion", name)
    config = module.Config(**settings)
    if STAGES[name] == "hybrid":
        inner = _builder(config.operator)
        return lambda dims, dim_out: module.build(config, dims=dims, dim_out=dim_out, num_outputs=3, fusion=inner(dims, dim_out))
    if module.READS == "tokens":
        return lambda dims, dim_out: module.build(config, dims=dims, dim_out=dim_out, bags=BAGS & set(dims))
    return lambda dims, dim_out: module.build(config, dims=dims, dim_out=dim_out)


OTHER_SETTINGS = (
    ("experts", {"generalists": 1}),
    ("kronecker", {"gated": True}),
    *(("mdt", {"exchange": e}) for e in ("learned", "gated", "co_only", "one_way", "one_way_back", "none")),
    ("mdt", {"streams": "two"}),
    ("mdt", {"readout": "summary"}),
    ("modality_transformer", {"depth": 1, "heads": 2}),
    ("auxiliary", {"operator": "mdt"}),
    ("balanced", {"operator": "poe_vae"}),
    ("distilled", {"operator": "experts"}),
)
"""What takes another way through an operator than its defaults, and must follow the same contract."""

ONLY_SOME = ("co_only", "one_way", "one_way_back", "none")
"""Exchanges in which not every stream attends to every other."""

NETWORKS = _named("intermediate") + [n for n in _named("hybrid") if hasattr(shelf.load("fusion", n), "build")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, check, rng):
    check(_builder(name), rng)


def test_networks_whose_attention_is_followed_return_their_maps():
    assert {name for name in NETWORKS if hasattr(_builder(name)(DIMS, DIM_OUT), "attention")} == set(FOLLOWED)


OTHER_CASES = [
    pytest.param(name, settings, check, id=f"{name}-{'_'.join(map(str, settings.values()))}-{check.__name__}")
    for name, settings in OTHER_SETTINGS
    for check in CHECKS
    if check is not attention_reaches_all_that_a_patient_has or settings.get("exchange") not in ONLY_SOME
]


@pytest.mark.parametrize(("name", "settings", "check"), OTHER_CASES)
def test_network_with_other_settings(name, settings, check, rng):
    check(_builder(name, **settings), rng)


@pytest.mark.parametrize("name", _named("intermediate"))
def test_network_output_starts_at_a_sane_scale(name, rng):
    assert READS[name] in {"vectors", "tokens"}
    output_starts_at_a_sane_scale(_builder(name), rng)


@pytest.mark.parametrize("name", _named("hybrid"))
def test_hybrid_views_or_levels(name, rng):
    module = shelf.load("fusion", name)
    if hasattr(module, "build"):
        views_follow_the_mask(_builder(name), rng)
    else:
        levels = module.levels(module.Config())
        assert (STAGES[levels.feature] in {"early", "intermediate"}, STAGES[levels.decision]) == (True, "late")


def _vectors(who, *, seed=0, dims=DIMS):
    """Patients with a vector of each modality that ``who`` has, and an outcome that a part of each tells."""
    vectors = {m: np.random.default_rng(seed).normal(size=(len(who), d)) for m, d in dims.items()}
    ids = np.array([f"p{i}" for i in range(len(who))], dtype=object)
    samples = {
        m: tuple(
            embedding.Sample(patient_id=p, path="", columns=tuple(map(str, range(dims[m]))), values=v[i : i + 1]) if has else None
            for i, (p, has) in enumerate(zip(ids, who[:, j], strict=True))
        )
        for j, (m, v) in enumerate(vectors.items())
    }
    endpoint = Endpoint(name="y", kind="regression", columns=("y",))
    outcome = Target(endpoint=endpoint, values=sum(v[:, 0] for v in vectors.values()))
    return Dataset(patient_ids=ids, site=ids, target=outcome, samples=samples, kinds=dict.fromkeys(dims, "embedding"))


def _of_levels(name, data, *, modalities=tuple(DIMS)):
    model = ModelSpec(name="m", fusion=name, modalities=modalities)
    study = Study(name="s", cohort="c", endpoint="y", modalities=modalities, models=(model,), main="m")
    planned = next(p for p in plan(study, has_sites=False) if p.name == "m")
    return planned.fit(Fold(train=data, seed=0, inner_folds=2, group_by_site=False)).fitted


@pytest.fixture(params=[n for n in _named("hybrid") if not hasattr(shelf.load("fusion", n), "build")])
def levels(request):
    return request.param


def test_levels_mixed_availability_equals_one_by_one(levels, rng):
    data = _vectors(who_has_what(rng, 60))
    fitted = _of_levels(levels, data)
    together = fitted.predict(data)
    assert np.isfinite(together).all() and together.std() > 0
    alone = np.concatenate([fitted.predict(data.take(np.array([i]))) for i in range(60)])
    np.testing.assert_allclose(alone, together, atol=1e-10)
    order = rng.permutation(60)
    np.testing.assert_allclose(fitted.predict(data.take(order)), together[order], atol=1e-10)


def test_levels_every_subset_is_defined_and_differs(levels, rng):
    fitted = _of_levels(levels, _vectors(who_has_what(rng, 60)))
    whole = _vectors(np.ones((1, len(DIMS)), dtype=bool), seed=5)
    outputs = np.concatenate(
        [
            fitted.predict(dataclasses.replace(whole, samples={m: s if m in some else (None,) for m, s in whole.samples.items()}))
            for some in SUBSETS
        ]
    ).ravel()
    assert np.isfinite(outputs).all()
    assert (np.abs(outputs[:, None] - outputs) + np.eye(len(SUBSETS))).min() > 1e-6


def test_levels_masked_equals_deleted(levels, rng):
    """A modality that nobody has is as one that the study does not name."""
    who = who_has_what(rng, 80)
    who = who[who[:, :2].any(axis=1)]
    who[:, 2] = False
    data = _vectors(who)
    deleted = _of_levels(levels, data, modalities=tuple(DIMS)[:2])
    np.testing.assert_allclose(_of_levels(levels, data).predict(data), deleted.predict(data), atol=1e-8)


def test_levels_empty_patients_wrong_widths_and_names_are_refused(levels, rng):
    data = _vectors(who_has_what(rng, 60))
    fitted = _of_levels(levels, data)
    nobody = dataclasses.replace(data.take(np.array([0])), samples=dict.fromkeys(DIMS, (None,)))
    assert np.isnan(fitted.predict(nobody)).all()
    wider = _vectors(np.ones((1, len(DIMS)), dtype=bool), dims=DIMS | {"rna": 4})
    with pytest.raises(DataError, match="the vector has width 4, the training patients' 3"):
        fitted.predict(wider)


def test_levels_inputs_are_not_changed(levels, rng):
    data = _vectors(who_has_what(rng, 60))
    before = {(m, i): s.values.copy() for m, column in data.samples.items() for i, s in enumerate(column) if s is not None}
    outcome = data.target.values.copy()
    _of_levels(levels, data).predict(data)
    for (m, i), values in before.items():
        np.testing.assert_array_equal(data.samples[m][i].values, values)
    np.testing.assert_array_equal(data.target.values, outcome)


@pytest.mark.parametrize("name", AVERAGES)
def test_network_means_of_identical_vectors_do_not_depend_on_how_many_are_present(name, rng):
    identical_vectors_give_the_same_however_many_are_present(_builder(name), rng)


@pytest.mark.parametrize("name", ["bottleneck", "embracenet", "film", "mean", "mmp"])
def test_a_mean_that_divides_wrongly_is_caught_wherever_modalities_are_averaged(name, rng, monkeypatch):
    module = shelf.load("fusion", name)
    right = module.masked_mean

    def of_all_times_the_number_missing(values, keep):
        if values.shape[1] != 5:  # a modality's own tokens
            return right(values, keep)
        return torch.where(keep.unsqueeze(-1), values, 0.0).mean(dim=1) * (1 + (~keep).sum(dim=1, keepdim=True))

    monkeypatch.setattr(module, "masked_mean", of_all_times_the_number_missing)
    with pytest.raises(AssertionError, match="not close"):
        identical_vectors_give_the_same_however_many_are_present(_builder(name), rng)


def test_modality_dropout_drops_at_its_rate(rng):
    modality_dropout_drops_at_its_rate(drop_modalities, rng)


# ---- late: out-of-fold scores


def _scored_missing(kind, rng):
    scores, target = scored_patients(kind, rng)
    scores[~who_has_what(rng, len(scores))] = np.nan
    return scores, target


@pytest.fixture(params=_named("late"))
def late(request):
    return shelf.load("fusion", request.param)


def _served(late, kind):
    """One of the kinds that a fusion states, where it states some and this is none of them."""
    kinds = getattr(late, "KINDS", KINDS)
    return kind if kind in kinds else kinds[0]


@pytest.fixture(params=KINDS)
def scored(request, late, rng):
    return _scored_missing(_served(late, request.param), rng)


@pytest.mark.parametrize("name", [n for n in _named("late") if KINDS_OF[n]])
def test_late_kinds_that_are_not_stated_are_refused(name, rng):
    module = shelf.load("fusion", name)
    for kind in set(KINDS) - set(module.KINDS):
        with pytest.raises(ConfigError, match=f"is {kind}"):
            module.fit(*_scored_missing(kind, rng), module.Config())


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
    scores, target = _scored_missing(_served(late, kind), rng)
    fitted = late.fit(scores, target, late.Config())
    low, high = (np.full((1, 3, 1), np.nanquantile(scores, q)) for q in (0.2, 0.8))
    assert fitted.combine(low)[0, 0] < fitted.combine(high)[0, 0]
    for j in range(3):
        some_low, some_high = low.copy(), high.copy()
        some_low[0, j] = some_high[0, j] = np.nan
        assert fitted.combine(some_low)[0, 0] <= fitted.combine(some_high)[0, 0]


def test_late_every_subset_is_defined(late, scored):
    scores, target = scored
    whole = np.nan_to_num(scores[:1], nan=0.3)
    fitted = late.fit(scores, target, late.Config())
    for some in SUBSETS:
        gone = np.array([m not in some for m in DIMS])
        assert np.isfinite(fitted.combine(np.where(gone[None, :, None], np.nan, whole))).all()


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
