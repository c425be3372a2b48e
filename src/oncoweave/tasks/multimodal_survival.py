"""Overall survival from whatever was measured of a patient: the question of the review on multimodal fusion."""

from oncoweave.train.fusion_panel import LINEAR, MAIN, NETWORKS
from oncoweave.train.study import Protocol
from oncoweave.train.task import Published, Source, Split, StandIn, Task

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
    published=Published(
        citation="Steyaert et al., Nature Machine Intelligence 2023 (Multimodal data fusion for cancer biomarker discovery)",
        source="the review gives no benchmark of its own",
        notes="No figure: the review compares published works on different patients, which cannot be held against one another.",
    ),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason=(
            "Of the phantom's hazard it is known what each modality shows alone, what several share and what only two together"
            " show. The shares are planted, and larger than those that were ever measured."
        ),
    ),
    split=Split(rule="By patient, and by hospital where every patient's is known; three times five folds."),
    protocol=Protocol(folds=5, repeats=3),
)
