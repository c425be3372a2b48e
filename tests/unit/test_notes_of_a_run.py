"""What a run says of fusions that do less than their name, and of lines that decide for more patients than they ask for."""

import numpy as np
import pandas as pd
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.state import save_state
from oncoweave.data.gmt import find_gmt, read_gmt
from oncoweave.encoders import pathways
from oncoweave.fusion import average
from oncoweave.modalities import variants
from oncoweave.model import ModelConfig
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives import classify
from oncoweave.train.dataset import Dataset
from oncoweave.train.decisions import lines_to_mind
from oncoweave.train.default_encoders import encoder_notes
from oncoweave.train.fusion_notes import fusion_notes
from oncoweave.train.late_learner import FittedLate
from oncoweave.train.locked import LockedModel
from oncoweave.train.network_learner import FittedNetwork
from oncoweave.train.prototype_notes import prototype_notes
from oncoweave.train.recalibration import Recalibration
from oncoweave.train.study import ModelSpec, Study

NAMES = ("rna", "record")


def study(**settings: object) -> Study:
    model = ModelSpec(name="list", fusion="rules", modalities=NAMES, settings=settings)
    return Study(name="s", cohort="c", endpoint="e", models=(model,), main="list")


def decided(**counts: int) -> pd.DataFrame:
    """Tested patients by the line that decided, in one repeat and in another with as many by the last line alone."""
    lines = [line for line, count in counts.items() for _ in range(count)]
    frame = pd.DataFrame({"model": "list", "repeat": 0, "decided_by": lines})
    return pd.concat([frame, frame.assign(repeat=1, decided_by="none of these")], ignore_index=True)


def test_a_line_that_decides_for_more_than_it_asks_is_said_with_both_shares():
    line = "override: rna above 0.9 then high"
    asked = study(override="rna")
    rest = {"k of n positive": 5}
    (said,) = lines_to_mind(asked, decided(**{line: 35, "none of these": 60, **rest}))
    assert f"{line!r} asks for at most 10% and decided for 35 of 100 tested patients (35%)" in said
    assert lines_to_mind(asked, decided(**{line: 16, "none of these": 79, **rest})) == []  # as chance may have it


def test_the_list_over_two_levels_is_watched_like_any_other():
    line, idle = "fused above 0.9 then high", "override: rna above 0.9 then high"
    asked = {"decision": {"rules": line, "override": "rna"}}
    model = ModelSpec(name="list", fusion="two_level", modalities=NAMES, settings={"decision": "rules"}, wrapped_settings=asked)
    levels = Study(name="s", cohort="c", endpoint="e", models=(model,), main="list")
    none, many = lines_to_mind(levels, decided(**{line: 35, "k of n positive": 5, "none of these": 60}))
    assert f"1 line(s) of its decision list decided for no tested patient: {idle!r}" in none
    assert f"{line!r} asks for at most 10% and decided for 35 of 100 tested patients (35%)" in many


def test_of_several_classes_decisions_are_counted_and_called_so():
    line = "override: rna above 0.9 then high"
    frame = decided(**{f"{line}; none of these; {line}": 40, "none of these; k of n positive; none of these": 60})
    (said,) = lines_to_mind(study(override="rna"), frame)
    assert f"{line!r} asks for at most 10% and decided for 80 of 300 decisions, one a class and tested patient (27%)" in said


@pytest.mark.parametrize(
    ("rule", "most"),
    [("rna above 0.8 then high", 0.2), ("rna below 0.1 then low", 0.1), ("rna above 0.6 and record below 0.3 then low", 0.3)],
)
def test_the_share_a_line_asks_for_is_the_least_of_its_conditions(rule, most):
    shares = shelf.load("fusion", "rules").shares(shelf.configure("fusion", "rules", {"rules": rule}))
    assert shares == {rule: pytest.approx(most)}
    generator = np.random.default_rng(0)
    both = generator.random((100_000, 2))
    sides = {"above": np.greater, "below": np.less}
    parts = [part.split() for part in rule.split(" then ")[0].split(" and ")]
    holds = np.logical_and.reduce([sides[side](both[:, NAMES.index(name)], float(share)) for name, side, share in parts])
    assert holds.mean() <= most + 0.005


