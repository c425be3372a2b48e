"""The stage that a pathology report amounts to (PathRep-Bench)."""

from oncoweave.train.report_panel import NETWORK, PROTOCOL, READERS, REPORT, RULE, SOURCE, TFIDF, floor, pathrep
from oncoweave.train.task import Split, StandIn, Task

BENCHMARK = "public data"
_TABLE = {
    "gpt-4o-mini, fine-tuned": 0.871,
    "mistral-large": 0.557,
    "gpt-4o": 0.768,
    "llama3-70b": 0.591,
    "gpt-4o-mini": 0.649,
    "pathllama3.1-8b, fine-tuned": 0.850,
    "mistral-medium": 0.493,
    "llama3-8b": 0.032,
}

TASK = Task(
    name="report_stage",
    question="Which AJCC stage does the pathology report amount to?",
    source=SOURCE,
    roles={REPORT: ("report",)},
    required=(REPORT,),
    endpoints=("stage",),
    labels=("Stage I", "Stage II", "Stage III", "Stage IV"),
    metrics={"ordinal": "ordinal_c", "multiclass": "macro_auroc"},
    groups=("tumour_type",),
    strata=("tumour_type", "cancer_type"),
    models=READERS,
    main=TFIDF,
    published=pathrep(
        2,
        _TABLE,
        (
            "Means over types of cancer, of language models that are asked and not trained, but for the two that were"
            " fine-tuned. A report seldom states the stage group and often states T and N, from which it follows by another"
            " table for each type."
        ),
    ),
    floor=floor(accuracy=0.529, balanced=0.501),
    stand_in=StandIn(
        endpoint="grade",
        reason="An ordered class that reports of the phantom state; its stage is in the record and is no endpoint.",
    ),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
