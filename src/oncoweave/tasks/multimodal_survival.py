"""Overall survival from whatever was measured of a patient: the question of the review on multimodal fusion."""

from oncoweave.train.fusion_panel import LINEAR, MAIN, NETWORKS, REVIEW, THRICE, THRICE_FIVE
from oncoweave.train.task import Source, StandIn, Task

BENCHMARK = "review"

TASK = Task(
    name="multimodal_survival",
    question="How long will the patient live, and which modality adds what to the others?",
    source=Source(
        name="any cohort with two modalities or more",
        obtain="A cohort of a user's own (oncoweave cohort import), or those of tcga_survival and hancock_overall_survival.",
    ),
    roles={
        "record": ("record",),
        "slide": ("slide", "embedding"),
        "expression": ("expression",),
        "variants": ("variants",),
        "report": ("report",),
        "scan": ("volume", "film"),
    },
    required=("record",),
    optional=("slide", "expression", "variants", "report", "scan"),
    endpoints=("overall_survival",),
    metrics={"survival": "c_index"},
    models=(*LINEAR, *NETWORKS),
    main=MAIN,
    published=REVIEW,
    stand_in=StandIn(
        endpoint="overall_survival",
        reason=(
            "Of the phantom's hazard it is known what each modality shows alone, what several share and what only two together"
            " show. The shares are planted, and larger than those that were ever measured."
        ),
    ),
    split=THRICE,
    protocol=THRICE_FIVE,
)
