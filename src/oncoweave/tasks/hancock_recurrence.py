"""Recurrence-free survival in head and neck cancer from record, pathology, blood, codes and tissue cores (HANCOCK)."""

from oncoweave.train.hancock_panel import CITATION, MODELS, NETWORK, OPTIONAL, PROTOCOL, REQUIRED, ROLES, RULE, SOURCE
from oncoweave.train.task import Figure, Published, Split, StandIn, Task

BENCHMARK = "public data"

TASK = Task(
    name="hancock_recurrence",
    question="How long will a patient with head and neck cancer live without recurrence?",
    source=SOURCE,
    roles=ROLES,
    required=REQUIRED,
    optional=OPTIONAL,
    endpoints=("recurrence_free_survival", "recurrence"),
    metrics={"survival": "c_index"},
    models=MODELS,
    main="stacking",
    published=Published(
        citation=CITATION,
        source="the authors' figure of ROC curves on three test sets",
        notes=(
            "AUROC of recurrence as a yes or no (random forest on vectors of all modalities), not a C-index, and the figure"
            " does not say which curve is which split; the splits are on the authors' server only. It cannot be held against a"
            " C-index."
        ),
        figures=(
            Figure(model="random forest, all modalities", metric="auroc", value=0.79, group="first test set of the figure"),
            Figure(model="random forest, all modalities", metric="auroc", value=0.71, group="second test set of the figure"),
            Figure(model="random forest, all modalities", metric="auroc", value=0.69, group="third test set of the figure"),
        ),
    ),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason="The phantom has times of death and none of recurrence; its hazard is known and planted.",
    ),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
