"""Mitotic figure or look-alike, across tumours and scanners (Virchow, MIDOG)."""

from oncoweave.train.task import Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import UNREACHED, VIRCHOW

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="midog_tiles",
    question="Is the cell in the middle of the tile a mitotic figure?",
    source=Source(
        name="MIDOG++ (Aubreville et al., Scientific Data 2023)",
        obtain="github.com/DeepMicroscopy/MIDOGpp (CC BY 4.0): regions and a table of cells; cut 224 px around each.",
    ),
    labels=("look-alike", "mitotic figure"),
    layout=TileLayout(train="train", test="test", folders={"look-alike": "non_mitotic", "mitotic figure": "mitotic"}),
    split="By case, so that no region is on two sides; the paper's own split is not released.",
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=0.25,
    published=Published(citation=VIRCHOW, source="table on tile-level benchmarks", notes=UNREACHED),
    stand_in=TileStandIn(
        classes={"solid": ("tumour, solid",), "discohesive": ("tumour, discohesive",)},
        reason="Two patterns that differ in how cells lie. The phantom paints no mitoses that tiles are labelled with.",
    ),
)
