"""Overall survival in head and neck cancer from record, pathology, blood, codes and tissue cores (HANCOCK)."""

from oncoweave.train.hancock_panel import CITATION, MODELS, NETWORK, OPTIONAL, PROTOCOL, REQUIRED, ROLES, RULE, SOURCE
from oncoweave.train.task import Figure, Published, Split, StandIn, Task

BENCHMARK = "public data"

TASK = Task(
    name="hancock_overall_survival",
    question="How long will a patient with head and neck cancer live?",
    source=SOURCE,
    roles=ROLES,
    required=REQUIRED,
    optional=OPTIONAL,
    endpoints=("overall_survival",),
    metrics={"survival": "c_index"},
    models=MODELS,
    main="stacking",
    published=Published(
        citation=CITATION,
        source="the authors' figure of ROC curves on three test sets",
        notes=(
            "AUROC of survival status as a yes or no (random forest on vectors of all modalities), not a C-index, and the"
            " figure does not say which curve is which split; the splits are on the authors' server only. It cannot be held"
            " against a C-index."
        ),
        figures=(
            Figure(model="random forest, all modalities", metric="auroc", value=0.79, group="first test set of the figure"),
            Figure(model="random forest, all modalities", metric="auroc", value=0.78, group="second test set of the figure"),
            Figure(model="random forest, all modalities", metric="auroc", value=0.71, group="third test set of the figure"),
        ),
    ),
    floor=(
        Figure(model="clinical, pathological and blood, ridge Cox", metric="c_index", value=0.717),
        Figure(model="everything, ridge Cox", metric="c_index", value=0.688),
        Figure(model="blood alone, ridge Cox", metric="c_index", value=0.670),
        Figure(model="clinical alone, ridge Cox", metric="c_index", value=0.634),
    ),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason=(
            "Death of phantom patients follows from what record, report, variants and slide show, each a part. The hazard is"
            " known and planted, proportional and censored at random, which that of patients is not."
        ),
    ),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
