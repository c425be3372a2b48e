"""What Prov-GigaPath's 26 tasks share: nine of subtyping and seventeen of pathomics (Xu et al., Nature 2024)."""

from oncoweave.data.released_splits import LUAD_GENES
from oncoweave.train.slide_panel import CLASSES, MODELS, NETWORK, ROLES, SLIDE
from oncoweave.train.study import Protocol
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

CITATION = "Xu et al., Nature 2024 (Prov-GigaPath)"
MAIN = "longnet"
GENES = LUAD_GENES
CANCER = ("cancer_type", "tumour_type")
"""Columns of a pan-cancer cohort, the preferred one first, that say which cancer; a task of all cancers ranks within it."""
PROTOCOL = Protocol(folds=5, repeats=10, scheme="monte_carlo", permutations=1)
RULE = (
    "Ten random splits by patient with a fifth to test, as in the paper, and by hospital where every patient's is known, which"
    " is stricter. The paper also sets a tenth aside to validate and takes the largest slide of each patient; here inner folds"
    " select, and all slides of a patient are one bag."
)
PRIVATE = "Prov-Path (Providence, 28 cancer centres) is not public."
UNREACHED = "The table of this task is a figure and a supplement of the paper that could not be checked: no figure is given."
SHOWN = (
    "A slide of the phantom shows this through the growth pattern, as a mutation shows through morphology; it is one planted"
    " cue, and not a gene's."
)


def subtyping(*, site: str, of: str, labels: tuple[str, ...], obtain: str) -> Task:
    """Make one of the nine tasks of subtyping; the endpoint is called ``<site>_subtype`` or ``subtype``."""
    return Task(
        name=f"subtyping_{site}",
        question=f"Which subtype of {of} does the slide show?",
        source=Source(name=f"Prov-Path, {site.upper()}", obtain=f"{PRIVATE} {obtain}"),
        roles=ROLES,
        required=(SLIDE,),
        endpoints=(f"{site}_subtype", "subtype"),
        labels=labels,
        metrics=CLASSES,
        models=MODELS,
        main=MAIN,
        published=Published(
            citation=CITATION,
            source="text, subtyping of nine types of cancer",
            notes=(
                f"{UNREACHED} Known is the mean AUROC of all nine tasks, and that without pretraining of the slide encoder. The"
                " names of the classes are OncoTree's, as far as the released material tells. Balanced accuracy is reported as"
                " well."
            ),
            figures=(
                Figure(model="Prov-GigaPath", metric="macro_auroc", value=0.903, group="mean of nine tasks"),
                Figure(model="Prov-GigaPath, random LongNet", metric="macro_auroc", value=0.886, group="mean of nine tasks"),
            ),
        ),
        stand_in=StandIn(
            endpoint="subtype",
            reason=(
                "The three growth patterns of the phantom are classes that its slides show plainly. They are drawn shapes of one"
                " tumour, and easier than any pair of diagnoses."
            ),
        ),
        split=Split(rule=RULE),
        protocol=PROTOCOL,
        network=NETWORK,
    )


def mutation(
    gene: str,
    *,
    family: str,
    source: Source,
    of: str,
    published: Published,
    split: Split | None = None,
    strata: tuple[str, ...] = (),
) -> Task:
    """Make the task of one gene; the endpoint is called ``<gene>_mutation``, and groups are told apart by the first stratum."""
    return Task(
        name=f"{family}/{gene}",
        question=f"Is {gene} mutated in {of}, as the slide shows it?",
        source=source,
        roles=ROLES,
        required=(SLIDE,),
        endpoints=(f"{gene}_mutation",),
        labels=("wild type", "mutated"),
        metrics={"binary": "auroc"},
        groups=strata[:1],
        strata=strata,
        models=MODELS,
        main=MAIN,
        published=published,
        stand_in=StandIn(endpoint="driver_a", reason=SHOWN),
        split=split or Split(rule=RULE),
        protocol=PROTOCOL,
        network=NETWORK,
    )
