"""Settings of the fusions that hybrids wrap reach the operator, both levels and ablations; what does not exist is refused."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.train import panel
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, Trained
from oncoweave.train.study import ModelSpec, NetworkConfig, Study, resolve
from oncoweave.train.unread import FittedNothing

NAMES = ("clinical", "rna", "blood")


def cohort() -> Cohort:
    ids = pd.Index(["p1", "p2"], dtype=object, name="patient_id")
    table = pd.DataFrame({"patient_id": ids, "sample_id": ["s1", "s2"], "x": [0.0, 1.0]})
    return Cohort(
        name="c",
        patients=pd.DataFrame({"site": pd.Series([None, None], dtype="string").to_numpy(), "y": [0.0, 1.0]}, index=ids),
        tables=dict.fromkeys(NAMES, table),
        modalities={name: ModalitySpec(name=name, kind="record") for name in NAMES},
        endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))},
    )


def resolved(fusion: str, *, width: int = 64, **given) -> tuple[ModelSpec, Study]:
    model, network = ModelSpec(name="m", fusion=fusion, **given), NetworkConfig(width=width)
    study = Study(name="s", cohort="c", endpoint="y", models=(model,), main="m", network=network)
    whole = resolve(study, cohort())
    return whole.models[0], whole


def test_the_wrapped_operator_is_built_with_its_own_settings():
    model, study = resolved("auxiliary", settings={"operator": "low_rank"}, wrapped_settings={"operator": {"rank": 2}})
    spec = panel.network_spec(model, study)
    assert spec.operator_settings == {"rank": 2}
    shapes = {name: ModalityShape(encoder="linear", dim=1, num_tokens=3) for name in NAMES}
    sizes = []
    for settings in ({}, spec.operator_settings):
        config = ModelConfig(
            modalities=shapes, fusion="auxiliary", num_outputs=1, settings=spec.settings, operator_settings=settings, width=8
        )
        sizes.append(sum(p.numel() for p in Model(config).fusion.fusion.parameters()))
    assert sizes[1] < 0.6 * sizes[0]  # rank 2 of 4


def test_both_levels_are_fitted_with_settings_of_their_own(monkeypatch):
    wrapped = {"feature": {"max_components": 3}, "decision": {"prior_sd": 0.1}}
    _, study = resolved("two_level", settings={"feature": "pca"}, wrapped_settings=wrapped)
    seen = {}
    monkeypatch.setattr(Fold, "learnable", lambda _, names: tuple(names))

    def linear(*_, **given):
        seen.update(feature=(given["fusion"], given["settings"]))
        return Trained(fitted=FittedNothing(modalities=(), num_outputs=1), out_of_fold=np.zeros((0, 1)))

    monkeypatch.setattr(panel, "fit_linear", linear)
    monkeypatch.setattr(panel, "late_bases", lambda *_: [])
    monkeypatch.setattr(panel, "fit_base", lambda fold, _, *, learner, fit: fit(fold))

    def decide(*_, **given):
        seen.update(decision=(given["fusion"], given["settings"]))
        raise StopIteration

    monkeypatch.setattr(panel, "fit_late", decide)
    nobody = np.array([], dtype=object)
    data = Dataset(patient_ids=nobody, site=nobody, target=None, samples={}, kinds={})
    fold = Fold(train=data, seed=0, inner_folds=2, group_by_site=False)
    planned = next(p for p in panel.plan(study, has_sites=False) if p.name == "m")
    with pytest.raises(StopIteration):
        planned.fit(fold)
    assert seen == {"feature": ("pca", {"max_components": 3}), "decision": ("stacking", {"prior_sd": 0.1})}


def test_a_decision_list_over_two_levels_may_name_the_fused_model_and_nobody_else_who_is_not_there():
    listed = {"settings": {"decision": "rules"}}
    resolved("two_level", **listed, wrapped_settings={"decision": {"rules": "fused above 0.8 and rna below 0.2 then high"}})
    resolved("two_level", **listed, wrapped_settings={"decision": {"override": "fused", "k": 4}})
    with pytest.raises(ConfigError, match=r"k 5 of rules, wanted at most the 4 .*: clinical, rna, blood, fused"):
        resolved("two_level", **listed, wrapped_settings={"decision": {"k": 5}})
    with pytest.raises(UnknownNameError, match="named 'fusd'; did you mean 'fused'"):
        resolved("two_level", **listed, wrapped_settings={"decision": {"rules": "fusd above 0.8 then high"}})
    with pytest.raises(UnknownNameError, match="named 'fused'"):
        resolved("rules", settings={"rules": "fused above 0.8 then high"})


def test_a_wrapped_tree_has_to_fit_the_modalities_and_is_cut_in_ablations():
    tree = {"operator": {"tree": "(clinical, rna), blood"}}
    model, _ = resolved("distilled", settings={"operator": "hierarchical"}, wrapped_settings=tree)
    cut = panel.narrowed(model, ("rna", "blood")).wrapped_settings["operator"]["tree"]
    assert "clinical" not in cut
    assert {"rna", "blood"} <= set(cut.replace("(", " ").replace(")", " ").replace(",", " ").split())
    with pytest.raises((ConfigError, UnknownNameError), match="blod"):
        resolved(
            "distilled",
            settings={"operator": "hierarchical"},
            wrapped_settings={"operator": {"tree": "(clinical, rna), blod"}},
        )


def test_a_hybrid_around_what_it_cannot_wrap_is_refused_by_name_of_the_model():
    with pytest.raises(ConfigError, match="model 'm': fusion 'distilled' wraps an intermediate operator; 'stacking' is late"):
        resolved("distilled", settings={"operator": "stacking"})
    with pytest.raises(UnknownNameError, match=r"model 'm': .* named 'low_rnk'; did you mean 'low_rank'"):
        resolved("distilled", settings={"operator": "low_rnk"})


@pytest.mark.parametrize(
    ("fusion", "wrapped", "match"),
    [
        ("auxiliary", {"feature": {}}, "no wrapped fusion of 'auxiliary' .* named 'feature'; did you mean 'operator'"),
        ("gated", {"operator": {}}, "no wrapped fusion of 'gated' .* known: none"),
        ("balanced", {"operator": {"dropuot": 0.1}}, r"'joint' .* \(model 'm', wrapped_settings: operator\) named 'dropuot'"),
        ("two_level", {"decision": {"prior": 0.1}}, "no setting of 'stacking' .* did you mean 'prior_sd'"),
    ],
)
def test_settings_of_what_is_not_wrapped_are_refused(fusion, wrapped, match):
    with pytest.raises(UnknownNameError, match=match):
        resolved(fusion, wrapped_settings=wrapped)


@pytest.mark.parametrize(
    ("fusion", "given", "where", "told"),
    [
        ("modality_transformer", {"settings": {"heads": 3}}, "model 'm'", "width 64 does not divide into 3 heads"),
        ("modality_transformer", {"width": 30}, "model 'm'", "width 30 does not divide into 4 heads"),
        (
            "balanced",
            {"settings": {"operator": "modality_transformer"}, "wrapped_settings": {"operator": {"heads": 5}}},
            "model 'm', wrapped_settings: operator",
            "width 64 does not divide into 5 heads",
        ),
    ],
)
def test_heads_that_do_not_divide_the_networks_width_are_refused_before_one_is_built(fusion, given, where, told):
    fits = r"settings of 'modality_transformer' on shelf 'fusion' do not fit the networks \(network: width\)"
    with pytest.raises(ConfigError, match=rf"^{where}: {fits}: {told}$"):
        resolved(fusion, **given)
    resolved("modality_transformer", settings={"heads": 3}, width=30)


@pytest.mark.parametrize(
    ("told", "encoder", "dim", "fusion", "settings"),
    [
        (r"modality 'clinical', encoder 'cnn3d/tiny': wanted tokens that are cubes", "cnn3d/tiny", 5**3, "mean", {}),
        (r"fusion 'modality_transformer': .*3", "linear", 1, "modality_transformer", {"heads": 3}),
    ],
)
def test_what_a_network_cannot_be_built_of_names_the_part_that_refuses(told, encoder, dim, fusion, settings):
    shapes = {name: ModalityShape(encoder=encoder, dim=dim, num_tokens=3) for name in NAMES}
    with pytest.raises(ConfigError, match=told):
        Model(ModelConfig(modalities=shapes, fusion=fusion, num_outputs=1, settings=settings, width=8))
