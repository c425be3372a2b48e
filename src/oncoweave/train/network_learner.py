"""Networks: encoders, an intermediate fusion and a head, trained end to end on a fold's training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, Preparation, Trained
from oncoweave.train.loop import LoopConfig, outputs_of, train_network

DEFAULT_ENCODERS = {
    "embedding": "linear",
    "expression": "snn",
    "record": "tabular",
    "report": "bert/tiny",
    "slide": "abmil",
    "variants": "snn",
}
"""Encoder of each kind of modality where the study names none."""

DEFAULT_OBJECTIVES = {
    "binary": "classify",
    "multiclass": "classify",
    "multilabel": "multilabel",
    "ordinal": "ordinal",
    "regression": "regress",
    "survival": "cox",
}
"""Objective of each kind of endpoint where the study names none."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedNetwork:
    """A trained network with everything needed to apply it: preparations, shape, weights, objective."""

    modalities: tuple[str, ...]
    preparations: dict[str, Preparation]
    config: ModelConfig
    weights: dict[str, np.ndarray]
    objective: object
    batch_size: int

    def model(self) -> Model:
        """Build the network with its trained weights."""
        model = Model(self.config)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in self.weights.items()})
        return model

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``; NaN for patients who have none of the modalities."""
        rows = _present_rows(data, self.modalities, self.preparations)
        if not len(rows):
            num_scores = self.objective.predict(torch.zeros(1, self.config.num_outputs)).shape[1]  # type: ignore[attr-defined]
            return np.full((len(data), num_scores), np.nan)
        outputs, _ = outputs_of(
            self.model(),
            lambda index: (_collate(data, index, self.preparations), torch.zeros(len(index))),
            rows,
            batch_size=self.batch_size,
            device=torch.device("cpu"),
        )
        predicted = self.objective.predict(outputs)  # type: ignore[attr-defined]
        output = np.full((len(data), predicted.shape[1]), np.nan)
        output[rows] = predicted
        return output


def fit_network(
    fold: Fold,
    modalities: Sequence[str],
    *,
    fusion: str,
    encoders: Mapping[str, str],
    settings: Mapping[str, object] = MappingProxyType({}),
    objective: str | None = None,
    loop: LoopConfig,
) -> Trained:
    """Train a network on a fold; its inner fold 0 decides when to stop, and is not trained on.

    The out-of-fold scores are those of inner fold 0: refitting the network on every inner fold would cost as many times as much.
    They chose the epoch, which flatters them a little; the other training rows have none.

    ``encoders`` names an encoder by modality, or by kind of modality, and ``objective`` an objective, where the default is not
    wanted.
    """
    target = fold.train.outcome
    preparations = {m: fold.preparation(m) for m in modalities}
    rows = _present_rows(fold.train, modalities, preparations)
    rows = rows[target.known[rows]]
    inner = fold.inner_of(np.isin(np.arange(len(fold.train)), rows))
    validation = inner == inner.min()
    name = objective or DEFAULT_OBJECTIVES[target.endpoint.kind]
    goal = shelf.load("objectives", name).fit(target.take(rows[~validation]))
    config = ModelConfig(
        modalities={m: _shape(m, fold.train.kinds[m], preparations[m], encoders) for m in modalities},
        fusion=fusion,
        num_outputs=goal.num_outputs,
        settings=dict(settings),
    )
    # everything that tells two networks of a fold apart is in it: equal seeds would share a checkpoint
    seed = int(fold.rng("network", name, config, loop).integers(2**31))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(config)
    values = torch.from_numpy(target.values.astype(np.float32))
    best = train_network(
        model,
        goal,
        lambda index: (_collate(fold.train, index, preparations), values[index]),
        train_rows=rows[~validation],
        validation_rows=rows[validation],
        config=loop,
        seed=seed,
        checkpoint=None if fold.scratch is None else fold.scratch / f"network-{seed}.ckpt",
    )
    fitted = FittedNetwork(
        modalities=tuple(modalities),
        preparations=preparations,
        config=config,
        weights={name: value.numpy() for name, value in best.items()},
        objective=goal,
        batch_size=loop.batch_size,
    )
    held_out = fitted.predict(fold.train.take(rows[validation]))
    scores = np.full((len(fold.train), held_out.shape[1]), np.nan)
    scores[rows[validation]] = held_out
    return Trained(fitted=fitted, out_of_fold=scores)


def _shape(modality: str, kind: str, preparation: Preparation, encoders: Mapping[str, str]) -> ModalityShape:
    name = encoders.get(modality) or encoders.get(kind) or DEFAULT_ENCODERS[kind]
    return ModalityShape(encoder=name, dim=preparation.dim, num_tokens=preparation.num_tokens)


def _collate(data: Dataset, rows: np.ndarray, preparations: Mapping[str, Preparation]) -> dict[str, Tokens]:
    return {m: p.collate([data.samples[m][i] for i in rows]) for m, p in preparations.items()}


def _present_rows(data: Dataset, modalities: Sequence[str], preparations: Mapping[str, Preparation]) -> np.ndarray:
    """Rows with at least one token that is kept; a record whose every value is missing counts as absent."""
    present = np.zeros(len(data), dtype=bool)
    for start in range(0, len(data), 64):
        index = np.arange(start, min(start + 64, len(data)))
        tokens = _collate(data, index, {m: preparations[m] for m in modalities})
        present[index] = np.any([t.present.numpy() for t in tokens.values()], axis=0)
    return np.flatnonzero(present)
