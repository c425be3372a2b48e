"""Words of a report by the attention their pieces receive (IRENE, Zhou et al. 2023, fig. 3, where words are ranked the same way).

A patient's words are that patient's text: they are handed to the caller, hidden from ``repr`` and never logged. Over a cohort,
only words that several patients' reports share are listed. Attention on a word has no sign ("no effusion" is attended as
"effusion" is) and attributes nothing; what the output does without its pieces is for ``explain.occlusion.delete_groups`` to say.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.data.label_words import blank_text
from oncoweave.evaluate.intervals import Interval
from oncoweave.explain.ranking import mean_interval
from oncoweave.modalities.report import Preparation, Sample
from oncoweave.nn.vocabulary import parse_tokenizer

TOP_SHARE = 0.25
"""Of a patient's words, the share that counts as important, as in the paper."""
LEAST_PATIENTS = 5
"""Patients whose reports have to hold a word that is listed for a cohort."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One word of a patient's text, where it stands, and what it receives."""

    start: int
    end: int
    """Characters of the report from ``start`` to before ``end``."""
    pieces: tuple[int, ...]
    """Places of its tokens among those of the report."""
    attention: float
    """Sum over its pieces."""
    text: str = field(repr=False)
    """As written; part of the patient's record."""


def words_of(preparation: Preparation, sample: Sample, received: Float[np.ndarray, " token"]) -> tuple[Word, ...]:
    """Put attention on tokens back on the words of the text, through the tokenizer's offsets, in the order of the text.

    Neither sign nor attribution. Pieces of a word are added up; what the tokenizer splits off (punctuation) is a word of its own,
    and what is hidden from the network is none.

    Args:
        preparation: of the network's reports.
        sample: the patient's report.
        received: attention of each token, as ``explain.attention.Received`` has it.

    Raises:
        DataError: the text has another number of tokens.
        MissingExtraError: the library ``tokenizers`` is not installed.
    """
    text = blank_text(sample.text, preparation.mask_words)
    encoding = parse_tokenizer(preparation.tokenizer).encode(text, add_special_tokens=False)
    if max(len(encoding.ids), 1) != len(received):
        msg = f"a report has {len(encoding.ids)} tokens and attention on {len(received)}; are these the network's preparations?"
        raise DataError(msg)
    words = []
    for word, group in groupby(range(len(encoding.ids)), key=lambda place: encoding.word_ids[place]):
        pieces = tuple(group)
        start, end = encoding.offsets[pieces[0]][0], encoding.offsets[pieces[-1]][1]
        if word is not None:
            attention = float(received[list(pieces)].sum())
            words.append(Word(start=start, end=end, pieces=pieces, attention=attention, text=text[start:end]))
    return tuple(words)


def is_word(text: str) -> bool:
    """Whether a word is more than punctuation."""
    return any(letter.isalnum() for letter in text)


def top_words(words: Sequence[Word], *, share: float = TOP_SHARE) -> tuple[Word, ...]:
    """Give the most attended ``share`` of a patient's words, rounded up, most attended first; neither sign nor attribution.

    Raises:
        DataError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        msg = f"wanted a share of the words above 0 and at most 1, got {share}"
        raise DataError(msg)
    ranked = sorted(words, key=lambda word: (-word.attention, word.start))
    return tuple(ranked[: int(np.ceil(share * len(ranked) - 1e-9))])


def same_words(words: Sequence[Word]) -> dict[str, tuple[int, ...]]:
    """Give the places of all pieces of each word of a text, wherever it stands; words are told apart in lower case."""
    places: dict[str, list[int]] = defaultdict(list)
    for word in words:
        places[word.text.lower()] += word.pieces
    return {text: tuple(found) for text, found in places.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedWord:
    """A word over the cohort."""

    text: str
    """In lower case."""
    attention: Interval
    """Mean over the patients who have it, relative to an even spread over the words of the text: 1 is a word like any other."""
    top: float
    """Share of these patients in whom it is among the most attended."""
    patients: int


def rank_words(
    patients: Sequence[Sequence[Word]],
    *,
    generator: np.random.Generator,
    least_patients: int = LEAST_PATIENTS,
    share: float = TOP_SHARE,
    replicates: int = 1000,
) -> tuple[RankedWord, ...]:
    """Rank the words that at least so many patients' reports hold, most attended first; neither sign nor attribution.

    Of a word that stands in a text several times, the most attended counts. Words of few patients are left out, so that nothing
    listed is one patient's: names, dates, places. What has no letter or digit counts in the spread and is not listed. Intervals
    resample the patients who have a word.

    Raises:
        DataError: fewer than two patients are asked for a word.
    """
    if least_patients < 2:
        msg = f"a word that is listed for a cohort has to be that of two patients or more, got {least_patients}"
        raise DataError(msg)
    found: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for words in patients:
        total = sum(word.attention for word in words)
        chosen = {word.text.lower() for word in top_words(words, share=share)}
        best: dict[str, float] = {}
        for word in words:
            best[word.text.lower()] = max(best.get(word.text.lower(), 0.0), word.attention)
        for text, attention in best.items():
            found[text].append((attention * len(words) / total if total > 0 else 0.0, text in chosen))
    ranked = [
        RankedWord(
            text=text,
            attention=mean_interval(np.array([a for a, _ in values]), generator=generator, replicates=replicates),
            top=float(np.mean([t for _, t in values])),
            patients=len(values),
        )
        for text, values in found.items()
        if len(values) >= least_patients and is_word(text)
    ]
    return tuple(sorted(ranked, key=lambda word: (-word.attention.value, word.text)))
