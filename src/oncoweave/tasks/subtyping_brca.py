"""Breast cancer: ductal or lobular (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="brca",
    of="breast cancer",
    labels=("IDC", "ILC"),
    obtain=("TCGA-BRCA (GDC portal): diagnostic slides; the histological type of the clinical table is the class."),
)
