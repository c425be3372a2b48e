"""Record: numbers and categories of a patient's clinical record and laboratory values, each of which may be missing.

A column is numeric where its measured values are numbers or True/False, and categorical where they are text; what is missing is a
gap, never a code. Of several rows of a patient the first that holds a value counts, column by column: put the rows in time order
and the value nearest to the start is used, not one measured after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from oncoweave.core.errors import DataError, NothingToLearnError
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    ID_COLUMNS,
    Scaling,
    at_least_one,
    blank_absent,
    by_column,
    fit_scaling,
    make_record,
    place,
    varying,
    whose,
)
from oncoweave.nn.tokens import Tokens, from_table

MIN_LEVEL_COUNT = 5
MIN_LEVEL_SHARE = 0.05
"""Levels of a category that fewer training patients have than this count and this share of them are merged into one."""
RARE = "(rare)"
"""Name of the merged level."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """What is known of one patient, column by column; None where nothing was measured."""

    patient_id: str
    values: Mapping[str, float | str | None]
    place: str = ""
    """Where it was read, for messages."""


def read(record: Record) -> Sample | None:
    """Read a patient's rows; None where every value is missing.

    Raises:
        DataError: a value is neither a number, a truth value nor text, or is infinite; names patient, table and column.
    """
    columns = [c for c in record.rows.columns if c not in ID_COLUMNS]
    if not columns:
        msg = f"{place(record)}: no columns of values, only {list(record.rows.columns)}"
        raise DataError(msg)
    values: dict[str, float | str | None] = {}
    cells = record.rows[columns].to_numpy(dtype=object)  # one conversion: column by column takes 50 times as long
    for name, column in zip(columns, cells.T, strict=True):
        value = next((v for v in map(_plain, column) if v is not None), None)
        if not isinstance(value, float | str | None) or value in (np.inf, -np.inf):
            msg = f"{place(record)}: column {name!r} holds {value!r}, wanted a number, True or False, a text or nothing"
            raise DataError(msg)
        values[str(name)] = value
    return (
        None
        if all(v is None for v in values.values())
        else Sample(patient_id=record.patient_id, values=values, place=place(record))
    )


def _plain(value: object) -> object:
    """Bring a cell to float, stripped text or None; anything else comes back as it is."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    return float(value) if isinstance(value, Real | np.bool_) else value


