"""Adenocarcinoma or squamous cell carcinoma of the lung, from tiles of uniform tumour (public data)."""

from oncoweave.train.task import Figure, Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask

BENCHMARK = "public data, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="luad_lusc_tiles",
    question="Is the tumour in the tile an adenocarcinoma or a squamous cell carcinoma?",
    source=Source(
        name="TCGA uniform tumour tiles (Komura et al., Cell Reports 2022), as in the walkthrough of UNI",
        obtain="assets/data/tcga_luadlusc.zip of github.com/mahmoodlab/UNI (non-commercial): 130 tiles to train, 60 to test.",
        cohorts=("luad_lusc_tiles",),
    ),
    labels=("LUAD", "LUSC"),
    layout=TileLayout(
        train="tcga_luadlusc/train", test="tcga_luadlusc/test", folders={"LUAD": "LUAD", "LUSC": "LUSC"}, patient=r"^.+/\d+(?=_)"
    ),
    split=(
        "As released. Files number the patients of each side from 0, so whether one is on both cannot be told. Sixty test"
        " tiles are of six patients, of whom the intervals are."
    ),
    tiles=(130, 60),
    metrics=("balanced accuracy",),
    tile_px=256,
    mpp=0.5,
    published=Published(
        citation="Chen et al., Nature Medicine 2024 (UNI)",
        source="walkthrough notebook",
        notes="The notebook prints figures of UNI's embeddings, whose weights are gated; they were read and not checked.",
    ),
    floor=(
        Figure(model="colour and LBP, random forest", metric="balanced accuracy", value=0.717),
        Figure(model="colour and LBP, logistic regression", metric="balanced accuracy", value=0.500),
    ),
    stand_in=TileStandIn(
        classes={"glandular": ("tumour, glandular",), "solid": ("tumour, solid",)},
        reason="A tumour with glands against one without, which is what tells the two apart in the lung too, painted by rule.",
    ),
)
