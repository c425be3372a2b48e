"""Each loss against its formula written out for three or four patients."""

import math

import numpy as np
import pytest
import torch

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import DataError
from oncoweave.objectives import classify, cox, discrete_survival, multilabel, ordinal, regress


def _tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _survival(*rows):
    endpoint = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
    return Target(endpoint=endpoint, values=np.array(rows, dtype=float))


def _target(kind, values, classes=(), columns=("y",)):
    return Target(endpoint=Endpoint(name="y", kind=kind, columns=columns, classes=classes), values=np.array(values, dtype=float))


def test_cox_without_ties():
    risk = _tensor([0.5], [-1.0], [2.0], [0.1])
    values = _tensor([1, 1], [2, 0], [3, 1], [4, 0])
    e = [math.exp(v) for v in (0.5, -1.0, 2.0, 0.1)]
    expected = -(math.log(e[0] / sum(e)) + math.log(e[2] / (e[2] + e[3]))) / 2
    for ties in ("efron", "breslow"):
        assert float(cox.Cox(ties=ties).loss(risk, values)) == pytest.approx(expected, abs=1e-12)


def test_cox_with_two_events_at_one_time_and_one_censored_then():
    risk = _tensor([0.5], [-1.0], [2.0], [0.1])
    values = _tensor([1, 1], [1, 1], [1, 0], [4, 0])
    a, b, c, d = (math.exp(v) for v in (0.5, -1.0, 2.0, 0.1))
    total = a + b + c + d
    breslow = -(math.log(a / total) + math.log(b / total)) / 2
    efron = -(math.log(a) + math.log(b) - math.log(total) - math.log(total - (a + b) / 2)) / 2
    assert float(cox.Cox(ties="breslow").loss(risk, values)) == pytest.approx(breslow, abs=1e-12)
    assert float(cox.Cox(ties="efron").loss(risk, values)) == pytest.approx(efron, abs=1e-12)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cox_stays_finite_with_a_gradient_at_extreme_risks(ties, dtype):
    risk = torch.tensor([[100.0], [90.0], [-100.0], [-90.0], [0.0]], dtype=dtype, requires_grad=True)
    values = _tensor([5, 1], [2, 1], [2, 1], [1, 1], [3, 0])
    loss = cox.Cox(ties=ties).loss(risk, values)
    loss.backward()
    assert loss.dtype == dtype
    assert loss > 100
    assert risk.grad.isfinite().all()
    assert risk.grad.abs().max() > 0.1


def test_cox_is_unchanged_by_a_shift_of_a_thousand(rng):
    risk = torch.from_numpy(rng.normal(size=(50, 1)))
    values = torch.from_numpy(np.stack([np.ceil(rng.exponential(5, 50)), rng.random(50) < 0.5], axis=1).astype(float))
    loss = cox.Cox().loss
    torch.testing.assert_close(loss(risk + 1000, values), loss(risk, values), rtol=0, atol=1e-9)


def test_cox_without_an_event_is_zero_with_a_gradient():
    risk = _tensor([1.0], [2.0]).requires_grad_()
    loss = cox.Cox().loss(risk, _tensor([1, 0], [2, 0]))
    assert loss == 0
    assert loss.grad_fn is not None


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_gradient_against_differences(ties, rng):
    risk = torch.from_numpy(rng.normal(size=(8, 1))).requires_grad_()
    values = _tensor([1, 1], [1, 1], [1, 0], [2, 1], [2, 1], [2, 1], [3, 0], [4, 1])
    assert torch.autograd.gradcheck(lambda r: cox.Cox(ties=ties).loss(r, values), (risk,))


