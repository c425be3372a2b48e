"""Tumour mutational burden, high or low, across all cancers, from the slide (Prov-GigaPath, pathomics)."""

from oncoweave.train.gigapath_tasks import CANCER, CITATION, MAIN, PRIVATE, PROTOCOL, RULE, SHOWN
from oncoweave.train.slide_panel import MODELS, NETWORK, ROLES, SLIDE
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "GigaPath, pathomics"

TASK = Task(
    name="tmb_pancancer",
    question="Is the mutational burden of a cancer of any type high, as the slide shows it?",
    source=Source(
        name="Prov-Path, all cancers",
        obtain=f"{PRIVATE} All projects of TCGA (GDC portal); cBioPortal's PanCanAtlas studies count mutations a megabase.",
    ),
    roles=ROLES,
    required=(SLIDE,),
    endpoints=("tmb_high",),
    labels=("low", "high"),
    groups=CANCER[:1],
    strata=CANCER,
    metrics={"binary": "auroc"},
    models=MODELS,
    main=MAIN,
    published=Published(
        citation=CITATION,
        source="text, tumour mutational burden",
        notes="The cut between high and low is not in the released material. The type of cancer alone tells much of the burden.",
        figures=(Figure(model="Prov-GigaPath", metric="auroc", value=0.708),),
    ),
    stand_in=StandIn(endpoint="driver_a", reason=SHOWN),
    split=Split(rule=RULE),
    protocol=PROTOCOL,
    network=NETWORK,
)
