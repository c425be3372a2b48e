"""Radiomics features of a cohort's volumes as a modality of their own, a table that linear models and networks read alike."""

from dataclasses import replace

import numpy as np
import pandas as pd

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_documents, write_cohort
from oncoweave.modalities import volume

_OF = "radiomics_of"
"""Note of the modality that is made: which volumes it describes."""


def lay_radiomics(cohort: Cohort, *, modality: str | None = None, name: str | None = None) -> Cohort:
    """Compute the features inside each volume's mask and store them as a modality of kind ``record``; returns the cohort.

    Patients without a volume or a mask have no row. Made again, the table replaces the one made before.

    Args:
        cohort: on disk.
        modality: volumes with a column ``mask_path``; the only one of kind ``volume`` when not given.
        name: of the modality that is made; ``<modality>_radiomics`` when not given.

    Raises:
        ConfigError: the cohort has no such volumes, or another modality of that name.
        DataError: the cohort is not on disk, nobody has a mask, or a file cannot be read.
        MissingExtraError: pyradiomics is not installed.
    """
    if cohort.root is None:
        msg = f"cohort {cohort.name!r} is not on disk; write it first"
        raise DataError(msg)
    source = _volumes(cohort, modality)
    made = name or f"{source}_radiomics"
    if made in cohort.modalities and cohort.modalities[made].notes.get(_OF) != source:
        msg = f"cohort {cohort.name!r} has a modality {made!r} that is not the radiomics of {source!r}; choose another --name"
        raise ConfigError(msg)
    filled = replace(
        cohort,
        tables={**cohort.tables, made: _table(cohort, source)},
        modalities={**cohort.modalities, made: ModalitySpec(name=made, kind="record", notes={_OF: source})},
    )
    write_cohort(filled, cohort.root, documents=read_documents(cohort.root))
    return filled


def _volumes(cohort: Cohort, modality: str | None) -> str:
    masked = [n for n, spec in cohort.modalities.items() if spec.kind == "volume" and "mask_path" in cohort.tables[n]]
    if modality is not None and modality not in cohort.modalities:
        raise unknown_name("modality", modality, cohort.modalities)
    fit = [n for n in masked if modality in (None, n)]
    if len(fit) != 1:
        msg = (
            f"cohort {cohort.name!r}: wanted one modality of kind volume with a column 'mask_path', found {masked or 'none'};"
            " name it with --modality"
        )
        raise ConfigError(msg)
    return fit[0]


def _table(cohort: Cohort, modality: str) -> pd.DataFrame:
    rows = []
    for record in cohort.records(modality):
        if record is None or not _has_mask(record.rows):
            continue
        sample = volume.read(record)
        if sample is not None:
            ids = {"patient_id": record.patient_id, "sample_id": record.rows["sample_id"].iloc[0]}
            rows.append(ids | dict(zip(sample.radiomics_names, sample.radiomics.tolist(), strict=True)))
    if not rows:
        msg = f"modality {modality!r}: no patient has a volume with a mask (column 'mask_path')"
        raise DataError(msg)
    return pd.DataFrame(rows)


def _has_mask(rows: pd.DataFrame) -> bool:
    return bool(np.any(rows["mask_path"].notna() & (rows["mask_path"].astype(str).str.strip() != "")))
