"""Networks: encoders, an intermediate fusion and a head, trained end to end on a fold's training rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.core.errors import DataError
from oncoweave.model import ModalityShape, Model, ModelConfig, operator_of
from oncoweave.nn.fitted import SupervisedObjective
from oncoweave.nn.tokens import Tokens
from oncoweave.train.dataset import Dataset
from oncoweave.train.default_encoders import columns_of, default_encoder
from oncoweave.train.encoder_settings import read_files
from oncoweave.train.finetune import Start
from oncoweave.train.fold import Fold, Preparation, Trained, Varying, judging_folds, real_preparation
from oncoweave.train.frozen import Features, features_of, start_encoders
from oncoweave.train.gradients import Objective
from oncoweave.train.loop import LoopConfig, Source, outputs_of, train_network
from oncoweave.train.training_objective import TrainingObjective

DEFAULT_OBJECTIVES = {
    "binary": "classify",
    "multiclass": "classify",
    "multilabel": "multilabel",
    "ordinal": "ordinal",
    "regression": "regress",
    "survival": "cox",
}
"""Objective of each kind of endpoint where the study names none."""


@runtime_checkable
class StartsFromData(Protocol):
    """An encoder whose first weights come from training rows; its file says ``NEEDS = ("training_tokens",)``."""

    def initialise(self, tokens: Iterator[Tokens], generator: torch.Generator) -> None:
        """Take weights from tokens of training rows, once before training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkOptions:
    """Size and regularisation of a network, apart from how it is trained (``LoopConfig``)."""

    width: int = 64
    """Of each modality's representation and of the patient's."""
    dropout: float = 0.25
    """Before the head."""
    modality_dropout: float | Mapping[str, float] = 0.0
    """Chance that a training step does not see one of a patient's modalities, of all or by modality."""
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
    origins: tuple[float, ...]
    """Of survival, the mean log-risk that each network gives all training rows, those that it left out among them, which is
    subtracted: Cox's loss sees no constant, so networks that left out different rows would else differ by one. 0 of all other
    endpoints."""
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

    def loss(self, data: Dataset) -> float:
        """Loss of the first network on the patients who have a modality and whose outcome is known."""
        counts, values = count_tokens(data, self.preparations), torch.from_numpy(data.outcome.values.astype(np.float32))
        rows = np.flatnonzero(np.any([c > 0 for c in counts.values()], axis=0) & data.outcome.known)
        source = _Rows.of(data, self.preparations, counts, values).source()
        outputs, target = outputs_of(self.model(), source, rows, tokens=self.tokens, device=torch.device("cpu"))
        return float(self.objective.loss(outputs, target))

    @property
    def _num_scores(self) -> int:
        return self.objective.predict(torch.zeros(1, self.config.num_outputs)).shape[1]

    def _reader(self, data: Dataset) -> tuple[Source, np.ndarray]:
        counts = count_tokens(data, self.preparations)
        rows = np.flatnonzero(np.any([c > 0 for c in counts.values()], axis=0))
        return _Rows.of(data, self.preparations, counts, torch.zeros(len(data))).source(), rows

    def _scores(self, source: Source, rows: np.ndarray, member: int) -> np.ndarray:
        outputs, _ = outputs_of(self.model(member), source, rows, tokens=self.tokens, device=torch.device("cpu"))
        return self.objective.predict(outputs) - self.origins[member]

    def centred(self, data: Dataset, rows: np.ndarray) -> "FittedNetwork":
        """Put the origin of each network's log-risks at the mean of the same ``rows`` of ``data``."""
        reader, _ = self._reader(data)
        return replace(self, origins=tuple(float(self._scores(reader, rows, k).mean()) for k in range(len(self.members))))


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """Which network is fitted, and how."""

    fusion: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    """By modality, or by kind of modality, where the default is not wanted."""
    encoder_settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Fields of the ``Config`` of the encoders named, by modality or by kind."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the fusion."""
    operator_settings: Mapping[str, object] = field(default_factory=dict)
    """Of the operator that a hybrid fusion wraps."""
    missing: str = "mask"
    """A file on the missingness shelf that acts on what encoders give."""
    missing_settings: Mapping[str, object] = field(default_factory=dict)
    objective: str | None = None
    """A file on the objectives shelf, where the default is not wanted."""
    starts: Mapping[str, Start] = field(default_factory=dict)
    """Weights that encoders start from, by modality or by kind."""
    options: NetworkOptions = field(default_factory=NetworkOptions)
    loop: LoopConfig = field(default_factory=LoopConfig)


Watch = Callable[[int, float, FittedNetwork], None]
"""Told each epoch's number, its loss on the rows that decide when to stop, and the network as it then is."""


