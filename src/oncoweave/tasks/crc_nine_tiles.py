"""NCT-CRC-HE: nine tissues of colorectal cancer, colours normalised (Virchow, eva)."""

from oncoweave.train.task import Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import NINE_TISSUES, TISSUES, eva

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="crc_nine_tiles",
    question="Which of nine tissues of colorectal cancer does the tile show?",
    source=Source(
        name="NCT-CRC-HE-100K and CRC-VAL-HE-7K (Kather et al., PLOS Medicine 2019)",
        obtain="Zenodo record 1214456 (CC BY 4.0): NCT-CRC-HE-100K as train, CRC-VAL-HE-7K as test.",
    ),
    labels=tuple(NINE_TISSUES),
    layout=TileLayout(train="NCT-CRC-HE-100K", test="CRC-VAL-HE-7K", folders=NINE_TISSUES),
    split="As released: other patients on the test side.",
    tiles=(100_000, 7_180),
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=0.5,
    published=eva(
        {"Virchow2": 0.967, "UNI2-h": 0.965, "H-optimus-0": 0.955, "Prov-GigaPath": 0.951, "UNI": 0.944, "Phikon": 0.939},
        "Colours were normalised before release, and differ between the classes all the same: see crc_nine_raw_tiles.",
    ),
    stand_in=TileStandIn(
        classes=TISSUES,
        reason="Six tissues of the phantom, painted by rule; nearly all encoders tell them apart, real tissues less.",
    ),
)
