"""Stand-ins before models of every stage: what a patient lacks is read as if it were there, in networks and late fusions too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oncoweave.core.state import load_state, save_state
from oncoweave.nn.stand_ins import with_rows
from oncoweave.nn.tokens import Tokens
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.filling import Completed, Policy, StandIn, filled_fold
from oncoweave.train.fold import Fold
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve
from oncoweave.train.subsets import plan_subsets

ALL = ("expression", "report", "record")
POLICIES = ("mean", "knn", "iterative", "retrieval")


@pytest.fixture(scope="module")
def cohort():
    return draw_cohort(Config(patients=60, seed=4, sites=1, without=("slide", "volume", "film", "variants")))[0]


@pytest.fixture(scope="module")
def data(cohort) -> Dataset:
    whole = load_dataset(cohort, "ki67", ALL)
    whole = whole.take(whole.outcome.known & whole.availability.any(axis=1))
    fewer = {  # every fifth patient lacks the report, every seventh the profile
        m: tuple(None if i % every == 1 else s for i, s in enumerate(whole.samples[m]))
        for m, every in (("expression", 7), ("report", 5))
    }
    return replace(whole, samples={**whole.samples, **fewer})


def halves(data: Dataset) -> tuple[Fold, Dataset]:
    return Fold(train=data.take(np.arange(40)), seed=0, inner_folds=2, group_by_site=False), data.take(np.arange(40, len(data)))


def planned(cohort, model: ModelSpec):
    network = NetworkConfig(epochs=2, members=1, width=8)
    asked = Study(
        name="s", cohort="", endpoint="ki67", modalities=ALL, models=(model,), main=model.name, network=network,
        protocol=Protocol(folds=2, inner_folds=2, permutations=0),
    )  # fmt: skip
    return next(p for p in plan(resolve(asked, cohort), has_sites=False) if p.name == model.name)


def lacking(data: Dataset, modality: str) -> np.ndarray:
    return np.array([s is None for s in data.samples[modality]])


def test_a_patient_is_read_with_the_whole_sample_of_the_donor(cohort, data, tmp_path):
    model = ModelSpec(name="m", fusion="joint", encoders={"report": "bert/tiny"}, missing="retrieval")
    fold, new = halves(data)
    fitted = planned(cohort, model).fit(fold).fitted
    blocks = {m: p.block(new.samples[m]) for m, p in fitted.preparations.items()}
    donors, samples = fitted.filling.policy.donors(blocks), dict(new.samples)
    assert all(lacking(new, m).any() for m in ("expression", "report"))
    for m, rows in donors.items():
        assert ((rows >= 0) == np.isnan(blocks[m]).all(axis=1)).all()
        samples[m] = tuple(s if d < 0 else fold.train.samples[m][d] for s, d in zip(samples[m], rows, strict=True))
    predicted = fitted.predict(new)
    np.testing.assert_allclose(predicted, fitted.fitted.predict(replace(new, samples=samples)), atol=1e-5)
    assert not np.allclose(predicted, fitted.fitted.predict(new), atol=1e-3)  # masked, it would be another
    save_state(tmp_path / "model.safetensors", fitted)
    np.testing.assert_array_equal(load_state(tmp_path / "model.safetensors").predict(new), predicted)
    alone = np.vstack([fitted.predict(new.take(np.array([i]))) for i in range(len(new))])
    np.testing.assert_allclose(alone, predicted, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_columns_are_laid_back_as_tokens_of_the_modality(policy, data):
    fold, new = halves(data)
    names = ("expression", "record")
    filling, filled = filled_fold(fold, names, Policy(name=policy), read=names)
    done = filling.fill(new)
    some = [i for i in range(len(new)) if any(new.samples[m][i] is not None for m in names)]
    blocks = filling.policy.transform({m: filling.preparations[m].block(new.samples[m])[some] for m in names})
    for m in names:
        completed, gone = filled.preparation(m), lacking(new, m)
        assert isinstance(completed, Completed)
        assert {i for i in some if gone[i]} == {i for i, s in enumerate(done.samples[m]) if isinstance(s, StandIn)}
        np.testing.assert_array_equal(completed.block(done.samples[m])[some], blocks[m])
        tokens, before = completed.collate(done.samples[m]), filling.preparations[m].collate(new.samples[m])
        there = torch.from_numpy(~gone)
        assert torch.equal(tokens.values[there], before.values[there])
        assert torch.equal(tokens.keep[there], before.keep[there])
        row = next(i for i in some if gone[i]) if gone[some].any() else None
        if row is not None and policy != "retrieval":
            laid = torch.from_numpy(blocks[m][some.index(row), : tokens.keep.shape[1]].astype(np.float32))
            torch.testing.assert_close(tokens.values[row, :, 0], laid)
            assert tokens.keep[row].all()
    assert filled_fold(fold, names, Policy(name=policy), read=names)[0] is filling  # once a fold
    assert (fold.inner == filled.inner).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_linear_models_of_a_late_fusion_score_everybody_from_what_stands_in(policy, cohort, data):
    fold, new = halves(data)
    trained = planned(cohort, ModelSpec(name="m", fusion="average", missing=policy)).fit(fold)
    scores = np.stack([base.predict(new) for base in trained.fitted.bases], axis=1)
    assert np.isfinite(scores).all()
    assert np.isfinite(trained.out_of_fold).all()
    first = trained.fitted.bases[0]
    filled = first.filling.policy.transform({m: p.block(new.samples[m]) for m, p in first.preparations.items()})
    head = first.fitted
    np.testing.assert_allclose(scores[:, 0], head.head.predict(head.fusion.transform({"expression": filled["expression"]})))
    masked = planned(cohort, ModelSpec(name="m", fusion="average")).fit(fold).fitted
    gone = lacking(new, "expression")
    assert np.isnan(masked.bases[0].predict(new)[gone]).all()


def test_subsets_of_a_late_fusion_with_stand_ins_are_fitted_and_not_scored_apart(cohort):
    def asked(missing):
        models = (ModelSpec(name="m", fusion="average", missing=missing),)
        return resolve(Study(name="s", cohort="", endpoint="ki67", modalities=ALL, models=models, main="m"), cohort)

    assert plan_subsets(asked(None)) is not None
    assert plan_subsets(asked("mean")) is None
    ablations = [p.modalities for p in plan(asked("mean"), has_sites=False) if p.role == "ablation"]
    assert len(ablations) == 6


def test_tokens_of_single_patients_are_put_into_a_batch():
    places = torch.arange(12.0).reshape(2, 2, 3)
    batch = Tokens(values=torch.ones(2, 2, 1), keep=torch.tensor([[True, True], [False, False]]), positions=places)
    own = Tokens(values=torch.full((1, 3, 1), 5.0), keep=torch.ones(1, 3).bool(), positions=torch.full((1, 3, 3), 7.0))
    put = with_rows(batch, {1: own})
    assert put.keep.tolist() == [[True, True, False], [True, True, True]]
    assert put.values[1].flatten().tolist() == [5.0] * 3
    assert torch.equal(put.positions[0, :2], places[0])
    assert (put.positions[1] == 7).all()
    assert batch.keep.shape == (2, 2)
    assert with_rows(batch, {}) is batch