def test_discrete_survival():
    objective = discrete_survival.DiscreteSurvival(edges=np.array([0.0, 2.0, 5.0, 9.0]), base=np.zeros(3))
    outputs = _tensor([0.3, -0.2, 1.0], [0.0, 0.5, -1.0], [1.0, 0.1, 0.2], [0.4, 0.4, 0.4])
    h = 1 / (1 + np.exp(-outputs.numpy()))
    # event in bin 1; event at an edge belongs to the bin that ends there; censored within bin 2; event after the last edge
    values = _tensor([3, 1], [2, 1], [7, 0], [20, 1])
    terms = [
        (1 - h[0, 0]) * h[0, 1],
        h[1, 0],
        (1 - h[2, 0]) * (1 - h[2, 1]),
        (1 - h[3, 0]) * (1 - h[3, 1]) * h[3, 2],
    ]
    assert float(objective.loss(outputs, values)) == pytest.approx(-np.log(terms).mean(), abs=1e-12)
    # censored at an edge: the bin that ends there was survived; censored in the first bin: nothing was
    assert float(objective.loss(outputs[:1], _tensor([5, 0]))) == pytest.approx(-np.log((1 - h[0, 0]) * (1 - h[0, 1])))
    assert float(objective.loss(outputs[:1], _tensor([1, 0]))) == 0.0


def test_discrete_survival_curve_and_risk():
    objective = discrete_survival.DiscreteSurvival(edges=np.array([0.0, 2.0, 5.0]), base=np.array([0.2, -0.1]))
    outputs = _tensor([0.3, -0.2], [1.0, 0.0])
    h = 1 / (1 + np.exp(-(outputs.numpy() + objective.base)))
    curve = objective.survival(outputs, np.array([0.0, 1.0, 2.0, 5.0, 50.0]))
    whole = (1 - h[:, 0]) * (1 - h[:, 1])
    np.testing.assert_allclose(curve.T, [[1, 1], (1 - h[:, 0]) ** 0.5, 1 - h[:, 0], whole, whole], atol=1e-12)
    # the training hazard times exp(risk) has that risk, and zeros the average one; far out it ends
    base = np.log1p(np.exp(objective.base))
    proportional = np.log(np.expm1(np.exp([[-1.5], [0.0], [2.0]]) * base)) - objective.base
    np.testing.assert_allclose(objective.predict(torch.from_numpy(proportional))[:, 0], [-1.5, 0, 2], atol=1e-3)
    assert objective.predict(_tensor([-800.0, -900.0])).item() == -20
    # it orders as the area below the own curve does, which every bin has a part in
    rng = np.random.default_rng(0)
    many = torch.from_numpy(rng.normal(size=(200, 2)))
    fine = np.linspace(0, 5, 20001)
    area = np.trapezoid(objective.survival(many, fine), fine, axis=1)
    np.testing.assert_array_equal(np.argsort(objective.predict(many)[:, 0]), np.argsort(-area))


def test_discrete_survival_takes_bins_from_training_events_only(rng):
    time, event = np.ceil(rng.exponential(10, 200)), rng.random(200) < 0.5
    objective = discrete_survival.fit(_survival(*np.stack([time, event], axis=1)))
    assert objective.edges[0] == 0
    assert set(objective.edges[1:]) <= set(time[event])
    assert objective.edges[-1] == time[event].max()
    assert np.isin(np.arange(1, len(objective.edges)), np.searchsorted(objective.edges, time[event])).all()  # no empty bin
    # zeros reproduce the training survival: Kaplan-Meier up to the half patient and the censored within a bin
    curve = objective.survival(torch.zeros(1, objective.num_outputs), objective.edges)[0]
    order = np.argsort(time)
    km = [
        np.prod([1 - ((time == t) & event).sum() / (time >= t).sum() for t in np.unique(time[order]) if t <= e])
        for e in objective.edges
    ]
    np.testing.assert_allclose(curve, km, atol=0.12)
    with pytest.raises(DataError, match="two distinct event times"):
        discrete_survival.fit(_survival([1, 1], [1, 1], [2, 0]))


def test_weighted_cross_entropy_and_probabilities_at_the_training_frequencies():
    objective = classify.fit(_target("binary", [0, 0, 0, 1]))
    np.testing.assert_allclose(objective.weights, [2 / 3, 2.0])
    outputs, values = _tensor([0.4], [-1.0], [2.0]), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    p = 1 / (1 + np.exp(-outputs[:, 0].numpy()))
    losses = -np.log([p[0], 1 - p[1], 1 - p[2]]) * [2, 2 / 3, 2 / 3]
    assert float(objective.loss(outputs, values)) == pytest.approx(losses.sum() / (2 + 4 / 3), abs=1e-12)
    # weighted log-odds of 0 say "as likely as in training"
    np.testing.assert_allclose(objective.predict(_tensor([0.0])), [[0.25]])