def fit_network(fold: Fold, modalities: Sequence[str], spec: NetworkSpec, *, watch: Watch | None = None) -> Trained:
    """Train one network or several on a fold. Member k leaves out inner fold k, which decides when it stops.

    Inner folds whose rows cannot decide that, as none of them had an event, are joined to others (:func:`judging_folds`).
    The out-of-fold scores of a row are those of the network that left it out, which it helped to stop: that flatters them a
    little. Rows of inner folds that no network left out have none.
    """
    target = fold.train.outcome
    preparations = {m: fold.preparation(m) for m in modalities}
    counts = count_tokens(fold.train, preparations)
    rows = np.flatnonzero(np.any([c > 0 for c in counts.values()], axis=0) & target.known)
    inner = judging_folds(fold.inner_of(np.isin(np.arange(len(fold.train)), rows)), target.take(rows))
    given = _Rows.of(fold.train, preparations, counts, torch.from_numpy(target.values.astype(np.float32)))
    # fitted on all of them: its bins, rates and class weights have to be the same for every member
    goal = shelf.load("objectives", spec.objective or DEFAULT_OBJECTIVES[target.endpoint.kind]).fit(target.take(rows))
    config = _config(fold, preparations, spec, num_outputs=goal.num_outputs)

    def network(members: Sequence[dict[str, torch.Tensor]]) -> FittedNetwork:
        return FittedNetwork(
            modalities=tuple(modalities),
            preparations=preparations,
            config=config,
            members=tuple({key: value.numpy() for key, value in best.items()} for best in members),
            origins=(0.0,) * len(members),
            objective=goal,
            tokens=spec.loop.tokens,
        )

    left_out = [rows[inner == k] for k in np.unique(inner)[: spec.options.members]]
    shown = None if watch is None else _shown(watch, lambda weights: network([weights]))
    members = [
        _fit_member(fold, config, goal, given, spec, rows=(np.setdiff1d(rows, held_out), held_out), member=k, watch=shown)
        for k, held_out in enumerate(left_out)
    ]
    fitted = network(members)
    if target.endpoint.kind == "survival":
        fitted = fitted.centred(fold.train, rows)
    return Trained(fitted=fitted, out_of_fold=fitted.predict_left_out(fold.train, left_out))


_Weights = dict[str, torch.Tensor]


def _shown(watch: Watch, network: Callable[[_Weights], FittedNetwork]) -> Callable[[int, float, _Weights], None]:
    return lambda epoch, loss, weights: watch(epoch, loss, network(weights))


def _fit_member(
    fold: Fold,
    config: ModelConfig,
    goal: Objective,
    given: "_Rows",
    spec: NetworkSpec,
    *,
    rows: tuple[np.ndarray, np.ndarray],
    member: int,
    watch: Callable[[int, float, _Weights], None] | None,
) -> _Weights:
    # everything that tells two networks of a fold apart is in it, as equal seeds would share a checkpoint; what fits into memory
    # tells none apart
    loop = replace(spec.loop, tokens=LoopConfig().tokens)
    purpose = (type(goal).__name__, config, loop, spec.starts, spec.options.layer_decay, member)
    seed = int(fold.rng("network", *purpose).integers(2**31))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(config)
    initialise_encoders(model, given.source(), rows[0], seed=seed)
    frozen = start_encoders(model, fold, spec.starts)
    source = given.source(features_of(model, fold, frozen, given.counts, spec.loop))
    objective = goal
    if model.has_views:
        objective = TrainingObjective(goal=goal, view_weights=model.view_weights, observe=model.observe)
    return train_network(
        model,
        objective,
        source,
        train_rows=rows[0],
        validation_rows=rows[1],
        config=spec.loop,
        seed=seed,
        groups=model.parameter_groups(layer_decay=spec.options.layer_decay),
        judge=goal,
        checkpoint=None if fold.scratch is None else fold.scratch / f"network-{seed}.ckpt",
        watch=watch,
    )


def initialise_encoders(model: Model, source: Source, rows: np.ndarray, *, seed: int) -> None:
    """Show each encoder that starts from data the training rows that have its modality, one by one.

    Raises:
        DataError: they are too few to start from; names modality and encoder.
    """
    for place, (modality, encoder) in enumerate(model.encoders.items()):
        name = model.config.modalities[modality].encoder
        if "training_tokens" in getattr(shelf.load("encoders", name), "NEEDS", ()):
            assert isinstance(encoder, StartsFromData), f"{modality!r}: an encoder that needs training tokens has no initialise"
            try:
                encoder.initialise(_tokens_of(source, modality, rows), torch.Generator().manual_seed(seed + place))
            except DataError as error:
                msg = f"modality {modality!r}, encoder {name!r}: {error}"
                raise DataError(msg) from error


