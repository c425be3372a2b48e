"""Is there epithelium among the nuclei of an image of colon: the benchmark of attention-based multiple-instance learning."""

from oncoweave.train.slide_panel import MODELS, NETWORK, ROLES, SLIDE
from oncoweave.train.study import Protocol
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "public data"

TASK = Task(
    name="colon_bags",
    question="Does any nucleus of the image belong to epithelium?",
    source=Source(
        name="CRCHistoPhenotypes (Sirinukunwattana et al. 2016), 100 images",
        obtain=(
            "University of Warwick, for research; copies are in repositories on multiple-instance learning."
            " benchmarks/real_cohorts.py makes a bag of 27-px crops at the nuclei of each image."
        ),
        cohorts=("colon_mil",),
    ),
    roles=ROLES,
    required=(SLIDE,),
    endpoints=("malignant",),
    labels=("no epithelium", "epithelium"),
    metrics={"binary": "auroc"},
    models=MODELS,
    main="abmil",
    published=Published(
        citation="Ilse, Tomczak and Welling, ICML 2018",
        source="table on the colon data set, five times ten folds",
        notes=(
            "The table could not be checked and its figures are not given. There, embeddings are learnt with the attention,"
            " from pixels; here crops are embedded first. The label is made of the nuclei's types, and 51 of 100 images are"
            " positive."
        ),
    ),
    floor=(
        Figure(model="handcrafted features, mean and max, random forest", metric="auroc", value=0.948),
        Figure(model="handcrafted features, mean and max, random forest", metric="accuracy", value=0.860),
    ),
    stand_in=StandIn(
        endpoint="driver_a",
        reason=(
            "A label of the whole bag that follows from some tiles of a phantom slide; nearly all its tiles tell, not one"
            " nucleus."
        ),
    ),
    split=Split(rule="Ten folds by image; no patient is named, so that images of one patient may be on two sides."),
    protocol=Protocol(folds=10, repeats=1, permutations=1),
    network=NETWORK,
)
