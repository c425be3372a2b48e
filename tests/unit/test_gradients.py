"""Batches in parts: the gradient is that of the whole batch, for every objective, bags of any length, and dropout."""

import numpy as np
import pytest
import torch

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.losses import cox_loss
from oncoweave.nn.tokens import pad
from oncoweave.train.batches import parts_of, thin
from oncoweave.train.gradients import MeanObjective, accumulate

N = 23
LENGTHS = np.random.default_rng(0).integers(1, 30, N)
"""23 patients do not divide into parts of equal size, and their bags differ."""
BAGS = [
    torch.randn(n, 4, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i, n in enumerate(LENGTHS.tolist())
]
CASES = [("cox", "survival"), ("discrete_survival", "survival"), ("classify", "binary"), ("classify", "multiclass")]
CASES += [("multilabel", "multilabel"), ("ordinal", "ordinal"), ("regress", "regression")]


def target(kind: str) -> Target:
    rng = np.random.default_rng(1)
    columns = {"survival": ("time", "event"), "multilabel": ("a", "b", "c")}.get(kind, ("y",))
    classes = ("low", "middle", "high") if kind in ("multiclass", "ordinal") else ()
    endpoint = Endpoint(name="y", kind=kind, columns=columns, classes=classes, time_unit="months" if kind == "survival" else None)
    values = {
        "survival": lambda: np.stack([np.ceil(rng.exponential(8, N)), rng.random(N) < 0.5], axis=1).astype(float),
        "multilabel": lambda: np.where(rng.random((N, 3)) < 0.2, np.nan, rng.random((N, 3)) < 0.4),
        "regression": lambda: rng.normal(size=N),
    }.get(kind, lambda: np.where(rng.random(N) < 0.2, np.nan, rng.integers(0, len(classes) or 2, N)))()
    return Target(endpoint=endpoint, values=values)


def network(num_outputs: int, *, dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    shape = ModalityShape(encoder="abmil/tiny", dim=4, num_tokens=None)
    config = ModelConfig(modalities={"slide": shape}, fusion="mean", num_outputs=num_outputs, width=8, dropout=dropout)
    return Model(config).double().train()


def gradient(model: Model, objective, values: torch.Tensor, parts: list[np.ndarray]):
    model.zero_grad()

    def load(part):
        rows = parts[part]
        tokens = pad([BAGS[i].float() for i in rows], 4)
        return {"slide": type(tokens)(values=tokens.values.double(), keep=tokens.keep)}, values[rows]

    torch.manual_seed(5)
    loss = accumulate(model, objective, load, num_parts=len(parts), backward=lambda loss: loss.backward())
    return float(loss), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("budget", [30, 100])
def test_gradient_of_parts_equals_that_of_the_whole_batch(name, kind, budget):
    truth = target(kind)
    objective = shelf.load("objectives", name).fit(truth)
    assert isinstance(objective, MeanObjective) == (name != "cox")
    model, values = network(objective.num_outputs), torch.from_numpy(truth.values)
    parts = parts_of(LENGTHS[:, None], budget)
    assert len(parts) > 3
    whole = gradient(model, objective, values, [np.arange(N)])
    cut = gradient(model, objective, values, parts)
    assert cut[0] == pytest.approx(whole[0], rel=1e-6)  # weights of classes are summed in float32
    torch.testing.assert_close(cut[1], whole[1], rtol=1e-6, atol=1e-8)


def test_cox_losses_of_parts_do_not_add_up_so_that_its_risk_sets_have_to_span_the_batch():
    truth = target("survival")
    values, log_risk = torch.from_numpy(truth.values), torch.linspace(-2, 2, N, dtype=torch.float64)
    time, event = values[:, 0], values[:, 1] > 0.5
    whole = cox_loss(log_risk, time, event, ties="efron") * event.sum()
    halves = sum(cox_loss(log_risk[h], time[h], event[h], ties="efron") * event[h].sum() for h in (slice(12), slice(12, N)))
    assert float(whole - halves) > 5


@pytest.mark.parametrize("name", ["cox", "discrete_survival"])
def test_both_passes_draw_the_same_dropout(name):
    """With dropout, the gradient is that of the loss of the same draws: it points down along the line of that loss."""
    truth = target("survival")
    objective = shelf.load("objectives", name).fit(truth)
    model, values = network(objective.num_outputs, dropout=0.5), torch.from_numpy(truth.values)
    parts = parts_of(LENGTHS[:, None], 60)
    _, along = gradient(model, objective, values, parts)
    step, start = 1e-5, torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    losses = []
    for sign in (-1, 1):
        torch.nn.utils.vector_to_parameters(start + sign * step * along, model.parameters())
        losses.append(gradient(model, objective, values, parts)[0])
    assert (losses[1] - losses[0]) / (2 * step) == pytest.approx(float(along @ along), rel=1e-4)


def test_a_batch_in_which_nothing_is_known_gives_zeros():
    objective = shelf.load("objectives", "regress").fit(target("regression"))
    loss, found = gradient(
        network(1), objective, torch.full((N,), torch.nan, dtype=torch.float64), parts_of(LENGTHS[:, None], 60)
    )
    assert loss == 0
    assert not found.any()


def test_parts_hold_every_patient_once_within_the_budget_and_pad_little():
    rng = np.random.default_rng(0)
    sizes = np.stack([rng.integers(0, 500, 64), rng.integers(0, 50, 64)], axis=1)
    sizes[7] = (5000, 0)
    parts = parts_of(sizes, 2000)
    assert sorted(np.concatenate(parts).tolist()) == list(range(64))
    padded = [len(part) * int(sizes[part].max(axis=0).sum()) for part in parts]
    assert [p for p, part in zip(padded, parts, strict=True) if p > 2000] == [5000]
    assert [part.tolist() for part in parts if len(part) == 1 and part[0] == 7] == [[7]]
    assert sum(padded) < 1.4 * sizes.sum() < 64 * sizes.max(axis=0).sum() / 5
    assert [p.tolist() for p in parts_of(sizes[8:11], 10**6)] == [[0, 1, 2]]


def test_a_batch_that_would_fit_is_cut_where_padding_to_its_longest_would_waste():
    sizes = np.exp(np.random.default_rng(2).uniform(np.log(100), np.log(10_000), 32)).astype(int)[:, None]
    parts = parts_of(sizes, 10**9)
    assert sorted(np.concatenate(parts).tolist()) == list(range(32))
    padded = sum(len(part) * int(sizes[part].max()) for part in parts)
    assert padded < 1.4 * sizes.sum() < 32 * sizes.max() / 2
    assert len(parts) < 10  # the short ones go together: a part of its own would cost more than it saves
    assert [len(p) for p in parts_of(np.full((32, 1), 5000), 10**9)] == [32]


def test_a_long_bag_is_thinned_to_different_tiles_each_time_and_a_short_one_is_left():
    tokens = pad([BAGS[0][:2].float(), None, torch.arange(40.0).reshape(10, 4)], 4)
    places = type(tokens)(values=tokens.values, keep=tokens.keep, positions=tokens.values[..., :2] + 0.5)
    generator = torch.Generator().manual_seed(0)
    drawn = [thin({"slide": places, "other": tokens}, ("slide",), 6, generator) for _ in range(20)]
    assert all(d["other"] is tokens for d in drawn)
    seen = set()
    for slide in (d["slide"] for d in drawn):
        assert slide.keep.sum(dim=1).tolist() == [2, 0, 6]
        torch.testing.assert_close(slide.values[0][slide.keep[0]], BAGS[0][:2].float())
        torch.testing.assert_close(slide.positions[slide.keep], slide.values[slide.keep][:, :2] + 0.5)
        chosen = slide.values[2, :, 0].tolist()
        assert chosen == sorted(chosen)
        seen |= {tuple(chosen)}
    assert len(seen) > 10