def _tokens_of(source: Source, modality: str, rows: np.ndarray) -> Iterator[Tokens]:
    for row in rows:  # not as many as fit into memory: what is drawn of them would depend on that
        tokens = source.load(np.array([row]))[0][modality]
        if bool(tokens.present.any()):
            yield tokens


def _config(fold: Fold, preparations: Mapping[str, Preparation], spec: NetworkSpec, *, num_outputs: int) -> ModelConfig:
    rates, operator = spec.options.modality_dropout, operator_of(spec.fusion, spec.settings)
    return ModelConfig(
        modalities={m: _shape(m, fold.train.kinds[m], p, spec) for m, p in preparations.items()},
        fusion=spec.fusion,
        num_outputs=num_outputs,
        settings=_settled(fold, preparations, spec.fusion, spec.settings),
        operator_settings={} if operator == spec.fusion else _settled(fold, preparations, operator, spec.operator_settings),
        missing=spec.missing,
        missing_settings=dict(spec.missing_settings),
        width=spec.options.width,
        dropout=spec.options.dropout,
        modality_dropout={m: rates[m] for m in preparations if m in rates} if isinstance(rates, Mapping) else rates,
    )


def _settled(
    fold: Fold, preparations: Mapping[str, Preparation], fusion: str, settings: Mapping[str, object]
) -> dict[str, object]:
    """Settings of a fusion, with what they leave to the training rows found there."""
    module = shelf.load("fusion", fusion)
    if not hasattr(module, "settle"):
        return dict(settings)
    blocks = {m: p.block(fold.train.samples[m]) for m, p in preparations.items()}
    return {**settings, **module.settle(shelf.configure("fusion", fusion, settings), blocks)}


def _shape(modality: str, kind: str, preparation: Preparation, spec: NetworkSpec) -> ModalityShape:
    name = (
        spec.encoders.get(modality)
        or spec.encoders.get(kind)
        or default_encoder(kind, operator=operator_of(spec.fusion, spec.settings), columns=columns_of(preparation)).encoder
    )
    module = shelf.load("encoders", name)
    needs, start = getattr(module, "NEEDS", ()), spec.starts.get(modality) or spec.starts.get(kind)
    own = read_files(name, spec.encoder_settings.get(modality) or spec.encoder_settings.get(kind) or {})
    settings = own if start is None else {**start.settings, **own}
    if hasattr(module, "check_vocabulary"):
        config: Any = shelf.variant("encoders", name)
        module.check_vocabulary(replace(config, **settings), getattr(real_preparation(preparation), "vocabulary_sha256", ""))
    return ModalityShape(
        encoder=name,
        dim=preparation.dim,
        num_tokens=preparation.num_tokens,
        feature_names=preparation.feature_names if "feature_names" in needs else (),
        settings=settings,
    )


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Rows:
    """Patients whom a network reads."""

    data: Dataset
    preparations: Mapping[str, Preparation]
    counts: Mapping[str, np.ndarray]
    """Kept tokens of each patient, by modality."""
    values: torch.Tensor
    """Of the target."""
    tables: Mapping[str, Tokens]
    """All patients of modalities that are collated once."""

    @staticmethod
    def of(
        data: Dataset, preparations: Mapping[str, Preparation], counts: Mapping[str, np.ndarray], values: torch.Tensor
    ) -> "_Rows":
        """Collate what is collated once."""
        tables = {m: p.collate(data.samples[m]) for m, p in preparations.items() if _numbers(p) * len(data) <= _KEPT}
        return _Rows(data=data, preparations=preparations, counts=counts, values=values, tables=tables)

    def source(self, features: Mapping[str, Features] | None = None) -> Source:
        """Collate a batch at a time; ``features`` stand in for the tokens of their modalities."""
        made = features or {}
        sizes = {m: f.sizes for m, f in made.items()}
        ragged = [m for m, p in self.preparations.items() if p.num_tokens is None]

        def load(index: np.ndarray) -> tuple[dict[str, Tokens], torch.Tensor]:
            tokens = {m: made[m].of(index) if m in made else self._tokens(m, index) for m in self.preparations}
            return tokens, self.values[torch.from_numpy(index)]

        counted = np.stack([sizes.get(m, self.counts[m]) for m in ragged], axis=1) if ragged else None
        real = {m: real_preparation(p) for m, p in self.preparations.items() if m not in made}
        varied = {m: p.varied for m, p in real.items() if isinstance(p, Varying) and p.vary}
        return Source(load=load, sizes=counted, ragged=ragged, varied=varied)

    def _tokens(self, modality: str, index: np.ndarray) -> Tokens:
        if modality in self.tables:
            return self.tables[modality].take(torch.from_numpy(index))
        return self.preparations[modality].collate([self.data.samples[modality][i] for i in index])


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
