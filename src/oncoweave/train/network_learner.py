"""Networks: encoders, an intermediate fusion and a head, trained end to end on a fold's training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.model import ModalityShape, Model, ModelConfig
from oncoweave.nn.fitted import SupervisedObjective
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.finetune import Start, load_start
from oncoweave.train.fold import Fold, Preparation, Trained
from oncoweave.train.gradients import Objective
from oncoweave.train.loop import LoopConfig, Source, outputs_of, train_network

DEFAULT_ENCODERS = {
    "embedding": "linear",
    "expression": "linear",
    "record": "linear",
    "report": "bert/tiny",
    "slide": "abmil",
    "variants": "linear",
}
"""Encoder of each kind of modality where the study names none. Tables get a linear layer: on cohorts of a few hundred patients
deeper encoders did worse (benchmarks/network_defaults_2026-11.md)."""

DEFAULT_OBJECTIVES = {
    "binary": "classify",
    "multiclass": "classify",
    "multilabel": "multilabel",
    "ordinal": "ordinal",
    "regression": "regress",
    "survival": "cox",
}
"""Objective of each kind of endpoint where the study names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkOptions:
    """Size and regularisation of a network, apart from how it is trained (``LoopConfig``)."""

    width: int = 64
    """Of each modality's representation and of the patient's."""
    dropout: float = 0.25
    """Before the head."""
    modality_dropout: float = 0.0
    """Chance that a training step does not see one of a patient's modalities."""
    members: int = 1
    """Networks whose predictions are averaged; each leaves out another inner fold and stops on it."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each layer of an encoder to the one below."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FittedNetwork:
    """Trained networks of one shape with everything needed to apply them: preparations, shape, weights, objective."""

    modalities: tuple[str, ...]
    preparations: dict[str, Preparation]
    config: ModelConfig
    members: tuple[dict[str, np.ndarray], ...]
    """Weights of each network; predictions are averaged."""
    objective: SupervisedObjective
    tokens: int
    """Tiles (or words) in memory at once."""

    def model(self, member: int = 0) -> Model:
        """Build one of the networks with its trained weights."""
        model = Model(self.config)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in self.members[member].items()})
        return model

    def predict(self, data: Dataset) -> np.ndarray:
        """Return ``[n, c]``, the mean over the networks; NaN for patients who have none of the modalities."""
        reader, rows = self._reader(data)
        output = np.full((len(data), self._num_scores), np.nan)
        if len(rows):
            output[rows] = np.mean([self._scores(reader, rows, member) for member in range(len(self.members))], axis=0)
        return output

    def predict_left_out(self, data: Dataset, left_out: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``[n, c]``: network k for the rows ``left_out[k]``, which have a modality; NaN for all others."""
        reader, _ = self._reader(data)
        output = np.full((len(data), self._num_scores), np.nan)
        for member, rows in enumerate(left_out):
            output[rows] = self._scores(reader, rows, member)
        return output

    @property
    def _num_scores(self) -> int:
        return self.objective.predict(torch.zeros(1, self.config.num_outputs)).shape[1]

    def _reader(self, data: Dataset) -> tuple[Source, np.ndarray]:
        counts = count_tokens(data, self.preparations)
        rows = np.flatnonzero(np.any([c > 0 for c in counts.values()], axis=0))
        return _source(data, self.preparations, counts, torch.zeros(len(data))), rows

    def _scores(self, source: Source, rows: np.ndarray, member: int) -> np.ndarray:
        outputs, _ = outputs_of(self.model(member), source, rows, tokens=self.tokens, device=torch.device("cpu"))
        return self.objective.predict(outputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """Which network is fitted, and how."""

    fusion: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    """By modality, or by kind of modality, where the default is not wanted."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the fusion."""
    objective: str | None = None
    """A file on the objectives shelf, where the default is not wanted."""
    starts: Mapping[str, Start] = field(default_factory=dict)
    """Weights that encoders start from, by modality or by kind."""
    options: NetworkOptions = field(default_factory=NetworkOptions)
    loop: LoopConfig = field(default_factory=LoopConfig)


def fit_network(fold: Fold, modalities: Sequence[str], spec: NetworkSpec) -> Trained:
    """Train one network or several on a fold. Member k leaves out inner fold k, which decides when it stops.

    The out-of-fold scores of a row are those of the network that left it out, which it helped to stop: that flatters them a
    little. Rows of inner folds that no network left out have none.
    """
    target = fold.train.outcome
    preparations = {m: fold.preparation(m) for m in modalities}
    counts = count_tokens(fold.train, preparations)
    rows = np.flatnonzero(np.any([c > 0 for c in counts.values()], axis=0) & target.known)
    inner = fold.inner_of(np.isin(np.arange(len(fold.train)), rows))
    source = _source(fold.train, preparations, counts, torch.from_numpy(target.values.astype(np.float32)))
    # fitted on all of them: its bins, rates and class weights have to be the same for every member
    goal = shelf.load("objectives", spec.objective or DEFAULT_OBJECTIVES[target.endpoint.kind]).fit(target.take(rows))
    config = _config(fold, preparations, spec, num_outputs=goal.num_outputs)
    left_out = [rows[inner == k] for k in np.unique(inner)[: spec.options.members]]
    members = [
        _fit_member(fold, config, goal, source, spec, rows=(np.setdiff1d(rows, held_out), held_out), member=k)
        for k, held_out in enumerate(left_out)
    ]
    fitted = FittedNetwork(
        modalities=tuple(modalities),
        preparations=preparations,
        config=config,
        members=tuple({key: value.numpy() for key, value in best.items()} for best in members),
        objective=goal,
        tokens=spec.loop.tokens,
    )
    return Trained(fitted=fitted, out_of_fold=fitted.predict_left_out(fold.train, left_out))


def _fit_member(
    fold: Fold,
    config: ModelConfig,
    goal: Objective,
    source: Source,
    spec: NetworkSpec,
    *,
    rows: tuple[np.ndarray, np.ndarray],
    member: int,
) -> dict[str, torch.Tensor]:
    # everything that tells two networks of a fold apart is in it: equal seeds would share a checkpoint
    purpose = (type(goal).__name__, config, spec.loop, spec.starts, spec.options.layer_decay, member)
    seed = int(fold.rng("network", *purpose).integers(2**31))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(config)
    for name, start in spec.starts.items():
        for modality in (m for m in config.modalities if name in (m, fold.train.kinds[m])):
            part = load_start(model.encoders[modality], start.path)
            if start.frozen:
                model.freeze(part)
    return train_network(
        model,
        goal,
        source,
        train_rows=rows[0],
        validation_rows=rows[1],
        config=spec.loop,
        seed=seed,
        groups=model.parameter_groups(layer_decay=spec.options.layer_decay),
        checkpoint=None if fold.scratch is None else fold.scratch / f"network-{seed}.ckpt",
    )


def _config(fold: Fold, preparations: Mapping[str, Preparation], spec: NetworkSpec, *, num_outputs: int) -> ModelConfig:
    return ModelConfig(
        modalities={m: _shape(m, fold.train.kinds[m], p, spec.encoders) for m, p in preparations.items()},
        fusion=spec.fusion,
        num_outputs=num_outputs,
        settings=dict(spec.settings),
        width=spec.options.width,
        dropout=spec.options.dropout,
        modality_dropout=spec.options.modality_dropout,
    )


def _shape(modality: str, kind: str, preparation: Preparation, encoders: Mapping[str, str]) -> ModalityShape:
    name = encoders.get(modality) or encoders.get(kind) or DEFAULT_ENCODERS[kind]
    return ModalityShape(encoder=name, dim=preparation.dim, num_tokens=preparation.num_tokens)


def _source(
    data: Dataset, preparations: Mapping[str, Preparation], counts: Mapping[str, np.ndarray], values: torch.Tensor
) -> Source:
    ragged = [m for m, p in preparations.items() if p.num_tokens is None]
    once = {m: p.collate(data.samples[m]) for m, p in preparations.items() if _numbers(p) * len(data) <= _KEPT}

    def load(index: np.ndarray) -> tuple[dict[str, Tokens], torch.Tensor]:
        rows = torch.from_numpy(index)
        tokens = {
            m: once[m].take(rows) if m in once else p.collate([data.samples[m][i] for i in index])
            for m, p in preparations.items()
        }
        return tokens, values[rows]

    return Source(load=load, sizes=np.stack([counts[m] for m in ragged], axis=1) if ragged else None, ragged=ragged)


_KEPT = 2**27
"""Numbers in a table of all patients up to which it is collated once and kept (half a gigabyte), not batch by batch."""


def _numbers(preparation: Preparation) -> float:
    return np.inf if preparation.num_tokens is None else preparation.num_tokens * preparation.dim


_AT_ONCE = 64
"""Patients who are collated at once where each has the same number of tokens."""


def count_tokens(data: Dataset, preparations: Mapping[str, Preparation]) -> dict[str, np.ndarray]:
    """Count each patient's kept tokens, ``Int[n]`` a modality; 0 where absent, or where every value of a record is missing.

    Bags are collated one by one, so that no two long ones are in memory together.
    """
    counts = {}
    for modality, preparation in preparations.items():
        step = 1 if preparation.num_tokens is None else _AT_ONCE
        parts = [
            preparation.collate(data.samples[modality][start : start + step]).keep.sum(dim=1).numpy()
            for start in range(0, len(data), step)
        ]
        counts[modality] = np.concatenate([np.zeros(0, dtype=int), *parts])
    return counts
