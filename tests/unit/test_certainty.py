"""What a locked model says of its certainty: cut-offs, sets, intervals and flags from training rows, alike after storing."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.state import load_state, save_state
from oncoweave.evaluate.operating import threshold_at_specificity
from oncoweave.train.certainty import Certainty, fit_certainty
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold

N = 120
BINARY = Endpoint(name="response", kind="binary", columns=("response",), classes=("no", "yes"))
SUBTYPE = Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=("a", "b", "c"))
KI67 = Endpoint(name="ki67", kind="regression", columns=("ki67",))


class Model:
    """A fitted model, as far as certainty asks: what it prepares."""

    def __init__(self, preparations):
        self.preparations = preparations
        self.modalities = tuple(preparations)

    def predict(self, data):
        return np.zeros((len(data), 1))


def fold_of(endpoint, values):
    ids = np.array([f"p{i}" for i in range(len(values))])
    target = Target(endpoint=endpoint, values=values)
    train = Dataset(patient_ids=ids, site=np.full(len(values), "s"), target=target, samples={}, kinds={})
    return Fold(train=train, seed=3, inner_folds=2, group_by_site=False)


def scores_of(rng, y):
    return (1 / (1 + np.exp(-(rng.normal(size=len(y)) + 1.5 * (y - 0.5)))))[:, None]


def test_cutoffs_of_a_binary_outcome_are_those_of_training_rows_and_call_at_or_above(rng, tmp_path):
    y = (rng.random(N) < 0.4).astype(float)
    scores = scores_of(rng, y)
    scores[:7] = np.nan  # rows that no model left out
    found = fit_certainty(fold_of(BINARY, y), scores, None)
    assert set(found.cutoffs) == {"specificity0.9", "specificity0.95", "sensitivity0.9", "sensitivity0.95"}
    wanted = threshold_at_specificity(y[7:], scores[7:, 0], specificity=0.9)
    assert found.cutoffs["specificity0.9"] == wanted.value
    columns = found.columns(BINARY, np.array([[wanted.value], [wanted.value - 1e-9]]))
    assert columns["called@specificity0.9"].tolist() == [True, False]
    assert {"in_set@no", "in_set@yes"} <= columns.keys()
    save_state(tmp_path / "sure.safetensors", found)
    again = load_state(tmp_path / "sure.safetensors")
    new = rng.random((50, 1))
    for name, values in found.columns(BINARY, new).items():
        assert again.columns(BINARY, new)[name].tolist() == values.tolist()


def test_sets_hold_each_class_of_new_patients_as_often_as_they_say(rng):
    y = (rng.random(4000) < 0.2).astype(float)
    found = fit_certainty(fold_of(BINARY, y), scores_of(rng, y), None)
    new = (rng.random(4000) < 0.2).astype(float)
    columns = found.columns(BINARY, scores_of(rng, new))
    assert columns["in_set@yes"][new == 1].mean() == pytest.approx(0.9, abs=0.035)
    assert columns["in_set@no"][new == 0].mean() == pytest.approx(0.9, abs=0.02)


def test_training_rows_of_one_class_give_no_cutoff_and_a_class_without_patients_is_in_every_set(rng):
    found = fit_certainty(fold_of(BINARY, np.zeros(N)), rng.random((N, 1)), None)
    assert all(np.isnan(c) for c in found.cutoffs.values())
    columns = found.columns(BINARY, rng.random((5, 1)))
    assert columns["called@sensitivity0.9"].isna().all()
    assert columns["in_set@yes"].all()


def test_classes_have_sets_values_intervals_and_survival_neither(rng):
    truth = rng.integers(0, 3, size=N).astype(float)
    odds = np.exp(rng.normal(size=(N, 3)))
    sets = fit_certainty(fold_of(SUBTYPE, truth), odds / odds.sum(axis=1, keepdims=True), None)
    assert set(sets.columns(SUBTYPE, np.array([[0.2, 0.3, 0.5]]))) == {"in_set@a", "in_set@b", "in_set@c"}
    y = rng.normal(size=N)
    found = fit_certainty(fold_of(KI67, y), np.zeros((N, 1)), None)
    reach = np.sort(np.abs(y))[int(np.ceil(0.9 * (N + 1))) - 1]
    columns = found.columns(KI67, np.array([[2.0]]))
    assert (columns["yhat_low"][0], columns["yhat_high"][0]) == pytest.approx((2 - reach, 2 + reach))
    assert Certainty().columns(KI67, np.zeros((3, 1))) == {}


class Block:
    """A preparation whose samples are rows of numbers."""

    columns = feature_names = ("a", "b", "c", "d")
    dim, num_tokens = 1, 4

    def collate(self, samples):
        raise NotImplementedError

    def block(self, samples):
        return np.array([np.full(4, np.nan) if s is None else s for s in samples])


def patients(rows):
    count = len(next(iter(rows.values())))
    ids = np.array([f"p{i}" for i in range(count)])
    target = Target(endpoint=BINARY, values=np.arange(count) % 2.0)
    samples = {name: tuple(values) for name, values in rows.items()}
    return Dataset(patient_ids=ids, site=np.full(count, "s"), target=target, samples=samples, kinds=dict.fromkeys(rows, "record"))


def test_strange_patients_are_flagged_with_the_modality_in_which_they_are_strange(rng):
    train = patients({"rna": list(rng.normal(size=(N, 4))), "blood": list(rng.normal(size=(N, 4)))})
    preparations = {"rna": Block(), "blood": Block()}
    fold = Fold(train=train, seed=3, inner_folds=2, group_by_site=False)
    found = fit_certainty(fold, rng.random((N, 1)), Model(preparations))
    far, near = np.full(4, 40.0), np.zeros(4)
    new = patients({"rna": [near, far, None, None, far], "blood": [near, near, far, None, far]})
    columns = found.examine(new, preparations)
    assert columns["novel"].tolist() == ["", "rna", "blood", None, "rna+blood"]
    assert np.isnan(columns["novelty_p"][3]) and columns["novelty_p"][0] == 1.0
    assert columns["novelty_p"][1] == pytest.approx(2 / (N + 1))  # the smallest p, asked of two modalities
    assert columns["novelty_p"][2] == pytest.approx(1 / (N + 1))  # and of one


def test_patients_like_those_of_training_are_rarely_flagged(rng):
    rows = {"rna": list(rng.normal(size=(400, 4))), "blood": list(rng.normal(size=(400, 4)))}
    preparations = {"rna": Block(), "blood": Block()}
    fold = Fold(train=patients(rows), seed=3, inner_folds=2, group_by_site=False)
    found = fit_certainty(fold, rng.random((400, 1)), Model(preparations))
    new = patients({name: list(rng.normal(size=(2000, 4))) for name in rows})
    flagged = found.examine(new, preparations)["novel"] != ""
    assert 0.02 < flagged.mean() < 0.07


def test_too_few_training_patients_judge_nobody(rng):
    train = patients({"rna": [*rng.normal(size=(12, 4)), *[None] * 108]})
    fold = Fold(train=train, seed=3, inner_folds=2, group_by_site=False)
    found = fit_certainty(fold, rng.random((N, 1)), Model({"rna": Block()}))
    assert found.novelty == {} and found.examine(train, {"rna": Block()}) == {}


def test_of_a_patient_as_many_modalities_are_asked_as_training_patients_allow(rng):
    rows = {"rna": [*rng.normal(size=(30, 4)), None], "blood": list(rng.normal(size=(31, 4)))}  # 2 / 31 is above .05
    preparations = dict.fromkeys(rows, Block())
    fold = Fold(train=patients(rows), seed=3, inner_folds=2, group_by_site=False)
    found = fit_certainty(fold, rng.random((31, 1)), Model(preparations))
    far, near = np.full(4, 40.0), np.zeros(4)
    new = found.examine(patients({"rna": [far, far, far], "blood": [far, near, None]}), preparations)
    assert new["novel"].tolist() == ["blood", "", "rna"]
    np.testing.assert_allclose(new["novelty_p"][[0, 2]], [1 / 32, 1 / 31])
