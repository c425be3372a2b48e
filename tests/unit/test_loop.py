"""The training loop: same bits after an interruption, early stopping on the validation rows only, loud on divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from oncoweave.nn.tokens import Tokens
from oncoweave.train.loop import LoopConfig, train_network


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


def train(*, epochs=6, checkpoint=None, cut_after=None, y=Y, patience=50, learning_rate=1e-2):
    torch.manual_seed(0)
    model = Toy()
    calls = {"n": 0}

    def load(rows):
        calls["n"] += 1
        if cut_after is not None and calls["n"] > cut_after:
            raise PowerCut
        values = X[rows].unsqueeze(1)
        return {"x": Tokens(values=values, keep=torch.ones(len(rows), 1, dtype=torch.bool))}, y[rows]

    config = LoopConfig(epochs=epochs, batch_size=8, patience=patience, learning_rate=learning_rate)
    return train_network(
        model,
        Squares(),
        load,
        train_rows=np.arange(32),
        validation_rows=np.arange(32, 40),
        config=config,
        seed=3,
        checkpoint=checkpoint,
    )


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path):
    whole = train(checkpoint=tmp_path / "whole.ckpt")
    with pytest.raises(PowerCut):
        train(checkpoint=tmp_path / "cut.ckpt", cut_after=17)
    resumed = train(checkpoint=tmp_path / "cut.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_training_leaves_the_callers_random_state_alone():
    def load(rows):
        return {"x": Tokens(values=X[rows].unsqueeze(1), keep=torch.ones(len(rows), 1, dtype=torch.bool))}, Y[rows]

    rows, model = np.arange(16), Toy()
    before = torch.get_rng_state()
    train_network(model, Squares(), load, train_rows=rows, validation_rows=rows, config=LoopConfig(epochs=2), seed=1)
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
