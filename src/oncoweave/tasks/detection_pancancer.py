"""Is there cancer in the specimen: nine common cancers, and seven rare ones that nothing is trained on (Virchow)."""

from oncoweave.data.unseen_groups import Unseen
from oncoweave.train.slide_panel import MODELS, NETWORK, PROTOCOL, ROLES, SLIDE
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "Virchow"
COLUMN = "cancer"
"""Of the patient table: the type of cancer that a specimen was examined for, known for benign specimens too."""
COMMON = ("breast", "prostate", "lung", "colon", "skin", "bladder", "uterus", "pancreas", "head and neck")
RARE = ("liver", "stomach", "brain", "ovary", "cervix", "testis", "bone")

TASK = Task(
    name="detection_pancancer",
    question="Does the specimen contain cancer, of whichever type?",
    source=Source(
        name="Memorial Sloan Kettering and consulting hospitals",
        obtain=(
            "Not public. A cohort of a user's own: one row a specimen (all its slides are its bag), endpoint cancer_present,"
            f" the type in the column {COLUMN!r}, whose specimen it is in another column (person). Types:"
            f" {', '.join((*COMMON, *RARE))}."
        ),
    ),
    roles=ROLES,
    required=(SLIDE,),
    endpoints=("cancer_present",),
    labels=("benign", "cancer"),
    metrics={"binary": "auroc"},
    groups=(COLUMN,),
    strata=(COLUMN,),
    models=MODELS,
    main="agata",
    published=Published(
        citation="Vorontsov et al., Nature Medicine 2024 (Virchow)",
        source="abstract and text; the rare cancers' figure as in the preprint, arXiv 2309.07778",
        notes=(
            "By specimen; the aggregator (Agata) was trained on 40,402 specimens. All pairs of encoders differ (P below"
            " .0001). The count of nine common and seven rare cancers is the abstract's; the names of the sixteen and the AUROC"
            " of each stand in a figure that could not be checked."
        ),
        figures=(
            Figure(model="Virchow", metric="auroc", value=0.950),
            Figure(model="UNI", metric="auroc", value=0.940),
            Figure(model="Phikon", metric="auroc", value=0.932),
            Figure(model="CTransPath", metric="auroc", value=0.907),
            Figure(model="Virchow", metric="auroc", value=0.937, group="rare cancers"),
        ),
    ),
    stand_in=StandIn(
        endpoint="driver_a",
        reason=(
            "A yes or no that slides of the phantom show, asked of a growth pattern that nothing was trained on. All patients"
            " of the phantom have cancer, so whether there is any cannot be asked; and what is unseen differs in pattern and"
            " not in organ."
        ),
        unseen=Unseen(column="subtype", groups=("discohesive",)),
    ),
    split=Split(
        rule=(
            "Common cancers by patient, a fold tested at a time; all specimens of rare cancers are tested and none is trained"
            " on. The paper has one hold-out. Told apart: all, those seen in training or not, each cancer (train.task_groups)."
        ),
        unseen=Unseen(column=COLUMN, groups=RARE),
    ),
    specimens=True,
    protocol=PROTOCOL,
    network=NETWORK,
)
