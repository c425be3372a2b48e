"""Tokens that stand for no value: not measured, stand-ins, gene sets; and bags of more tiles than whole maps are held of."""

import dataclasses

import numpy as np
import pytest
import torch

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError
from oncoweave.data.bags import Bag, BagAttrs
from oncoweave.explain import batches
from oncoweave.explain.attention import attend
from oncoweave.explain.cohort import Options, explain_cohort
from oncoweave.explain.occlusion import delete_sets
from oncoweave.explain.patient import explain_patient
from oncoweave.explain.ranking import relative_to_measured
from oncoweave.modalities import expression, record, slide
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives import multilabel
from oncoweave.serve.explain.about import About
from oncoweave.serve.explain.page import cohort_page
from oncoweave.serve.explain.patients import write_patient
from oncoweave.serve.page import render
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

RNG = np.random.default_rng
KINDS = {"slide": "slide", "rna": "expression", "labs": "record"}
GENES, LABS = tuple(f"G{k}" for k in range(8)), ("crp", "ferritin", "sodium")
SETS = (("CYCLE", "G0", "G1", "G2"), ("IMMUNE", "G2", "G3", "G4"))
ENCODERS = {"slide": "project/tiny", "rna": "pathways/tiny", "labs": "tabular/missing_tokens"}
ABOUT = About(
    study="s", model="m", fusion="f", encoders=ENCODERS, members=1, endpoint="y", endpoint_kind="multilabel", unit="log-odds",
    scale="", own=True, seen=0, hashes={"model": "0", "cohort": "0"}, versions={}, sample=50, seed=0,
)  # fmt: skip


def patients(n: int = 24, *, tiles: int = 30) -> Dataset:
    """Draw patients; every fourth has no slide, every fifth no expression, and two values are not measured in a quarter each."""
    rng = RNG(0)
    rows = {name: [] for name in KINDS}
    for i in range(n):
        features = rng.normal(size=(tiles + i % 3, 6)).astype(np.float32)
        bag = Bag(
            features=features, coords=np.arange(2 * len(features)).reshape(-1, 2), tissue_fraction=None,
            attrs=BagAttrs(slide_id=f"S{i}", patch_size_level0=256),
        )  # fmt: skip
        rows["slide"].append(None if i % 4 == 3 else slide.from_bags(f"P{i}", [bag], paths=[f"S{i}.h5"]))
        rows["rna"].append(
            None if i % 5 == 4 else expression.Sample(patient_id=f"P{i}", genes=GENES, values=rng.normal(size=(1, 8)), scale="z")
        )
        labs = dict(zip(LABS, rng.normal(size=3).tolist(), strict=True))
        labs[LABS[i % 2]] = None if i % 4 < 2 else labs[LABS[i % 2]]
        rows["labs"].append(record.Sample(patient_id=f"P{i}", values=labs))
    endpoint = Endpoint(name="y", kind="multilabel", columns=("a", "b"), classes=("a", "b"))
    return Dataset(
        patient_ids=np.array([f"P{i}" for i in range(n)], dtype=object),
        site=np.array(["A"] * n, dtype=object),
        target=Target(endpoint=endpoint, values=np.stack([np.arange(n) % 2, np.arange(n) % 3 == 0], axis=1).astype(float)),
        samples={name: tuple(samples) for name, samples in rows.items()},
        kinds=KINDS,
    )


