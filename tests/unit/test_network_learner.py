"""Networks on a fold: an ensemble leaves each inner fold out once, encoders start from a file, and studies say from which."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from oncoweave.core.encoder_card import EncoderCard, TileSource, write_card
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.files import sha256
from oncoweave.core.state import load_state, save_state
from oncoweave.core.truth import PatientTruth
from oncoweave.encoders.longnet import VARIANTS, LongNet
from oncoweave.modalities import expression, slide
from oncoweave.train.dataset import Dataset
from oncoweave.train.finetune import Start, start_settings
from oncoweave.train.fold import Fold
from oncoweave.train.loop import LoopConfig
from oncoweave.train.network_learner import NetworkOptions, NetworkSpec, count_tokens, fit_network
from oncoweave.train.panel import network_spec
from oncoweave.train.study import ModelSpec, Study, read_study

N = 36
LOOP = LoopConfig(epochs=2)


def patient(i: int, rng: np.random.Generator) -> PatientTruth:
    names = ("immune", "proliferation", "private_slide", "private_expression", "synergy", "log_hazard")
    return PatientTruth(
        patient_id=f"P{i}",
        site="A",
        subtype=i % 2,
        driver_a=True,
        driver_b=False,
        stage=2,
        age_years=60.0,
        female=True,
        **{name: float(rng.normal()) for name in names},
    )


@pytest.fixture(scope="module")
def fold() -> Fold:
    rng = np.random.default_rng(0)
    truths = [patient(i, rng) for i in range(N)]
    samples = {
        "rna": tuple(expression.synthesise(t, rng) if i % 5 else None for i, t in enumerate(truths)),
        "slide": tuple(slide.synthesise(t, rng) if i % 5 < 3 else None for i, t in enumerate(truths)),
    }
    endpoint = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit="months")
    values = np.stack([np.ceil(rng.exponential(20, N)), rng.random(N) < 0.7], axis=1).astype(float)
    data = Dataset(
        patient_ids=np.array([t.patient_id for t in truths], dtype=object),
        site=np.array(["A"] * N, dtype=object),
        target=Target(endpoint=endpoint, values=values),
        samples=samples,
        kinds={"rna": "expression", "slide": "slide"},
    )
    return Fold(train=data, seed=0, inner_folds=3, group_by_site=False)


SPEC = NetworkSpec(fusion="joint", encoders={"slide": "abmil/tiny"}, options=NetworkOptions(members=3, width=8), loop=LOOP)


def test_each_inner_fold_is_scored_by_the_network_that_left_it_out(fold, tmp_path):
    trained = fit_network(fold, ("rna", "slide"), SPEC)
    assert len(trained.fitted.members) == 3
    present = fold.train.availability.any(axis=1)
    assert (np.isnan(trained.out_of_fold[:, 0]) == ~present).all()
    singles = [dataclasses.replace(trained.fitted, members=(m,)).predict(fold.train)[:, 0] for m in trained.fitted.members]
    assert np.ptp(np.stack(singles)[:, present], axis=0).min() > 0
    np.testing.assert_allclose(trained.fitted.predict(fold.train)[:, 0], np.mean(singles, axis=0))
    for k in range(3):
        rows = present & (fold.inner == k)
        np.testing.assert_allclose(trained.out_of_fold[rows, 0], singles[k][rows], rtol=1e-5)
    save_state(tmp_path / "network.safetensors", trained.fitted)
    again = load_state(tmp_path / "network.safetensors").predict(fold.train)
    np.testing.assert_array_equal(again, trained.fitted.predict(fold.train))


def test_predictions_do_not_depend_on_how_many_tiles_fit_into_memory(fold):
    fitted = fit_network(fold, ("slide",), SPEC).fitted
    sizes = count_tokens(fold.train, fitted.preparations)["slide"]
    assert [int(s) for s in sizes] == [0 if s is None else s.num_tiles for s in fold.train.samples["slide"]]
    few = dataclasses.replace(fitted, tokens=int(sizes.max()) + 1)
    np.testing.assert_allclose(few.predict(fold.train), fitted.predict(fold.train), rtol=1e-4, atol=1e-5)


def test_encoders_start_from_a_file_and_stay_where_frozen(fold, tmp_path):
    features = fold.preparation("rna").num_tokens
    given = {"out.1.weight": np.full((8, features), 0.01, np.float32), "out.1.bias": np.ones(8, np.float32)}
    path = tmp_path / "rna.safetensors"
    save_file(given, path)
    for frozen in (True, False):
        starts = {"expression": Start(path=path, sha256=sha256(path), frozen=frozen)}
        fitted = fit_network(fold, ("rna", "slide"), dataclasses.replace(SPEC, starts=starts)).fitted
        for member in fitted.members:
            far = np.abs(member["encoders.rna.out.1.weight"] - 0.01).max()
            assert far == 0 if frozen else 0 < far < 0.02


def test_a_pretrained_slide_encoder_reads_a_studys_tiles_as_it_read_its_own(fold, tmp_path):
    dim, path = fold.preparation("slide").dim, tmp_path / "slide.safetensors"
    settings = {"dim": 16, "depth": 1, "readout": "tokens"}
    pretrained = LongNet(dataclasses.replace(VARIANTS["tiny"], **settings), dim_in=dim).eval()
    save_torch(pretrained.state_dict(), path)
    centre, scale = np.linspace(-1, 1, dim), np.linspace(0.5, 2, dim)
    tiles = TileSource(encoder="some", centre=tuple(centre.tolist()), scale=tuple(scale.tolist()))
    write_card(path, EncoderCard(encoder="longnet/tiny", settings=settings, tiles=tiles))
    start = Start(path=path, sha256=sha256(path), frozen=True, settings=start_settings(path, "longnet/tiny"))
    spec = dataclasses.replace(SPEC, encoders={"slide": "longnet/tiny"}, starts={"slide": start})
    inner = fit_network(fold, ("slide",), spec).fitted.model().encoders["slide"].network.eval()
    sample = next(s for s in fold.train.samples["slide"] if s is not None and s.num_tiles > 2)
    tokens = fold.preparation("slide").collate([sample])
    raw = torch.from_numpy(np.concatenate([bag.features for bag in sample.bags]).astype(np.float32))
    own = ((raw - torch.from_numpy(centre)) / torch.from_numpy(scale)).float()[None]
    with torch.no_grad():
        grid = tokens.positions[..., :2].long()
        wanted = pretrained.final(own, keep=tokens.keep, grid=grid)
        torch.testing.assert_close(inner.final(tokens.values, keep=tokens.keep, grid=grid), wanted, rtol=1e-3, atol=1e-4)


def test_a_study_takes_weights_from_beside_its_file(tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(b"weights")
    model = {"name": "m", "fusion": "gated", "encoders": {"slide": "longnet"}, "weights": {"slide": "encoder.safetensors"}}
    content = {
        "name": "s",
        "cohort": "c",
        "endpoint": "os",
        "models": [model | {"frozen": ["slide"]}],
        "network": {"layer_decay": 0.9, "members": 2, "precision": "bf16-mixed", "max_tokens": 500},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    read: Study = read_study(tmp_path / "study.yaml")
    model_spec: ModelSpec = read.models[0]
    spec = network_spec(model_spec, read)
    start = spec.starts["slide"]
    assert start.path == tmp_path / "encoder.safetensors"
    assert start.frozen
    assert start.sha256 == sha256(start.path)
    assert (spec.options.layer_decay, spec.options.members) == (0.9, 2)
    assert (spec.loop.precision, spec.loop.max_tokens, spec.loop.epochs) == ("bf16-mixed", 500, 60)
