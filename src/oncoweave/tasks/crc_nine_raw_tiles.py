"""NCT-CRC-HE without colour normalisation in training: what a shift of colours costs (Virchow, CRC no-norm)."""

from oncoweave.train.task import Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import NINE_TISSUES, TISSUES, UNREACHED, VIRCHOW

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="crc_nine_raw_tiles",
    question="Which of nine tissues does the tile show, when the colours of training were not normalised?",
    source=Source(
        name="NCT-CRC-HE-100K-NONORM and CRC-VAL-HE-7K (Kather et al., PLOS Medicine 2019)",
        obtain="Zenodo record 1214456 (CC BY 4.0): NCT-CRC-HE-100K-NONORM as train, CRC-VAL-HE-7K as test.",
    ),
    labels=tuple(NINE_TISSUES),
    layout=TileLayout(train="NCT-CRC-HE-100K-NONORM", test="CRC-VAL-HE-7K", folders=NINE_TISSUES),
    split="As released: other patients on the test side, whose colours are normalised.",
    tiles=(100_000, 7_180),
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=0.5,
    published=Published(
        citation=VIRCHOW,
        source="table on tile-level benchmarks",
        notes=f"{UNREACHED} What counts is the difference to crc_nine_tiles: the fall that the shift of colours causes.",
    ),
    stand_in=TileStandIn(
        classes=TISSUES,
        reason=(
            "Tissues of the phantom; its sites differ in stain, so training on some and testing on another is the nearest thing."
        ),
    ),
)
