"""Intensive care, ventilation and death from a chest scan, notes and values at admission: AUPRC (Zhou et al. 2023, table 2).

The paper predicts three outcomes of COVID-19 from CT and clinical data of private hospitals. Where a cohort tells them apart the
endpoint is ``adverse_outcomes`` (three labels); otherwise ``adverse_later`` (any of them, unknown for who is in intensive care or
intubated on the index film already: nothing is left to predict, and the tube can be seen), then ``adverse_outcome``. Split by
patient, and by source where it is known. Notes leak: those written after the fact tell the course, so run it on notes with and
without the words that name it.
"""

from oncoweave.train.irene_panel import MAIN, MODELS, NETWORK, PROTOCOL, ROLES
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "IRENE"

LABELS = ("intensive care", "mechanical ventilation", "death")
_TABLE = {
    "image_only": (0.307, 0.482, 0.247, 0.192),
    "early": (0.521, 0.665, 0.551, 0.346),
    "late": (0.503, 0.647, 0.533, 0.330),
    "git": (0.514, 0.653, 0.554, 0.335),
    "perceiver": (0.526, 0.652, 0.566, 0.360),
    "mdt": (0.592, 0.712, 0.624, 0.441),
}
_INTERVALS = {
    "image_only": (0.237, 0.391),
    "early": (0.435, 0.614),
    "late": (0.422, 0.598),
    "git": (0.442, 0.605),
    "perceiver": (0.448, 0.611),
    "mdt": (0.500, 0.682),
}
"""Of the mean."""

TASK = Task(
    name="adverse_outcome",
    question="Will the patient need intensive care or mechanical ventilation, or die?",
    source=Source(
        name="chest scans of COVID-19, 14,435 participants quoted",
        obtain="Not public. A cohort of a user's own with an image, notes and values; public films with notes leak the outcome.",
    ),
    roles=ROLES,
    required=("image",),
    endpoints=("adverse_outcomes", "adverse_later", "adverse_outcome"),
    labels=LABELS,
    metrics={"multilabel": "macro_auprc", "binary": "auprc"},
    models=MODELS,
    main=MAIN,
    published=Published(
        citation="Zhou et al., Nature Biomedical Engineering 2023",
        source="table 2",
        figures=tuple(
            Figure(model=model, metric="auprc", label="", value=row[0], low=_INTERVALS[model][0], high=_INTERVALS[model][1])
            for model, row in _TABLE.items()
        )
        + tuple(
            Figure(model=model, metric="auprc", label=label, value=value)
            for model, row in _TABLE.items()
            for label, value in zip(LABELS, row[1:], strict=True)
        ),
        notes=(
            "Intervals of about .09 to either side: the test set is small. A precision depends on how frequent the outcome is, so"
            " a cohort with other rates cannot be held against these figures."
        ),
    ),
    stand_in=StandIn(
        endpoint="progression_24m",
        reason=(
            "Progression within two years is one yes or no that film, report and record each show in part, as the outcome does:"
            " AUROC .63 at best from the film (stage, as size of the lesion and fluid), .74 from the report, .70 from the record,"
            " .78 from all. It is the course of a tumour over years, drawn from a known hazard, not that of an infection in days."
        ),
    ),
    split=Split(rule="By patient, and by hospital where every patient's is known; the paper's own split is not released."),
    protocol=PROTOCOL,
    network=NETWORK,
)
