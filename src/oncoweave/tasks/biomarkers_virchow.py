"""Nine biomarkers, each of one cancer, from the slide (Virchow)."""

from oncoweave.train.slide_panel import MODELS, NETWORK, PROTOCOL, ROLES, SLIDE
from oncoweave.train.task import Published, Source, Split, StandIn, Task

BENCHMARK = "Virchow"
KEYS = (
    "colon_msi",
    "breast_cdh1",
    "bladder_fgfr",
    "lung_egfr",
    "prostate_ar",
    "gastric_her2",
    "endometrial_pten",
    "ovarian_fga",
    "skin_braf",
)
_ASKED = {
    "colon_msi": "Is a colorectal cancer microsatellite unstable",
    "breast_cdh1": "Is CDH1 lost in a breast cancer",
    "bladder_fgfr": "Is FGFR altered in a bladder cancer",
    "lung_egfr": "Is EGFR mutated in a lung adenocarcinoma",
    "prostate_ar": "Is AR amplified in a prostate cancer",
    "gastric_her2": "Is HER2 amplified in a gastric cancer",
    "endometrial_pten": "Is PTEN lost in an endometrial cancer",
    "ovarian_fga": "Is a high fraction of the genome altered in an ovarian cancer",
    "skin_braf": "Is BRAF mutated in a melanoma",
}

TASKS = {
    key: Task(
        name=f"biomarkers_virchow/{key}",
        question=f"{asked}, as the slide shows it?",
        source=Source(
            name="Memorial Sloan Kettering, slides with MSK-IMPACT profiles",
            obtain=(
                f"Not public. A cohort of a user's own with the endpoint {key}; slides of TCGA (GDC portal) with the profiles of"
                " cBioPortal's PanCanAtlas studies ask the same."
            ),
        ),
        roles=ROLES,
        required=(SLIDE,),
        endpoints=(key,),
        labels=("negative", "positive"),
        metrics={"binary": "auroc"},
        models=MODELS,
        main="agata",
        published=Published(
            citation="Vorontsov et al., Nature Medicine 2024 (Virchow)",
            source="figure on biomarkers",
            notes=(
                "The AUROC of each could not be checked: no figure is given. The encoders could not be told apart"
                " statistically. The list of nine is not in the released material either and stands here as it is commonly"
                " quoted."
            ),
        ),
        stand_in=StandIn(
            endpoint="driver_a",
            reason=(
                "A slide of the phantom shows this through the growth pattern, as biomarkers show through morphology; it is"
                " one planted cue, the same for all nine."
            ),
        ),
        split=Split(rule="By patient, and by hospital where every patient's is known; the paper's own split is not released."),
        protocol=PROTOCOL,
        network=NETWORK,
    )
    for key, asked in _ASKED.items()
}
