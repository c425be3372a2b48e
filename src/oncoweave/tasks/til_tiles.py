"""Tumour-infiltrating lymphocytes in tiles of thirteen cancers of TCGA (Virchow)."""

from oncoweave.train.task import Published, Source
from oncoweave.train.tile_task import TileLayout, TileStandIn, TileTask
from oncoweave.train.virchow_tiles import UNREACHED, VIRCHOW

BENCHMARK = "Virchow, tiles"
LEVEL = "tile"

TASK = TileTask(
    name="til_tiles",
    question="Does the tile contain tumour-infiltrating lymphocytes?",
    source=Source(
        name="TCGA-TILs (Saltz et al., Cell Reports 2018; Abousamra et al. 2022)",
        obtain="Zenodo record 6604094: images-tcga-tils, sorted by side and class.",
    ),
    labels=("TIL negative", "TIL positive"),
    layout=TileLayout(train="trn", test="tst", folders={"TIL negative": "til-negative", "TIL positive": "til-positive"}),
    split="As released. Labels of training tiles are partly a network's, checked by people.",
    metrics=("balanced accuracy",),
    tile_px=100,
    mpp=0.5,
    published=Published(citation=VIRCHOW, source="table on tile-level benchmarks", notes=UNREACHED),
    stand_in=TileStandIn(
        classes={"stroma": ("stroma",), "solid tumour": ("tumour, solid",)},
        reason="Stroma is where the phantom's lymphocytes are; the tiles are labelled by tissue and not by their number.",
    ),
)