def check(sample: Sample) -> None:
    """Refuse words that stand for "missing": they would become a category of their own.

    Raises:
        DataError: names patient and column.
    """
    for name, value in sample.values.items():
        if isinstance(value, str) and value.lower() in ("nan", "na", "n/a", "none", "null", "[not available]"):
            msg = f"{whose(sample)}: column {name!r} holds the text {value!r}; leave what is missing empty"
            raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "record") -> Record:
    """Lay a sample out as a row of a modality table."""
    return make_record(sample.patient_id, [dict(sample.values)], modality=ModalitySpec(name=name, kind="record"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Standardised numbers, one-hot categories and missing indicators, all learned on training patients.

    A category that no training patient had is zero in all its columns; ``unknown`` counts these.
    """

    numeric: tuple[str, ...]
    scaling: Scaling
    fill: Float[np.ndarray, " numeric"]
    """Standardised training median; imputed where a number is missing."""
    categorical: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    """Levels of each categorical column that have a feature of their own."""
    rare: tuple[tuple[str, ...], ...]
    """Levels of each categorical column that share the feature ``RARE``; empty where there are none."""
    gaps: tuple[str, ...]
    """Columns that some training patient lacks and some has; each has a missing indicator in the block."""
    dropped: tuple[str, ...]
    """Columns that do not vary on training patients and are not used."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return (*self.numeric, *self.categorical)

    @property
    def dim(self) -> int:
        """Width of a token: one number a feature."""
        return 1

    @property
    def num_tokens(self) -> int:
        """Number of numeric columns and levels."""
        return len(self._token_names)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Numeric columns, ``column=level``, and ``column missing``."""
        return (*self._token_names, *(f"{c} missing" for c in self.gaps))

    @property
    def _token_names(self) -> tuple[str, ...]:
        shown = [
            f"{column}={level}"
            for column, levels, rare in zip(self.categorical, self.levels, self.rare, strict=True)
            for level in (*levels, *((RARE,) if rare else ()))
        ]
        return (*self.numeric, *shown)

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token a numeric column, standardised, and one a level, 0 or 1; what is missing is not kept."""
        return from_table(self._tokens(samples))

    def lay_back(self, block: Float[np.ndarray, "patient feature"]) -> Tokens:
        """Make tokens of columns that stand in for patients who lack the modality: all of them, as if measured."""
        return from_table(block[:, : self.num_tokens])

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Impute the training median and zero for categories, and add missing indicators; NaN for absent patients."""
        tokens = self._tokens(samples)
        known = ~np.isnan(tokens)
        fill = np.concatenate([self.fill, np.zeros(tokens.shape[1] - len(self.fill))])
        missing = [[s is None or s.values.get(c) is None for c in self.gaps] for s in samples]
        indicators = np.array(missing, dtype=float).reshape(len(samples), len(self.gaps))
        return blank_absent(np.hstack([np.where(known, tokens, fill), indicators]), known.any(axis=1))

    def unknown(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by column, the patients whose category no training patient had."""
        counts = {}
        for column, levels, rare in zip(self.categorical, self.levels, self.rare, strict=True):
            values = [s.values.get(column) for s in samples if s is not None]
            counts[column] = sum(v is not None and v not in levels and v not in rare for v in values)
        return {column: count for column, count in counts.items() if count}

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by column, the patients whose value lies far outside the training range: another unit, or a slip."""
        return by_column(self.numeric, self.scaling.far_outside(_numbers(samples, self.numeric)))

    def _tokens(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        parts = [self.scaling(_numbers(samples, self.numeric))]
        for column, levels, rare in zip(self.categorical, self.levels, self.rare, strict=True):
            parts.append(_one_hot(_texts(samples, column), levels, rare))
        return np.hstack(parts)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Learn columns, scales, levels and where gaps occur on training patients.

    Raises:
        NothingToLearnError: nobody has the modality, or no column varies.
        DataError: a column holds both numbers and text.
    """
    at_least_one(samples, "record")
    present = [s for s in samples if s is not None]
    columns = tuple(dict.fromkeys(c for s in present for c in s.values))
    texts = tuple(c for c in columns if _is_text(present, c))
    numbers = _numbers(present, tuple(c for c in columns if c not in texts))
    varies = dict(zip((c for c in columns if c not in texts), varying(numbers), strict=True))
    numeric = tuple(c for c, v in varies.items() if v)
    split = {c: _levels(_texts(present, c)) for c in texts}
    categorical = tuple(c for c, (levels, rare) in split.items() if len(levels) + bool(rare) >= 2)
    if not numeric and not categorical:
        msg = f"no column of {list(columns)} varies between the {len(present)} training patients; leave the modality out"
        raise NothingToLearnError(msg)
    values = _numbers(present, numeric)
    scaling = fit_scaling(values)
    gaps = tuple(c for c in (*numeric, *categorical) if any(s.values.get(c) is None for s in present))
    return Preparation(
        numeric=numeric,
        scaling=scaling,
        fill=np.nanmedian(scaling(values), axis=0) if numeric else np.zeros(0),
        categorical=categorical,
        levels=tuple(split[c][0] for c in categorical),
        rare=tuple(split[c][1] for c in categorical),
        gaps=gaps,
        dropped=tuple(c for c in columns if c not in numeric and c not in categorical),
    )


def _is_text(samples: Sequence[Sample], column: str) -> bool:
    kinds: dict[type, Sample] = {}
    for sample in samples:
        value = sample.values.get(column)
        if value is not None:
            kinds.setdefault(type(value), sample)
    if len(kinds) > 1:
        number, text = kinds[float], kinds[str]
        msg = (
            f"column {column!r} holds the number {number.values[column]} in {whose(number)} and the text"
            f" {text.values[column]!r} in {whose(text)}; make it one or the other"
        )
        raise DataError(msg)
    return str in kinds


def _levels(texts: Sequence[str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split levels, sorted, into those with a feature of their own and those merged; a single rare one stays."""
    names, counts = np.unique([t for t in texts if t is not None], return_counts=True)
    least = min(MIN_LEVEL_COUNT, MIN_LEVEL_SHARE * len(texts))
    rare = [str(n) for n, c in zip(names, counts, strict=True) if c < least]
    if len(rare) < 2:
        return tuple(map(str, names)), ()
    return tuple(str(n) for n in names if str(n) not in rare), tuple(rare)


def _numbers(samples: Sequence[Sample | None], columns: tuple[str, ...]) -> Float[np.ndarray, "patient numeric"]:
    out = np.full((len(samples), len(columns)), np.nan)
    for row, sample in enumerate(samples):
        if sample is None:
            continue
        for index, column in enumerate(columns):
            value = sample.values.get(column)
            if isinstance(value, str):
                msg = f"{whose(sample)}: column {column!r} holds the text {value!r}, training patients have numbers"
                raise DataError(msg)
            if value is not None:
                out[row, index] = value
    return out


def _texts(samples: Sequence[Sample | None], column: str) -> list[str | None]:
    out: list[str | None] = []
    for sample in samples:
        value = None if sample is None else sample.values.get(column)
        if value is not None and not isinstance(value, str):
            assert sample is not None, "only a sample has values"
            msg = f"{whose(sample)}: column {column!r} holds the number {value}, training patients have text"
            raise DataError(msg)
        out.append(value)
    return out


def _one_hot(texts: Sequence[str | None], levels: tuple[str, ...], rare: tuple[str, ...]) -> Float[np.ndarray, "patient level"]:
    feature = {level: i for i, level in enumerate(levels)} | dict.fromkeys(rare, len(levels))
    out = np.zeros((len(texts), len(levels) + bool(rare)))
    for row, text in enumerate(texts):
        if text is None:
            out[row] = np.nan
        elif text in feature:
            out[row, feature[text]] = 1.0
    return out


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw age, sex, stage, smoking, frailty (performance status, albumin) and blood values, some of them missing."""
    haemoglobin = 13.6 + 0.9 * (not truth.female) - 0.5 * (truth.stage - 1) + rng.normal(0.0, 1.0)
    crp = float(np.exp(1.2 + 0.35 * (truth.stage - 1) + 0.2 * truth.proliferation + rng.normal(0.0, 0.7)))
    lymphocytes = float(np.exp(0.5 + 0.15 * truth.immune + rng.normal(0.0, 0.3)))
    albumin = 41.0 - 2.5 * truth.private_record + rng.normal(0.0, 2.0)
    labs = {"albumin_g_l": albumin, "haemoglobin_g_dl": haemoglobin, "crp_mg_l": crp, "lymphocytes_1e9_l": lymphocytes}
    values: dict[str, float | str | None] = {
        "age_years": round(float(truth.age_years), 1),
        "sex": "female" if truth.female else "male",
        "stage": ("I", "II", "III", "IV")[truth.stage - 1],
        "performance_status": float(np.clip(np.round(0.7 + 0.8 * truth.private_record + rng.normal(0.0, 0.4)), 0, 3)),
        "smoking": None if rng.random() < 0.1 else str(rng.choice(["never", "former", "current"])),
    }
    values |= {lab: None if rng.random() < 0.15 else round(float(value), 2) for lab, value in labs.items()}
    return Sample(patient_id=truth.patient_id, values=values)
