"""Phantom cohorts of the benchmarks: drawn, their slides rendered and embedded, once; later calls open what is there."""

import time
from pathlib import Path

from oncoweave.data.cohort import Cohort
from oncoweave.data.store import read_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.train.embed import EmbedOptions, embed_slides
from oncoweave.train.embed_cohort import cohort_slides, lay_bags, slide_modality
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.wsi.tiling import TileRecipe

RECIPE = TileRecipe(mpp=0.5, tile=128)
"""Tiles of 64 um: small enough to lie mostly within one region."""


def slide_cohort(folder: Path, *, patients: int, site_confounder: bool, seed: int) -> Cohort:
    """Draw a cohort with slides of 1024 px and embed them with the colour encoder (no scans: no model reads them)."""
    config = Config(
        patients=patients, seed=seed, sites=10, site_confounder=site_confounder, slide_px=1024, without=("volume", "film")
    )
    done = folder.with_name(f"{folder.name}-embedded")
    if done.exists():
        return read_cohort(folder)
    started = time.time()
    write_phantom(config, folder, progress=False)
    cohort = read_cohort(folder)
    name = slide_modality(cohort)
    options = EmbedOptions()
    record = embed_slides(
        cohort_slides(cohort, name), folder.with_name(f"{folder.name}-bags"), encoder=load_tile_encoder("colour"),
        recipe=RECIPE, options=options,
    )  # fmt: skip
    filled = lay_bags(cohort, name, record, drop_failed=True)
    done.write_text(f"{time.time() - started:.0f} s\n", encoding="utf-8")
    print(f"{folder.name}: {len(filled)} patients, {len(filled.tables[name])} slides, {time.time() - started:.0f} s", flush=True)
    return filled
