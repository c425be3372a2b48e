"""Labels and splits as benchmarks released them, turned into a patient table and our table of splits.

``gigapath_luad_genes``: Prov-GigaPath's ``LUAD-5-gene_TCGA.csv`` (Xu et al., Nature 2024; Apache-2.0), five genes of 521 TCGA
patients. It holds no folds: the released script draws them, so ours are drawn anew by patient. ``gigapath_panda``: its fixed
split of the PANDA challenge (``train_0.csv``, ``val_0.csv``, ``test_0.csv``). PANDA names no patients, so a slide is a row there,
and slides of one patient may be on two sides.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint, read_target
from oncoweave.core.errors import DataError
from oncoweave.data.importers.barcodes import tcga_site
from oncoweave.data.splits import TRAIN_ONLY, make_splits

LUAD_GENES = ("EGFR", "FAT1", "KRAS", "TP53", "LRP1B")
ISUP_GRADES = ("0", "1", "2", "3", "4", "5")
"""ISUP grade group as the released label says it; 0 is benign."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Released:
    """What a benchmark released, in our tables."""

    patients: pd.DataFrame
    """Indexed by ``patient_id``: ``site`` and a column for each endpoint."""
    slides: pd.DataFrame
    """``patient_id``, ``slide_id`` and what the release says of the slide."""
    endpoints: tuple[Endpoint, ...]
    splits: pd.DataFrame
    """``patient_id, repeat, fold``."""


def gigapath_luad_genes(path: Path, *, folds: int = 10, seed: int = 0) -> Released:
    """Read the table of TCGA lung adenocarcinomas, one row a slide, and split its patients evenly over the five genes.

    Frozen and FFPE slides are mixed in it; ``slides`` says which is which (``is_ffpe``), and how much of each slide a pathologist
    saw as tumour, stroma, necrosis and so on.

    Raises:
        DataError: a column is missing, a label is neither True nor False, or slides of one patient have different labels.
    """
    table = _read(path, ("slide_id", "case_submitter_id", "is_ffpe", *LUAD_GENES))
    for gene in LUAD_GENES:
        table[gene] = _zero_one(table[gene], place=f"{path}: column {gene}")
    table = table.rename(columns={"case_submitter_id": "patient_id"})
    labels = table.groupby("patient_id")[list(LUAD_GENES)]
    if (labels.nunique() > 1).any(axis=None):
        different = str((labels.nunique() > 1).any().idxmax())
        count = int((labels.nunique() > 1).any(axis=1).sum())
        msg = f"{path}: slides of {count} patient(s) have different labels, first of {different}; a mutation is the patient's"
        raise DataError(msg)
    patients = labels.first()
    patients.insert(0, "site", [tcga_site(name) for name in patients.index])
    together = Endpoint(name="five_genes", kind="multilabel", columns=LUAD_GENES, classes=LUAD_GENES)
    genes = tuple(
        Endpoint(name=f"{g}_mutation", kind="binary", columns=(g,), classes=("wild type", "mutated")) for g in LUAD_GENES
    )
    splits = make_splits(
        patients.index.to_numpy(dtype=object),
        read_target(together, patients),
        None,
        folds=folds,
        repeats=1,
        group_by_site=False,
        seed=seed,
    )
    described = [c for c in table.columns if c in ("slide_id", "is_ffpe", "sample_type") or c.startswith("percent_")]
    return Released(patients=patients, slides=table[["patient_id", *described]], endpoints=(*genes, together), splits=splits)


def gigapath_panda(*, train: Path, val: Path, test: Path) -> Released:
    """Read the fixed split of PANDA: slides of ``test`` are tested once, those of ``train`` and ``val`` train.

    What is selected is selected on inner folds here, so that the validation slides train as well; ``slides`` says which they were
    (``side``).

    Raises:
        DataError: a column is missing, a label is no ISUP grade, or a slide is on two sides.
    """
    sides = []
    for side, path in (("train", train), ("val", val), ("test", test)):
        table = _read(path, ("slide_id", "data_provider", "label"))
        table["label"] = table["label"].astype(str)
        strange = ~table["label"].isin(ISUP_GRADES)
        if strange.any():
            line = int(strange.to_numpy().argmax()) + 2
            msg = f"{path}: column label: wanted an ISUP grade 0 to 5, got {table['label'].iloc[line - 2]!r} in line {line}"
            raise DataError(msg)
        sides.append(table.assign(side=side))
    slides = pd.concat(sides, ignore_index=True)
    twice = slides["slide_id"].duplicated()
    if twice.any():
        first = slides.loc[twice].iloc[0]
        msg = f"PANDA: {int(twice.sum())} slide(s) stand there twice, first again in {first['side']}; a slide is on one side only"
        raise DataError(msg)
    slides = slides.assign(patient_id=slides["slide_id"].astype(str))
    patients = pd.DataFrame(
        {"site": slides["data_provider"].to_numpy(), "isup_grade": slides["label"].to_numpy()},
        index=pd.Index(slides["patient_id"], name="patient_id"),
    )
    fold = np.where(slides["side"] == "test", 0, TRAIN_ONLY)
    return Released(
        patients=patients,
        slides=slides[["patient_id", "slide_id", "side"]],
        endpoints=(Endpoint(name="isup_grade", kind="ordinal", columns=("isup_grade",), classes=ISUP_GRADES),),
        splits=pd.DataFrame({"patient_id": slides["patient_id"], "repeat": 0, "fold": fold}),
    )


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(path, low_memory=False)
    if missing := [c for c in columns if c not in table.columns]:
        msg = f"{path}: lacks the column(s) {missing}; it has {list(table.columns)[:20]}; give the file as it was released"
        raise DataError(msg)
    return table


def _zero_one(column: pd.Series, *, place: str) -> pd.Series:
    said = column.astype(str).str.strip().str.casefold()
    value = said.map({"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0})
    if value.isna().any():
        row = int(value.isna().to_numpy().argmax())
        msg = f"{place}: wanted True or False, got {column.iloc[row]!r} in line {row + 2}"
        raise DataError(msg)
    return value
