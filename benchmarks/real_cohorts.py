"""Build cohorts of public data that published figures exist for: pan-cancer survival, pathology reports, colon bags.

Usage: python benchmarks/real_cohorts.py DATA OUT [name ...]; all three where no name is given. For each it writes ``OUT/<name>``
(a cohort folder) and, where splits were published, ``OUT/<name>.splits.parquet`` (patient_id, repeat, fold: the fold in which
the patient is tested).

- ``pancancer_song`` (Song et al., arXiv 2505.07683): overall survival, modality ``clinical``, five published splits.
- ``tcga_reports``: pathology reports (TCGA-Reports, Kefeli and Tatonetti 2024, as PathRep-Bench and Digital Registrar hold them)
  with cancer type, stage, driver mutations, microsatellite instability and mutational burden.
- ``colon_mil`` (CRCHistoPhenotypes, Sirinukunwattana et al. 2016): bags of nuclei as in Ilse et al. 2018.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, unknown_name
from oncoweave.data.bags import Bag, BagAttrs, write_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.importers.barcodes import tcga_patient, tcga_site
from oncoweave.data.store import write_cohort
from oncoweave.data.tables import write_table
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder

UNSAID = ("not reported", "Unknown", "unknown")
"""Words of the pan-cancer table for what nobody wrote down."""
STAGES = ("Stage I", "Stage II", "Stage III", "Stage IV")
DRIVERS = (
    "TP53", "PIK3CA", "KRAS", "IDH1", "EGFR", "APC", "PTEN", "CTNNB1", "ARID1A", "BRAF", "KMT2D", "KMT2C", "ATRX", "NF1", "CDH1",
    "ATM", "SMARCA4", "FBXW7", "RB1", "SETD2", "VHL", "PBRM1", "NOTCH1", "BRCA1", "BRCA2", "LRP1B", "FAT1",
)  # fmt: skip
"""Genes that are asked for; those with fewer than ``FEWEST_MUTATED`` mutated patients are no labels."""
FEWEST_MUTATED = 50
FEWEST_HOSPITALS = 5
"""A cancer type of fewer hospitals is no class: five folds by hospital could not all have it."""
MSI_SENSOR = 10.0
"""Unstable from here: the score in percent of sites, cBioPortal's threshold (96 % of 919 gastrointestinal cancers as typed)."""
BURDEN = 10.0
"""Mutations a megabase that count as a high burden (the threshold of the pembrolizumab approval)."""
PATCH = 27
"""Side of a nucleus's crop in pixels (Ilse et al. 2018)."""


def pancancer_song(data: Path, out: Path) -> Cohort:
    """Overall survival in 32 cancers from cancer type, age, sex, race and ethnicity."""
    folder = data / "tcga_pancan_survival_song"
    cases = pd.read_csv(folder / "split_cases.csv")
    said = pd.read_csv(folder / "clinical.csv").set_index("case_id").loc[cases["case_id"]]
    index = pd.Index(cases["case_id"], dtype=object, name="patient_id")
    clinical = _ids(index)
    clinical["cancer_type"] = said["project"].str.removeprefix("TCGA-").to_numpy()
    clinical["age"] = said["age"].to_numpy()
    for column in ("sex", "race", "ethnicity"):
        clinical[column] = said[column].mask(said[column].isin(UNSAID)).to_numpy()
    patients = pd.DataFrame(
        {
            "site": index.map(tcga_site),
            "overall_survival_time": cases["days_to_death_or_censor"].to_numpy(float),
            "overall_survival_event": cases["dead"].to_numpy(float),
            "tumour_type": clinical["cancer_type"].to_numpy(),
        },
        index=index,
    )
    splits = pd.DataFrame({"patient_id": index, "repeat": 0, "fold": cases["split"].to_numpy()})
    write_table(out / "pancancer_song.splits.parquet", splits)
    endpoint = Endpoint(
        name="overall_survival", kind="survival", columns=("overall_survival_time", "overall_survival_event"), time_unit="days"
    )
    return _cohort("pancancer_song", patients, {"clinical": clinical}, {"clinical": "record"}, (endpoint,))


