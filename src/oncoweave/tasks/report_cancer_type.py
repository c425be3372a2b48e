"""The type of cancer that a pathology report is about (PathRep-Bench)."""

from oncoweave.train.report_panel import NETWORK, PROTOCOL, READERS, REPORT, RULE, SOURCE, TFIDF, floor, pathrep
from oncoweave.train.task import Split, StandIn, Task

BENCHMARK = "public data"
_TABLE = {
    "gpt-4o-mini, fine-tuned": 0.992,
    "mistral-large": 0.979,
    "gpt-4o": 0.975,
    "llama3-70b": 0.972,
    "gpt-4o-mini": 0.964,
    "pathllama3.1-8b, fine-tuned": 0.963,
    "mistral-medium": 0.894,
    "llama3-8b": 0.647,
}

TASK = Task(
    name="report_cancer_type",
    question="Which type of cancer is the pathology report about?",
    source=SOURCE,
    roles={REPORT: ("report",)},
    required=(REPORT,),
    endpoints=("cancer_type",),
    metrics={"multiclass": "macro_auroc"},
    models=READERS,
    main=TFIDF,
    published=pathrep(
        1,
        _TABLE,
        (
            "Language models that are asked and not trained, but for the two that were fine-tuned. Reports mostly state their"
            " type: this is reading and not diagnosing. The test reports are kept apart here, and figures of cross-validation"
            " on others are near and not equal."
        ),
    ),
    floor=floor(accuracy=0.851, balanced=0.772),
    stand_in=StandIn(
        endpoint="subtype",
        reason=(
            "Reports of the phantom name the growth pattern in one of a few phrases: the shape of the task with three classes."
        ),
    ),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
