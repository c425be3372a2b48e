"""What tile tasks on public and private data sets share: citations, the phantom's tissues, the leaderboard of eva."""

from oncoweave.phantom.biology import SUBTYPES
from oncoweave.train.task import Figure, Published

VIRCHOW = "Vorontsov et al., Nature Medicine 2024 (Virchow)"
TUMOUR = tuple(f"tumour, {subtype}" for subtype in SUBTYPES)
TISSUES = {**{name: (name,) for name in TUMOUR}, **{name: (name,) for name in ("stroma", "necrosis", "fat")}}
TUMOUR_OR_NOT = {"no tumour": ("stroma", "necrosis", "fat"), "tumour": TUMOUR}
NINE_TISSUES = {
    "adipose": "ADI",
    "background": "BACK",
    "debris": "DEB",
    "lymphocytes": "LYM",
    "mucus": "MUC",
    "smooth muscle": "MUS",
    "normal mucosa": "NORM",
    "stroma": "STR",
    "tumour epithelium": "TUM",
}
"""NCT-CRC-HE: tissue to the folder of its tiles."""
UNREACHED = "The paper's figure could not be checked and is not given."


def eva(figures: dict[str, float], notes: str) -> Published:
    """Give the balanced accuracies of eva's leaderboard: one linear layer on frozen embeddings, mean over five seeds."""
    return Published(
        citation=f"{VIRCHOW} for the task; kaiko.ai eva 0.4.5 for the figures",
        source="leaderboard of eva",
        notes=(
            "One linear layer on frozen embeddings (AdamW 3e-4, batch 256, at most 12,500 steps, best on validation), mean of"
            f" five seeds, no interval. {UNREACHED} {notes}"
        ),
        figures=tuple(Figure(model=model, metric="balanced accuracy", value=value) for model, value in figures.items()),
    )
