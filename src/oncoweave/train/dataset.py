"""What a learner sees: patients with their samples read, their outcome and their hospital."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from oncoweave.core import shelf
from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import joined_groups, whose

UNKNOWN_SITE = "unknown"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Dataset:
    """n patients; ``samples[modality][i]`` is None where patient i lacks the modality."""

    patient_ids: np.ndarray
    site: np.ndarray
    """``Text[n]``; ``unknown`` where the cohort does not say."""
    target: Target | None
    """None for new patients, whose outcome is not known."""
    samples: dict[str, tuple[object | None, ...]]
    kinds: dict[str, str]
    """Modality name -> kind on the modalities shelf."""
    configs: Mapping[str, shelf.Configuration] = field(default_factory=dict)
    """How modalities were read that may be read in several ways, by name; see ``Config`` in their file."""
    person: np.ndarray | None = None
    """``Text[n]``: whose each row is, where rows are specimens and not patients."""

    def __len__(self) -> int:
        """Count the patients."""
        return len(self.patient_ids)

    @property
    def outcome(self) -> Target:
        """The target, where there has to be one."""
        if self.target is None:
            msg = "these patients have no known outcome; fitting and evaluation need one"
            raise DataError(msg)
        return self.target

    def kept_together(self, *, by_site: bool) -> tuple[np.ndarray, bool]:
        """Say what no split may part, ``Text[n]``, and whether it is anything beyond the row itself.

        That are the rows of a person, where they are known, and those of a hospital with ``by_site``; with both, all hospitals of
        a person's rows, and all persons of these, are one group.
        """
        if self.person is None:
            return self.site, by_site
        return (joined_groups(self.site, self.person) if by_site else self.person), True

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self.samples)

    @property
    def availability(self) -> np.ndarray:
        """``Bool[n, modality]``: who has what."""
        columns = [[s is not None for s in samples] for samples in self.samples.values()]
        return np.array(columns, dtype=bool).reshape(len(self.samples), len(self)).T

    @property
    def patterns(self) -> list[str]:
        """The modalities each patient has, joined by ``+``."""
        return ["+".join(m for m, has in zip(self.samples, row, strict=True) if has) for row in self.availability]

    def take(self, index: np.ndarray) -> "Dataset":
        """Keep some rows, by integer index or Boolean mask."""
        rows = np.flatnonzero(index) if index.dtype == bool else index
        return Dataset(
            patient_ids=self.patient_ids[rows],
            site=self.site[rows],
            target=None if self.target is None else self.target.take(rows),
            samples={m: tuple(s[i] for i in rows) for m, s in self.samples.items()},
            kinds=self.kinds,
            configs=self.configs,
            person=None if self.person is None else self.person[rows],
        )

    def only(self, modalities: Sequence[str]) -> "Dataset":
        """Keep some modalities; patients who have none of them stay, with nothing."""
        return replace(self, samples={m: self.samples[m] for m in modalities}, kinds={m: self.kinds[m] for m in modalities})

    def completed(self, kinds: dict[str, str]) -> "Dataset":
        """Give the patients exactly these modalities, in this order; those nobody has are absent for everyone."""
        nobody: tuple[object | None, ...] = (None,) * len(self)
        return replace(self, samples={m: self.samples.get(m, nobody) for m in kinds}, kinds=dict(kinds))

    def without(self, modalities: Collection[str]) -> "Dataset":
        """Take some modalities from everybody."""
        return self.only([m for m in self.samples if m not in modalities]).completed(self.kinds)

    def with_target(self, target: Target) -> "Dataset":
        """Replace the outcome, for a permuted null."""
        return replace(self, target=target)

    def prepare(self, modality: str) -> Any:  # noqa: ANN401  (each modality has a preparation of its own)
        """Fit a modality's preparation to these patients, as they were read."""
        module = shelf.load("modalities", self.kinds[modality])
        how = [self.configs[modality]] if modality in self.configs else []
        return module.fit(self.samples[modality], *how)


def load_dataset(
    cohort: Cohort,
    endpoint: str | None,
    modalities: Sequence[str],
    configs: Mapping[str, shelf.Configuration] = MappingProxyType({}),
    *,
    person: str | None = None,
) -> Dataset:
    """Read and check every sample of the named modalities, in the order of the cohort's patients.

    ``configs`` say how, by modality; the others are read as usual. ``person`` is the column of the patient table that says whose
    a row is, where rows are specimens.
    """
    samples: dict[str, tuple[object | None, ...]] = {}
    for name in modalities:
        records = cohort.records(name)
        module = shelf.load("modalities", cohort.modalities[name].kind)
        how = [configs[name]] if name in configs else []
        read: list[object | None] = []
        for record in records:
            sample = None if record is None else module.read(record, *how)
            if sample is not None:
                module.check(sample)
            read.append(sample)
        samples[name] = tuple(read)
    return Dataset(
        patient_ids=cohort.patient_ids,
        site=cohort.site.fillna(UNKNOWN_SITE).to_numpy(dtype=object),
        target=None if endpoint is None else cohort.target(endpoint),
        samples=samples,
        kinds={name: cohort.modalities[name].kind for name in modalities},
        configs={name: configs[name] for name in modalities if name in configs},
        person=None if person is None else whose(cohort, person).to_numpy(dtype=object),
    )
