"""How a study reads free text: with words hidden that state the answer, by the vocabulary of a language model, or both ways."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.schema import Strict
from oncoweave.data.cohort import Cohort, ModalitySpec, check_name
from oncoweave.data.label_words import check_words, is_ordinary, mask_text, noted_words
from oncoweave.modalities.report import Sample
from oncoweave.nn.vocabulary import find_tokenizer
from oncoweave.train.dataset import Dataset


class TextReading(Strict):
    """How one modality of kind ``report`` is read."""

    of: str | None = None
    """A modality of the cohort whose texts this one reads once more; the modality itself when not given."""
    mask_words: tuple[str, ...] | None = None
    """Words, sequences of words and stems (``intubat*``) that no model of this modality sees; those that the cohort hides where
    nothing is said, and none where the list is empty."""
    mask_classes: bool = False
    """Hide the names of the endpoint's classes as well, but for those that are ``data.label_words.ORDINARY``."""
    tokenizer: str | None = None
    """Folder of a language model whose vocabulary is used, from the place of the study file; else the cohort's, if it has one."""


def read_texts_as(cohort: Cohort, texts: Mapping[str, TextReading], endpoint: Endpoint | None) -> Cohort:
    """Add the modalities that read texts of another one, and note on each how it is read.

    Raises:
        ConfigError: a modality that is not of kind ``report``, or class names that are to be hidden and are not declared, or are
            ordinary words and no others are given.
        DataError: a name that no modality may have.
        UnknownNameError: ``of`` names no modality.
    """
    tables, modalities = dict(cohort.tables), dict(cohort.modalities)
    for name, reading in texts.items():
        check_name(name)
        source = reading.of or name
        if source not in cohort.modalities:
            raise unknown_name(f"modality (texts: {name})", source, cohort.modalities)
        if cohort.modalities[source].kind != "report":
            msg = f"texts: {name}: modality {source!r} is of kind {cohort.modalities[source].kind!r}, wanted 'report'"
            raise ConfigError(msg)
        if reading.of is not None and name in cohort.modalities:
            msg = f"texts: {name}: the cohort has a modality of that name; choose another for the texts of {source!r}"
            raise ConfigError(msg)
        tables[name] = cohort.tables[source]
        modalities[name] = ModalitySpec(name=name, kind="report", notes=_notes(cohort.modalities[source], reading, endpoint))
    return replace(cohort, tables=tables, modalities=modalities)


def check_texts(texts: Mapping[str, TextReading], modalities: Sequence[str]) -> None:
    """Refuse a reading that no model could see, or that no model could read.

    Raises:
        ConfigError: the study's ``modalities`` leave it out, or there is no such tokenizer.
    """
    if unread := [name for name in texts if name not in modalities]:
        msg = (
            f"texts: {unread[0]} is read by no model, as the study's modalities do not list it; list it there as well:"
            f" modalities: [{', '.join((*modalities, unread[0]))}]"
        )
        raise ConfigError(msg)
    for name, reading in texts.items():
        if reading.tokenizer is not None:
            try:
                find_tokenizer(Path(reading.tokenizer))
            except ConfigError as error:
                msg = f"texts: {name}: tokenizer: {error}"
                raise ConfigError(msg) from error


def _notes(source: ModalitySpec, reading: TextReading, endpoint: Endpoint | None) -> dict[str, str]:
    """What the study says replaces what the cohort said of the same."""
    notes = {key: value for key, value in source.notes.items() if key != "mask_words"}
    classes = _class_words(endpoint) if reading.mask_classes and endpoint is not None else ()
    hidden = noted_words(source.notes) if reading.mask_words is None else reading.mask_words
    words = (*hidden, *(name for name in classes if not is_ordinary(name)))
    if classes and not words:
        msg = (
            f"mask_classes: the class names ({', '.join(classes)}) are ordinary words, without which a text says something else"
            " (no invasion); list the words that state the answer under mask_words, and leave out mask_classes"
        )
        raise ConfigError(msg)
    if any("," in word for word in words):
        msg = f"mask_words: {next(w for w in words if ',' in w)!r} holds a comma; list its parts as words of their own"
        raise ConfigError(msg)
    if words:
        notes["mask_words"] = ", ".join(check_words(words))
    if reading.tokenizer is not None:
        notes["tokenizer"] = reading.tokenizer
    return notes


def _class_words(endpoint: Endpoint) -> tuple[str, ...]:
    names = endpoint.classes or (endpoint.columns if endpoint.kind == "multilabel" else ())
    if not names:
        msg = f"mask_classes: endpoint {endpoint.name!r} has no class names to hide; list words under mask_words"
        raise ConfigError(msg)
    return tuple(name.replace("_", " ") for name in names)


def spared_classes(texts: Mapping[str, TextReading], endpoint: Endpoint) -> list[str]:
    """Say, by modality, which class names were to be hidden and were not, as they are ordinary words."""
    notes = []
    for name in (name for name, reading in texts.items() if reading.mask_classes):
        if spared := [word for word in _class_words(endpoint) if is_ordinary(word)]:
            told = f"Not hidden from models of {name!r}: {', '.join(spared)}. Such class names are ordinary words, and the text"
            notes.append(f"{told} says something else without them; words that state the answer belong under mask_words.")
    return notes


def masking_notes(data: Dataset, splits: pd.DataFrame) -> list[str]:
    """Say, by modality, how many texts held words that are hidden, which, and in how many training texts of a fold."""
    return [note for name, samples in data.samples.items() if (note := _masking_note(name, samples, data, splits))]


def _masking_note(name: str, samples: tuple[object | None, ...], data: Dataset, splits: pd.DataFrame) -> str:
    texts = [s if isinstance(s, Sample) else None for s in samples]
    words = next((s.mask_words for s in texts if s is not None), ())
    if not words:
        return ""
    hidden = [Counter[str]() if s is None else mask_text(s.text, words)[1] for s in texts]
    total = sum(hidden, Counter[str]())
    row_of = {patient: i for i, patient in enumerate(data.patient_ids)}
    held = np.array([bool(h) for h in hidden])
    in_training = []
    for _, rows in splits.groupby("repeat"):
        index, fold = np.array([row_of[p] for p in rows["patient_id"]]), rows["fold"].to_numpy()
        in_training += [int(held[index[fold != k]].sum()) for k in np.unique(fold[fold >= 0])]
    counts = ", ".join(f"{word} {total[word]}" for word in words if total[word])
    never = [word for word in words if not total[word]]
    return (
        f"Words hidden from models of {name!r}: in {int(held.sum())} of {sum(s is not None for s in texts)} texts"
        f" ({counts or 'none found'}); {min(in_training)} to {max(in_training)} of the training texts of a fold."
        + (f" Never found: {', '.join(never)}." if never else "")
    )
