"""Diffuse glioma: five types, from oligodendroglioma to glioblastoma (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="difg",
    of="diffuse glioma",
    labels=("GBM", "ODG", "AODG", "HGGNOS", "AASTR"),
    obtain=(
        "TCGA-GBM and TCGA-LGG (GDC portal), or the EBRAINS Digital Brain Tumour Atlas, whose diagnoses are closer to these."
    ),
)