@pytest.mark.parametrize("bags", [frozenset(), frozenset({"slide"})], ids=["tables", "slide"])
def test_two_co_attentions_are_one_network_just_where_they_say_that_nothing_is_read(bags):
    dims, outputs, said = {"slide": 4, "rna": 4}, [], []
    generator = torch.Generator().manual_seed(0)
    tokens = {n: Tokens(values=torch.randn(3, 5, 4, generator=generator), keep=torch.ones(3, 5, dtype=torch.bool)) for n in dims}
    state = None
    for name in ("mcat", "motcat"):
        module = shelf.load("fusion", name)
        config = shelf.configure("fusion", name, {})
        torch.manual_seed(0)
        network = module.build(config, dims=dims, dim_out=2, bags=bags).eval()
        state = network.state_dict() if state is None else state
        network.load_state_dict({key: value for key, value in state.items() if key in network.state_dict()})
        outputs.append(network(tokens))
        said.append(module.without_effect(config, modalities=tuple(dims), bags=bags))
    assert torch.equal(*outputs) == (not bags)
    assert [bool(told) for told in said] == [not bags] * 2


TABLES = {"rna": "expression", "record": "record"}


def models(*fusions: str, **settings: object) -> tuple[ModelSpec, ...]:
    return tuple(ModelSpec(name=name, fusion=name, settings=settings) for name in fusions)


@pytest.mark.parametrize("bag", ["slide", "film", "report"])
@pytest.mark.parametrize("fusion", ["mcat", "motcat", "survpath"])
def test_a_study_says_of_tables_alone_that_a_fusion_of_bags_does_nothing_with_them(fusion, bag):
    asked = Study(name="s", cohort="c", endpoint="e", modalities=tuple(TABLES), models=models(fusion, "mean", "average"))
    (said,) = fusion_notes(asked, TABLES)
    assert said.startswith(f"Model '{fusion}': of fusion '{fusion}' something has no effect: no modality is a bag of tokens")
    assert fusion_notes(asked.model_copy(update={"modalities": ("rna", bag)}), TABLES | {bag: bag}) == []


def test_what_a_hybrid_wraps_is_told_by_its_own_settings():
    (auxiliary,) = models("auxiliary", operator="mdt")
    one_way = auxiliary.model_copy(update={"wrapped_settings": {"operator": {"exchange": "one_way"}}})
    asked = Study(name="s", cohort="c", endpoint="e", modalities=tuple(TABLES), models=(auxiliary,))
    assert fusion_notes(asked, TABLES) == []
    (said,) = fusion_notes(asked.model_copy(update={"models": (one_way,)}), TABLES)
    assert "of fusion 'mdt' something has no effect: exchange: one_way wants two sides" in said


@pytest.mark.parametrize(("missing", "said"), [("knn", 1), ("retrieval", 1), ("mask", 0), ("learned", 0), (None, 0)])
def test_hybrids_whose_heads_cannot_know_who_has_what_say_so(missing, said):
    models = tuple(
        ModelSpec(name=fusion, fusion=fusion, modalities=NAMES, missing=missing) for fusion in ("distilled", "two_level", "gated")
    )
    notes = fusion_notes(Study(name="s", cohort="c", endpoint="e", models=models, main="gated"), dict.fromkeys(NAMES, "record"))
    assert len(notes) == said
    assert all(f"'distilled': missing {missing!r} stands in for absent modalities" in note for note in notes)


@pytest.mark.parametrize(
    ("rate", "missing", "said"), [(0.3, "knn", 1), ({"rna": 0.3}, "mean", 1), ({"x": 0.3}, "mean", 0), (0.3, "mask", 0)]
)
def test_dropout_of_modalities_that_are_always_filled_in_is_said(rate, missing, said):
    model = ModelSpec(name="gated", fusion="gated", modalities=NAMES, missing=missing)
    asked = Study(name="s", cohort="c", endpoint="e", models=(model,), main="gated", network={"modality_dropout": rate})
    notes = fusion_notes(asked, dict.fromkeys(NAMES, "record"))
    assert len(notes) == said
    assert all("trains the network for a lack that it never meets" in note for note in notes)


