"""Every objective: finite gradients, unknown targets ignored, a batch of one, the convention of predictions, storage."""

import numpy as np
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.state import load_state, save_state

N = 60


def _endpoint(kind):
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b", "c")}.get(kind, ("y",))
    classes = ("low", "middle", "high", "top") if kind in ("multiclass", "ordinal") else ()
    return Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit="months" if kind == "survival" else None)


def _target(kind, rng):
    if kind == "survival":
        values = np.stack([np.ceil(rng.exponential(20, N)), rng.random(N) < 0.6], axis=1).astype(float)
    elif kind == "multilabel":
        values = (rng.random((N, 3)) < 0.4).astype(float)
    elif kind == "regression":
        values = 100 + 10 * rng.normal(size=N)
    else:
        values = rng.integers(0, 2 if kind == "binary" else 4, N).astype(float)
    return Target(endpoint=_endpoint(kind), values=values)


PAIRS = [(name, kind) for name in shelf.names("objectives") for kind in getattr(shelf.load("objectives", name), "KINDS", ())]


@pytest.fixture(params=PAIRS, ids=lambda p: f"{p[0]}-{p[1]}")
def case(request, rng):
    name, kind = request.param
    target = _target(kind, rng)
    objective = shelf.load("objectives", name).fit(target)
    outputs = torch.from_numpy(rng.normal(size=(N, objective.num_outputs)))
    return objective, target, outputs, torch.from_numpy(target.values)


def test_every_objective_is_for_some_kind_of_endpoint():
    kinds = {kind for _, kind in PAIRS}
    assert kinds >= {"binary", "multiclass", "multilabel", "ordinal", "regression", "survival"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_loss_and_gradient_are_finite_and_keep_the_type(case, dtype, size):
    objective, _, outputs, values = case
    outputs = (size * outputs).to(dtype).requires_grad_()
    loss = objective.loss(outputs, values.float())
    loss.backward()
    assert loss.dtype == dtype
    assert loss.isfinite()
    assert outputs.grad.isfinite().all()
    assert outputs.grad.abs().sum() > 0


def test_patients_whose_outcome_is_unknown_change_nothing(case):
    objective, target, outputs, values = case
    unknown = torch.arange(N) % 3 == 0
    values = torch.where(unknown.reshape(-1, *[1] * (values.ndim - 1)), torch.nan, values)
    outputs.requires_grad_()
    loss = objective.loss(outputs, values)
    torch.testing.assert_close(loss, objective.loss(outputs[~unknown], values[~unknown]))
    loss.backward()
    assert (outputs.grad[unknown] == 0).all()
    refitted = _fit(objective, Target(endpoint=target.endpoint, values=values.numpy()))
    known = _fit(objective, Target(endpoint=target.endpoint, values=values[~unknown].numpy()))
    zeros = torch.zeros(1, known.num_outputs)
    np.testing.assert_array_equal(refitted.predict(zeros), known.predict(zeros))


def _fit(objective, target):
    return shelf.load("objectives", type(objective).__module__.rpartition(".")[2]).fit(target)


def test_a_batch_without_a_known_outcome_gives_zero_and_stays_in_the_graph(case):
    objective, _, outputs, values = case
    outputs.requires_grad_()
    loss = objective.loss(outputs, torch.full_like(values, torch.nan))
    loss.backward()
    assert loss == 0
    assert (outputs.grad == 0).all()


def test_a_batch_of_one_is_finite(case):
    objective, _, outputs, values = case
    for row in range(5):
        one = outputs[row : row + 1].clone().requires_grad_()
        loss = objective.loss(one, values[row : row + 1])
        loss.backward()
        assert loss.isfinite()
        assert loss >= 0
        assert one.grad.isfinite().all()


def test_order_of_patients_does_not_matter(case):
    objective, _, outputs, values = case
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective.loss(outputs[shuffled], values[shuffled]), objective.loss(outputs, values))


def test_gradient_descent_on_free_outputs_finds_the_outcome(case):
    objective, target, outputs, values = case
    free = torch.zeros_like(outputs, requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.1)
    before = float(objective.loss(free, values).detach())
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(free, values).backward()
        optimizer.step()
    assert float(objective.loss(free, values).detach()) < 0.6 * before
    predicted, kind = objective.predict(free), target.endpoint.kind
    if kind == "survival":
        # the earliest death is ranked above the median patient
        first = np.flatnonzero(target.event)[np.argmin(target.time[target.event])]
        assert predicted[first, 0] > np.median(predicted)
    elif kind in ("binary", "multilabel"):
        assert ((predicted > 0.5) == (target.values.reshape(N, -1) > 0.5)).all()
    elif kind == "regression":
        assert np.abs(predicted[:, 0] - target.values).mean() < target.values.std() / 2
    else:
        assert (predicted.argmax(axis=1) == target.values).mean() > 0.9


def test_predictions_follow_the_convention_of_late_fusion(case):
    objective, target, outputs, _ = case
    predicted = objective.predict(outputs.float())
    kind = target.endpoint.kind
    width = {"multilabel": 3, "multiclass": 4, "ordinal": 4}.get(kind, 1)
    assert predicted.shape == (N, width)
    assert predicted.dtype == np.float64
    assert np.isfinite(predicted).all()
    if kind in ("binary", "multiclass", "multilabel", "ordinal"):
        assert ((predicted >= 0) & (predicted <= 1)).all()
    if kind in ("multiclass", "ordinal"):
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0)


def test_nan_outputs_and_wrong_widths_are_refused(case):
    objective, _, outputs, values = case
    broken = outputs.clone()
    broken[7] = torch.nan
    with pytest.raises(ValueError, match="NaN in row 7"):
        objective.loss(broken, values)
    wide = torch.zeros(N, objective.num_outputs + 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"width {objective.num_outputs}"):
        objective.loss(wide, values)
    with pytest.raises(ValueError, match=f"width {objective.num_outputs}"):
        objective.predict(wide)


def test_a_fitted_objective_is_stored_and_read_back(case, tmp_path):
    objective, _, outputs, values = case
    save_state(tmp_path / "objective.safetensors", objective)
    again = load_state(tmp_path / "objective.safetensors")
    assert again.num_outputs == objective.num_outputs
    torch.testing.assert_close(again.loss(outputs, values), objective.loss(outputs, values), rtol=0, atol=0)
    np.testing.assert_array_equal(again.predict(outputs), objective.predict(outputs))


def test_a_weight_makes_losses_of_parts_add_up(case):
    objective, _, outputs, values = case
    if not hasattr(objective, "weight"):
        pytest.skip("its loss is no mean over patients")
    values = values.clone()
    values[::7] = torch.nan
    total = objective.loss(outputs, values) * objective.weight(values)
    parts = [objective.loss(outputs[p], values[p]) * objective.weight(values[p]) for p in (slice(7), slice(7, 8), slice(8, N))]
    torch.testing.assert_close(sum(parts), total, rtol=1e-6, atol=1e-6)
    assert objective.weight(torch.full_like(values, torch.nan)) == 0
