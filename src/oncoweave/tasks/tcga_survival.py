"""Overall survival in five cancers of TCGA from record, expression and variants, on MCAT's released folds."""

from collections.abc import Mapping

from oncoweave.train.fusion_panel import LINEAR, MAIN, NETWORKS, RELEASED
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "public data"
_COHORTS = ("tcga_blca", "tcga_brca", "tcga_gbmlgg", "tcga_luad", "tcga_ucec")
_TABLE = {
    "MCAT": (0.624, 0.580, 0.817, 0.620, 0.622),
    "AMIL, histology": (0.536, 0.564, 0.787, 0.559, 0.625),
    "SNN, omics": (0.541, 0.466, 0.598, 0.539, 0.493),
}
_FLOOR = {
    "age and sex": (0.613, 0.627, 0.768, 0.537, 0.571),
    "expression, 20 components": (0.610, 0.549, 0.775, 0.617, 0.600),
    "clinical and omics, mean of ranks": (0.642, 0.627, 0.826, 0.604, 0.616),
    "clinical, omics and released histology risk, mean of ranks": (0.625, 0.632, 0.853, 0.613, 0.658),
}


def _figures(table: Mapping[str, tuple[float, ...]]) -> tuple[Figure, ...]:
    return tuple(
        Figure(model=model, metric="c_index", value=value, group=cohort)
        for model, row in table.items()
        for cohort, value in zip(_COHORTS, row, strict=True)
    )


TASK = Task(
    name="tcga_survival",
    question="How long will a patient with one of five cancers live?",
    source=Source(
        name="TCGA BLCA, BRCA, GBM and LGG, LUAD, UCEC",
        obtain=(
            "Tables of github.com/mahmoodlab/PORPOISE and splits of github.com/mahmoodlab/MCAT (GPL-3, non-commercial);"
            " benchmarks/mcat_cohorts.py makes the five cohorts and their splits. Each is a study of its own."
        ),
        cohorts=_COHORTS,
    ),
    roles={"clinical": ("record",), "expression": ("expression",), "variants": ("variants",)},
    required=("clinical",),
    optional=("expression",),
    endpoints=("overall_survival",),
    metrics={"survival": "c_index"},
    models=(*LINEAR, *NETWORKS),
    main=MAIN,
    published=Published(
        citation="Chen et al., ICCV 2021 (MCAT)",
        source="recomputed from the released predictions, mean of five folds",
        notes=(
            "The best epoch was chosen on the tested fold, which flatters; over nine tenths of tested patients are of a"
            " hospital that also trains. MCAT and AMIL see slides, which are not in these cohorts. UCEC has no expression."
        ),
        figures=_figures(_TABLE),
    ),
    floor=_figures(_FLOOR),
    stand_in=StandIn(
        endpoint="overall_survival",
        reason=(
            "Death of phantom patients follows from stage and age (record), immune and proliferation genes (expression) and a"
            " driver (variants), by a planted and proportional hazard."
        ),
    ),
    split=Split(
        rule="By patient, the five released folds; without them by hospital, which is harder.",
        released="splits/5foldcv of MCAT, made into OUT/<cohort>.splits.parquet by benchmarks/mcat_cohorts.py",
        known={
            "tcga_blca": "2be0ba736e8ed56e0d57beca1d6169887c93b49fe125262b8f962c5aaa21182e",
            "tcga_brca": "74ffc4460897b496f61c3a375b63e02c59b12a574b6a5fb72d470979031f85bd",
            "tcga_gbmlgg": "3b6e69e4b8c2b1763c39136563c2415924ff8c3e7ad73aa3e05a26eea697578c",
            "tcga_luad": "a98bebbf2815ab97bea5f9b6a6e62561c9e3efa9d70a1d30bc44e39404874a65",
            "tcga_ucec": "0959eb9c4e3ee061edd31002c0060e76e77b1d11063400dcd65ac8830e832ec0",
        },
    ),
    protocol=RELEASED,
)
