"""Five genes of lung adenocarcinoma at Providence, from the slide (Prov-GigaPath, pathomics)."""

from oncoweave.train.gigapath_tasks import CITATION, GENES, PRIVATE, mutation
from oncoweave.train.task import Figure, Published, Source

BENCHMARK = "GigaPath, pathomics"
KEYS = ("EGFR", "FAT1", "KRAS", "TP53", "LRP1B")

_SOURCE = Source(
    name="Prov-Path, LUAD",
    obtain=f"{PRIVATE} The same question of public slides is the family mutation_luad_tcga.",
)
_PUBLISHED = Published(
    citation=CITATION,
    source="text, five genes of lung adenocarcinoma",
    notes="Known is the mean over the five genes (P below .01 against every rival); those of single genes could not be checked.",
    figures=(Figure(model="Prov-GigaPath", metric="auroc", value=0.626, group="mean of five genes"),),
)

TASKS = {
    gene: mutation(
        gene, family="mutation_luad_prov", source=_SOURCE, of="a lung adenocarcinoma of Providence", published=_PUBLISHED
    )
    for gene in GENES
}
