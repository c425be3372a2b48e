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
from oncoweave.core.errors import DataError
from oncoweave.core.files import sha256
from oncoweave.core.state import load_state, save_state
from oncoweave.core.truth import PatientTruth
from oncoweave.encoders.longnet import VARIANTS, LongNet, SlideEncoder, build
from oncoweave.modalities import expression, record, slide
from oncoweave.model import Model
from oncoweave.train.dataset import Dataset
from oncoweave.train.finetune import Start, start_settings
from oncoweave.train.fold import Fold
from oncoweave.train.late_learner import fit_base
from oncoweave.train.linear_learner import fit_linear
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
    parts = [{"members": (m,), "origins": (o,)} for m, o in zip(trained.fitted.members, trained.fitted.origins, strict=True)]
    singles = [dataclasses.replace(trained.fitted, **part).predict(fold.train)[:, 0] for part in parts]
    assert np.ptp(np.stack(singles)[:, present], axis=0).min() > 0
    np.testing.assert_allclose(trained.fitted.predict(fold.train)[:, 0], np.mean(singles, axis=0))
    for k in range(3):
        rows = present & (fold.inner == k)
        np.testing.assert_allclose(trained.out_of_fold[rows, 0], singles[k][rows], rtol=1e-5, atol=1e-7)  # other batches
    save_state(tmp_path / "network.safetensors", trained.fitted)
    again = load_state(tmp_path / "network.safetensors").predict(fold.train)
    np.testing.assert_array_equal(again, trained.fitted.predict(fold.train))


def test_log_risks_of_networks_that_left_out_different_rows_have_one_origin(fold):
    trained = fit_network(fold, ("rna", "slide"), SPEC)
    present = fold.train.availability.any(axis=1)
    assert np.ptp(trained.fitted.origins) > 0
    for k, member in enumerate(trained.fitted.members):
        alone = dataclasses.replace(trained.fitted, members=(member,), origins=trained.fitted.origins[k : k + 1])
        assert alone.predict(fold.train)[present].mean() == pytest.approx(0, abs=1e-6)
    endpoint = Endpoint(name="y", kind="binary", columns=("y",))
    of_classes = dataclasses.replace(fold.train, target=Target(endpoint=endpoint, values=np.arange(N) % 2.0))
    classes = fit_network(Fold(train=of_classes, seed=0, inner_folds=3, group_by_site=False), ("rna",), SPEC).fitted
    assert classes.origins == (0.0,) * 3  # probabilities have one of their own


def test_a_network_is_never_stopped_by_rows_without_an_event(fold):
    """Of those with a slide, none of inner fold 0 had an event: the first network would be that of the first epoch."""
    has = np.array([s is not None for s in fold.train.samples["slide"]])
    values = fold.train.outcome.values.copy()
    values[has & (fold.inner == 0), 1] = 0
    silent = dataclasses.replace(fold.train, target=Target(endpoint=fold.train.outcome.endpoint, values=values))
    losses = []
    spec = dataclasses.replace(SPEC, options=NetworkOptions(members=1, width=8))
    again = Fold(train=silent, seed=0, inner_folds=3, group_by_site=False, _inner=fold.inner)
    fit_network(again, ("slide",), spec, watch=lambda epoch, loss, network: losses.append(loss))
    assert all(loss > 0 for loss in losses)


def test_predictions_do_not_depend_on_how_many_tiles_fit_into_memory(fold):
    fitted = fit_network(fold, ("slide",), SPEC).fitted
    sizes = count_tokens(fold.train, fitted.preparations)["slide"]
    assert [int(s) for s in sizes] == [0 if s is None else s.num_tiles for s in fold.train.samples["slide"]]
    few = dataclasses.replace(fitted, tokens=int(sizes.max()) + 1)
    np.testing.assert_allclose(few.predict(fold.train), fitted.predict(fold.train), rtol=1e-4, atol=1e-5)


def test_training_does_not_depend_on_how_many_tiles_fit_into_memory(fold):
    encoders = {"slide": "prototypes/tiny", "rna": "linear/tiny"}
    spec = NetworkSpec(
        fusion="mean", encoders=encoders, options=NetworkOptions(members=1, width=8, dropout=0.0), loop=LoopConfig(epochs=2)
    )
    whole = fit_network(fold, ("rna", "slide"), spec).fitted
    few = fit_network(fold, ("rna", "slide"), dataclasses.replace(spec, loop=LoopConfig(epochs=2, tokens=1))).fitted
    (means,) = (name for name in whole.members[0] if name.endswith(".means"))
    np.testing.assert_array_equal(few.members[0][means], whole.members[0][means])
    np.testing.assert_allclose(
        few.predict(fold.train), whole.predict(fold.train), rtol=0, atol=2e-3
    )  # Adam makes more of rounding


def test_an_encoder_that_cannot_start_from_so_few_names_modality_and_setting(fold):
    spec = dataclasses.replace(
        SPEC, fusion="mean", encoders={"slide": "prototypes"}, encoder_settings={"slide": {"prototypes": 10_000}}
    )
    with pytest.raises(DataError, match=r"modality 'slide', encoder 'prototypes': wanted at least 10000 .* setting prototypes"):
        fit_network(fold, ("slide",), spec)


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
    tiles = TileSource(encoder="phantom", centre=tuple(centre.tolist()), scale=tuple(scale.tolist()))
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
        torch.testing.assert_close(
            inner.final(tokens.values, keep=tokens.keep, grid=grid), wanted, rtol=0, atol=2e-3
        )  # Adam makes more of rounding


