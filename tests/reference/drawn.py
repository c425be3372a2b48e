"""Patients, samples, tokens and network weights that the contract suites and the golden numbers share."""

import dataclasses
import inspect
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import nn

from oncoweave.core import shelf
from oncoweave.core.truth import PatientTruth
from oncoweave.nn.pooling import masked_mean
from oncoweave.nn.tokens import Tokens

DIM_OUT = 6
GOLDEN_BELOW = 30_000_000
"""Parameters from which a variant has no golden numbers: its smaller siblings run the same code."""
IMAGE = (4, 3, 64, 64)
"""Images that tile encoders are tried on."""


def truth(index: int, rng: np.random.Generator) -> PatientTruth:
    """Draw one phantom patient."""
    return PatientTruth(
        patient_id=f"P{index:03d}",
        site=f"site-{index % 3}",
        subtype=int(rng.integers(2)),
        driver_a=bool(rng.random() < 0.4),
        driver_b=bool(rng.random() < 0.4),
        immune=float(rng.normal()),
        proliferation=float(rng.normal()),
        stage=int(rng.integers(1, 5)),
        age_years=float(rng.uniform(40, 80)),
        female=bool(rng.random() < 0.5),
        private_slide=float(rng.normal()),
        private_expression=float(rng.normal()),
        synergy=float(rng.normal()),
        log_hazard=float(rng.normal()),
    )


@cache
def samples(kind: str, count: int = 24, seed: int = 0) -> tuple[object, ...]:
    """Draw one sample of a kind for each of some patients."""
    rng = np.random.default_rng(seed)
    module = shelf.load("modalities", kind)
    return tuple(module.synthesise(truth(i, rng), rng) for i in range(count))


@cache
def preparation(kind: str) -> object:
    """Fit a kind's preparation on the drawn patients."""
    return shelf.load("modalities", kind).fit(samples(kind))


def tokens(kind: str) -> Tokens:
    """Collate six patients, the third of whom lacks the modality."""
    drawn = samples(kind)
    return preparation(kind).collate([drawn[0], drawn[1], None, drawn[3], drawn[4], drawn[5]])


def images() -> torch.Tensor:
    """Draw images with values from 0 to 1."""
    return torch.from_numpy(np.random.default_rng(1).random(IMAGE, dtype=np.float32))


def fill(network: nn.Module) -> nn.Module:
    """Give a network weights that do not depend on torch's random numbers: normal, with the usual spread, vectors near 1 or 0."""
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            drawn = torch.from_numpy(rng.normal(size=tuple(parameter.shape)).astype(np.float32))
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            is_norm_weight = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(drawn / fan_in**0.5 + float(is_norm_weight))
    return network.eval()


def build(module: ModuleType, config: object, shape: tuple[int, int | None], kind: str | None = None) -> nn.Module:
    """Build an encoder with filled weights for the tokens of a kind, or for plain ones; ``shape`` is their width and number."""
    network = module.build(config, dim_in=shape[0], num_tokens=shape[1], dim_out=DIM_OUT, **told(module, kind))
    if "training_tokens" in getattr(module, "NEEDS", ()):
        shown = plain_tokens(module.KINDS[0]) if kind is None else tokens(kind)
        network.initialise(iter([shown]), torch.Generator().manual_seed(0))
    return fill(network)


def told(module: ModuleType, kind: str | None = None) -> dict[str, tuple[str, ...]]:
    """Name the features of a kind, or of plain tokens, for encoders that need names."""
    if "feature_names" not in getattr(module, "NEEDS", ()):
        return {}
    return {"feature_names": PLAIN_NAMES if kind is None else preparation(kind).feature_names}


PLAIN_NAMES = ("TOP2A", "MKI67", "CDK1", "PLK1", "AURKA")
"""Genes that a table of five values may hold; all of them are of one hallmark."""


def shape(kind: str) -> tuple[int, int | None]:
    """Token width and number of a kind, as its preparation states them."""
    fitted = preparation(kind)
    return fitted.dim, fitted.num_tokens


def replace(tokens: Tokens, **changes: torch.Tensor) -> Tokens:
    """Change some of the tensors of Tokens."""
    return dataclasses.replace(tokens, **changes)


def plain_tokens(kind: str) -> Tokens:
    """Draw tokens in the shape of a kind without its preparation, so that golden numbers outlive a change of synthesis."""
    dim, num_tokens = PLAIN_SHAPES.get(kind, (1, 5))
    rng = np.random.default_rng(3)
    count = num_tokens or 9
    values = rng.normal(size=(5, count, dim))
    if kind == "report":
        values = rng.integers(0, 4096, size=(5, count, dim)).astype(float)
    keep = rng.random((5, count)) < 0.7
    keep[0], keep[1] = True, False
    places = None
    if kind == "slide":  # two slides a patient, tiles in rows of three, from the slide's own origin
        tile = np.arange(count)
        number = tile % 2
        places = np.stack([tile // 2 % 3, tile // 6, number], axis=1)[None].repeat(5, axis=0)
    if kind in ("film", "volume"):  # patches of one film in rows of three; cubes of a volume of 2 x 2 x 3
        shape = (3, 3, 1) if kind == "film" else (2, 2, 3)
        grid = np.stack(np.unravel_index(np.arange(count), shape), axis=1)
        places = (grid[:, [1, 0, 2]] if kind == "film" else grid)[None].repeat(5, axis=0)
    return Tokens(
        values=torch.from_numpy(values.astype(np.float32)),
        keep=torch.from_numpy(keep),
        positions=None if places is None else torch.from_numpy(places.astype(np.float32)),
    )


PLAIN_SHAPES: dict[str, tuple[int, int | None]] = {
    "slide": (8, None),
    "report": (1, None),
    "embedding": (6, 1),
    "film": (16, None),
    "volume": (64, 12),
}
"""Token width and number where they are not those of a table of five values."""


def tile_encoder(module: ModuleType, config: object) -> nn.Module:
    """Build a tile encoder with filled weights."""
    return fill(module.build(config, **_seeded(module)))


def _seeded(module: ModuleType) -> dict[str, torch.Generator]:
    seeded = "generator" in inspect.signature(module.build).parameters
    return {"generator": torch.Generator().manual_seed(0)} if seeded else {}


def num_parameters(name: str, variant: str) -> int:
    """Count an encoder's parameters without making them."""
    module = shelf.load("encoders", name)
    config, kind = module.VARIANTS[variant], module.KINDS[0]
    with torch.device("meta"):
        if kind == "tile":
            network = module.build(config, **_seeded(module))
        else:
            dim, num_tokens = PLAIN_SHAPES.get(kind, (1, 5))
            network = module.build(config, dim_in=dim, num_tokens=num_tokens, dim_out=DIM_OUT, **told(module))
    return sum(parameter.numel() for parameter in network.parameters())


def golden_output(name: str, variant: str) -> list[list[float]]:
    """Encode fixed inputs with fixed weights: one row a patient (mean over its tokens) or a tile."""
    module = shelf.load("encoders", name)
    config, kind = module.VARIANTS[variant], module.KINDS[0]
    with torch.no_grad():
        if kind == "tile":
            return tile_encoder(module, config)(images()[:2]).tolist()
        network = build(module, config, PLAIN_SHAPES.get(kind, (1, 5)))
        encoded = network(plain_tokens(kind))
        return masked_mean(encoded.values, encoded.keep).tolist()