def test_cross_entropy_of_three_classes():
    objective = classify.fit(_target("multiclass", [0, 1, 2], classes=("a", "b", "c")))
    outputs = _tensor([1.0, 0.0, -1.0], [0.0, 0.0, 0.0])
    expected = -(1 - math.log(math.e + 1 + 1 / math.e) + math.log(1 / 3)) / 2
    assert float(objective.loss(outputs, torch.tensor([0.0, 2.0]))) == pytest.approx(expected)
    with pytest.raises(DataError, match="at least two classes"):
        classify.fit(_target("multiclass", [1, 1], classes=("a", "b", "c")))


def test_multilabel_counts_known_labels_only():
    objective = multilabel.Multilabel(base=np.zeros(2))
    outputs = _tensor([0.5, 3.0], [-1.0, 0.2], [0.1, 0.0])
    values = _tensor([1, math.nan], [0, 1], [math.nan, math.nan])
    p = 1 / (1 + np.exp(-outputs.numpy()))
    expected = -(np.log(p[0, 0]) + np.log(1 - p[1, 0]) + np.log(p[1, 1])) / 3
    assert float(objective.loss(outputs, values)) == pytest.approx(expected, abs=1e-12)
    fitted = multilabel.fit(_target("multilabel", [[1, math.nan], [0, 1], [0, 1]], columns=("a", "b")))
    np.testing.assert_allclose(fitted.predict(torch.zeros(1, 2)), [[1.5 / 4, 2.5 / 3]])
    with pytest.raises(DataError, match="label 'b' is unknown for all"):
        multilabel.fit(_target("multilabel", [[1, math.nan], [0, math.nan]], columns=("a", "b")))


def test_ordinal_is_a_cumulative_logit_model():
    objective = ordinal.fit(_target("ordinal", [0, 1, 1, 2], classes=("low", "middle", "high")))
    np.testing.assert_allclose(objective.predict(torch.zeros(1, 2)), [[1.5 / 5.5, 2.5 / 5.5, 1.5 / 5.5]])
    outputs = _tensor([0.7, 0.3], [-0.4, -1.0], [2.0, 0.0])
    top = objective.first + outputs[:, 0].numpy()
    above = 1 / (1 + np.exp(-np.stack([top, top - np.log1p(np.exp(objective.gaps[0] + outputs[:, 1].numpy()))])))
    probabilities = np.stack([1 - above[0], above[0] - above[1], above[1]], axis=1)
    np.testing.assert_allclose(objective.predict(outputs), probabilities, atol=1e-12)
    expected = -np.log([probabilities[0, 1], probabilities[1, 0], probabilities[2, 2]]).mean()
    assert float(objective.loss(outputs, torch.tensor([1.0, 0.0, 2.0]))) == pytest.approx(expected, abs=1e-12)
    # a moved first output moves all cut-points: proportional odds
    shifted = objective.predict(outputs + _tensor([3.0, 0.0]))
    assert (shifted[:, 2] > objective.predict(outputs)[:, 2]).all()


def test_regression_is_in_training_standard_deviations():
    objective = regress.fit(_target("regression", [10, 20, 30]))
    outputs, values = _tensor([0.0], [1.0], [-2.0]), torch.tensor([20.0, 30.0, math.nan], dtype=torch.float64)
    scale = math.sqrt(200 / 3)
    assert float(objective.loss(outputs, values)) == pytest.approx((0 + (1 - 10 / scale) ** 2) / 2)
    np.testing.assert_allclose(objective.predict(outputs)[:, 0], [20, 20 + scale, 20 - 2 * scale])
    with pytest.raises(DataError, match="values that vary"):
        regress.fit(_target("regression", [5, 5, math.nan]))