def tcga_reports(data: Path, out: Path) -> Cohort:
    """Reports, and what the tumour's genome and the registry say of their patients.

    The column ``tumour_type`` names every patient's cancer; the endpoint ``cancer_type`` leaves out what few hospitals sent.
    ``variants`` holds copy numbers alone: mutations would state three of the endpoints. ``expression`` holds the genes that all
    cohorts with expression share, as z-scores within a cohort, so that it says little of the cancer type itself.
    """
    del out
    texts = _report_texts(data / "tcga_reports")
    index = pd.Index(texts["patient_id"], dtype=object, name="patient_id")
    registry = pd.read_csv(data / "tcga_molecular" / "tcga_cdr.csv.gz", low_memory=False)
    registry = registry.set_index("bcr_patient_barcode").loc[index]
    stage = registry["ajcc_pathologic_tumor_stage"].str.extract(r"^(Stage (?:IV|III|II|I))[ABC]?\d?$")[0]
    patients = pd.DataFrame(
        {"site": index.map(tcga_site), "source": texts["source"].to_numpy(), "tumour_type": registry["type"], "stage": stage},
        index=index,
    )
    hospitals = patients.groupby("tumour_type")["site"].nunique()
    patients["cancer_type"] = patients["tumour_type"].where(patients["tumour_type"].map(hospitals) >= FEWEST_HOSPITALS)
    labels = mutated(data / "tcga_molecular").reindex(index)[list(DRIVERS)]
    labels = labels.loc[:, labels.sum() >= FEWEST_MUTATED]
    patients = patients.join(labels.add_prefix("driver_"))
    scores = pd.read_csv(data / "tcga_molecular" / "cbioportal_pancan_clinical.csv.gz", low_memory=False)
    scores = scores.drop_duplicates("Patient ID").set_index("Patient ID").reindex(index)
    patients["msi_high"] = _at_least(scores["MSIsensor Score"], MSI_SENSOR)
    patients["tmb_high"] = _at_least(scores["TMB (nonsynonymous)"], BURDEN)
    clinical = _ids(index).assign(
        age=registry["age_at_initial_pathologic_diagnosis"].to_numpy(), female=(registry["gender"] == "FEMALE").to_numpy(float)
    )
    endpoints = (
        Endpoint(
            name="cancer_type",
            kind="multiclass",
            columns=("cancer_type",),
            classes=tuple(sorted(patients["cancer_type"].dropna().unique())),
        ),
        Endpoint(name="stage", kind="ordinal", columns=("stage",), classes=STAGES),
        Endpoint(
            name="driver_mutations",
            kind="multilabel",
            columns=tuple(f"driver_{gene}" for gene in labels),
            classes=tuple(labels),
        ),
        Endpoint(name="msi_high", kind="binary", columns=("msi_high",), classes=("stable", "unstable")),
        Endpoint(name="tmb_high", kind="binary", columns=("tmb_high",), classes=("low", "high")),
    )
    tables = {
        "report": texts.assign(sample_id=texts["patient_id"])[["patient_id", "sample_id", "text"]],
        "clinical": clinical,
        "variants": _rows(_copy_numbers(data / "tcga_molecular"), index),
        "expression": _rows(_expression(data / "porpoise_tcga14" / "omics"), index),
    }
    kinds = {"report": "report", "clinical": "record", "variants": "variants", "expression": "expression"}
    return _cohort("tcga_reports", patients, tables, kinds, endpoints, notes={"expression": {"scale": "z"}})


def colon_mil(data: Path, out: Path) -> Cohort:
    """Bags of nucleus crops from 100 images of colon, called malignant where any nucleus was typed as epithelial (Ilse et al.).

    Nothing but these types says what is malignant. The data name no patients: several images may be of one, so that folds by
    image are not folds by patient.
    """
    folder = data / "colon_mil"
    encoder = load_tile_encoder("colour")
    nuclei = pd.read_csv(folder / "nuclei.csv.gz")
    rows, labels = [], {}
    for name, group in sorted(nuclei.groupby("image"), key=lambda item: int(item[0].removeprefix("img"))):
        path = Path("bags") / "slide" / f"{name}.h5"
        write_bag(out / path, _nucleus_bag(folder / f"{name}.jpg", group, encoder))
        rows.append({"patient_id": name, "sample_id": name, "slide_id": name, "path": path.as_posix()})
        labels[name] = float((group["type"] == "epithelial").any())
    index = pd.Index(list(labels), dtype=object, name="patient_id")
    patients = pd.DataFrame({"malignant": list(labels.values())}, index=index)
    endpoint = Endpoint(name="malignant", kind="binary", columns=("malignant",), classes=("no epithelium", "epithelium"))
    return _cohort("colon_mil", patients, {"slide": pd.DataFrame(rows)}, {"slide": "slide"}, (endpoint,), root=out)


COHORTS: dict[str, Callable[[Path, Path], Cohort]] = {
    builder.__name__: builder for builder in (pancancer_song, tcga_reports, colon_mil)
}


def _cohort(
    name: str,
    patients: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    kinds: dict[str, str],
    endpoints: tuple[Endpoint, ...],
    *,
    notes: dict[str, dict[str, str]] | None = None,
    root: Path | None = None,
) -> Cohort:
    specs = {m: ModalitySpec(name=m, kind=kind, notes=(notes or {}).get(m, {})) for m, kind in kinds.items()}
    return Cohort(
        name=name, patients=patients, tables=tables, modalities=specs, endpoints={e.name: e for e in endpoints}, root=root
    )


