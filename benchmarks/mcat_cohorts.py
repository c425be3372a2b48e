"""Build the five TCGA cohorts of MCAT (Chen et al., ICCV 2021) on its released folds.

Usage: python benchmarks/mcat_cohorts.py DATA OUT, where DATA holds ``porpoise_tcga14`` and ``oof_histology_risk``. For each
cohort it writes ``OUT/<cohort>`` (a cohort folder), ``OUT/<cohort>.splits.parquet`` (patient_id, repeat, fold: the fold in which
the patient is tested) and ``OUT/<cohort>.histology_risk.parquet`` (patient_id, fold and the released risk of each model; a risk
belongs to the fold in which its patient is tested, and must not be used to train for another).
"""

import sys
from pathlib import Path

import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.importers.barcodes import tcga_site
from oncoweave.data.store import write_cohort
from oncoweave.data.tables import write_table

COHORTS = ("tcga_blca", "tcga_brca", "tcga_gbmlgg", "tcga_luad", "tcga_ucec")


def build(name: str, data: Path) -> Cohort:
    """Make a cohort of the released table, which has one row a slide and repeats the patient's values in each."""
    rows = pd.read_csv(data / "porpoise_tcga14" / "omics" / f"{name}.csv.gz", low_memory=False, float_precision="round_trip")
    table = rows.drop(columns=["slide_id", "train"]).drop_duplicates()
    if table["case_id"].duplicated().any():
        msg = f"{name}: a patient has different values in rows of different slides"
        raise DataError(msg)
    table = table.rename(columns={"case_id": "patient_id"}).reset_index(drop=True)
    patients = pd.DataFrame(
        {
            "site": table["patient_id"].map(tcga_site).astype("string"),
            "overall_survival_time": table["survival_months"].astype(float),
            "overall_survival_event": 1.0 - table["censorship"].astype(float),
        }
    ).set_index(pd.Index(table["patient_id"], dtype=object))
    ids = pd.DataFrame({"patient_id": table["patient_id"], "sample_id": table["patient_id"]})
    clinical = pd.DataFrame(
        {"age": table["age"], "female": table["is_female"].astype(float), "oncotree_code": table["oncotree_code"]}
    )
    rna = [c for c in table if c.endswith("_rnaseq")]
    altered = [c for c in table if c.endswith(("_mut", "_cnv"))]
    tables = {"clinical": pd.concat([ids, clinical], axis=1)}
    specs = {"clinical": ModalitySpec(name="clinical", kind="record")}
    if rna:
        values = table[rna].astype(float).rename(columns=lambda c: c.removesuffix("_rnaseq"))
        tables["expression"] = pd.concat([ids, values], axis=1)
        specs["expression"] = ModalitySpec(name="expression", kind="expression", notes={"scale": "z"})
    tables["variants"] = pd.concat([ids, table[altered].astype(float)], axis=1)
    specs["variants"] = ModalitySpec(name="variants", kind="variants")
    endpoint = Endpoint(
        name="overall_survival",
        kind="survival",
        columns=("overall_survival_time", "overall_survival_event"),
        time_unit="months",
    )
    return Cohort(name=name, patients=patients, tables=tables, modalities=specs, endpoints={endpoint.name: endpoint})


def splits(name: str, data: Path) -> pd.DataFrame:
    """Read the released folds: fold k tests the patients of column ``val`` of ``splits_k.csv``."""
    folder = data / "oof_histology_risk" / "mcat_splits" / name
    folds = [pd.read_csv(folder / f"splits_{k}.csv")["val"].dropna() for k in range(5)]
    return pd.concat([pd.DataFrame({"patient_id": f, "repeat": 0, "fold": k}) for k, f in enumerate(folds)], ignore_index=True)


def histology_risk(name: str, data: Path) -> pd.DataFrame:
    """Read the released risks of MCAT's models, one column a model."""
    risks = pd.read_csv(data / "oof_histology_risk" / "oof_risk.csv.gz", float_precision="round_trip")
    chosen = risks[(risks["source"] == "mcat") & (risks["cohort"] == name)]
    wide = chosen.pivot_table(index=["case_id", "fold"], columns="model", values="risk").reset_index()
    wide.columns.name = None
    return wide.rename(columns={"case_id": "patient_id"})


def main(data: Path, out: Path) -> None:
    """Write all five."""
    for name in COHORTS:
        cohort = build(name, data)
        folds, risk = splits(name, data), histology_risk(name, data)
        if set(folds["patient_id"]) != set(cohort.patients.index) or folds["patient_id"].duplicated().any():
            msg = f"{name}: the released folds do not test each patient once"
            raise DataError(msg)
        write_cohort(cohort, out / name)
        write_table(out / f"{name}.splits.parquet", folds)
        write_table(out / f"{name}.histology_risk.parquet", risk)
        events = int(cohort.target("overall_survival").event.sum())
        print(f"{name}: {len(cohort)} patients, {events} deaths, {cohort.site.nunique()} sites, {', '.join(cohort.modalities)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
