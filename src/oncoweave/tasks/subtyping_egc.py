"""Esophagogastric cancer: of oesophagus, junction or stomach (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="egc",
    of="esophagogastric cancer",
    labels=("ESCA", "GEJ", "STAD"),
    obtain=("TCGA-ESCA and TCGA-STAD (GDC portal): diagnostic slides; the junction is a site of the clinical table."),
)
