"""A folder a named patient: words, values and films with what the network attends to, beside what deletion does.

These files hold the patient's record. They are numbered as the patients were named, hold no identifier, and no page of the cohort
refers to them.
"""

import base64
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.explain.batches import TILES
from oncoweave.explain.patches import write_overlay
from oncoweave.explain.patient import Item, PatientFindings, Reading, explain_patient
from oncoweave.explain.patient import Picture as Filmed
from oncoweave.serve import wording
from oncoweave.serve.explain.about import About
from oncoweave.serve.page import Block, Marked, Page, Picture, Pictures, Prose, Row, Section, Table, Verdict, absent, render
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork
from oncoweave.train.results import write_table

PATIENTS = "patients"
PAGE = "patient.html"
_WORDS = 15
"""In the table of words."""
_COLUMNS = 30
"""In the table of columns."""
_LEVELS = 4
"""Of shading."""


def write_patients(folder: Path, fitted: FittedNetwork, data: Dataset, about: About, *, advance: Callable[[int], None]) -> None:
    """Write ``1``, ``2`` ... in the order in which the patients were named."""
    for row in range(len(data)):
        write_patient(folder / str(row + 1), explain_patient(fitted, data.take(np.array([row]))), about, number=row + 1)
        advance(1)


def write_patient(folder: Path, found: PatientFindings, about: About, *, number: int) -> None:
    """Write one patient's pictures, tables of words and columns, and page."""
    folder.mkdir(parents=True)
    for name, reading in found.readings.items():
        write_table(folder / f"words-{name}.parquet", _word_table(reading))
    for name, items in found.columns.items():
        write_table(folder / f"columns-{name}.parquet", _column_table(items))
    sections = (
        _modalities(found, about),
        *(
            _columns(name, items, about, what="gene sets" if name in found.sets else "columns")
            for name, items in found.columns.items()
        ),
        *(_report(name, reading, about) for name, reading in found.readings.items()),
        *_films(found, folder),
    )
    page = Page(
        title=f"Patient {number} of those named",
        facts=(
            ("Network", about.model),
            ("Endpoint", f"{wording.spaced(about.endpoint)} ({about.endpoint_kind})"),
            ("Date", time.strftime("%Y-%m-%d", time.gmtime())),
        ),
        verdict=Verdict(headline=_headline(found), sentences=_sentences(about), figures=()),
        sections=sections,
        colophon="Made by oncoweave. This page holds a patient’s text, values and films: keep it where the record is kept.",
        kind="explanation of one patient",
    )
    (folder / PAGE).write_text(render(page), encoding="utf-8")


def _headline(found: PatientFindings) -> str:
    if not found.modalities:
        return "The patient has none of the network’s modalities, so there is nothing to attend to."
    if found.left_out:
        return "The patient has too many tokens for attention to be followed, so deletion of modalities is all that is shown."
    known = [item for item in found.modalities if np.isfinite(item.change).all()]
    if len(known) < 2:
        return "The patient has one modality, so nothing stands beside it."
    attended, deleted = max(known, key=lambda i: i.attention), max(known, key=_size)
    if attended.name == deleted.name:
        return f"In this patient, {attended.name} is attended most, and the output changes most without it."
    return f"In this patient, {attended.name} is attended most, but the output changes most without {deleted.name}."


def _sentences(about: About) -> tuple[str, ...]:
    return (
        "Attention has no sign and explains nothing by itself; read it beside what the output does when the same is deleted.",
        f"Changes are in {about.unit}. They are of the network, not of the patient’s disease, and do not say whether it is"
        " right.",
        *(["The network was fitted on patients of this cohort."] if about.own else []),
    )


def _size(item: Item) -> float:
    return float(np.sqrt(np.mean(np.square(item.change))))


def _change(item: Item) -> str:
    """Write a change, with its sign where there is one output."""
    return wording.number(item.change[0], sign=True) if len(item.change) == 1 else wording.number(_size(item))


def _modalities(found: PatientFindings, about: About) -> Section:
    rows = tuple(Row(cells=(i.name, _share(i), _change(i))) for i in found.modalities)
    caption = (
        f"Modalities: share of attention, and change of the output with the modality, less without it. {_signed(about, found)}"
    )
    table = Table(caption=caption.strip(), header=("Modality", "Share of attention", "Change"), rows=rows)
    notes = []
    if found.stand_in > 0:
        share = wording.percent(found.stand_in, 1.0)
        notes.append(f"{share} of attention lies on what stands in for modalities that the patient lacks.")
    if found.drawn:
        notes.append(f"Of bags of more tiles, attention was followed to {wording.count(TILES)}, drawn at random.")
    told = [Prose(text=" ".join(notes), role="note")] if notes else []
    return Section(key="modalities", title="Modalities", blocks=(table, *told))


def _share(item: Item) -> str:
    return wording.percent(item.attention, 1.0) if wording.known(item.attention) else "–"


def _signed(about: About, found: PatientFindings) -> str:
    one = all(len(i.change) == 1 for i in found.modalities)
    return f"A plus raises the output ({about.unit}), a minus lowers it." if one else ""