def frozen_spec(fold, folder, *, readout="mean", whole=False) -> NetworkSpec:
    """Start the slide encoder from weights of its network, or of all of it, and freeze them; the table's encoder is whole."""
    width, settings = SPEC.options.width, {"dim": 16, "depth": 1, "readout": readout}
    config = dataclasses.replace(VARIANTS["tiny"], **settings)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        encoder = build(config, dim_in=fold.preparation("slide").dim, num_tokens=None, dim_out=width)
    weights = (encoder if whole else encoder.network).state_dict()
    rna = {"out.1.weight": torch.full((width, fold.preparation("rna").num_tokens), 0.01), "out.1.bias": torch.ones(width)}
    starts = {}
    for name, given, set_to in (("slide", weights, settings), ("rna", rna, {})):
        save_torch(given, folder / f"{name}.safetensors")
        starts[name] = Start(path=folder / f"{name}.safetensors", sha256="", frozen=True, settings=set_to)
    options = NetworkOptions(members=2, width=8, modality_dropout=0.3)
    return dataclasses.replace(SPEC, encoders={"slide": "longnet/tiny", "rna": "linear"}, starts=starts, options=options)


def again(fold: Fold) -> Fold:
    """The same patients with a value to learn: what a Cox loss leaves open, the bias of the head, drifts with rounding."""
    endpoint = Endpoint(name="y", kind="regression", columns=("y",))
    target = Target(endpoint=endpoint, values=np.log(fold.train.outcome.time))
    return Fold(train=fold.train.with_target(target), seed=0, inner_folds=3, group_by_site=False)


@pytest.mark.parametrize(
    ("readout", "whole", "room"), [("mean", False, 2**20), ("mean", True, 100), ("tokens", False, 100)], ids=str
)
def test_what_frozen_encoders_make_is_kept_and_changes_no_prediction(fold, tmp_path, monkeypatch, readout, whole, room):
    """In memory, or where that has no room in a file."""
    monkeypatch.setattr("oncoweave.train.frozen.ROOM", room)
    spec, read = frozen_spec(fold, tmp_path, readout=readout, whole=whole), []
    original = SlideEncoder.features
    monkeypatch.setattr(SlideEncoder, "features", lambda self, t: (read.append(int(t.present.sum())), original(self, t))[1])
    watched: list[list[int]] = []
    kept = fit_network(again(fold), ("rna", "slide"), spec, watch=lambda *_: watched.append(list(read))).fitted
    # two members of two epochs each: every slide was read once, before the first
    has = sum(sample is not None for sample in fold.train.samples["slide"])
    assert [sum(calls) for calls in watched] == [has] * 4
    monkeypatch.setattr(Model, "take_features", lambda *_: None)
    recomputed = fit_network(again(fold), ("rna", "slide"), spec).fitted
    np.testing.assert_allclose(kept.predict(fold.train), recomputed.predict(fold.train), atol=1e-6)


def test_a_frozen_encoder_reads_anew_where_each_step_draws_other_tiles(fold, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(Model, "take_features", lambda _, modality, part: taken.append(modality))
    spec = frozen_spec(fold, tmp_path)
    few = dataclasses.replace(spec, loop=dataclasses.replace(LOOP, epochs=1, max_tokens=2))
    fit_network(again(fold), ("rna", "slide"), dataclasses.replace(few, options=NetworkOptions(members=1, width=8)))
    assert taken == ["rna"]


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


def test_out_of_fold_log_risks_of_hospitals_are_as_far_apart_as_those_of_the_model(rng):
    """Each hospital is left out once; measured from the mean of the other alone, they would be twice as far apart."""
    n, far = 300, np.repeat([-1.0, 1.0], 150)
    x = far + rng.normal(size=n)
    endpoint = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit="months")
    data = Dataset(
        patient_ids=np.array([f"P{i}" for i in range(n)], dtype=object),
        site=np.where(far < 0, "A", "B").astype(object),
        target=Target(endpoint=endpoint, values=np.stack([rng.exponential(np.exp(-x)), np.ones(n)], axis=1)),
        samples={"a": tuple(record.Sample(patient_id=f"P{i}", values={"x": float(v)}) for i, v in enumerate(x))},
        kinds={"a": "record"},
    )
    by_hospital = Fold(train=data, seed=0, inner_folds=2, group_by_site=True)
    loop = LoopConfig(epochs=15, learning_rate=1e-2)
    spec = NetworkSpec(fusion="mean", options=NetworkOptions(members=2, width=8, dropout=0.0), loop=loop)
    linear = fit_base(by_hospital, "a", learner="linear", fit=lambda part: fit_linear(part, ["a"], fusion="concat"))
    for trained in (linear, fit_network(by_hospital, ("a",), spec)):
        of_fold, of_model = trained.out_of_fold[:, 0], trained.fitted.predict(data)[:, 0]
        apart = [scores[far > 0].mean() - scores[far < 0].mean() for scores in (of_fold, of_model)]
        assert apart[0] == pytest.approx(apart[1], rel=0.35)
