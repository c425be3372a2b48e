"""Overall survival across 32 cancers of TCGA, on the five released splits of Song et al."""

from oncoweave.train.fusion_panel import LINEAR, MAIN, RELEASED
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "public data"
_TABLE = {
    "cancer type": 0.7370,
    "demographics": 0.6299,
    "cancer type and demographics": 0.7473,
    "expression": 0.7496,
    "histology": 0.7540,
    "text": 0.6944,
    "demographics, expression, histology and text": 0.7865,
}
_FLOOR = {"cancer type": 0.7370, "demographics": 0.642, "cancer type and demographics": 0.752}

TASK = Task(
    name="pancancer_survival",
    question="How long will a patient with any of 32 cancers live?",
    source=Source(
        name="TCGA, 7,982 patients",
        obtain=(
            "Tables of github.com/StevenSong/multimodal-cancer-survival (Apache-2.0); benchmarks/real_cohorts.py makes cohort"
            " and splits. Embeddings are not released: add a user's own as modalities expression, histology and text."
        ),
        cohorts=("pancancer_song",),
    ),
    roles={
        "clinical": ("record",),
        "expression": ("embedding", "expression"),
        "histology": ("embedding", "slide"),
        "text": ("embedding", "report"),
    },
    required=("clinical",),
    optional=("expression", "histology", "text"),
    endpoints=("overall_survival",),
    metrics={"survival": "c_index"},
    groups=("tumour_type",),
    strata=("tumour_type", "cancer_type"),
    models=LINEAR,
    main=MAIN,
    published=Published(
        citation="Song et al., arXiv 2505.07683",
        source="results.csv, 256 components",
        notes=(
            "Patients of all cancers are compared with each other, so that most of the C-index is the type of cancer (.737"
            " alone). Pairs of one type are what a doctor asks about, and what counts here (tumour_type); the figure over all"
            " pairs stands beside it, to be held against these. A fold is tested at a time, and means over the five are given."
        ),
        figures=tuple(Figure(model=model, metric="c_index", value=value) for model, value in _TABLE.items()),
    ),
    floor=tuple(Figure(model=f"{model}, ridge Cox", metric="c_index", value=value) for model, value in _FLOOR.items()),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason="Death of phantom patients follows from a planted hazard; there is one type of cancer, which explains nothing.",
    ),
    split=Split(
        rule="By patient, five released folds; without them by hospital, which is harder.",
        released="split_cases.csv, made into OUT/pancancer_song.splits.parquet by benchmarks/real_cohorts.py",
        known={"pancancer_song": "8cbe8e0af442d7774d5c60db82824b69d1c94c51ce85eda681c876d08e50cac2"},
    ),
    protocol=RELEASED,
)
