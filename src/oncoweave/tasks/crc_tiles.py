"""Five diagnoses of colorectal tiles, from healthy mucosa to adenocarcinoma (public data)."""

from oncoweave.train.task import Figure, Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import TUMOUR

BENCHMARK = "public data, tiles"
LEVEL = "tile"
FOLDERS = {
    "adenocarcinoma": "AC",
    "healthy": "H",
    "serrated adenoma": "S",
    "tubular adenoma": "T",
    "villous adenoma": "V",
}

TASK = TileTask(
    name="crc_tiles",
    question="Which of five diagnoses does the colorectal tile show?",
    source=Source(
        name="Colorectal carcinoma classifier, course project, Politecnico di Torino 2017-18",
        obtain=(
            "github.com/Flagy/Colorectal_Carcinoma_Classifier, images/training and images/test; the licence of images is"
            " unstated."
        ),
        cohorts=("crc_tiles_5class",),
    ),
    labels=tuple(FOLDERS),
    layout=TileLayout(train="train", test="test", folders=FOLDERS),
    split=(
        "As released, by tile: no patient is named, so that one may be on both sides. Tubular and villous differ in stain as"
        " well."
    ),
    tiles=(1_250, 500),
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=None,
    published=Published(citation="none known", source="none", notes="Nobody published a figure on these tiles."),
    floor=(
        Figure(model="colour and LBP, logistic regression", metric="balanced accuracy", value=0.728),
        Figure(model="colour and LBP, random forest", metric="balanced accuracy", value=0.592),
    ),
    stand_in=TileStandIn(
        classes={**{name: (name,) for name in TUMOUR}, "stroma": ("stroma",), "necrosis": ("necrosis",)},
        reason="Five tissues of the phantom; diagnoses of mucosa are not among them.",
    ),
)