def test_dropout_of_modalities_without_a_network_is_said():
    late = ModelSpec(name="late", fusion="stacking", modalities=NAMES)
    asked = Study(name="s", cohort="c", endpoint="e", models=(late,), main="late", network={"modality_dropout": 0.2})
    (said,) = fusion_notes(asked, dict.fromkeys(NAMES, "record"))
    assert said == "network: modality_dropout has no effect, as no model of this study is a network."
    of_networks = late.model_copy(update={"encoders": {"record": "snn"}})
    assert fusion_notes(asked.model_copy(update={"models": (of_networks,)}), dict.fromkeys(NAMES, "record")) == []


def _alterations(genes: tuple[str, ...], last: tuple[int, ...]) -> Dataset:
    """Twenty patients with half of all alterations each, but the last gene's in some only."""
    rng = np.random.default_rng(0)
    values = (rng.random((20, len(genes))) < 0.5).astype(float)
    values[:, -1] = np.isin(np.arange(20), last)
    ids = np.array([f"P{i}" for i in range(20)], dtype=object)
    samples = tuple(variants.Sample(patient_id=p, alterations=genes, values=v) for p, v in zip(ids, values, strict=True))
    site = np.array(["A"] * 20, dtype=object)
    return Dataset(patient_ids=ids, site=site, target=None, samples={"dna": samples}, kinds={"dna": "variants"})


def _barely_enough() -> tuple[str, ...]:
    """Genes of just as many hallmark sets as are wanted, fewer without the last one."""
    genes, lost = list(dict.fromkeys(gene for own in read_gmt(find_gmt("hallmark")).values() for gene in own)), ""
    while not pathways.lacks(pathways.Config(), genes):
        lost = genes.pop()
    return (*genes, lost)


def test_an_encoder_that_some_folds_choose_otherwise_is_said_of_them():
    asked = Study(name="s", cohort="c", endpoint="e", modalities=("dna",), models=models("mdt"))
    frame = pd.DataFrame({"repeat": 0, "patient_id": [f"P{i}" for i in range(20)], "fold": np.arange(20) % 4})
    genes = _barely_enough()
    (said,) = encoder_notes(asked, _alterations(genes, (0, 1)), frame)  # two of four folds test one of the two
    assert "in mdt: in 2 of 4 folds, project instead of pathways: 9 of 50 gene sets" in said
    (said,) = encoder_notes(asked, _alterations(genes, (0,)), frame)
    assert "in mdt: project instead of pathways: 9 of 50 gene sets" in said
    assert encoder_notes(asked, _alterations(genes, (0, 4, 8, 1, 5)), frame) == []


@pytest.mark.parametrize("clustered", [0, 2])
def test_prototypes_that_are_clusters_are_said(tmp_path, clustered):
    target = Target(endpoint=Endpoint(name="y", kind="binary", columns=("y",)), values=np.array([0.0, 1.0]))
    network = FittedNetwork(
        modalities=("slide",), preparations={}, config=ModelConfig(modalities={}, fusion="mean", num_outputs=1),
        members=tuple({"encoders.slide.by_k_means": np.array(k < clustered)} for k in range(3)), origins=(0.0,) * 3,
        objective=classify.fit(target), tokens=1,
    )  # fmt: skip
    voted = FittedLate(modalities=("slide",), bases=(network,), fusion=average.fit(np.zeros((2, 1, 1)), target, average.Config()))
    one = np.ones(1)
    for name, fitted in {"own": network, "among": voted}.items():
        locked = LockedModel(
            name=name, endpoint=target.endpoint, modalities=("slide",), kinds={"slide": "slide"}, fitted=fitted, horizons=(),
            recalibration=Recalibration(kind="binary", centre=one, slope=one, intercept=one), baseline=None, cutoff=None,
            average=one,
        )  # fmt: skip
        save_state(tmp_path / name, locked)
        said = prototype_notes({name: tmp_path / name})
        assert len(said) == bool(clustered)
        assert all(note.startswith(f"Model {name!r}: in 2 of 3 networks the mixture of prototypes lost") for note in said)
