"""MHIST: hyperplastic polyp or sessile serrated adenoma (Virchow, eva)."""

from oncoweave.train.task import Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import eva

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="mhist_tiles",
    question="Is the polyp hyperplastic, or a sessile serrated adenoma?",
    source=Source(
        name="MHIST (Wei et al., AIME 2021)",
        obtain="bmirds.github.io/MHIST, on request; annotations.csv says the majority label and the side of each image.",
    ),
    labels=("hyperplastic polyp", "sessile serrated adenoma"),
    layout=TileLayout(train="train", test="test", folders={"hyperplastic polyp": "HP", "sessile serrated adenoma": "SSA"}),
    split="As released, by image. Seven pathologists voted, and agree little on many images.",
    tiles=(2_175, 977),
    metrics=("balanced accuracy",),
    tile_px=224,
    mpp=None,
    published=eva(
        {"Virchow2": 0.783, "UNI2-h": 0.775, "H-optimus-0": 0.770, "Prov-GigaPath": 0.724, "UNI": 0.750, "Phikon": 0.729}, ""
    ),
    stand_in=TileStandIn(
        classes={"glandular": ("tumour, glandular",), "solid": ("tumour, solid",)},
        reason=(
            "Two growth patterns of one tumour, as the two polyps are patterns of crypts; the phantom's are told apart more"
            " easily."
        ),
    ),
)