def _columns(name: str, items: tuple[Item, ...], about: About, *, what: str) -> Section:
    ranked, sets = sorted(items, key=lambda i: -np.nan_to_num(_size(i)))[:_COLUMNS], what == "gene sets"
    # a set has no value of its own
    rows = tuple(
        Row(cells=(i.name, *([] if sets else [_value(i.value)]), wording.number(i.attention, 2), _change(i))) for i in ranked
    )
    few = len(ranked) < len(items)
    caption = (
        f"{what.capitalize()} of {name}{' with genes' if sets else ''} measured in this patient,"
        f" {f'the {len(ranked)} of {len(items)}' if few else 'those'} whose deletion changes the output most first. Attention is"
        f" relative to an even spread over {'all of these' if few else 'them'}; changes are in {about.unit}."
    )
    header = ("Gene set",) if sets else ("Column", "Value")
    table = Table(caption=caption, header=(*header, "Attention", "Change"), rows=rows, num_text=len(header))
    return Section(key=f"columns-{name}", title=f"{what.capitalize()} of {name}", blocks=(table,))


def _value(value: object) -> str:
    """Write a value as the table holds it; a dash where there is none to show."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _report(name: str, reading: Reading, about: About) -> Section:
    if not reading.words:
        return absent(f"words-{name}", f"Words of {name}", "The network sees no word of this text.")
    attended = [word.attention for word in reading.words]
    even = sum(attended) / len(attended) or 1.0
    rows = tuple(
        Row(cells=(reading.words[i].text, wording.number(attended[i] / even, 2), wording.number(reading.changes[i])))
        for i in reading.ranked[:_WORDS]
    )
    caption = (
        f"The {wording.plural(len(rows), 'word')} whose deletion, each where it stands, changes the output most, in {about.unit},"
        " whatever the sign. Attention, summed over a word’s pieces, is relative to an even spread over the words."
    )
    return Section(
        key=f"words-{name}",
        title=f"Words of {name}",
        blocks=(
            Prose(text="As attended: the darker, the more attention on the word."),
            Marked(pieces=_shaded(reading, attended), tone="attended"),
            Prose(text="As deleted: the darker, the more the output changes without the word."),
            Marked(pieces=_shaded(reading, reading.changes), tone="deleted"),
            Table(caption=caption, header=("Word", "Attention", "Change"), rows=rows),
        ),
    )


def _shaded(reading: Reading, values: Sequence[float]) -> tuple[tuple[str, int], ...]:
    """Part the text, which words cover but for spaces, into pieces with a level of shade each."""
    top, pieces, end = max(values) or 1.0, list[tuple[str, int]](), 0
    for word, value in zip(reading.words, values, strict=True):
        if word.start > end:
            pieces.append((" ", 0))
        pieces.append((word.text, int(np.ceil(_LEVELS * value / top - 0.5))))
        end = word.end
    return tuple(pieces)


def _films(found: PatientFindings, folder: Path) -> list[Section]:
    sections = []
    for name in dict.fromkeys(picture.modality for picture in found.pictures):
        blocks: list[Block] = [
            Prose(
                text="Dark violet is least and pale yellow most, on a scale of each map’s own: colours of two maps cannot be"
                " compared. Of a word: the patches that its own token has drawn from, which is attention, not what the word does."
            )
        ]
        if _lacks_word_maps(found):
            blocks.append(Prose(text="No word has drawn from a patch in this network, so no word has a map.", role="note"))
        for number, picture in enumerate((p for p in found.pictures if p.modality == name), start=1):
            blocks.append(Pictures(pictures=_overlays(picture, folder, stem=f"{name}-{number}"), title=f"Film {number}"))
        sections.append(Section(key=f"films-{name}", title=f"Patches of {name}", blocks=tuple(blocks)))
    return sections


def _lacks_word_maps(found: PatientFindings) -> bool:
    asked = any(reading.decisive for reading in found.readings.values())
    return asked and not any(one.kind == "word" for picture in found.pictures for one in picture.maps)


def _overlays(picture: Filmed, folder: Path, *, stem: str) -> tuple[Picture, ...]:
    """Write the maps of a film as PNG, and set them in the page; names of files hold no word of the report."""
    shown, words = [], 0
    for one in picture.maps:
        words += one.kind == "word"
        path = write_overlay(
            folder / f"{stem}-{one.kind}{words if one.kind == 'word' else ''}.png", one.grid, picture.film.pixels
        )
        caption = {"attention": "Attention on patches", "deletion": "Change when a patch is deleted"}.get(
            one.kind, f"“{one.word}”"
        )
        content = base64.b64encode(path.read_bytes()).decode("ascii")
        shown.append(Picture(address=f"data:image/png;base64,{content}", caption=f"{caption} ({path.name})"))
    return tuple(shown)


def _word_table(reading: Reading) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "word": [w.text for w in reading.words],
            "start": [w.start for w in reading.words],
            "end": [w.end for w in reading.words],
            "attention": [w.attention for w in reading.words],
            "change": reading.changes,
        }
    )


def _column_table(items: tuple[Item, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "column": [i.name for i in items],
            "value": [_value(i.value) for i in items],
            "attention": [i.attention for i in items],
            "change": [_size(i) for i in items],
        }
    )
