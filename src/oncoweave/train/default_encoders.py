"""Which encoder reads a modality in a network, where the study names none."""

from collections.abc import Sequence
from dataclasses import dataclass

from oncoweave.core import shelf
from oncoweave.core.errors import ConfigError
from oncoweave.model import operator_of
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Preparation
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


def encoder_notes(study: Study, data: Dataset) -> list[str]:
    """Say which networks of a resolved study read a table otherwise than their fusion is meant to, by all patients' columns.

    One sentence a modality and reason, with the models it concerns and the settings that change it.
    """
    columns: dict[str, Sequence[str]] = {}
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
                columns[name] = columns_of(data.prepare(name))
            if note := default_encoder(kind, operator=operator, columns=columns[name]).note:
                concerned.setdefault((name, note), []).append(model.name)
    return [
        f"Encoder of {name!r} in {', '.join(models)}: {note}. Other sets: encoders: {{{name}: pathways}},"
        f" encoder_settings: {{{name}: {{gene_sets: my.gmt}}}}."
        for (name, note), models in concerned.items()
    ]


def operator_in(model: ModelSpec) -> str | None:
    """Name the intermediate fusion that a model's network is made of; None for a model without one."""
    fusion = model.fusion if model.levels is None else model.levels.feature
    stage = str(next(e.constants["STAGE"] for e in shelf.catalogue("fusion") if e.name == fusion))
    return operator_of(fusion, model.settings) if stage in ("intermediate", "hybrid") else None
