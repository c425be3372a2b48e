"""Tumours of the central nervous system: atypical meningioma or meningioma (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="cns",
    of="tumour of the central nervous system",
    labels=("ATM", "MNG"),
    obtain=("TCGA holds none; the EBRAINS Digital Brain Tumour Atlas holds meningiomas of all grades."),
)
