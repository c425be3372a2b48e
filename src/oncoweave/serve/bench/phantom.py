"""The bench that anyone can run: the stand-ins of all tasks, asked of one drawn cohort and of tiles cut from its slides."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from oncoweave.core.files import publish
from oncoweave.phantom import lungs
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.phantom.labelled_tiles import PhantomTiles, cut_tiles
from oncoweave.serve.demo import embed_phantom
from oncoweave.train.bench.spec import Aggregator, Bench, Curves, Place, TileSpec
from oncoweave.train.bench.tiles import STAND_IN
from oncoweave.train.builtin_weights import BUILTIN, builtin_weights
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Setting
from oncoweave.train.task import load_task, task_names
from oncoweave.train.tile_encoder import load_tile_encoder, tile_settings
from oncoweave.train.tile_task import TileTask, load_tile_task
from oncoweave.wsi.tiling import TileRecipe

COHORT = Config(patients=48, seed=7, sites=4, slide_px=1024, without=("volume",))
"""Without volumes: a network that reads them takes longer than all the rest together."""
LUNG_COHORT = replace(COHORT, lung_diseases=True, without=("slide", "volume", "expression", "variants"))
"""The same patients once more, for the task about diseases of the lung, so that no other task's films and texts show them."""
_TILE = 128
_PER_SLIDE = 6
_TILE_ENCODER, _SLIDE_ENCODER = "vit/nano", "longnet/tiny"
"""The pair whose weights come with the package."""


def phantom_bench(out: Path) -> Bench:
    """Draw the cohort and the tiles into a bench's folder, unless they are there, and give the bench of all tasks on them.

    Everything is small: two folds, small encoders, few epochs. It shows that every task runs and what the page looks like.
    """
    cohort = Path(out).resolve() / "phantom"
    if not (cohort / "manifest.json").exists():
        write_phantom(COHORT, cohort, progress=False)
    encoder = load_tile_encoder(_TILE_ENCODER, weights=builtin_weights(_TILE_ENCODER)[0])
    side, mpp = tile_settings(encoder, tile=None, mpp=None)
    embed_phantom(cohort, cohort.with_name("phantom-slides"), encoder=encoder, recipe=TileRecipe(mpp=mpp, tile=side))
    with_lungs = cohort.with_name("phantom-lungs")
    if not (with_lungs / "manifest.json").exists():
        write_phantom(LUNG_COHORT, with_lungs, progress=False)
    places = {
        name: Place(cohort=str(with_lungs if load_task(name).stand_in.endpoint == lungs.ENDPOINT.name else cohort))
        for name in task_names("patient")
    }
    tiles: PhantomTiles | None = None
    for name in task_names("tile"):
        folder = cohort.with_name(STAND_IN) / name
        if not folder.exists():
            tiles = tiles or cut_tiles(cohort, side=_TILE, per_slide=_PER_SLIDE, rng=np.random.default_rng(COHORT.seed))
            _lay_tiles(load_tile_task(name), tiles, folder)
        places[name] = Place(tiles=str(folder))
    return Bench(
        name="Stand-ins of all tasks on phantom patients",
        tasks=dict(places),
        aggregators=slide_encoders(),
        encoders={"film": ("film_vit/tiny",), "report": ("bert/tiny",)},
        fusions=(
            ModelSpec(name="concat", fusion="concat"),
            ModelSpec(name="gated", fusion="gated", encoders={"slide": "abmil/tiny"}),
        ),
        main=("concat", "abmil-tiny", "bert-tiny"),
        protocol=Protocol(
            folds=2, repeats=1, inner_folds=2, group_by_site=False, bootstrap=200, permutations=5, seed=COHORT.seed
        ),
        network=NetworkConfig(epochs=4, patience=3, members=1, width=16, batch_size=16),
        curves=Curves(labels=(0.5,), models=("concat", "abmil-tiny", "bert-tiny", "only_slide", "only_report")),
        tiles=TileSpec(encoders=(_TILE_ENCODER,), episodes=100, perturbed_tiles=12, tuning_epochs=1),
    )


def slide_encoders() -> tuple[str | Aggregator, ...]:
    """List what the bench pools tiles with: two sizes of ABMIL, and LongNet frozen, tuned and random, and random once smaller.

    The random network has the settings that the built-in weights were trained with, so that it differs in weights alone.
    """
    known = cast("dict[str, Setting]", dict(builtin_weights(_SLIDE_ENCODER)[1].settings))
    return (
        "pool/mean",
        "pool/max",
        "abmil/tiny",
        "abmil",
        "agata/tiny",
        Aggregator(name="longnet-frozen", encoder=_SLIDE_ENCODER, weights=BUILTIN, frozen=True),
        Aggregator(name="longnet-tuned", encoder=_SLIDE_ENCODER, weights=BUILTIN),
        Aggregator(name="longnet-random", encoder=_SLIDE_ENCODER, settings=known),
        Aggregator(name="longnet-random-smaller", encoder=_SLIDE_ENCODER, settings={**known, "dim": 24, "depth": 1}),
    )


def _lay_tiles(task: TileTask, tiles: PhantomTiles, folder: Path) -> None:
    """Write the tiles that play a task's part: each class in the folder of one of its labels, every other patient to test."""
    labels = list(task.layout.folders)
    sides = {patient: i % 2 for i, patient in enumerate(sorted(set(tiles.patients)))}
    with publish(folder) as partial:
        for label in labels:
            for side in (task.layout.train, task.layout.test):
                (partial / side / task.layout.folders[label]).mkdir(parents=True)
        for label, made_of in zip(labels, task.stand_in.classes.values(), strict=False):
            rows = [i for i, tissue in enumerate(tiles.labels) if tissue in made_of]
            for i in rows:
                side = task.layout.test if sides[tiles.patients[i]] else task.layout.train
                place = partial / side / task.layout.folders[label] / f"{tiles.slides[i]}_{i}.png"
                Image.fromarray(tiles.images[i]).save(place)
