"""Camelyon17-WILDS: metastasis in tiles of a hospital that nothing was trained on (Virchow)."""

from oncoweave.train.task import Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import TUMOUR_OR_NOT, UNREACHED, VIRCHOW

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="camelyon17_tiles",
    question="Does the tile of another hospital contain metastasis?",
    source=Source(
        name="Camelyon17-WILDS (Koh et al., ICML 2021)",
        obtain="wilds.stanford.edu (CC0); write the tiles of metadata.csv to folders by side and class.",
    ),
    labels=("no tumour", "tumour"),
    layout=TileLayout(train="train", test="test", folders={"no tumour": "0", "tumour": "1"}),
    split="As released: three hospitals train, one validates, one is tested.",
    metrics=("balanced accuracy",),
    tile_px=96,
    mpp=None,
    published=Published(citation=VIRCHOW, source="table on tile-level benchmarks", notes=UNREACHED),
    stand_in=TileStandIn(
        classes=TUMOUR_OR_NOT,
        reason="Tumour against other tissue on slides of a site that is held out; only the stain differs there.",
    ),
)
