"""Models of whether a planted tumour is infiltrated; called by ``slide_mae.py``.

Everything is fitted on the first labelled patients and judged on the last 400, whom no fit, choice or pretraining has seen.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from oncoweave.core import shelf
from oncoweave.data.cohort import Cohort
from oncoweave.encoders import abmil, longnet
from oncoweave.evaluate.intervals import bootstrap
from oncoweave.evaluate.pairs import ordered_pairs
from oncoweave.modalities import slide
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import load_dataset
from oncoweave.train.plan import Plan

NUM_TRAIN, NUM_FEW = 200, 60


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """All labelled patients, tiles standardised on the training rows."""

    tokens: Tokens
    y: np.ndarray
    patients: np.ndarray

    @property
    def tested(self) -> Tokens:
        return self.tokens.take(torch.arange(NUM_TRAIN, len(self.y)))


def labelled(folder: Path) -> Labelled:
    data = load_dataset(Cohort.open(folder), "infiltrated", ["slide"])
    preparation = slide.fit(data.samples["slide"][:NUM_TRAIN])
    return Labelled(
        tokens=preparation.collate(data.samples["slide"]), y=data.outcome.values.astype(int), patients=data.patient_ids
    )


def measure_task(plan: Plan, folder: Path, data: Labelled, *, only: str = "") -> pd.DataFrame:
    """AUROC on the tested patients with intervals over patients; ``only`` keeps models whose name begins so."""
    random, trained = network(plan, data), network(plan, data, weights=folder / "encoder.safetensors")
    state = {"random": encode(random, data.tokens), "MAE": encode(trained, data.tokens)}
    raw = data.tokens
    linear = {
        "mean of tiles: linear": masked_mean(raw.values, raw.keep),
        "mean and deviation of tiles: linear": torch.cat(
            [masked_mean(raw.values, raw.keep), masked_mean(raw.values**2, raw.keep).sqrt()], dim=1
        ),
    }
    for name, (tiles, cls, layers) in state.items():
        linear[f"LongNet, {name}, frozen: linear on the mean of tiles"] = masked_mean(tiles.values, tiles.keep)
        linear[f"LongNet, {name}, frozen: linear on the class token"] = cls
        linear[f"LongNet, {name}, frozen: linear on the means of all layers"] = layers
    trained_by = {
        "ABMIL on tiles": lambda: (Attended(raw.values.shape[2]), raw, 1e-3),
        "LongNet, random, frozen: ABMIL on tiles in context": lambda: (Attended(plan_dim(plan)), state["random"][0], 1e-3),
        "LongNet, MAE, frozen: ABMIL on tiles in context": lambda: (Attended(plan_dim(plan)), state["MAE"][0], 1e-3),
        "LongNet, random, fine-tuned": lambda: (Tuned(deepcopy(random)), raw, 5e-4),
        "LongNet, MAE, fine-tuned": lambda: (Tuned(deepcopy(trained)), raw, 5e-4),
    }
    rows = []
    for name in [n for n in (*linear, *trained_by) if n.startswith(only)]:
        row: dict[str, object] = {"model": name}
        for count in (NUM_TRAIN, NUM_FEW):
            if name in linear:
                score = probe(linear[name].numpy(), data.y, count)
            else:
                score = fit_network(*trained_by[name](), data.y, count)
            row[f"AUROC, {count} labels"] = interval(data, score)
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


def plan_dim(plan: Plan) -> int:
    return int(plan.encoder_settings["dim"])


def network(plan: Plan, data: Labelled, *, weights: Path | None = None) -> longnet.LongNet:
    config = replace(shelf.variant("encoders", plan.encoder), **plan.encoder_settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = longnet.LongNet(config, dim_in=data.tokens.values.shape[2])
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model.eval()


@torch.no_grad()
def encode(model: longnet.LongNet, tokens: Tokens) -> tuple[Tokens, torch.Tensor, torch.Tensor]:
    """Tiles in context, class tokens, and the means of every layer side by side."""
    tiles, cls, layers = [], [], []
    for rows in torch.arange(len(tokens.keep)).split(50):
        part = tokens.take(rows)
        grid = part.positions[..., :2].long()
        end = model.final(part.values, keep=part.keep, grid=grid)
        tiles.append(end[:, 1:])
        cls.append(end[:, 0])
        states = [masked_mean(x[:, 1:], part.keep) for x in model.tokens(part.values, keep=part.keep, grid=grid)]
        layers.append(torch.cat([*states, masked_mean(end[:, 1:], part.keep)], dim=1))
    return replace(tokens, values=torch.cat(tiles)), torch.cat(cls), torch.cat(layers)


def probe(features: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Ridge logistic regression, its strength chosen by log loss within the training rows; scores of the tested rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    search = GridSearchCV(model, {"logisticregression__C": np.logspace(-4, 1, 6)}, cv=5, scoring="neg_log_loss")
    return search.fit(features[:count], y[:count]).decision_function(features[NUM_TRAIN:])


class Attended(nn.Module):
    """Gated attention over tiles, and a linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool = abmil.build(abmil.Config(width=48, hidden=24), dim_in=dim, num_tokens=None, dim_out=1)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        return self.pool(tokens).values[:, 0, 0]


class Tuned(nn.Module):
    """LongNet, its mean of tiles, and a linear layer."""

    def __init__(self, model: longnet.LongNet) -> None:
        super().__init__()
        self.model, self.out = model, nn.Linear(model.dim, 1)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        end = self.model(tokens)
        return self.out(masked_mean(end.values, end.keep))[:, 0]


def fit_network(model: nn.Module, tokens: Tokens, rate: float, y: np.ndarray, count: int) -> np.ndarray:
    """Train on four fifths of the training rows, stop on the last fifth; scores of the tested rows."""
    target = torch.from_numpy(y).float()
    inner, held = torch.arange(count * 4 // 5), torch.arange(count * 4 // 5, count)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
        best, lowest, waited = deepcopy(model.state_dict()), float("inf"), 0
        for _ in range(40):
            model.train()
            for rows in inner[torch.randperm(len(inner))].split(16):
                optimiser.zero_grad()
                F.binary_cross_entropy_with_logits(model(tokens.take(rows)), target[rows]).backward()
                optimiser.step()
            loss = float(F.binary_cross_entropy_with_logits(scores(model, tokens, held), target[held]))
            waited += 1
            if loss < lowest:
                best, lowest, waited = deepcopy(model.state_dict()), loss, 0
            if waited >= 8:
                break
    model.load_state_dict(best)
    return scores(model, tokens, torch.arange(NUM_TRAIN, len(y))).numpy()


@torch.no_grad()
def scores(model: nn.Module, tokens: Tokens, rows: torch.Tensor) -> torch.Tensor:
    model.eval()
    return torch.cat([model(tokens.take(part)) for part in rows.split(50)])


def interval(data: Labelled, score: np.ndarray) -> str:
    y, patients = data.y[NUM_TRAIN:], data.patients[NUM_TRAIN:]
    pairs = ordered_pairs(y.astype(float), score, np.zeros(len(y), dtype=int))
    found = bootstrap(pairs, patients, replicates=1000, generator=np.random.default_rng(0))
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
