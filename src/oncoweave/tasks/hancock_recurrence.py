"""Recurrence-free survival in head and neck cancer from record, pathology, blood, codes and tissue cores (HANCOCK)."""

from oncoweave.train.hancock_panel import MODELS, NETWORK, OPTIONAL, PROTOCOL, REQUIRED, ROLES, RULE, SOURCE, published
from oncoweave.train.task import Split, StandIn, Task

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
    published=published("recurrence", (0.79, 0.71, 0.69)),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason="The phantom has times of death and none of recurrence; its hazard is known and planted.",
    ),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
