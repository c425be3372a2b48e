"""Expression: one number a gene, from counts, log2 values or z-scores.

Several samples of a patient are averaged gene by gene, after normalisation. Counts become log2(CPM + 1), with the library size of
the sample taken over all genes of the table. Genes are chosen on training patients by median absolute deviation, drawn in to
ten robust standard deviations about the median (public z-scores reach 36,000), then z-scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from oncoweave.core.errors import DataError, NothingToLearnError, unknown_name
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    Scaling,
    blank_absent,
    by_column,
    fit_scaling,
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

SCALES = ("counts", "log2", "z")
MAX_GENES = 2000
"""Genes kept after the filter on training patients (PORPOISE: the 2,000 of largest median absolute deviation)."""

PATHWAYS: dict[str, tuple[str, ...]] = {
    "proliferation": ("MKI67", "TOP2A", "CCNB1", "CDK1", "AURKA", "BUB1", "PLK1", "CENPF", "TYMS", "RRM2", "PCNA", "MCM2"),
    "immune": ("CD8A", "CD3D", "CD3E", "GZMB", "PRF1", "IFNG", "CXCL9", "CXCL10", "STAT1", "NKG7", "CCL5", "LAG3"),
    "subtype": ("ESR1", "PGR", "GATA3", "FOXA1", "XBP1", "TFF1", "TFF3", "AGR2", "KRT8", "KRT18"),
    "driver_a": ("DUSP6", "SPRY2", "SPRY4", "ETV4", "ETV5", "PHLDA1"),
    "driver_b": ("CDKN1A", "MDM2", "BAX", "GADD45A", "SESN1", "ZMAT3"),
    "tgf_beta": ("TGFB1", "SERPINE1", "TGFBI", "CTGF", "COL1A1", "SMAD7", "SKIL", "PMEPA1", "LTBP2", "ACTA2"),
    "hypoxia": ("CA9", "VEGFA", "SLC2A1", "ADM", "LDHA", "PGK1", "NDRG1", "EGLN3", "ANKRD37", "BNIP3"),
}
"""Planted gene sets of phantom patients; ``hypoxia`` carries the risk that only expression shows, ``tgf_beta`` half a synergy."""

_NUM_BACKGROUND = 140


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """Expression of one patient as the table holds it: one row a sample, NaN where a gene was not measured."""

    patient_id: str
    genes: tuple[str, ...]
    values: Float[np.ndarray, "sample gene"]
    scale: str
    """One of ``SCALES``."""
    place: str = ""
    """Where it was read, for messages."""


def read(record: Record) -> Sample | None:
    """Read a patient's rows; None where they hold nothing but gaps. The modality's note ``scale`` says what the numbers are.

    Raises:
        DataError: a value is no number, or the note ``scale`` is missing or unknown; names patient and table.
    """
    genes, values = read_numbers(record)
    values = values[~np.isnan(values).all(axis=1)]
    scale = record.modality.notes.get("scale")
    if scale is None:
        msg = f"{place(record)}: the modality's note 'scale' is missing; state one of {', '.join(SCALES)}"
        raise DataError(msg)
    if scale not in SCALES:
        raise unknown_name(f"scale of expression ({place(record)})", scale, SCALES)
    return (
        Sample(patient_id=record.patient_id, place=place(record), genes=genes, values=values, scale=scale)
        if len(values)
        else None
    )


def check(sample: Sample) -> None:
    """Refuse counts below zero, and counts none of which is above zero.

    Raises:
        DataError: names patient and gene.
    """
    if sample.scale != "counts":
        return
    negative = sample.values < 0
    if negative.any():
        row, column = np.argwhere(negative)[0]
        msg = (
            f"{whose(sample)}: gene {sample.genes[column]!r} has the count {sample.values[row, column]}, wanted"
            " zero or more; if these are log values or z-scores, set the note 'scale' to log2 or z"
        )
        raise DataError(msg)
    if (np.nansum(sample.values, axis=1) == 0).any():
        msg = f"{whose(sample)}: a sample whose counts are all zero has no library size; drop it"
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "expression") -> Record:
    """Lay a sample out as rows of a modality table."""
    spec = ModalitySpec(name=name, kind="expression", notes={"scale": sample.scale})
    return make_record(
        sample.patient_id, [dict(zip(sample.genes, row, strict=True)) for row in sample.values.tolist()], modality=spec, root=root
    )


def profile(sample: Sample) -> Float[np.ndarray, " gene"]:
    """Normalise each sample, log2(count / library size * 10^6 + 1) for counts and as it is otherwise, then average."""
    values = sample.values
    if sample.scale == "counts":
        library = np.nansum(values, axis=1, keepdims=True)
        values = np.log2(values / library * 1e6 + 1.0)
    return mean_of_known(values)


_OTHER = 0.1
"""Share of the genes by which a table may differ from those of training before that is said."""
_REACH = 10 * 1.4826
"""Median absolute deviations from the median (ten standard deviations of a normal gene), beyond which a value is drawn in."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Genes chosen and z-scored on training patients; a gene that a patient lacks is imputed with the training mean."""

    genes: tuple[str, ...]
    scale: str
    low: Float[np.ndarray, " gene"]
    high: Float[np.ndarray, " gene"]
    """Values below ``low`` or above ``high`` count as these; infinite where the deviation is zero."""
    scaling: Scaling
    counted: tuple[int, int] | None = None
    """Of counts: the fewest and the most genes of which a training patient's library size is the sum."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return self.genes

    @property
    def dim(self) -> int:
        """Width of a token: one number a gene."""
        return 1

    @property
    def num_tokens(self) -> int:
        """Number of genes."""
        return len(self.genes)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The genes."""
        return self.genes

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token a gene, z-scored; a gene that was not measured is not kept."""
        return from_table(self._scaled(samples))

    def lay_back(self, block: Float[np.ndarray, "patient feature"]) -> Tokens:
        """Make tokens of columns that stand in for patients who lack the modality: all of them, as if measured."""
        return from_table(block[:, : self.num_tokens])

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Z-score the genes; the training mean (0) where not measured, NaN for a patient who has none of them."""
        scaled = self._scaled(samples)
        known = ~np.isnan(scaled)
        return blank_absent(np.where(known, scaled, 0.0), known.any(axis=1))

    def outside(self, samples: Sequence[Sample | None]) -> dict[str, int]:
        """Count, by column, the patients whose value lies far outside the training range: another unit, or a slip."""
        return by_column(self.genes, self.scaling.far_outside(self._profiles(samples)))

    def differs(self, samples: Sequence[Sample | None]) -> str:
        """Say where counts are of many genes more or fewer than in training, as the library size is their sum."""
        if self.counted is None:
            return ""
        low, high = self.counted
        counted = [_measured(s) for s in samples if s is not None]
        other = [n for n in counted if not (1 - _OTHER) * low <= n <= (1 + _OTHER) * high]
        if not other:
            return ""
        return (
            f"{len(other)} of {len(counted)} patients have counts of {min(other)} to {max(other)} genes, the training patients of"
            f" {low} to {high}: a library size is their sum, so that counts per million are not the same; give the whole table"
        )

    def _scaled(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient gene"]:
        return self.scaling(np.clip(self._profiles(samples), self.low, self.high))

    def _profiles(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient gene"]:
        for sample in samples:
            if sample is not None and sample.scale != self.scale:
                raise _other_scale(sample, self.scale)
        return line_up([None if s is None else (s.genes, profile(s)) for s in samples], self.genes)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Choose genes and learn their z-scores on training patients.

    Genes that fewer than half of the patients have, or that do not vary, are left out; of the others the ``MAX_GENES`` of largest
    median absolute deviation stay (equal ones by standard deviation), in the order of the table.

    Raises:
        NothingToLearnError: nobody has the modality, or no gene varies.
        DataError: patients differ in scale.
    """
    present, genes, values = gather(samples, lambda s: (s.genes, profile(s)), "expression")
    for sample in present:
        if sample.scale != present[0].scale:
            raise _other_scale(sample, present[0].scale)
    usable = np.flatnonzero(varying(values) & ((~np.isnan(values)).mean(axis=0) >= 0.5))
    if not len(usable):
        msg = f"no gene of {len(genes)} varies between the {len(present)} training patients; leave the modality out"
        raise NothingToLearnError(msg)
    median = np.nanmedian(values[:, usable], axis=0)
    deviation = np.nanmedian(np.abs(values[:, usable] - median), axis=0)
    order = np.lexsort((-np.nanstd(values[:, usable], axis=0), -deviation))[:MAX_GENES]
    kept = np.sort(order)
    reach = np.where(deviation[kept] > 0, _REACH * deviation[kept], np.inf)
    chosen, low, high = usable[kept], median[kept] - reach, median[kept] + reach
    return Preparation(
        genes=tuple(genes[i] for i in chosen),
        scale=present[0].scale,
        low=low,
        high=high,
        scaling=fit_scaling(np.clip(values[:, chosen], low, high)),
        counted=(min(map(_measured, present)), max(map(_measured, present))) if present[0].scale == "counts" else None,
    )


def _measured(sample: Sample) -> int:
    return int((~np.isnan(sample.values)).any(axis=0).sum())


def _other_scale(sample: Sample, wanted: str) -> DataError:
    return DataError(
        f"{whose(sample)}: expression is on the scale {sample.scale!r}, the training patients' on {wanted!r};"
        " bring both to one scale"
    )


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Draw gene counts (negative binomial) with the planted ``PATHWAYS``, around a library of half a million reads."""
    activity = {
        "proliferation": truth.proliferation,
        "immune": truth.immune,
        "subtype": 1.0 - truth.subtype,
        "driver_a": 1.5 * truth.driver_a,
        "driver_b": -1.5 * truth.driver_b,
        "tgf_beta": truth.synergy_expression,
        "hypoxia": truth.private_expression,
    }
    genes = [gene for pathway in PATHWAYS.values() for gene in pathway]
    shift = [activity[name] for name, pathway in PATHWAYS.items() for _ in pathway]
    genes += [f"BG{i + 1:04d}" for i in range(_NUM_BACKGROUND)]
    shift += [0.0] * _NUM_BACKGROUND
    baseline = 7.0 + 2.0 * np.sin(np.arange(len(genes)) * 2.399963)  # fixed levels of genes, spread over e^5 to e^9
    log_mean = baseline + 0.5 * np.array(shift) + rng.normal(0.0, 0.35, size=len(genes)) + rng.normal(0.0, 0.3)
    dispersion = 5.0
    counts = rng.poisson(np.exp(log_mean) * rng.gamma(dispersion, 1.0 / dispersion, size=len(genes)))
    return Sample(patient_id=truth.patient_id, genes=tuple(genes), values=counts[None].astype(float), scale="counts")
