"""Variants: one small whole number a gene alteration; a gap means not profiled, never wild type.

Columns such as ``TP53_mut`` hold 0 or 1, columns such as ``EGFR_cnv`` hold -2 to 2. Several samples of a patient are merged to
the value furthest from zero among the samples that were profiled (a gain wins over an equal loss).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from oncoweave.core.errors import DataError, NothingToLearnError
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    Scaling,
    Span,
    blank_absent,
    by_column,
    fit_scaling,
    fit_span,
    gather,
    line_up,
    make_record,
    mean_of_known,
    place,
    read_numbers,
    varying,
    whose,
)
from oncoweave.nn.tokens import Tokens, from_table

MIN_FREQUENCY = 0.02
"""An alteration stays if at least this share of the training patients profiled for it have it, and two patients do."""

_OTHER = 0.1
"""Share of the profiled alterations for which nobody may be profiled before that is said."""
_CLASSES = ("mut", "cnv")
"""Endings of column names (after ``_``) whose burden is counted apart; all other columns are counted together."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """Alterations of one patient; NaN where the alteration was not profiled."""

    patient_id: str
    alterations: tuple[str, ...]
    values: Float[np.ndarray, " alteration"]
    place: str = ""
    """Where it was read, for messages."""


def read(record: Record) -> Sample | None:
    """Read and merge a patient's rows; None where nothing was profiled.

    Raises:
        DataError: a value is no number; names patient, table and column.
    """
    names, rows = read_numbers(record)
    size = np.where(np.isnan(rows), -1.0, np.abs(rows) + 0.25 * (rows > 0))
    values = np.take_along_axis(rows, size.argmax(axis=0)[None], axis=0)[0]
    return (
        None
        if np.isnan(values).all()
        else Sample(patient_id=record.patient_id, place=place(record), alterations=names, values=values)
    )


def check(sample: Sample) -> None:
    """Refuse values that are no whole numbers: allele fractions and log ratios have to be called first.

    Raises:
        DataError: names patient and alteration.
    """
    wrong = ~np.isnan(sample.values) & (sample.values != np.round(sample.values))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{whose(sample)}: alteration {sample.alterations[first]!r} is {sample.values[first]}, wanted a whole"
            " number such as 0, 1 or -2 to 2, or nothing where not profiled; continuous values belong to kind 'record'"
        )
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "variants") -> Record:
    """Lay a sample out as a row of a modality table."""
    row = dict(zip(sample.alterations, sample.values.tolist(), strict=True))
    return make_record(sample.patient_id, [row], modality=ModalitySpec(name=name, kind="variants"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Alterations frequent on training patients, their rates there, and the burden: log(1 + altered per 100 profiled)."""

    alterations: tuple[str, ...]
    rates: Float[np.ndarray, " alteration"]
    """Mean of each alteration over the training patients profiled for it; imputed where not profiled."""
    profiled: tuple[str, ...]
    """Every alteration that a training patient was profiled for; the burden is taken over these."""
    burdens: tuple[str, ...]
    """Classes of alteration whose burden varies on training patients."""
    burden_scaling: Scaling
    unprofiled_scaling: Scaling | None
    """Of the share of ``profiled`` that a patient was not profiled for; None where it does not vary on training patients."""
    span: Span | None = None
    """Of the alterations on training patients; None in models stored before ranges were."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return self.alterations

    @property
    def dim(self) -> int:
        """Width of a token: one number an alteration."""
        return 1

    @property
    def num_tokens(self) -> int:
        """Number of alterations and burdens."""
        return len(self.alterations) + len(self.burdens)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Alterations, burdens, and the share not profiled where it varies."""
        unprofiled = () if self.unprofiled_scaling is None else ("not profiled",)
        return (*self.alterations, *(f"burden {c}" for c in self.burdens), *unprofiled)

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token an alteration, as called, and one a burden, standardised; what was not profiled is not kept."""
        alterations, burdens, _ = self._parts(samples)
        return from_table(np.hstack([alterations, burdens]))

    def lay_back(self, block: Float[np.ndarray, "patient feature"]) -> Tokens:
        """Make tokens of columns that stand in for patients who lack the modality: all of them, as if measured."""
        return from_table(block[:, : self.num_tokens])

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Give alterations as called, the training rate where not profiled; NaN for a patient profiled for none of them."""
        alterations, burdens, unprofiled = self._parts(samples)
        present = ~np.isnan(np.hstack([alterations, burdens])).all(axis=1)
        parts = [np.where(np.isnan(alterations), self.rates, alterations), np.where(np.isnan(burdens), 0.0, burdens)]
        if self.unprofiled_scaling is not None:
            parts.append(self.unprofiled_scaling(unprofiled))
        return blank_absent(np.hstack(parts), present)

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by alteration and burden, the patients whose call, or whose burden, lies far outside the training range."""
        if self.span is None:
            return {}
        values, calls = self._calls(samples)
        burdens = self.burden_scaling.far_outside(_burden(values, self.profiled, self.burdens))
        far = np.concatenate([self.span.far_outside(calls), burdens])
        return by_column((*self.alterations, *(f"burden {c}" for c in self.burdens)), far)

    def differs(self, samples: Sequence[Sample | None]) -> str:
        """Say where nobody was profiled for many of the alterations over which burdens are taken."""
        values, _ = self._calls([s for s in samples if s is not None])
        lacking = int(np.isnan(values).all(axis=0).sum())
        if not len(values) or lacking <= _OTHER * len(self.profiled):
            return ""
        return (
            f"nobody was profiled for {lacking} of the {len(self.profiled)} alterations over which burdens are taken: on a panel"
            " of genes that are often altered, burdens are higher"
        )

    def _calls(self, samples: Sequence[Sample | None]) -> tuple[np.ndarray, np.ndarray]:
        values = line_up([None if s is None else (s.alterations, s.values) for s in samples], self.profiled)
        column = {name: i for i, name in enumerate(self.profiled)}
        return values, values[:, [column[a] for a in self.alterations]]

    def _parts(self, samples: Sequence[Sample | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, calls = self._calls(samples)
        burdens = self.burden_scaling(_burden(values, self.profiled, self.burdens))
        return calls, burdens, np.isnan(values).mean(axis=1, keepdims=True)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Choose frequent alterations and learn rates and burdens on training patients.

    Raises:
        NothingToLearnError: nobody has the modality, or neither an alteration nor a burden varies.
    """
    present, profiled, values = gather(samples, lambda s: (s.alterations, s.values), "variants")
    known = ~np.isnan(values)
    values, profiled = values[:, known.any(axis=0)], tuple(p for p, k in zip(profiled, known.any(axis=0), strict=True) if k)
    known = ~np.isnan(values)
    altered = (known & (values != 0)).sum(axis=0)
    frequent = (altered >= 2) & (altered >= MIN_FREQUENCY * known.sum(axis=0)) & varying(values)
    classes = (*_CLASSES, "other")
    burden = _burden(values, profiled, classes)
    shown = tuple(c for c, varies in zip(classes, varying(burden), strict=True) if varies)
    if not frequent.any() and not shown:
        msg = f"no alteration of {len(profiled)} varies between the {len(present)} training patients; leave the modality out"
        raise NothingToLearnError(msg)
    unprofiled = (~known).mean(axis=1, keepdims=True)
    return Preparation(
        alterations=tuple(p for p, f in zip(profiled, frequent, strict=True) if f),
        rates=mean_of_known(values[:, frequent]),
        profiled=profiled,
        burdens=shown,
        burden_scaling=fit_scaling(burden[:, [classes.index(c) for c in shown]]),
        unprofiled_scaling=fit_scaling(unprofiled) if varying(unprofiled).any() else None,
        span=fit_span(values[:, frequent]),
    )


