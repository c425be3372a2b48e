"""ISUP grade of prostate biopsies, on the split that Prov-GigaPath released for PANDA."""

from oncoweave.train.gigapath_tasks import CITATION, MAIN
from oncoweave.train.slide_panel import MODELS, NETWORK, PROTOCOL, ROLES, SLIDE
from oncoweave.train.task import Published, Source, Split, StandIn, Task

BENCHMARK = "GigaPath, released split"

TASK = Task(
    name="grading_panda",
    question="Which ISUP grade does a prostate biopsy have?",
    source=Source(
        name="PANDA challenge (Bulten et al., Nature Medicine 2022)",
        obtain=(
            "Slides: the challenge's page on Kaggle. Split: train_0.csv, val_0.csv and test_0.csv under dataset_csv/PANDA of the"
            " prov-gigapath repository (Apache-2.0), 9,555 slides."
        ),
    ),
    roles=ROLES,
    required=(SLIDE,),
    endpoints=("isup_grade",),
    labels=("0", "1", "2", "3", "4", "5"),
    metrics={"ordinal": "quadratic_kappa"},
    models=MODELS,
    main=MAIN,
    published=Published(
        citation=CITATION,
        source="released scripts; not in the paper",
        notes=(
            "No figure on this split is in the released material; figures of others are on splits of their own and cannot be"
            " held against it. The slides have 1.75 um/px at the level that is often taken, where encoders of 0.5 um/px fail."
            " PANDA names no patients."
        ),
    ),
    stand_in=StandIn(
        endpoint="grade",
        reason="The phantom's grade is an ordered reading of proliferation, which its slides show. It is not a growth pattern.",
    ),
    split=Split(
        rule="One hold-out by slide, as no patient is named: a tenth is tested, a tenth validates and, here, trains as well.",
        released="train_0.csv, val_0.csv, test_0.csv, read by data.released_splits.gigapath_panda",
    ),
    protocol=PROTOCOL,
    network=NETWORK,
)
