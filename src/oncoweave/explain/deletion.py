"""What stands inside a modality, in a cohort: columns of a table, words of reports, patches of films, attended and deleted."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from oncoweave.evaluate.intervals import Interval
from oncoweave.explain.attention import Advance, Received
from oncoweave.explain.occlusion import correlations, delete_groups, delete_sets, delete_tokens, sizes
from oncoweave.explain.ranking import (
    RankedColumn,
    columns_of,
    mean_interval,
    merge_levels,
    rank_columns,
    rank_means,
    relative_to_measured,
)
from oncoweave.explain.words import LEAST_PATIENTS, Word, is_word, rank_words, same_words, words_of
from oncoweave.modalities.report import Preparation as Texts
from oncoweave.modalities.report import Sample as Text
from oncoweave.train.dataset import Dataset
from oncoweave.train.network_learner import FittedNetwork

TABLES = ("record", "variants", "expression")
"""Kinds of modality whose tokens are columns with a name."""
COLUMNS = (
    *("modality", "kind", "column", "rank", "rank_low", "rank_high", "stability", "attention", "attention_low", "attention_high"),
    *("patients", "change_rank", "change_rank_low", "change_rank_high", "change_stability", "change", "change_low"),
    *("change_high", "change_patients", "unmeasured", "unmeasured_low", "unmeasured_high", "unmeasured_patients"),
)
"""Of the table of columns, and of gene sets."""
WORDS = (
    *("modality", "word", "patients", "times", "top", "attention", "attention_low", "attention_high"),
    *("change", "change_low", "change_high", "change_patients"),
)
"""Of the table of words."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Looked:
    """One modality of a cohort whose attention was followed, and the patients in whom its tokens are deleted."""

    fitted: FittedNetwork
    data: Dataset
    received: Received
    sets: tuple[str, ...]
    """Names of the sets that the modality's tokens stand for, where they stand for sets."""
    modality: str
    rows: Int[np.ndarray, " drawn"]
    """Of the patients drawn."""
    advance: Advance
    """Told of each patient whose tokens were deleted."""

    @property
    def tokens(self) -> tuple[Float[np.ndarray, " _"] | None, ...]:
        """Attention on the tokens of each patient."""
        return self.received.tokens[self.modality]

    @property
    def is_traced(self) -> bool:
        """Whether its tokens can be told apart in anybody."""
        return any(tokens is not None for tokens in self.tokens)

    @property
    def drawn(self) -> Dataset:
        """The patients drawn."""
        return self.data.take(self.rows)

    def sizes_of(self, changes: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """Say how large changes are, patient by patient."""
        return [None if change is None else sizes(self.fitted, change) for change in changes]

    def sizes_or_nothing(self, changes: Sequence[np.ndarray | None], count: int) -> Float[np.ndarray, "drawn column"]:
        """Say how large changes of so many columns are, NaN in patients without the modality."""
        nothing = np.full(count, np.nan)
        return np.stack([nothing if size is None else size for size in self.sizes_of(changes)])


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Columns:
    """The columns of a table, or the sets that its columns are encoded by."""

    names: tuple[str, ...]
    tokens: tuple[int, ...]
    """How many tokens each has: levels of a category."""
    received: Float[np.ndarray, "patient column"]
    unmeasured: Float[np.ndarray, "patient column"]
    """Attention on what was not measured; NaN where it was, or has no token."""
    size: Float[np.ndarray, "drawn column"]
    """Of the change when the column is deleted."""


def columns_table(
    looked: Looked, *, generator: np.random.Generator, replicates: int
) -> tuple[pd.DataFrame, dict[str, object], int]:
    """Rank the columns of a table by attention, in everybody, and by deletion, in those drawn; levels of a category count as one.

    Where the encoder gives a token a gene set, the sets are ranked. A column that fewer than ``LEAST_PATIENTS`` of those drawn
    have gets no rank by deletion: the mean would be that of a few. Attention on values that were not measured is no part of the
    ranks, and stands beside them.

    Returns:
        A row a column, most attended first; the agreement; and how many columns were measured in nobody and are left out.
    """
    found = _sets(looked) if looked.sets else _columns(looked)
    received, names, size = found.received, found.names, found.size
    seen = (~np.isnan(received) & (np.nansum(received, axis=1) > 0)[:, None]).any(axis=0)
    attended = rank_columns(
        received[:, seen],
        _chosen(names, seen),
        generator=generator,
        tokens=[count for count, there in zip(found.tokens, seen, strict=True) if there],
        replicates=replicates,
    )
    there = (~np.isnan(size)).sum(axis=0) >= LEAST_PATIENTS
    deleted = rank_means(size[:, there], _chosen(names, there), generator=generator, replicates=replicates) if there.any() else ()
    level, kind = ("sets", "gene set") if looked.sets else ("columns", "column")
    agreed = agreed_row(
        level,
        looked.modality,
        list(received[looked.rows]),
        [s[:, None] for s in size],
        generator=generator,
        replicates=replicates,
    )
    beside = relative_to_measured(found.unmeasured, received, found.tokens)
    rows = []
    for one in attended:
        own = beside[:, names.index(one.name)].tolist()
        absent = [value for value in own if not np.isnan(value)]
        rows.append({
            "modality": looked.modality, "kind": kind, "column": one.name, **_ranked("", "attention", one),
            **_ranked("change_", "change", next((d for d in deleted if d.name == one.name), None)),
            **_estimated("unmeasured", _mean_of(absent, generator, replicates)), "unmeasured_patients": len(absent),
        })  # fmt: skip
    return pd.DataFrame(rows), agreed, int((~seen).sum())


def _columns(looked: Looked) -> _Columns:
    preparation = looked.fitted.preparations[looked.modality]
    tokens = preparation.feature_names[: preparation.num_tokens]
    received, names = merge_levels(looked.received.table(looked.modality), tokens, preparation.columns)
    absent = looked.received.table_unmeasured(looked.modality)
    owner = columns_of(tokens, preparation.columns)
    groups = [[place for place, column in enumerate(owner) if column == name] for name in names]
    changes = delete_groups(looked.fitted, looked.drawn, looked.modality, [groups] * len(looked.rows), advance=looked.advance)
    return _Columns(
        names=names,
        tokens=tuple(owner.count(name) for name in names),
        received=received,
        unmeasured=np.full(received.shape, np.nan) if absent is None else merge_levels(absent, tokens, preparation.columns)[0],
        size=looked.sizes_or_nothing(changes, len(names)),
    )


def _sets(looked: Looked) -> _Columns:
    received = looked.received.table(looked.modality)
    changes = delete_sets(looked.fitted, looked.drawn, looked.modality, advance=looked.advance)
    return _Columns(
        names=looked.sets,
        tokens=(1,) * len(looked.sets),
        received=received,
        unmeasured=np.full(received.shape, np.nan),
        size=looked.sizes_or_nothing(changes, len(looked.sets)),
    )


def _chosen(names: Sequence[str], keep: np.ndarray) -> list[str]:
    return [name for name, kept in zip(names, keep, strict=True) if kept]


def _ranked(prefix: str, name: str, ranked: RankedColumn | None) -> dict[str, object]:
    """Write a rank and the mean that it rests on; NaN, of 0 patients, where the column was deleted in too few."""
    ranks = ("rank", "rank_low", "rank_high", "stability")
    return {
        **{f"{prefix}{key}": np.nan if ranked is None else getattr(ranked, key) for key in ranks},
        **_estimated(name, None if ranked is None else ranked.value),
        f"{prefix}patients": 0 if ranked is None else ranked.patients,
    }


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class WordsFound:
    """Words of a cohort's reports."""

    table: pd.DataFrame
    """A row a word, most attended first."""
    agreed: dict[str, object]
    unlisted: int
    """Words left out because they are parts of identifiers."""
    punctuation: float
    """Mean share of a text's attention on words without a letter or digit."""


def words_table(looked: Looked, *, generator: np.random.Generator, hidden: frozenset[str], replicates: int) -> WordsFound:
    """Rank words by attention, in all reports, beside the change when a word is deleted wherever it stands, in those drawn.

    Words of fewer than ``LEAST_PATIENTS`` patients are not listed, and no change is given that rests on fewer.
    """
    words = [_words(looked, row) for row in range(len(looked.data))]
    places = [None if (own := words[row]) is None else same_words(own) for row in looked.rows]
    groups = [() if own is None else tuple(own.values()) for own in places]
    changes = delete_groups(looked.fitted, looked.drawn, looked.modality, groups, advance=looked.advance)
    size = looked.sizes_of(changes)
    sums = [_summed(looked.tokens[row], group) for row, group in zip(looked.rows, groups, strict=True)]
    agreed = agreed_row(
        "words",
        looked.modality,
        sums,
        [None if s is None else s[:, None] for s in size],
        generator=generator,
        replicates=replicates,
    )
    by_word = _by_word(places, size)
    known = [own for own in words if own]
    ranked = rank_words(known, generator=generator, replicates=replicates)
    listed = [word for word in ranked if word.text not in hidden]
    times = Counter(word.text.lower() for own in known for word in own)
    rows = [
        {
            **{"modality": looked.modality, "word": word.text, "patients": word.patients},
            **{"times": times[word.text] / word.patients, "top": word.top},
            **_estimated("attention", word.attention),
            **_estimated("change", _mean_of(by_word[word.text], generator, replicates)),
            "change_patients": len(by_word[word.text]),
        }
        for word in listed
    ]
    return WordsFound(
        table=pd.DataFrame(rows, columns=list(WORDS)),
        agreed=agreed,
        unlisted=len(ranked) - len(listed),
        punctuation=float(np.mean([_on_marks(own) for own in known])) if known else np.nan,
    )


def _by_word(
    places: Sequence[Mapping[str, tuple[int, ...]] | None], size: Sequence[Float[np.ndarray, " _"] | None]
) -> defaultdict[str, list[float]]:
    """Gather the sizes of changes, patient after patient, by the word that was deleted."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for own, changes in zip(places, size, strict=True):
        if own is not None and changes is not None:
            for text, value in zip(own, changes.tolist(), strict=True):
                if not np.isnan(value):
                    found[text].append(value)
    return found


def _mean_of(values: Sequence[float], generator: np.random.Generator, replicates: int) -> Interval | None:
    """Average, unless it would rest on so few patients that it is theirs."""
    enough = len(values) >= LEAST_PATIENTS
    return mean_interval(np.array(values), generator=generator, replicates=replicates) if enough else None


def _estimated(name: str, found: Interval | None) -> dict[str, float]:
    """Write a mean with its interval; NaN where there is none."""
    value, low, high = (np.nan, np.nan, np.nan) if found is None else (found.value, found.low, found.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _words(looked: Looked, row: int) -> tuple[Word, ...] | None:
    sample, received = looked.data.samples[looked.modality][row], looked.tokens[row]
    if sample is None or received is None:
        return None
    preparation = looked.fitted.preparations[looked.modality]
    assert isinstance(preparation, Texts), f"{looked.modality!r} is a report whose preparation is a {type(preparation).__name__}"
    assert isinstance(sample, Text), f"{looked.modality!r} is a report whose samples are of {type(sample).__name__}"
    return words_of(preparation, sample, received)


def _summed(received: Float[np.ndarray, " _"] | None, groups: Sequence[Sequence[int]]) -> Float[np.ndarray, " _"] | None:
    return None if received is None else np.array([received[list(group)].sum() for group in groups])


def _on_marks(words: Sequence[Word]) -> float:
    total = sum(word.attention for word in words)
    return sum(word.attention for word in words if not is_word(word.text)) / total if total > 0 else 0.0


def patches_agreement(looked: Looked, *, generator: np.random.Generator, replicates: int) -> dict[str, object]:
    """Say how far attention on patches of films agrees with what deleting each does, in those drawn."""
    changes = delete_tokens(looked.fitted, looked.drawn, looked.modality, advance=looked.advance)
    received = [looked.tokens[row] for row in looked.rows]
    size = [None if s is None else s[:, None] for s in looked.sizes_of(changes)]
    return agreed_row("patches", looked.modality, received, size, generator=generator, replicates=replicates)


def agreed_row(
    level: str,
    modality: str,
    received: Sequence[Float[np.ndarray, " _"] | None],
    size: Sequence[Float[np.ndarray, "_ 1"] | None],
    *,
    generator: np.random.Generator,
    replicates: int,
) -> dict[str, object]:
    """Make a row of agreement; NaN, of 0 patients, where there is nobody in whom two things can be compared."""
    found = correlations(received, size)
    row: dict[str, object] = {"level": level, "modality": modality, "patients": len(found)}
    if not len(found):
        return {**row, "correlation": np.nan, "low": np.nan, "high": np.nan}
    mean = mean_interval(found, generator=generator, replicates=replicates)
    return {**row, "correlation": mean.value, "low": mean.low, "high": mean.high}
