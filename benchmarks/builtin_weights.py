"""Makes the weights that come with the package: a tile encoder, and a slide encoder on exactly its tiles.

    python benchmarks/phantom_truth.py TRUTH                              (its cohort with the site confounder)
    oncoweave phantom SECTIONS --patients 39 --slide-px 6144 --missing 0 --no-scans --site-confounder --seed 7
    python benchmarks/builtin_weights.py OUT --tiles TRUTH/confounded/slides CMU_1.svs --sections SECTIONS/slides

The tile encoder learns on the slides of TRUTH and on those named beside it (CMU_1: OpenSlide's small region, CC0), the slide
encoder on the larger sections of SECTIONS. Only slides that anybody may use and share belong here. An interrupted run goes on
where it was; the last step puts the weights in their place within the package.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from oncoweave.recipes import longnet_tiny_cpu, vit_tiny_cpu
from oncoweave.train.builtin_weights import keep_as_builtin
from oncoweave.train.embed import EmbedOptions, embed_slide
from oncoweave.train.pretrain import pretrain
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.wsi.files import find_slides
from oncoweave.wsi.tiling import TileRecipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiles", type=Path, nargs="+", required=True)
    parser.add_argument("--sections", type=Path, required=True)
    parser.add_argument("--tile-steps", type=int, default=1000)
    parser.add_argument("--slide-steps", type=int, default=3000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = vit_tiny_cpu.plan(steps=given.tile_steps)
    recipe = TileRecipe(tile=112, mpp=1.0)  # what the recipe's crops show, at the resolution it advises
    plan = replace(plan, data=replace(plan.data, recipe=recipe))
    tiles = pretrain(plan, given.out / "tile", data=given.tiles)
    encoder = load_tile_encoder(plan.encoder, weights=tiles.weights)
    for slide in find_slides([given.sections]).slides:
        if not (given.out / "bags" / f"{slide.slide_id}.h5").exists():
            embed_slide(slide, given.out, encoder=encoder, recipe=recipe, options=EmbedOptions(previews=False))
    slides = pretrain(longnet_tiny_cpu.plan(steps=given.slide_steps), given.out / "slide", data=[given.out / "bags"])
    for weights in (tiles.weights, slides.weights):
        print(keep_as_builtin(weights))


if __name__ == "__main__":
    main()
