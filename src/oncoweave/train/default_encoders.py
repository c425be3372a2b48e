"""Which encoder reads a modality in a network, where the study names none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.model import operator_of
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Preparation
from oncoweave.train.scarcity import training_rows
from oncoweave.train.study import ModelSpec, Study

DEFAULT_ENCODERS = {
    "embedding": "linear",
    "expression": "linear",
    "film": "cnn2d",
    "record": "linear",
    "report": "bert/tiny",
    "slide": "abmil",
    "variants": "linear",
    "volume": "cnn3d",
}
"""Encoder of each kind of modality where the study names none. Tables get a linear layer: on cohorts of a few hundred patients
deeper encoders did worse (benchmarks/network_defaults_2026-11.md); films a convolutional network, which did better than the
transformer on both cohorts measured (benchmarks/irene_2026-11.md)."""

TOKEN_ENCODERS = DEFAULT_ENCODERS | {
    "embedding": "project",
    "expression": "pathways",
    "film": "film_vit/tokens",
    "record": "tabular/tokens",
    "slide": "project",
    "variants": "pathways",
    "volume": "cnn3d/tokens",
}
"""The same for fusions that read every token: encoders that keep a gene set, a feature, a tile or a window of words apart."""

_MANY = 512
"""Columns of a table above which a token each is more than attention between all of them should cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An encoder, and why it is not the one that the operator is meant for."""

    encoder: str
    note: str = ""


def default_encoder(kind: str, *, operator: str, columns: Sequence[str] = ()) -> Choice:
    """Name the encoder of a kind of modality under an intermediate operator, where the study names none.

    An operator may state its own by kind (``ENCODERS``). Where the encoder cannot make enough of the modality's ``columns`` (its
    file's ``lacks``), each column is a token, or all are one where they are too many, and the note says why.

    Raises:
        ConfigError: the kind has no default.
    """
    meant = _meant(kind, operator)
    if meant is None:
        fitting = [e.name for e in shelf.catalogue("encoders") if kind in _kinds(e.constants.get("KINDS"))]
        msg = f"modalities of kind {kind!r} have no usual encoder; name one: encoders: {{{kind}: ...}} (fitting: {fitting})"
        raise ConfigError(msg)
    file = shelf.load("encoders", meant)
    fault = file.lacks(shelf.variant("encoders", meant), columns) if hasattr(file, "lacks") else ""
    if not fault:
        return Choice(encoder=meant)
    instead = "project" if len(columns) <= _MANY else "linear"
    return Choice(encoder=instead, note=f"{instead} instead of {meant}: {fault}")


def _meant(kind: str, operator: str) -> str | None:
    module = shelf.load("fusion", operator)
    usual = TOKEN_ENCODERS if module.READS == "tokens" else DEFAULT_ENCODERS
    return getattr(module, "ENCODERS", {}).get(kind) or usual.get(kind)


def _kinds(stated: object) -> tuple[object, ...]:
    return stated if isinstance(stated, tuple) else ()


def columns_of(preparation: Preparation) -> Sequence[str]:
    """Name the columns that are tokens, or all of a modality whose tokens are none."""
    return preparation.feature_names[: preparation.num_tokens]


def encoder_notes(study: Study, data: Dataset, splits: pd.DataFrame) -> list[str]:
    """Say which networks of a resolved study read a table otherwise than their fusion is meant to, and in how many folds.

    Each fold chooses by the columns that its training patients keep. One sentence a modality and reason, with the models it
    concerns and the settings that change it.
    """
    columns: dict[str, list[Sequence[str]]] = {}
    concerned: dict[tuple[str, str], list[str]] = {}
    for model in study.models or ():
        operator = operator_in(model)
        for name in model.modalities or study.modalities or ():
            kind = data.kinds[name]
            if operator is None or name in model.encoders or kind in model.encoders:
                continue
            meant = _meant(kind, operator)
            if meant is None or not hasattr(shelf.load("encoders", meant), "lacks"):
                continue
            if name not in columns:
                columns[name] = list(_columns_of_folds(name, data, splits))
            if note := _counted([default_encoder(kind, operator=operator, columns=own) for own in columns[name]]):
                concerned.setdefault((name, note), []).append(model.name)
    return [
        f"Encoder of {name!r} in {', '.join(models)}: {note}. Other sets: encoders: {{{name}: pathways}},"
        f" encoder_settings: {{{name}: {{gene_sets: my.gmt}}}}."
        for (name, note), models in concerned.items()
    ]


def _columns_of_folds(name: str, data: Dataset, splits: pd.DataFrame) -> Iterator[Sequence[str]]:
    """Name a table's columns as each fold keeps them, where a training patient has it, then as the model of all patients does."""
    for _, rows, _ in training_rows(data.patient_ids, splits):
        train = data.take(rows)
        if any(sample is not None for sample in train.samples[name]):
            yield columns_of(train.prepare(name))
    yield columns_of(data.prepare(name))


def _counted(choices: Sequence[Choice]) -> str:
    """Tell the first note of some choices, the last of which is that of the model for new patients, and of how many it is."""
    notes = [choice.note for choice in choices]
    if all(notes) or not any(notes):
        return notes[-1]
    folds, final = sum(bool(note) for note in notes[:-1]), " and in the model of all patients" if notes[-1] else ""
    return f"in {folds} of {len(notes) - 1} folds{final}, {next(filter(None, notes))}"


def operator_in(model: ModelSpec) -> str | None:
    """Name the intermediate fusion that a model's network is made of; None for a model without one."""
    fusion = model.fusion if model.levels is None else model.levels.feature
    stage = str(next(e.constants["STAGE"] for e in shelf.catalogue("fusion") if e.name == fusion))
    return operator_of(fusion, model.settings) if stage in ("intermediate", "hybrid") else None