def network(
    data: Dataset, fusion: str = "mdt", *, missing: str = "mask", settings: dict[str, str] | None = None, **encoders: str
) -> FittedNetwork:
    fits = {"slide": slide.fit, "rna": expression.fit, "labs": record.fit}
    preparations = {name: fit(data.samples[name]) for name, fit in fits.items()}
    shapes = {
        name: ModalityShape(
            encoder=(ENCODERS | encoders)[name], dim=p.dim, num_tokens=p.num_tokens,
            **(
                {"feature_names": p.feature_names, "settings": {"sets": SETS, "rest": False}}
                if (ENCODERS | encoders)[name].startswith("pathways")
                else {}
            ),
        )
        for name, p in preparations.items()
    }  # fmt: skip
    config = ModelConfig(
        modalities=shapes, fusion=fusion, settings=settings or {}, num_outputs=2, width=16, dropout=0.0, missing=missing
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(config)
    weights = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    return FittedNetwork(
        modalities=tuple(preparations), preparations=preparations, config=config, members=(weights,), origins=(0.0,),
        objective=multilabel.fit(data.outcome), tokens=65_536,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return patients()


@pytest.fixture(scope="module")
def found(data):
    return explain_cohort(network(data), data, generator=RNG(0), options=Options(replicates=50))


@pytest.fixture(scope="module")
def page(found):
    return render(cohort_page(found, ABOUT))


@pytest.mark.parametrize("variant", ["missing_tokens", "periodic_tokens"])
def test_values_with_tokens_for_what_was_not_measured_are_told_apart(data, variant):
    received = attend(network(data, labs=f"tabular/{variant}"), data).rollout
    missing = np.array([[s.values[name] is None for name in LABS] for s in data.samples["labs"]])
    values, absent = received.table("labs"), received.table_unmeasured("labs")
    np.testing.assert_array_equal(np.isnan(values), missing)
    np.testing.assert_array_equal(np.isnan(absent), ~missing)
    assert np.nanmin(absent) > 0
    np.testing.assert_allclose(received.shares.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(received.shares_unmeasured[:, 2], np.nansum(absent, axis=1))
    total = np.nansum(values, axis=1) + np.nansum(absent, axis=1) + received.rest["labs"]
    np.testing.assert_allclose(received.shares[:, 2], total)
    assert received.table_unmeasured("rna") is None


def test_laboratory_values_are_ranked_and_not_measured_stands_apart(found, data, page):
    labs = found.columns[found.columns["modality"] == "labs"].set_index("column")
    assert set(labs.index) == set(LABS) and set(labs["kind"]) == {"column"}
    lacking = {name: sum(s.values[name] is None for s in data.samples["labs"]) for name in LABS}
    assert labs["unmeasured_patients"].to_dict() == lacking
    assert (labs["patients"] == len(data) - labs["unmeasured_patients"]).all()
    assert np.isfinite(labs.loc["crp", ["change", "unmeasured", "attention"]].to_numpy(dtype=float)).all()
    assert np.isnan(labs.loc["sodium", "unmeasured"])
    assert found.shares.set_index("modality").loc["labs", "share_unmeasured"] > 0
    assert "attention to “not measured”, not to a value" in page
    assert "Values of labs that were not measured have tokens of their own" in page
    assert found.pooled == ()


def test_what_was_not_measured_is_relative_to_what_was():
    received = np.array([[0.2, np.nan, 0.4], [np.nan, np.nan, np.nan]])
    unmeasured = np.array([[np.nan, 0.3, np.nan], [0.1, 0.1, 0.1]])
    expected = [[np.nan, 0.3 / (2 * 0.6 / 3), np.nan], [np.nan] * 3]  # three tokens were measured, the column has two
    np.testing.assert_allclose(relative_to_measured(unmeasured, received, [1, 2, 2]), expected)


@pytest.mark.parametrize("missing", ["learned", "latent"])
def test_attention_on_a_stand_in_is_none_on_the_modality(data, missing):
    fitted = network(data, missing=missing)
    received = attend(fitted, data).rollout
    absent = ~data.availability
    assert (received.shares[absent] == 0).all()
    assert received.stand_ins[absent].min() > 0
    assert (received.stand_ins[~absent] == 0).all()
    np.testing.assert_allclose(received.shares.sum(axis=1) + received.stand_ins.sum(axis=1), 1.0, atol=1e-6)
    few = explain_cohort(fitted, data, generator=RNG(0), options=Options(sample=6, replicates=20))
    shares = few.shares.set_index("modality")
    np.testing.assert_allclose(shares["share_stand_in"], received.stand_ins.mean(axis=0))
    assert shares["stand_ins"].to_dict() == {"slide": 6, "rna": 4, "labs": 0}
    assert "receive" in (told := render(cohort_page(few, ABOUT))) and "where slide is absent (6 patients)" in told
    alone = explain_patient(fitted, data.take(np.array([3])))
    assert alone.stand_in == pytest.approx(received.stand_ins[3].sum())
    assert alone.stand_in + sum(item.attention for item in alone.modalities) == pytest.approx(1.0)


def test_a_page_without_stand_ins_speaks_of_none(page, found):
    assert (found.shares["stand_ins"] == 0).all()
    assert "stand in for" not in page and "such stand-ins" not in page


@pytest.mark.parametrize("fusion", ["mcat", "survpath", "mdt"])
def test_gene_sets_are_ranked_as_columns_are(data, fusion):
    found = explain_cohort(network(data, fusion), data, generator=RNG(0), options=Options(replicates=20))
    sets = found.columns[found.columns["modality"] == "rna"].set_index("column")
    assert set(sets.index) == {"CYCLE", "IMMUNE"} and set(sets["kind"]) == {"gene set"}
    assert sorted(sets["rank"]) == sorted(sets["change_rank"]) == [1, 2]
    assert (sets["patients"] == sum(s is not None for s in data.samples["rna"])).all()
    assert ("sets", "rna") in set(zip(found.agreement["level"], found.agreement["modality"], strict=True))
    assert found.whole == ("slide",)
    assert "Gene sets of rna" in render(cohort_page(found, ABOUT))


def test_a_patients_gene_sets_and_genes_stand_beside_their_deletion(data, tmp_path, monkeypatch):
    patient, fitted = data.take(np.array([0])), network(data)
    found = explain_patient(fitted, patient)
    assert found.sets == ("rna",)
    items = {item.name: item for item in found.columns["rna"]}
    (changes,), received = delete_sets(fitted, patient, "rna"), attend(fitted, patient).rollout.table("rna")[0]
    np.testing.assert_allclose([items["CYCLE"].change, items["IMMUNE"].change], changes)
    np.testing.assert_allclose([items["CYCLE"].attention, items["IMMUNE"].attention], received / received.mean())
    write_patient(tmp_path / "1", found, ABOUT, number=1)
    page = (tmp_path / "1" / "patient.html").read_text(encoding="utf-8")
    assert "Gene sets of rna with genes measured in this patient, those whose deletion" in page and "CYCLE" in page
    monkeypatch.setattr("oncoweave.serve.explain.patients._COLUMNS", 1)
    write_patient(tmp_path / "2", found, ABOUT, number=2)
    assert "the 1 of 2 whose deletion changes the output most first" in (tmp_path / "2" / "patient.html").read_text(
        encoding="utf-8"
    )
    by_gene = explain_patient(network(data, rna="project"), patient)
    assert by_gene.sets == ()
    assert {item.name: item.value for item in by_gene.columns["rna"]} == dict(
        zip(GENES, patient.samples["rna"][0].values[0], strict=True)
    )


@pytest.mark.parametrize("missing", ["mask", "learned"])
def test_a_student_of_one_modality_attends_to_its_tokens_alike(data, missing):
    fitted = network(data, "distilled", settings={"operator": "mdt"}, missing=missing)
    only = np.array([[s is not None for s in data.samples[name]] for name in KINDS]).sum(axis=0) == 1
    assert 0 < only.sum() < len(data)
    received = attend(fitted, data).rollout
    np.testing.assert_allclose(np.nanstd(received.table("labs")[only], axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(received.shares[only, 2], 1.0)
    assert (received.stand_ins[only] == 0).all()
    assert np.nanstd(received.table("labs")[~only], axis=1).min() > 0


def test_deleting_a_set_takes_its_token_and_no_other(data):
    fitted = network(data)
    few = data.take(np.array([0, 4]))
    changes, nothing = delete_sets(fitted, few, "rna")
    assert nothing is None
    model, tokens = fitted.model().eval(), batches.collate(fitted, few, np.array([0]))
    with torch.no_grad():
        encoded = model.encode(tokens)
        keep = torch.tensor([[True, False]])
        without = encoded | {"rna": Tokens(values=encoded["rna"].values, keep=keep)}
        expected = model(tokens) - model.head(model.fusion(without))
    np.testing.assert_allclose(changes[1], expected[0], atol=1e-6)


def test_a_bag_that_few_attend_to_is_followed_whole(monkeypatch):
    data = patients(8, tiles=300)
    monkeypatch.setattr(batches, "MAX_TOKENS", 200)
    for fusion in ("mcat", "survpath"):
        found = attend(network(data, fusion), data)
        assert not found.drawn.any() and not found.left_out.any()
        assert len(found.rollout.tokens["slide"][0]) == 300
        np.testing.assert_allclose(found.rollout.shares.sum(axis=1), 1.0, atol=1e-6)


def test_of_a_bag_whose_tiles_attend_to_each_other_some_are_drawn(monkeypatch):
    data = patients(8, tiles=300)
    fitted = network(data)
    whole = attend(fitted, data)
    monkeypatch.setattr(batches, "MAX_TOKENS", 200)
    monkeypatch.setattr(batches, "TILES", 50)
    found = attend(fitted, data)
    np.testing.assert_array_equal(found.drawn, [s is not None for s in data.samples["slide"]])
    assert not found.left_out.any()
    assert {len(t) for t in found.rollout.tokens["slide"] if t is not None} == {50}
    np.testing.assert_allclose(found.rollout.shares.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(found.rollout.shares[3], whole.rollout.shares[3], atol=1e-6)  # has no slide
    one = explain_cohort(fitted, data, generator=RNG(0), options=Options(sample=2, replicates=20))
    assert one.drawn == 6
    assert "In 6 patients with too many tiles for whole maps, attention was followed to" in render(cohort_page(one, ABOUT))
    monkeypatch.setattr(batches, "TILES", 400)
    monkeypatch.setattr(batches, "MAX_TOKENS", 4096)
    np.testing.assert_allclose(attend(fitted, data).rollout.shares, whole.rollout.shares)


def test_drawn_tiles_are_the_patients_own(monkeypatch):
    monkeypatch.setattr(batches, "TILES", 3)
    values = torch.arange(12.0).reshape(2, 6, 1)
    keep = torch.tensor([[True, False, True, True, True, True], [True, True, False, False, False, False]])
    tokens = batches._thinned(Tokens(values=values, keep=keep, positions=values), np.array([True, False]), RNG(0))
    assert tokens.keep.tolist() == [[True] * 3, [True, True, False]]
    first = tokens.values[0, :, 0].tolist()
    assert first == sorted(set(first)) and set(first) < {0.0, 2.0, 3.0, 4.0, 5.0}
    assert tokens.values[1, :2, 0].tolist() == [6.0, 7.0]
    assert torch.equal(tokens.positions, tokens.values)


def longest_of(data: Dataset, rows: int) -> Dataset:
    """The cohort with bags of 300 tiles in the first of its patients."""
    long = patients(len(data), tiles=300).samples["slide"]
    return dataclasses.replace(data, samples=data.samples | {"slide": (*long[:rows], *data.samples["slide"][rows:])})


def test_few_with_too_many_tokens_are_left_out_and_counted(data, monkeypatch, tmp_path):
    monkeypatch.setattr(batches, "MAX_TOKENS", 100)
    monkeypatch.setattr(batches, "TILES", 300)  # as of what is no bag of tiles
    long = longest_of(data, 2)
    found = explain_cohort(network(long), long, generator=RNG(0), options=Options(sample=4, replicates=20))
    assert (found.patients, found.left_out, found.without, found.drawn) == (22, 2, 0, 0)
    assert "2 patients with more tokens than whole attention maps are held of" in render(cohort_page(found, ABOUT))
    alone = explain_patient(network(long), long.take(np.array([0])))
    assert alone.left_out and all(np.isnan(item.attention) and np.isfinite(item.change).all() for item in alone.modalities)
    write_patient(tmp_path / "1", alone, ABOUT, number=1)
    assert "too many tokens for attention to be followed" in (tmp_path / "1" / "patient.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"18 of 24 patients have too many tokens for whole attention maps"):
        explain_cohort(network(long), longest_of(data, 24), generator=RNG(0))
