"""Cancer or not in tiles of seventeen tissues (Virchow, PanMSK)."""

from oncoweave.train.task import Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import TUMOUR_OR_NOT, UNREACHED, VIRCHOW

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="pan_msk_tiles",
    question="Does the tile, of any of seventeen tissues, contain cancer?",
    source=Source(
        name="PanMSK (Memorial Sloan Kettering)",
        obtain="Not public. A user's own tiles, cut from annotated slides of many tissues and sorted into two folders a side.",
    ),
    labels=("benign", "cancer"),
    layout=TileLayout(train="train", test="test", folders={"benign": "benign", "cancer": "cancer"}),
    split="By patient; the paper's own split is not released.",
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=0.5,
    published=Published(citation=VIRCHOW, source="table on tile-level benchmarks", notes=UNREACHED),
    stand_in=TileStandIn(
        classes=TUMOUR_OR_NOT, reason="Tumour against other tissue of the phantom, which has one organ and not seventeen."
    ),
)
