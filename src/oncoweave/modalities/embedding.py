"""Embedding: one vector a patient from an encoder outside, standardised on training patients.

Several samples of a patient are averaged. A vector is whole or absent: one with gaps is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from oncoweave.core.errors import DataError
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    Scaling,
    at_least_one,
    blank_absent,
    by_column,
    fit_scaling,
    line_up,
    make_record,
    place,
    read_numbers,
)
from oncoweave.nn.tokens import Tokens

_SYNTHETIC_DIM = 12


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """Embeddings of one patient, one row a sample, and where they were read."""

    patient_id: str
    path: str
    columns: tuple[str, ...]
    values: Float[np.ndarray, "sample dim"]


def read(record: Record) -> Sample | None:
    """Read a patient's vectors; a row of gaps only is no vector, and None is returned where none is left.

    Raises:
        DataError: a value is no number, or a vector has gaps; names patient, table and column.
    """
    columns, values = read_numbers(record)
    gaps = np.isnan(values)
    values, gaps = values[~gaps.all(axis=1)], gaps[~gaps.all(axis=1)]
    if gaps.any():
        first = columns[int(np.argwhere(gaps)[0][1])]
        msg = f"{place(record)}: the vector has {int(gaps.sum())} gap(s), first in {first!r}; an embedding is whole or absent"
        raise DataError(msg)
    return Sample(patient_id=record.patient_id, path=place(record), columns=columns, values=values) if len(values) else None


def check(sample: Sample) -> None:
    """Refuse a vector that is zero throughout: what a failed encoder leaves.

    Raises:
        DataError: names the patient.
    """
    if not sample.values.any(axis=1).all():
        msg = f"{sample.path}: a vector is zero in all {len(sample.columns)} columns; encode the patient again or drop the row"
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "embedding") -> Record:
    """Lay a sample out as rows of a modality table."""
    rows = [dict(zip(sample.columns, row, strict=True)) for row in sample.values.tolist()]
    return make_record(sample.patient_id, rows, modality=ModalitySpec(name=name, kind="embedding"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Centre and scale of each dimension on training patients."""

    columns: tuple[str, ...]
    scaling: Scaling

    @property
    def dim(self) -> int:
        """Width of the vector."""
        return len(self.columns)

    @property
    def num_tokens(self) -> int:
        """One token a patient."""
        return 1

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of the vector."""
        return self.columns

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make the standardised vector the patient's one token."""
        values = torch.from_numpy(np.nan_to_num(self._scaled(samples)).astype(np.float32))
        return Tokens(values=values.unsqueeze(1), keep=torch.tensor([[s is not None] for s in samples]).reshape(-1, 1))

    def lay_back(self, block: Float[np.ndarray, "patient feature"]) -> Tokens:
        """Make the one token of columns that stand in for patients who lack the vector."""
        values = torch.from_numpy(block.astype(np.float32))
        return Tokens(values=values.unsqueeze(1), keep=torch.ones(len(block), 1, dtype=torch.bool))

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Standardise the vector; NaN for absent patients."""
        return blank_absent(self._scaled(samples), np.array([s is not None for s in samples], dtype=bool))

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by column, the patients whose value lies far outside the training range: another unit, or a slip."""
        return by_column(self.columns, self.scaling.far_outside(self._vectors(samples)))

    def _scaled(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient dim"]:
        return self.scaling(self._vectors(samples))

    def _vectors(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient dim"]:
        for sample in samples:
            if sample is not None:
                _require_columns(sample, self.columns)
        return line_up([None if s is None else (s.columns, s.values.mean(axis=0)) for s in samples], self.columns)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Learn centre and scale on training patients.

    Raises:
        DataError: nobody has the modality, or patients' vectors differ in width or columns.
    """
    at_least_one(samples, "embedding")
    present = [s for s in samples if s is not None]
    columns = present[0].columns
    for sample in present:
        _require_columns(sample, columns)
    return Preparation(
        columns=columns, scaling=fit_scaling(line_up([(s.columns, s.values.mean(axis=0)) for s in present], columns))
    )


def _require_columns(sample: Sample, wanted: tuple[str, ...]) -> None:
    if sample.columns == wanted or (len(sample.columns) == len(wanted) and set(sample.columns) == set(wanted)):
        return
    strange = sorted(set(sample.columns) ^ set(wanted))
    msg = (
        f"{sample.path}: the vector has width {len(sample.columns)}, the training patients' {len(wanted)}"
        f" (column {strange[0]!r} is not in both); embed all patients with one encoder"
    )
    raise DataError(msg)


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw a vector in which immune infiltration, proliferation, subtype and the slide's private risk are mixed, with noise."""
    biology = np.array([truth.immune, truth.proliferation, 1.0 - truth.subtype, truth.private_slide])
    mixing = np.cos(np.outer(np.arange(1, 5), np.arange(1, _SYNTHETIC_DIM + 1)))
    vector = biology @ mixing + rng.normal(0.0, 0.7, size=_SYNTHETIC_DIM)
    return Sample(
        patient_id=truth.patient_id,
        path="phantom",
        columns=tuple(f"e{i:03d}" for i in range(_SYNTHETIC_DIM)),
        values=vector[None],
    )
