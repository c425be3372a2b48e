"""Overall survival in head and neck cancer from record, pathology, blood, codes and tissue cores (HANCOCK)."""

from oncoweave.train.hancock_panel import MODELS, NETWORK, OPTIONAL, PROTOCOL, REQUIRED, ROLES, RULE, SOURCE, published
from oncoweave.train.task import Figure, Split, StandIn, Task

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
    published=published("survival status", (0.79, 0.78, 0.71)),
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
