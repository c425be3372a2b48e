"""Renal cell carcinoma: clear cell, papillary or chromophobe (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="rcc",
    of="renal cell carcinoma",
    labels=("CCRCC", "PRCC", "CHRCC"),
    obtain=("TCGA-KIRC, TCGA-KIRP and TCGA-KICH (GDC portal): diagnostic slides; the project is the class."),
)
