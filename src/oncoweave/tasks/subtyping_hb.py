"""Hepatobiliary cancer: cholangiocarcinoma or hepatocellular carcinoma (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="hb",
    of="hepatobiliary cancer",
    labels=("CHOL", "HCC"),
    obtain=("TCGA-CHOL and TCGA-LIHC (GDC portal): diagnostic slides; the project is the class."),
)
