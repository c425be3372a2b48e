"""Patients with three outcomes: one stands in one patch, one in one word, one in one value; and a network trained on them."""

import dataclasses

import numpy as np
import torch

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.modalities import film, record, report
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.objectives import multilabel
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

KINDS = {"film": "film", "report": "report", "record": "record"}
LABS = ("albumin", "crp", "ferritin", "platelets", "sodium")
PLANTED_LAB, PLANTED_PATCH = "ferritin", (2, 1)
WORDS = ("cough", "for", "three", "days", "walking", "eating", "afebrile", "alert")
YES, NO = "dyspnoea", "comfortable"
ENCODERS = {"film": "project/tiny", "report": "bert/tiny_tokens", "record": "project/tiny"}


def patients(n: int = 40, *, seed: int = 0) -> Dataset:
    """Draw patients; every fifth has no film, every seventh no report, and some values are not measured."""
    rng = np.random.default_rng(seed)
    y = rng.permuted(np.tile(np.arange(n) % 2, (3, 1)), axis=1).T
    rows = {name: [] for name in KINDS}
    for i in range(n):
        rows["film"].append(None if i % 5 == 4 else _film(i, rng, marked=bool(y[i, 0])))
        rows["report"].append(None if i % 7 == 6 else _report(i, rng, said=bool(y[i, 1])))
        values = {name: float(rng.normal()) for name in LABS}
        values[LABS[i % 2]] = None if i % 3 == 0 else values[LABS[i % 2]]
        values[PLANTED_LAB] = 2.0 * y[i, 2] - 1.0 + 0.1 * float(rng.normal())
        rows["record"].append(record.Sample(patient_id=f"P{i}", values=values))
    values = y.astype(float)
    values[[s is None for s in rows["film"]], 0] = np.nan  # nobody can know
    values[[s is None for s in rows["report"]], 1] = np.nan
    return Dataset(
        patient_ids=np.array([f"P{i}" for i in range(n)], dtype=object),
        site=np.array(["A"] * n, dtype=object),
        target=Target(endpoint=Endpoint(name="y", kind="multilabel", columns=tuple(KINDS), classes=tuple(KINDS)), values=values),
        samples={name: tuple(samples) for name, samples in rows.items()},
        kinds=KINDS,
    )


def _film(i: int, rng: np.random.Generator, *, marked: bool) -> film.Sample:
    """Draw 4 x 4 patches that grow brighter downwards; the marked one, to the right."""
    side = film.SIDE // 4
    ramp = np.repeat(np.linspace(60, 180, side)[:, None], side, axis=1)
    pixels = np.tile(ramp, (4, 4)) + rng.normal(0, 4, (film.SIDE, film.SIDE))
    if marked:
        x, y = PLANTED_PATCH
        pixels[y * side : (y + 1) * side, x * side : (x + 1) * side] = ramp.T
    drawn = film.Film(path="", pixels=pixels.clip(0, 255).astype(np.uint8), view="PA", spacing_mm=None)
    return film.Sample(patient_id=f"P{i}", films=(drawn,))


def _report(i: int, rng: np.random.Generator, *, said: bool) -> report.Sample:
    words = [WORDS[k] for k in rng.permutation(len(WORDS))[:6]]
    words.insert(int(rng.integers(len(words))), YES if said else NO)
    return report.Sample(patient_id=f"P{i}", text=" ".join(words) + ".")


def untrained(data: Dataset, *, encoders: dict[str, str] = ENCODERS, **settings) -> FittedNetwork:
    """Build a network of random weights on preparations fitted to the patients; films are 4 x 4 patches of 16 pixels."""
    preparations = {
        "film": film.fit(data.samples["film"], film.Config(side=64)),
        "report": report.fit(data.samples["report"]),
        "record": record.fit(data.samples["record"]),
    }
    shapes = {m: ModalityShape(encoder=encoders[m], dim=p.dim, num_tokens=p.num_tokens) for m, p in preparations.items()}
    small = {"width": 16, "heads": 2, "depth": 3, "mixing": 1, "dropout": 0.0} | settings
    config = ModelConfig(modalities=shapes, fusion="mdt", num_outputs=3, settings=small, width=16, dropout=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(config)
    return fitted(model, preparations, data)


def fitted(model: Model, preparations, data: Dataset) -> FittedNetwork:
    weights = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    return FittedNetwork(
        modalities=tuple(preparations),
        preparations=preparations,
        config=model.config,
        members=(weights,),
        origins=(0.0,),
        objective=multilabel.fit(data.outcome),
        tokens=65_536,
    )


def trained(data: Dataset, *, steps: int = 50, **settings) -> FittedNetwork:
    """Train on all patients until the outcome is learned."""
    start = untrained(data, **settings)
    model = start.model().train()
    tokens = {m: p.collate(data.samples[m]) for m, p in start.preparations.items()}
    y = torch.from_numpy(data.outcome.values).float()
    goal = multilabel.fit(data.outcome)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            goal.loss(model(tokens), y).backward()
            optimizer.step()
    return fitted(model, start.preparations, data)


def with_fusion(network: FittedNetwork, name: str) -> FittedNetwork:
    """The network with another fusion, of random weights."""
    config = dataclasses.replace(network.config, fusion=name, settings={})
    model = type(network.model())(config)
    weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    return dataclasses.replace(network, config=config, members=(weights,))
