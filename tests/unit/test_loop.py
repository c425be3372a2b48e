"""The training loop: same bits after an interruption, early stopping on the validation rows only, loud on divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.core.errors import DataError
from oncoweave.nn.optim import Group
from oncoweave.nn.tokens import Tokens
from oncoweave.train.loop import LoopConfig, Source, learning_rate, outputs_of, train_network


class Squares:
    """Mean squared error."""

    num_outputs = 1

    def loss(self, outputs, values):
        return ((outputs[:, 0] - values) ** 2).mean()


class Toy(nn.Module):
    """Reads the first token; dropout makes it depend on the random state."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, tokens):
        return self.net(tokens["x"].values[:, 0])


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([1.0, -2.0, 0.5])


class PowerCut(RuntimeError):
    """An interruption."""


def train(*, checkpoint=None, cut_after=None, y=Y, groups=None, **settings):
    torch.manual_seed(0)
    model = Toy()
    calls = {"n": 0}

    def load(rows):
        calls["n"] += 1
        if cut_after is not None and calls["n"] > cut_after:
            raise PowerCut
        values = X[rows].unsqueeze(1)
        return {"x": Tokens(values=values, keep=torch.ones(len(rows), 1, dtype=torch.bool))}, y[rows]

    config = LoopConfig(**{"epochs": 6, "batch_size": 8, "patience": 50, "learning_rate": 1e-2} | settings)
    return train_network(
        model,
        Squares(),
        Source(load=load, sizes=np.ones((40, 1), dtype=int), ragged=("x",)),
        train_rows=np.arange(32),
        validation_rows=np.arange(32, 40),
        config=config,
        seed=3,
        groups=None if groups is None else groups(model),
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"tokens": 3}, {"schedule": "cosine", "warm_up": 2, "max_tokens": 1}, {"precision": "bf16-mixed"}],
    ids=["plain", "in parts", "scheduled", "half precision"],
)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, settings):
    whole = train(checkpoint=tmp_path / "whole.ckpt", **settings)
    with pytest.raises(PowerCut):
        train(checkpoint=tmp_path / "cut.ckpt", cut_after=70 if "tokens" in settings else 17, **settings)
    resumed = train(checkpoint=tmp_path / "cut.ckpt", **settings)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_tokens_are_varied_anew_in_each_training_step_and_never_in_validation():
    seen = []

    class Watched(Toy):
        def forward(self, tokens):
            seen.append((self.training, tokens["x"].values[:, 0].detach().clone()))
            return super().forward(tokens)

    def load(rows):
        return {"x": Tokens(values=X[rows].unsqueeze(1), keep=torch.ones(len(rows), 1, dtype=torch.bool))}, Y[rows]

    def moved(tokens, generator):
        shift = 1 + torch.rand(1, generator=generator)
        return Tokens(values=tokens.values + shift, keep=tokens.keep)

    source, rows = Source(load=load, varied={"x": moved}), np.arange(8)
    for _ in range(2):
        train_network(
            Watched(), Squares(), source, train_rows=rows, validation_rows=rows, config=LoopConfig(epochs=3, batch_size=8), seed=1
        )
    shifts = [float(values.mean() - X[:8].mean()) for training, values in seen if training]
    assert all(torch.equal(values, X[:8]) for training, values in seen if not training)
    assert min(shifts) > 0.9 and len({round(s, 4) for s in shifts[:3]}) == 3
    assert shifts[:3] == pytest.approx(shifts[3:])  # the seed decides


def test_training_leaves_the_callers_random_state_alone():
    def load(rows):
        return {"x": Tokens(values=X[rows].unsqueeze(1), keep=torch.ones(len(rows), 1, dtype=torch.bool))}, Y[rows]

    rows, model = np.arange(16), Toy()
    before = torch.get_rng_state()
    source, config = Source(load=load), LoopConfig(epochs=2)
    train_network(model, Squares(), source, train_rows=rows, validation_rows=rows, config=config, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_validation_rows_choose_the_epoch_and_are_not_trained_on():
    hopeless = Y.clone()
    hopeless[32:] = -Y[32:]  # what is learned on the training rows is wrong on the validation rows
    torch.manual_seed(0)
    start = {name: value.clone() for name, value in Toy().state_dict().items()}
    best = train(y=hopeless, epochs=30, patience=3)
    moved = max(float((best[name] - start[name]).abs().max()) for name in start)
    free = train(epochs=30)
    assert moved < max(float((free[name] - start[name]).abs().max()) for name in start)


def test_a_loss_that_is_not_finite_stops_the_run():
    broken = Y.clone()
    broken[3] = float("nan")
    with pytest.raises(FloatingPointError, match="training loss is nan in epoch 0"):
        train(y=broken)


@pytest.mark.parametrize("warm_up", [0, 3, 10, 12])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_no_step_has_a_learning_rate_of_zero(warm_up, schedule):
    config = LoopConfig(epochs=10, learning_rate=0.5, warm_up=warm_up, schedule=schedule)
    rates = [learning_rate(config, step=step, a_epoch=4) for step in range(40)]
    assert min(rates) > 0
    assert max(rates) <= 0.5
    assert np.allclose(np.diff(rates[: 4 * warm_up]), 0.5 / (4 * warm_up + 1) if warm_up else 0)  # a straight rise
    if warm_up < 10:
        assert rates[4 * warm_up] == 0.5
        fall = np.diff(rates[4 * warm_up :])
        assert (fall == 0).all() if schedule == "constant" else (fall < 0).all()
        if schedule == "cosine":
            assert rates[4 * warm_up + (40 - 4 * warm_up) // 2] == pytest.approx(0.25)


def test_parameters_learn_at_the_rate_of_their_group_and_those_in_none_stay():
    def groups(model):
        return [Group(params=(model.net[0].weight,), name="a"), Group(params=(model.net[3].weight,), name="b", lr_scale=1e-3)]

    torch.manual_seed(0)
    start = Toy().state_dict()
    best = train(groups=groups, epochs=1, learning_rate=1e-3, weight_decay=0.0)
    moved = {name: float((best[name] - start[name]).abs().max()) for name in start}
    assert moved["net.0.weight"] > 500 * moved["net.3.weight"] > 0  # Adam's steps are as long as the rate
    assert moved["net.0.bias"] == moved["net.3.bias"] == 0


def test_evaluation_gives_rows_in_the_order_asked_for_however_they_are_cut():
    lengths = np.array([5, 1, 9, 2, 7, 1, 3])

    def load(rows):
        keep = torch.arange(int(lengths[rows].max())) < torch.from_numpy(lengths[rows])[:, None]
        return {"x": Tokens(values=X[rows].unsqueeze(1).expand(-1, keep.shape[1], -1), keep=keep)}, Y[rows]

    source = Source(load=load, sizes=lengths[:, None], ragged=("x",))
    model, rows = Toy(), np.array([6, 0, 2, 1, 5, 4, 3])
    whole = outputs_of(model, source, rows, tokens=1000, device=torch.device("cpu"))
    cut = outputs_of(model, source, rows, tokens=9, device=torch.device("cpu"))
    torch.testing.assert_close(cut, whole)
    assert torch.equal(whole[1], Y[rows])


def test_a_checkpoint_that_was_changed_is_not_resumed_from(tmp_path):
    with pytest.raises(PowerCut):
        train(checkpoint=tmp_path / "cut.ckpt", cut_after=17)
    content = bytearray((tmp_path / "cut.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "cut.ckpt").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"cut\.ckpt: this checkpoint was changed since training wrote it; delete it"):
        train(checkpoint=tmp_path / "cut.ckpt")
