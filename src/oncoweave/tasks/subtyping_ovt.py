"""Ovarian tumours: six types, from clear cell to carcinosarcoma (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="ovt",
    of="ovarian tumour",
    labels=("CCOV", "EOV", "HGSOC", "LGSOC", "MOV", "OCS"),
    obtain=("TCGA-OV holds high-grade serous carcinoma only; a cohort with all six has to be a user's own."),
)
