"""A cohort: patients, their endpoints, and one table a modality in which an absent patient has no row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint, Target, read_target
from oncoweave.core.errors import DataError, unknown_name

SITE = "site"
"""Column of the patient table that names the hospital; may be missing for some patients."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_name(name: str) -> None:
    """Refuse what cannot name a modality, as files are called after it.

    Raises:
        DataError: says what a name may hold.
    """
    if not _NAME.fullmatch(name):
        msg = f"modality {name!r}: a name may hold letters, digits and _ . + - and starts with a letter or digit"
        raise DataError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalitySpec:
    """What a cohort says of one of its modalities."""

    name: str
    kind: str
    """Name on the modalities shelf: how the rows are read."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Facts that travel with the rows, such as ``encoder`` or ``unit``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Everything a cohort holds of one modality for one patient."""

    patient_id: str
    modality: ModalitySpec
    rows: pd.DataFrame
    """One row a sample (``sample_id`` and values, ``text``, or ``path``); never empty."""
    root: Path | None
    """Folder that relative paths start from; None for a cohort that is not on disk."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Patients with whatever is known of each.

    ``patients`` is indexed by ``patient_id`` (text, unique) and holds ``site`` and the endpoint columns. ``tables`` has one frame
    a modality with the columns ``patient_id``, ``sample_id`` and values; a patient without rows lacks the modality.
    """

    name: str
    patients: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    modalities: Mapping[str, ModalitySpec]
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    root: Path | None = None

    def __post_init__(self) -> None:
        """Refuse duplicate patients, and rows of patients that are not in the patient table."""
        repeated = self.patients.index.duplicated()
        if repeated.any():
            msg = (
                f"cohort {self.name!r}: {self.patients.index[repeated].nunique()} patient(s) stand in the patient table more than"
                f" once, first again in row {int(repeated.argmax()) + 1}; keep one row a patient, and put repeated samples into a"
                " modality table"
            )
            raise DataError(msg)
        for name, table in self.tables.items():
            strange = ~table["patient_id"].isin(self.patients.index).to_numpy()
            if strange.any():
                msg = (
                    f"modality {name!r}: {table.loc[strange, 'patient_id'].nunique(dropna=False)} patient(s) are not in the"
                    f" patient table, first in row {int(strange.argmax()) + 1}; add them there or drop their rows"
                )
                raise DataError(msg)
        if set(self.tables) != set(self.modalities):
            msg = f"cohort {self.name!r}: tables {sorted(self.tables)} and declared modalities {sorted(self.modalities)} differ"
            raise DataError(msg)

    @classmethod
    def open(cls, path: Path | str) -> "Cohort":
        """Open a cohort folder; its manifest is checked, its hashes are not (see ``data.store.verify``)."""
        from oncoweave.data.store import read_cohort

        return read_cohort(Path(path))

    def __len__(self) -> int:
        """Count the patients."""
        return len(self.patients)

    @property
    def patient_ids(self) -> np.ndarray:
        """``Text[n]``: the patients, in table order."""
        return self.patients.index.to_numpy(dtype=object)

    @property
    def site(self) -> pd.Series:
        """The hospital of each patient; missing where it is not known."""
        if SITE not in self.patients:
            return pd.Series(pd.NA, index=self.patients.index, dtype="string", name=SITE)
        return self.patients[SITE].astype("string")

    def availability(self) -> pd.DataFrame:
        """Say who has what: patients x modalities, True where the patient has at least one row."""
        columns = {name: self.patients.index.isin(table["patient_id"].unique()) for name, table in self.tables.items()}
        return pd.DataFrame(columns, index=self.patients.index)

    def endpoint(self, name: str) -> Endpoint:
        """Look an endpoint up by name."""
        if name not in self.endpoints:
            raise unknown_name("endpoint", name, self.endpoints)
        return self.endpoints[name]

    def target(self, name: str) -> Target:
        """Read an endpoint's values, row by row of ``patients``."""
        return read_target(self.endpoint(name), self.patients)

    def records(self, modality: str) -> list[Record | None]:
        """List what is held of a modality, patient by patient; None where the patient lacks it."""
        if modality not in self.modalities:
            raise unknown_name("modality", modality, self.modalities)
        spec = self.modalities[modality]
        groups = dict(tuple(self.tables[modality].groupby("patient_id", sort=False)))
        return [
            Record(patient_id=patient, modality=spec, rows=groups[patient], root=self.root) if patient in groups else None
            for patient in self.patients.index
        ]

    def take(self, patient_ids: Sequence[str] | np.ndarray) -> "Cohort":
        """Keep some patients, in the order given."""
        strange = ~np.isin(np.asarray(patient_ids, dtype=object), self.patient_ids)
        if strange.any():
            msg = (
                f"cohort {self.name!r}: {int(strange.sum())} of the {len(strange)} patients to take are not in the patient table,"
                f" first number {int(strange.argmax()) + 1} of the list"
            )
            raise DataError(msg)
        chosen = set(patient_ids)
        return Cohort(
            name=self.name,
            patients=self.patients.loc[list(patient_ids)],
            tables={name: t[t["patient_id"].isin(chosen)] for name, t in self.tables.items()},
            modalities=self.modalities,
            endpoints=self.endpoints,
            root=self.root,
        )
