"""The whole job on phantom patients: draw a cohort, embed its slides, run a study, write the report."""

from pathlib import Path

import yaml

from oncoweave.core.files import publish
from oncoweave.data.store import read_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.serve.report import write_report
from oncoweave.train.embed import EmbedOptions, embed_slides
from oncoweave.train.embed_cohort import cohort_slides, lay_bags, slide_modality
from oncoweave.train.study import run_study
from oncoweave.train.tile_encoder import TileEncoder, load_tile_encoder
from oncoweave.wsi.tiling import TileRecipe

DEMO = Config(patients=120, seed=7, sites=8, slide_px=1280, without=("volume", "film"))
"""Without scans: a network that reads volumes takes longer on two cores than all the rest together."""

STUDY = {
    "name": "Overall survival of phantom patients",
    "cohort": "cohort",
    "endpoint": "overall_survival",
    "models": [
        {"name": "early_concat", "fusion": "concat"},
        {"name": "early_blocks", "fusion": "pca", "penalty": "per_modality"},
        {"name": "experts_network", "fusion": "experts"},
        {"name": "late_mean", "fusion": "average"},
        {"name": "stacking", "fusion": "stacking"},
    ],
    "main": "stacking",
    "reference": "record",
    "protocol": {"folds": 5, "repeats": 2, "inner_folds": 5, "seed": 7},
    "network": {"epochs": 40, "patience": 8, "members": 2},
}

_PROCESSES = 2
"""Folds side by side: on two cores the threads of one small network mostly wait for each other."""


def run_demo(out: Path) -> Path:
    """Run the demonstration into a folder and return its report; what is finished there already is kept."""
    out = Path(out).resolve()
    cohort = out / "cohort"
    if not (cohort / "manifest.json").exists():
        write_phantom(DEMO, cohort, workers=_PROCESSES)
    embed_phantom(cohort, out / "slides", encoder=load_tile_encoder("colour"), recipe=TileRecipe(mpp=0.5, tile=256))
    with publish(out / "study.yaml") as partial:
        partial.write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    return write_report(run_study(out / "study.yaml", out / "run", jobs=_PROCESSES))


def embed_phantom(path: Path, bags: Path, *, encoder: TileEncoder, recipe: TileRecipe) -> None:
    """Embed the slides of a phantom cohort and lay the bags into it, unless its table names their bags already."""
    cohort = read_cohort(path)
    name = slide_modality(cohort)
    if "path" in cohort.tables[name]:
        return
    record = embed_slides(cohort_slides(cohort, name), bags, encoder=encoder, recipe=recipe, options=EmbedOptions())
    lay_bags(cohort, name, record, drop_failed=True)
