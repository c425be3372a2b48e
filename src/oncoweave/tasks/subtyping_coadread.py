"""Colorectal adenocarcinoma: of colon or of rectum (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="coadread",
    of="colorectal adenocarcinoma",
    labels=("COAD", "READ"),
    obtain=(
        "TCGA-COAD and TCGA-READ (GDC portal): diagnostic slides; the project is the class. It is a site, which "
        "morphology hardly tells."
    ),
)
