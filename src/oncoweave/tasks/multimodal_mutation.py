"""A driver mutation from slide, expression, report and record: the biomarker question of the review, without the variants."""

from oncoweave.train.fusion_panel import LINEAR, MAIN, NETWORKS
from oncoweave.train.study import ModelSpec, Protocol
from oncoweave.train.task import Published, Source, Split, StandIn, Task

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
    published=Published(
        citation="Steyaert et al., Nature Machine Intelligence 2023 (Multimodal data fusion for cancer biomarker discovery)",
        source="the review gives no benchmark of its own",
        notes="No figure: the review compares published works on different patients, which cannot be held against one another.",
    ),
    stand_in=StandIn(
        endpoint="driver_a",
        reason=(
            "The phantom's driver depends on the growth pattern, which slide and report show; the dependence is one planted"
            " table."
        ),
    ),
    split=Split(rule="By patient, and by hospital where every patient's is known; three times five folds."),
    protocol=Protocol(folds=5, repeats=3),
)
