"""Fine-tuning: a tile encoder and a linear head trained together for a few epochs, against the same head on the frozen encoder.

The head starts as the linear probe, so that the encoder is not spoilt by a random one (Kumar et al., ICLR 2022). Layers near the
pixels learn more slowly. A part of the training tiles, whole slides (or clusters of stain), tells when to stop; tiles are not
augmented and nothing is searched. The frozen probe sees all training tiles, the tuned encoder those that are not held out.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from oncoweave.core.endpoint import Endpoint, EndpointKind, Target
from oncoweave.core.errors import DataError
from oncoweave.nn.optim import encoder_groups, head_groups
from oncoweave.nn.tokens import Tokens
from oncoweave.objectives import classify
from oncoweave.train.gradients import Batch
from oncoweave.train.loop import LoopConfig, Source, outputs_of, train_network
from oncoweave.train.tile_encoder import TileEncoder
from oncoweave.train.tile_protocols.embedded import Embedded, TileScores, accuracy, measured, require_classes
from oncoweave.train.tile_protocols.linear_probe import Linear, choose_cost, fit_linear, linear

EPOCHS = 5
REVISION = 1
"""Raised when tuning gives other predictions; part of what kept ones are found by."""
_BATCH = 32
_RATE = 3e-4
_LAYER_DECAY = 0.75
_HELD_OUT = 5
"""One part of so many is held out."""

Images = UInt8[Tensor, "_ 3 height width"]


def evaluate(
    encoder: TileEncoder,
    train: tuple[Embedded, Images],
    test: tuple[Embedded, Images],
    *,
    rng: np.random.Generator,
    epochs: int = EPOCHS,
    cost: float | None = None,
) -> TileScores:
    """Tune a copy of the encoder and classify the test tiles; the metric is balanced accuracy.

    ``train`` and ``test`` are the tiles embedded by the encoder as it is, and the tiles.

    Raises:
        DataError: a class has a single tile, so that none can be held out.
    """
    seed = int(rng.integers(2**31))
    cost = choose_cost(train[0], seed=seed) if cost is None else cost
    frozen = linear(train[0].features, train[0].label, test[0].features, cost=cost)
    tuned = tuned_classes(encoder, train, test, seed=seed, epochs=epochs, cost=cost)
    return compare(frozen, tuned, test[0], rng=rng, epochs=epochs)


def tuned_classes(
    encoder: TileEncoder,
    train: tuple[Embedded, Images],
    test: tuple[Embedded, Images],
    *,
    seed: int,
    epochs: int,
    cost: float,
) -> Int64[np.ndarray, " tile"]:
    """Tune a copy of the encoder and classify the test tiles: the slow part of :func:`evaluate`."""
    (known, images), (asked, tested) = train, test
    require_classes(known, asked)
    fit, held = inner_split(known, seed=seed)
    head = fit_linear(known.features[fit], known.label[fit], cost=cost)
    classes, code = np.unique(known.label, return_inverse=True)
    objective = classify.fit(_target(code[fit], len(classes)))
    network = _Network(copy.deepcopy(encoder.module), head, weights=objective.weights, side=(images.shape[2], images.shape[3]))
    source = _source(torch.cat([images, tested]), np.concatenate([code, np.zeros(len(tested), dtype=code.dtype)]))
    best = train_network(
        network,
        objective,
        source,
        train_rows=fit,
        validation_rows=held,
        config=LoopConfig(
            epochs=epochs, batch_size=_BATCH, tokens=_BATCH, learning_rate=_RATE, warm_up=1, schedule="cosine", weight_decay=0.05
        ),
        seed=seed,
        groups=[*encoder_groups(network.encoder, decay=_LAYER_DECAY), *head_groups(network.head, name="head")],
    )
    network.load_state_dict(best)
    device = next(network.parameters()).device
    rows = np.arange(len(images), len(images) + len(tested))
    outputs, _ = outputs_of(network, source, rows, tokens=_BATCH, device=device)
    found = objective.predict(outputs)
    return classes[(found[:, 0] > 0.5).astype(int) if found.shape[1] == 1 else found.argmax(axis=1)]


def compare(
    frozen: Int64[np.ndarray, " tile"],
    tuned: Int64[np.ndarray, " tile"],
    test: Embedded,
    *,
    rng: np.random.Generator,
    epochs: int,
) -> TileScores:
    """Score the classes that both encoders give, and what tuning gained on the same tiles."""
    gain = (tuned == test.label).astype(float) - (frozen == test.label)
    scores = (
        accuracy(frozen, test, setting="frozen", rng=rng),
        accuracy(tuned, test, setting="tuned", rng=rng),
        measured(gain, test, setting="tuned less frozen", metric="gain of balanced accuracy", rng=rng),
    )
    note = f"at most {epochs} epochs, one tile of {_HELD_OUT} held out to stop by"
    return TileScores(protocol="fine-tuning", scores=scores, note=note)


def inner_split(train: Embedded, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the training tiles into rows to fit and rows to stop by; slides stay whole where every class keeps one to fit."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    classes, counts = np.unique(train.label, return_counts=True)
    if counts.min() < 2:
        few = classes[counts.argmin()]
        msg = f"fine-tuning: wanted two training tiles or more of every class, one to stop by, got {counts.min()} of class {few}"
        raise DataError(msg)
    folds = min(_HELD_OUT, int(counts.min()))
    together = train.together
    if together is not None and len(np.unique(together)) >= folds:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for fit, held in splitter.split(train.features, train.label, together):
            if len(np.unique(train.label[fit])) == len(classes):
                return fit, held
    return next(iter(StratifiedKFold(folds, shuffle=True, random_state=seed).split(train.features, train.label)))


class _Network(nn.Module):
    """A tile encoder and the head of a linear probe."""

    def __init__(self, encoder: nn.Module, head: Linear, *, weights: np.ndarray, side: tuple[int, int]) -> None:
        super().__init__()
        # the objective weights classes, and divides the weights out of what it predicts
        shift = np.log(weights) if len(head.bias) > 1 else np.log(weights[1:] / weights[:1])
        self.encoder, self.side = encoder, side
        self.register_buffer("mean", torch.from_numpy(head.mean).float())
        self.register_buffer("scale", torch.from_numpy(head.scale).float())
        with torch.random.fork_rng(devices=[]):  # its start values are replaced, and would move the global generator
            self.head = nn.Linear(*reversed(head.weight.shape))
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))
            self.head.bias.copy_(torch.from_numpy(head.bias + shift))

    def forward(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "batch output"]:
        """Classify tiles, each given as one token of its pixels."""
        images = tokens["tile"].values.unflatten(2, (3, *self.side))[:, 0]
        return self.head((self.encoder(images / 255) - self.mean) / self.scale)


def _source(images: Images, code: np.ndarray) -> Source:
    values = torch.from_numpy(code).float()

    def load(rows: np.ndarray) -> Batch:
        chosen = torch.from_numpy(rows)
        pixels = images[chosen].flatten(1).unsqueeze(1).float()
        return {"tile": Tokens(values=pixels, keep=torch.ones(len(rows), 1, dtype=torch.bool))}, values[chosen]

    return Source(load=load, sizes=np.ones((len(code), 1), dtype=int))


def _target(code: np.ndarray, num_classes: int) -> Target:
    names = tuple(str(i) for i in range(num_classes))
    kind: EndpointKind = "binary" if num_classes == 2 else "multiclass"
    return Target(endpoint=Endpoint(name="class", kind=kind, columns=("class",), classes=names), values=code.astype(float))
