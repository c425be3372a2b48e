"""Eight pulmonary diseases from a chest film, the complaint as text, and laboratory values: AUROC (Zhou et al. 2023, table 1).

The paper's patients (West China Hospital) are not public: 44,628 train, 3,325 validate, which leaves 3,558 to test. Split by
patient, and by hospital where it is known. Every patient has an image, so that the image alone is judged on the same patients.
"""

from oncoweave.train.irene_panel import MAIN, MODELS, NETWORK, PROTOCOL, ROLES
from oncoweave.train.task import Figure, Published, Source, Split, StandIn, Task

BENCHMARK = "IRENE"

LABELS = (
    "COPD",
    "bronchiectasis",
    "pneumothorax",
    "pneumonia",
    "interstitial lung disease",
    "tuberculosis",
    "lung cancer",
    "pleural effusion",
)
_TABLE = {
    "image_only": (0.805, 0.847, 0.746, 0.789, 0.845, 0.799, 0.769, 0.825, 0.819),
    "early": (0.835, 0.895, 0.772, 0.810, 0.873, 0.824, 0.793, 0.871, 0.842),
    "late": (0.826, 0.888, 0.765, 0.822, 0.870, 0.804, 0.770, 0.839, 0.850),
    "git": (0.848, 0.911, 0.798, 0.824, 0.895, 0.819, 0.807, 0.872, 0.858),
    "perceiver": (0.858, 0.910, 0.788, 0.846, 0.903, 0.830, 0.825, 0.890, 0.872),
    "mdt": (0.924, 0.922, 0.907, 0.954, 0.921, 0.934, 0.918, 0.914, 0.924),
}

TASK = Task(
    name="pulmonary_diseases",
    question="Which of eight pulmonary diseases does the patient have?",
    source=Source(
        name="West China Hospital, 51,511 patients",
        obtain="Not public. A cohort of a user's own with a film, the complaint as text and values of the laboratory.",
    ),
    roles=ROLES,
    required=("image",),
    endpoints=("pulmonary_diseases",),
    labels=LABELS,
    metrics={"multilabel": "macro_auroc"},
    models=MODELS,
    main=MAIN,
    published=Published(
        citation="Zhou et al., Nature Biomedical Engineering 2023",
        source="table 1",
        figures=tuple(
            Figure(model=model, metric="auroc", label=label, value=value)
            for model, row in _TABLE.items()
            for label, value in zip(("", *LABELS), row, strict=True)
        ),
        notes=(
            "Half-widths of the 95 % intervals are about .003. The complaint may carry the diagnosis: pneumothorax rises from"
            " .789 on the image to .954 with text, and the data are private, so that nobody outside can tell."
        ),
    ),
    stand_in=StandIn(
        endpoint="pulmonary_diseases",
        reason=(
            "Drawn with `oncoweave phantom --lung-diseases`: the paper's eight labels, several of one patient, some unknown. The"
            " film shows a sign of each (AUROC .80 at best), the report a complaint in other words (.75), the record a value of"
            " the laboratory (.65), all three .91. Signs are simple shapes, and what shows where is independent, as in no clinic."
        ),
    ),
    split=Split(rule="By patient, and by hospital where every patient's is known; the paper's own split is not released."),
    protocol=PROTOCOL,
    network=NETWORK,
)