def _burden(values: np.ndarray, names: tuple[str, ...], classes: tuple[str, ...]) -> Float[np.ndarray, "patient class"]:
    """Return log(1 + altered per 100 profiled) for each class of alteration; NaN for a patient profiled for none."""
    of_class = [n.rpartition("_")[2] if n.rpartition("_")[2] in _CLASSES else "other" for n in names]
    member = np.array([[k == c for k in of_class] for c in classes], dtype=float).reshape(len(classes), len(names))
    known = ~np.isnan(values)
    altered = (known & (values != 0)).astype(float) @ member.T
    count = known.astype(float) @ member.T
    return np.log1p(100.0 * np.divide(altered, count, out=np.full(count.shape, np.nan), where=count > 0))


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw mutations and copy numbers: two drivers, passengers, proliferation in MYC; a third have a small panel only."""
    mutations = {"KRAS": truth.driver_a, "TP53": truth.driver_b}
    passengers = ("TTN", "MUC16", "PIK3CA", "ARID1A", "APC", "FAT1", "KMT2D", "LRP1B")
    rates = np.array([0.35, 0.2, 0.25, 0.15, 0.12, 0.15, 0.12, 0.15]) * np.exp(0.3 * truth.proliferation)
    mutations |= dict(zip(passengers, rng.random(len(passengers)) < rates, strict=True))
    copies = {"MYC": truth.proliferation, "CDKN2A": -0.5, "ERBB2": 0.4 * truth.subtype, "EGFR": 0.2}
    names = (*(f"{g}_mut" for g in mutations), *(f"{g}_cnv" for g in copies))
    calls = np.clip(np.round(np.array(list(copies.values())) + rng.normal(0.0, 0.6, size=len(copies))), -2, 2)
    values = np.concatenate([np.array(list(mutations.values()), dtype=float), calls + 0.0])
    if rng.random() < 1 / 3:
        panel = {"TP53_mut", "KRAS_mut", "PIK3CA_mut", "APC_mut"}
        values[[n not in panel for n in names]] = np.nan
    return Sample(patient_id=truth.patient_id, alterations=names, values=values)
