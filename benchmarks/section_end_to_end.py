"""One gigapixel section from file to embedding and heat maps: tiles, seconds of each stage, peak memory.

    python benchmarks/section_end_to_end.py SLIDE --out OUT [--tile-encoder vit/nano] [--tile-weights builtin]
        [--slide-encoder longnet/tiny] [--slide-weights builtin] [--cores 2]

Stages run one after the other in one process, start-up included. The slide is embedded anew each time. "Processor s" is time of
all threads, which a busy machine stretches less than the clock. Prints a Markdown table and writes it to ``OUT/section.md``; the
embedding lies in ``OUT/embedding.safetensors``, the pictures in ``OUT/*.png``.
"""

import time

_STARTED = time.monotonic()

import argparse  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from oncoweave.data.bags import read_bag  # noqa: E402
from oncoweave.data.slide_embeddings import write_slide_embedding  # noqa: E402
from oncoweave.train.embed import EmbedOptions, embed_slide  # noqa: E402
from oncoweave.train.slide_embedding import embed_bag, load_trained_tile_encoder  # noqa: E402
from oncoweave.train.slide_encoder import load_slide_encoder  # noqa: E402
from oncoweave.train.slide_heatmap import draw_slide  # noqa: E402
from oncoweave.train.slide_record import ARTEFACTS  # noqa: E402
from oncoweave.train.tile_encoder import tile_settings  # noqa: E402
from oncoweave.wsi.files import SlideFile, slide_id_of  # noqa: E402
from oncoweave.wsi.heatmap import write_png  # noqa: E402
from oncoweave.wsi.tiling import TileRecipe  # noqa: E402


class Stages:
    """Wall clock, processor time and peak memory, stage by stage."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float]] = []
        self._note("start, imports", time.monotonic() - _STARTED, time.process_time())

    @contextmanager
    def stage(self, name):
        clock, processor = time.monotonic(), time.process_time()
        yield
        self._note(name, time.monotonic() - clock, time.process_time() - processor)

    def _note(self, name, clock, processor):
        self.rows.append((name, clock, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))

    def table(self) -> str:
        lines = ["| stage | s | processor s | peak MB so far |", "|---|---|---|---|"]
        lines += [f"| {name} | {clock:.1f} | {processor:.1f} | {peak:.0f} |" for name, clock, processor, peak in self.rows]
        total = [sum(row[i] for row in self.rows) for i in (1, 2)]
        return "\n".join([*lines, f"| all | {total[0]:.1f} | {total[1]:.1f} | {self.rows[-1][3]:.0f} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tile-encoder", default="vit/nano")
    parser.add_argument("--tile-weights", default="builtin")
    parser.add_argument("--slide-encoder", default="longnet/tiny")
    parser.add_argument("--slide-weights", default="builtin")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    torch.set_num_threads(max(1, given.cores - 1))  # one core reads
    stages = Stages()
    with stages.stage("weights"):
        tiles = load_trained_tile_encoder(given.tile_encoder, weights=given.tile_weights)
        slides = load_slide_encoder(given.slide_encoder, weights=given.slide_weights)
    side, mpp = tile_settings(tiles, tile=None, mpp=None)
    slide = SlideFile(slide_id=slide_id_of(given.slide), path=given.slide.absolute())
    shutil.rmtree(given.out / "bags", ignore_errors=True)
    inside = _timed(tiles.module)
    with stages.stage(f"tissue, tiles, {tiles.name}"):
        recipe = TileRecipe(mpp=mpp, tile=side)
        result = embed_slide(slide, given.out, encoder=tiles, recipe=recipe, options=EmbedOptions(readers=1))
    with stages.stage(slides.name):
        bag = read_bag(given.out / "bags" / f"{slide.slide_id}.h5")
        dropped = {name: getattr(result, f"{name}_tiles") for name in ARTEFACTS}
        embedding = embed_bag(bag, encoder=slides, dropped=dropped)
        write_slide_embedding(given.out / "embedding.safetensors", embedding)
    for show in ("share", "context", "tiles"):
        with stages.stage(f"heat map: {show}"):
            write_png(given.out / f"{show}.png", draw_slide(slide, bag, show=show, encoder=slides))
    lines = [
        f"{slide.path.name}, {result.width} x {result.height} px at {result.mpp:g} um/px, enlarged {result.enlarged:g} times,"
        f" {given.cores} cores",
        "",
        f"{len(embedding):,} tiles of {side} px at {mpp:g} um/px; dropped: "
        + ", ".join(f"{count} {name}" for name, count in dropped.items())
        + f". Inside {tiles.name}: {sum(inside):.1f} s.",
        "",
        stages.table(),
        "",
        f"Vector: {len(embedding.vector)} values, norm {np.linalg.norm(embedding.vector):.4f}; shares of tiles sum to"
        f" {embedding.shares.sum():.6f}, from {len(embedding) * embedding.shares.min():.2f} to"
        f" {len(embedding) * embedding.shares.max():.2f} times an equal one; fingerprint {embedding.fingerprint[:12]}.",
        f"Trained: {slides.card.recipe or 'unknown'}. Heat maps: share.png, context.png and tiles.png in {given.out}.",
    ]
    (given.out / "section.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _timed(module: torch.nn.Module) -> list[float]:
    """Collect the seconds that are spent inside a network."""
    began, spent = [], []
    module.register_forward_pre_hook(lambda *_: began.append(time.monotonic()))
    module.register_forward_hook(lambda *_: spent.append(time.monotonic() - began.pop()))
    return spent


if __name__ == "__main__":
    main()