def _ids(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": index, "sample_id": index})


def _rows(values: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """Lay a table by patient out as a modality: patients of the cohort that were measured."""
    there = values.loc[values.index.intersection(index, sort=False)]
    return pd.concat([_ids(there.index), there.reset_index(drop=True)], axis=1)


def _at_least(score: pd.Series, threshold: float) -> pd.Series:
    return (score >= threshold).astype(float).where(score.notna())


def _report_texts(folder: Path) -> pd.DataFrame:
    """Read one report a patient: PathRep-Bench's, and Digital Registrar's where that has none."""
    bench = pd.read_csv(folder / "pathrep_val.csv.gz").rename(columns={"bcr_patient_barcode": "patient_id"})
    registrar = pd.read_csv(folder / "digital_registrar.csv.gz").rename(columns={"case_id": "patient_id"})
    nameless = int(registrar["patient_id"].isna().sum())
    if nameless:
        print(f"tcga_reports: {nameless} report(s) of Digital Registrar name no patient and are left out")
    parts = [
        bench.assign(source="PathRep-Bench"),
        registrar.dropna(subset="patient_id").sort_values("doc").assign(source="Digital Registrar"),
    ]
    columns = ["patient_id", "text", "source"]
    return pd.concat([p[columns] for p in parts]).drop_duplicates("patient_id").sort_values("patient_id", ignore_index=True)


def _matrix(path: Path, name: str, *, missing: int) -> pd.DataFrame:
    """Read a matrix of samples x genes; one primary sample a patient, the first by name. Missing stays missing."""
    stored = np.load(path)
    samples = pd.Series(stored["sample"])
    values = pd.DataFrame(stored[name].astype(np.float32), columns=stored["gene"])
    values = values.mask(values == missing)
    order = samples.sort_values().index
    patient = samples.map(tcga_patient)
    if patient.isna().any():
        print(f"{path.name}: {int(patient.isna().sum())} sample(s) without a barcode are left out")
    chosen = [i for i in order if patient[i] is not None and not pd.isna(patient[i])]
    values = values.loc[chosen].set_index(pd.Index(patient[chosen], dtype=object, name="patient_id"))
    return values[~values.index.duplicated()]


def mutated(folder: Path) -> pd.DataFrame:
    """Read which genes are mutated, one primary sample a patient; missing where nobody sequenced."""
    return _matrix(folder / "tcga_mutations_1066.npz", "mut", missing=-1).astype(float)


def _copy_numbers(folder: Path) -> pd.DataFrame:
    values = _matrix(folder / "tcga_cna_1066.npz", "cna", missing=-9).astype(float).add_suffix("_cnv")
    return values[values.notna().any(axis=1)].dropna(axis=1, how="all")


def _expression(folder: Path) -> pd.DataFrame:
    tables = []
    for path in sorted(folder.glob("tcga_*.csv.gz")):
        table = pd.read_csv(path, low_memory=False).drop_duplicates("case_id").set_index("case_id").filter(like="_rnaseq")
        if table.shape[1]:
            tables.append(table)
    if not tables:
        msg = f"{folder}: no cohort with expression there"
        raise DataError(msg)
    return pd.concat(tables, join="inner").astype(float).rename(columns=lambda c: c.removesuffix("_rnaseq"))


def _nucleus_bag(image: Path, nuclei: pd.DataFrame, encoder: TileEncoder) -> Bag:
    """Crop each nucleus and measure its colour and texture; at the border the crop is moved into the image."""
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    height, width = pixels.shape[:2]
    corners = np.rint(nuclei[["x", "y"]].to_numpy()).astype(np.int64) - PATCH // 2
    coords = corners.clip(0, [width - PATCH, height - PATCH])
    crops = np.stack([pixels[y : y + PATCH, x : x + PATCH] for x, y in coords])
    features = encoder.encode(torch.from_numpy(crops).permute(0, 3, 1, 2))
    attrs = BagAttrs(
        slide_id=image.stem,
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        patch_size=PATCH,
        patch_size_level0=float(PATCH),
        level0_width=width,
        level0_height=height,
        recipe=json.dumps({"crop": PATCH, "at": "nuclei"}),
    )
    return Bag(features=features.numpy(), coords=coords, tissue_fraction=None, attrs=attrs)


def main(data: Path, out: Path, names: list[str]) -> None:
    """Write the named cohorts."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names or list(COHORTS):
        if name not in COHORTS:
            raise unknown_name("cohort", name, COHORTS)
        with tempfile.TemporaryDirectory(dir=out) as scratch:
            cohort = COHORTS[name](data, Path(scratch) if name == "colon_mil" else out)
            write_cohort(cohort, out / name)
        print(f"{name}: {len(cohort)} patients, {cohort.site.nunique()} sites")
        for modality, there in cohort.availability().sum().items():
            print(f"  {modality}: {there}")
        for endpoint in cohort.endpoints.values():
            target = cohort.target(endpoint.name)
            values = target.values if endpoint.kind in ("multilabel", "survival") else target.values[:, None]
            print(f"  {endpoint.name} ({endpoint.kind}): {int(target.known.sum())} known, sums {np.nansum(values, axis=0)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:])
