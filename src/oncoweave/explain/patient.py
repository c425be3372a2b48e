"""One patient: what a network attends to in that patient's record, and what its output does without it.

Everything here is the patient's record (text, values, films). It is handed to the caller, hidden from ``repr`` and never logged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from oncoweave.explain.attention import Attention, attend
from oncoweave.explain.batches import collate
from oncoweave.explain.deletion import TABLES
from oncoweave.explain.occlusion import delete_groups, delete_modalities, delete_sets, delete_tokens, sizes
from oncoweave.explain.patches import grid_map, word_map
from oncoweave.explain.ranking import columns_of, merge_levels
from oncoweave.explain.words import Word, is_word, words_of
from oncoweave.modalities.expression import Sample as Expression
from oncoweave.modalities.film import Film
from oncoweave.modalities.film import Sample as Films
from oncoweave.modalities.record import Sample as Record
from oncoweave.modalities.report import Preparation as Texts
from oncoweave.modalities.report import Sample as Text
from oncoweave.modalities.variants import Sample as Variants
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

MAPPED = 4
"""Words of a report that get a map on each film: those whose deletion changes the output most."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Reading:
    """A report, word by word."""

    words: tuple[Word, ...] = field(repr=False)
    changes: tuple[float, ...] = field(repr=False)
    """Size of the change when the word at this place is deleted."""

    @property
    def ranked(self) -> tuple[int, ...]:
        """Places of words, without punctuation, whose deletion changes most first."""
        places = [i for i, word in enumerate(self.words) if is_word(word.text)]
        return tuple(sorted(places, key=lambda i: -self.changes[i]))

    @property
    def decisive(self) -> tuple[Word, ...]:
        """The first of them, each word once."""
        first: dict[str, Word] = {}
        for i in self.ranked:
            first.setdefault(self.words[i].text.lower(), self.words[i])
        return tuple(first.values())[:MAPPED]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Map:
    """Values of a film's patches."""

    kind: str
    """``attention``, ``deletion``, or ``word``."""
    grid: Float[np.ndarray, "row column"] = field(repr=False)
    word: str = field(default="", repr=False)
    """That whose own attention it is."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Picture:
    """A film with its maps."""

    modality: str
    film: Film = field(repr=False)
    maps: tuple[Map, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A modality, a column of a table, or a gene set where the encoder gives a token a set."""

    name: str
    attention: float
    """A modality's share of all attention; a column's relative to an even spread over the tokens measured."""
    change: tuple[float, ...]
    """Of each output when it is deleted: with it less without it. NaN where nothing would be left."""
    value: object = field(default=None, repr=False)
    """Of a column; None of a set, of a modality, and of a column of several samples."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class PatientFindings:
    """What was found in one patient."""

    modalities: tuple[Item, ...]
    columns: Mapping[str, tuple[Item, ...]] = field(repr=False)
    """Of each table: its columns, or the gene sets that its columns are encoded by."""
    readings: Mapping[str, Reading] = field(repr=False)
    pictures: tuple[Picture, ...] = field(repr=False)
    sets: tuple[str, ...] = ()
    """Tables of which there are gene sets, not columns."""
    stand_in: float = 0.0
    """Share of attention on what stands in for modalities that the patient lacks."""
    drawn: bool = False
    """Whether some tiles of a bag were looked at, not all."""
    left_out: bool = False
    """Whether the patient has too many tokens for attention, which is NaN: modalities were deleted, and nothing inside them."""


def explain_patient(fitted: FittedNetwork, patient: Dataset) -> PatientFindings:
    """Follow a network's attention in one patient, and delete every column (or gene set), word and patch in turn.

    Args:
        fitted: a network whose fusion can be followed.
        patient: one row with exactly the network's modalities.

    Raises:
        ConfigError: the fusion has no attention from its vector to the tokens.
    """
    assert len(patient) == 1, f"one patient is explained at a time, got {len(patient)}"
    attention = attend(fitted, patient)
    changes, shares = delete_modalities(fitted, patient)[0], attention.rollout.shares[0]
    items = tuple(
        Item(name=name, attention=float(shares[m]), change=tuple(changes[m].tolist()))
        for m, name in enumerate(fitted.modalities)
        if patient.samples[name][0] is not None
    )
    kinds = {name: patient.kinds[name] for name in _traced(attention)}
    readings = {name: _reading(fitted, patient, name, attention) for name, kind in kinds.items() if kind == "report"}
    films = [name for name, kind in kinds.items() if kind == "film"]
    pictures = [p for name in films for p in _pictures(fitted, patient, name, attention, readings)]
    inside = {name: _sets if name in attention.sets else _columns for name, kind in kinds.items() if kind in TABLES}
    return PatientFindings(
        modalities=items,
        columns={name: look(fitted, patient, name, attention) for name, look in inside.items()},
        readings=readings,
        pictures=tuple(pictures),
        sets=tuple(name for name in inside if name in attention.sets),
        stand_in=float(np.nan_to_num(attention.rollout.stand_ins[0]).sum()),
        drawn=bool(attention.drawn[0]),
        left_out=bool(attention.left_out[0]),
    )


def _traced(attention: Attention) -> list[str]:
    return [name for name, tokens in attention.rollout.tokens.items() if tokens[0] is not None]


def _columns(fitted: FittedNetwork, patient: Dataset, name: str, attention: Attention) -> tuple[Item, ...]:
    preparation = fitted.preparations[name]
    tokens = preparation.feature_names[: preparation.num_tokens]
    received, names = merge_levels(attention.rollout.table(name), tokens, preparation.columns)
    owner = columns_of(tokens, preparation.columns)
    groups = [[place for place, column in enumerate(owner) if column == one] for one in names]
    (changes,) = delete_groups(fitted, patient, name, [groups])
    return _items(names, [owner.count(one) for one in names], received[0], changes, values=_values(patient.samples[name][0]))


def _sets(fitted: FittedNetwork, patient: Dataset, name: str, attention: Attention) -> tuple[Item, ...]:
    (changes,), names = delete_sets(fitted, patient, name), attention.sets[name]
    return _items(names, [1] * len(names), attention.rollout.table(name)[0], changes, values={})


def _items(
    names: Sequence[str],
    tokens: Sequence[int],
    received: Float[np.ndarray, " item"],
    changes: Float[np.ndarray, "item output"] | None,
    *,
    values: Mapping[str, object],
) -> tuple[Item, ...]:
    if changes is None:
        return ()
    found = [row for row in zip(names, tokens, received.tolist(), changes.tolist(), strict=True) if not np.isnan(row[2])]
    even = sum(row[2] for row in found) / max(sum(row[1] for row in found), 1) or 1.0
    return tuple(
        Item(name=name, attention=share / count / even, change=tuple(change), value=values.get(name))
        for name, count, share, change in found
    )


def _values(sample: object) -> Mapping[str, object]:
    """Read a table's values, by column, as the table holds them; of several samples of expression none is the patient's."""
    match sample:
        case Record():
            return sample.values
        case Variants():
            return dict(zip(sample.alterations, sample.values.tolist(), strict=True))
        case Expression() if len(sample.values) == 1:
            return dict(zip(sample.genes, sample.values[0].tolist(), strict=True))
    return {}


def _reading(fitted: FittedNetwork, patient: Dataset, name: str, attention: Attention) -> Reading:
    preparation, sample, received = fitted.preparations[name], patient.samples[name][0], attention.rollout.tokens[name][0]
    assert isinstance(preparation, Texts), f"{name!r} is a report whose preparation is a {type(preparation).__name__}"
    assert isinstance(sample, Text), f"{name!r} is a report whose sample is a {type(sample).__name__}"
    assert received is not None, f"{name!r} has no tokens that can be told apart"
    words = words_of(preparation, sample, received)
    (changes,) = delete_groups(fitted, patient, name, [[word.pieces for word in words]])
    size = sizes(fitted, changes) if changes is not None else np.zeros(len(words))
    return Reading(words=words, changes=tuple(np.nan_to_num(size).tolist()))


def _pictures(
    fitted: FittedNetwork, patient: Dataset, name: str, attention: Attention, readings: Mapping[str, Reading]
) -> list[Picture]:
    sample, received = patient.samples[name][0], attention.rollout.tokens[name][0]
    assert isinstance(sample, Films), f"{name!r} is a film whose sample is a {type(sample).__name__}"
    tokens = collate(fitted, patient, np.arange(1))[name]
    assert tokens.positions is not None, f"{name!r} has patches without places"
    positions = tokens.positions[0][tokens.keep[0]].double().numpy()
    (changes,) = delete_tokens(fitted, patient, name)
    pictures = []
    for number, film in enumerate(sample.films):
        maps = [Map(kind="attention", grid=grid_map(received, positions, film=number))] if received is not None else []
        if changes is not None:
            maps.append(Map(kind="deletion", grid=grid_map(sizes(fitted, changes), positions, film=number)))
        for text, reading in readings.items():
            grids = [
                (word.text, word_map(fitted, patient, word, text=text, picture=name, film=number)) for word in reading.decisive
            ]
            # in some fusions no word attends to a patch: a map of nothing but zeros says nothing
            maps += [Map(kind="word", word=word, grid=grid) for word, grid in grids if np.nansum(grid) > 0]
        pictures.append(Picture(modality=name, film=film, maps=tuple(maps)))
    return pictures
