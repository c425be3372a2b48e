"""Non-small cell lung cancer: adenocarcinoma or squamous cell carcinoma (Prov-GigaPath, subtyping)."""

from oncoweave.train.gigapath_tasks import subtyping

BENCHMARK = "GigaPath, subtyping"

TASK = subtyping(
    site="nsclc",
    of="non-small cell lung cancer",
    labels=("LUAD", "LUSC"),
    obtain=(
        "TCGA-LUAD and TCGA-LUSC (GDC portal): diagnostic slides, embedded with oncoweave slides embed; the project is the class."
    ),
)
