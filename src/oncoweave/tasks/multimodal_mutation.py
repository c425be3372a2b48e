"""A driver mutation from slide, expression, report and record: the biomarker question of the review, without the variants."""

from oncoweave.train.fusion_panel import LINEAR, MAIN, NETWORKS, REVIEW, THRICE, THRICE_FIVE
from oncoweave.train.study import ModelSpec
from oncoweave.train.task import Source, StandIn, Task

BENCHMARK = "review"

TASK = Task(
    name="multimodal_mutation",
    question="Is the driver gene mutated, as everything but its sequence tells?",
    source=Source(
        name="any cohort with slides and another modality",
        obtain=(
            "A cohort of a user's own (oncoweave cohort import) with an endpoint driver_mutation that is no column of a modality."
        ),
    ),
    roles={"slide": ("slide", "embedding"), "expression": ("expression",), "report": ("report",), "record": ("record",)},
    required=("slide",),
    optional=("expression", "report", "record"),
    endpoints=("driver_mutation",),
    labels=("wild type", "mutated"),
    metrics={"binary": "auroc", "multilabel": "macro_auroc"},
    models=(*LINEAR, *NETWORKS, ModelSpec(name="abmil", fusion="mean", modalities=("slide",), encoders={"slide": "abmil"})),
    main=MAIN,
    published=REVIEW,
    stand_in=StandIn(
        endpoint="driver_a",
        reason=(
            "The phantom's driver depends on the growth pattern, which slide and report show; the dependence is one planted"
            " table."
        ),
    ),
    split=THRICE,
    protocol=THRICE_FIVE,
)
