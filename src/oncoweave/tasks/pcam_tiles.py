"""PatchCamelyon: is there metastasis in the middle of a tile of lymph node (Virchow, eva)."""

from oncoweave.train.task import Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import TUMOUR_OR_NOT, eva

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="pcam_tiles",
    question="Does the middle of the tile contain metastasis?",
    source=Source(
        name="PatchCamelyon (Veeling et al., MICCAI 2018)",
        obtain="github.com/basveeling/pcam (CC0); write each tile to the folder of its class, or give the HDF5 files as shards.",
    ),
    labels=("no tumour", "tumour"),
    layout=TileLayout(train="train", test="test", folders={"no tumour": "0", "tumour": "1"}),
    split="As released: the slides of Camelyon16 are on one side only; half of the tiles of each side are positive.",
    tiles=(262_144, 32_768),
    metrics=("balanced accuracy",),
    tile_px=96,
    mpp=0.97,
    published=eva(
        {"Virchow2": 0.938, "UNI2-h": 0.950, "H-optimus-0": 0.943, "Prov-GigaPath": 0.945, "UNI": 0.937, "Phikon": 0.920},
        "Tiles are smaller and coarser than what these encoders were trained on.",
    ),
    stand_in=TileStandIn(
        classes=TUMOUR_OR_NOT,
        reason="Tumour against any other tissue of a phantom's section; its tumours are primaries, drawn large.",
    ),
)
