"""What the two tasks on HANCOCK share: its thirteen modalities as roles, and the panel of the published example studies."""

from oncoweave.train.fusion_panel import NETWORKS
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol
from oncoweave.train.task import Figure, Published, Source

SOURCE = Source(
    name="HANCOCK, Erlangen",
    obtain=(
        "hancock.research.fau.eu (CC BY 4.0), or the tables under features/ of github.com/ankilab/HANCOCK_MultimodalDataset; then"
        " oncoweave cohort import examples/cohorts/hancock.yaml."
    ),
    cohorts=("hancock",),
)
STAINS = ("he", "cd3", "cd8", "cd56", "cd68", "cd163", "mhc1", "pdl1")
CLINICAL, PATHOLOGICAL, BLOOD = "clinical", "pathological", "blood"
ROLES = {
    CLINICAL: ("record",),
    PATHOLOGICAL: ("record", "report"),
    BLOOD: ("record", "variants"),
    "icd": ("record",),
    "cell_density": ("record",),
    "he": ("embedding", "slide"),
    **dict.fromkeys(STAINS[1:], ("embedding",)),
}
"""A report, a slide and variants are there for phantom cohorts."""
REQUIRED = (CLINICAL,)
OPTIONAL = tuple(role for role in ROLES if role != CLINICAL)
_KNOWN = (CLINICAL, PATHOLOGICAL, BLOOD)
MODELS = (
    ModelSpec(name="early_concat", fusion="concat"),
    ModelSpec(name="early_pca", fusion="pca"),
    ModelSpec(name="early_blocks", fusion="pca", penalty="per_modality"),
    *NETWORKS,
    ModelSpec(name="late_mean", fusion="average"),
    ModelSpec(name="late_weighted", fusion="weighted"),
    ModelSpec(name="late_rank", fusion="rank"),
    ModelSpec(name="late_product", fusion="product"),
    ModelSpec(name="stacking", fusion="stacking"),
    ModelSpec(name="clinical_pathology_blood_early", fusion="concat", modalities=_KNOWN),
    ModelSpec(name="clinical_pathology_blood_late", fusion="average", modalities=_KNOWN),
)
PROTOCOL = Protocol(folds=5, repeats=3, bootstrap=2000)
NETWORK = NetworkConfig(epochs=40, patience=8)
RULE = "By patient, three times five folds; all patients are of one hospital, so that no site can be held out."


def published(outcome: str, areas: tuple[float, float, float]) -> Published:
    """Give the authors' areas under the ROC curve of an outcome on their three test sets, in the order of their figure."""
    return Published(
        citation="Dörrich et al., Nature Communications 2025 (HANCOCK)",
        source="the authors' figure of ROC curves on three test sets",
        notes=(
            f"AUROC of {outcome} as a yes or no (random forest on vectors of all modalities), not a C-index, and the figure does"
            " not say which curve is which split; the splits are on the authors' server only. It cannot be held against a"
            " C-index."
        ),
        figures=tuple(
            Figure(model="random forest, all modalities", metric="auroc", value=area, group=f"{which} test set of the figure")
            for which, area in zip(("first", "second", "third"), areas, strict=True)
        ),
    )
