"""What ``vit_tiny_cpu`` learns: k-NN and linear probe before and after it, beside colour statistics, on phantom and real tiles.

    python benchmarks/dinov2_probe.py --out RESULTS [--phantom COHORT] [--crc FOLDER] [--steps N] [--side 112]

For each data set the recipe is run on the training tiles, whose labels it does not see; a run that stands in RESULTS is gone on
with. Then the encoder it started from, the one it ended with, and colour statistics are probed on the test tiles. COHORT is a
phantom cohort (``oncoweave phantom COHORT --missing 0 --no-scans``); a third of its patients are tested on. FOLDER has ``train``
and ``test``, with a subfolder for each class. Prints Markdown and writes it to ``RESULTS/dinov2_probe.md``.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from oncoweave.core import shelf
from oncoweave.evaluate.intervals import Interval, bootstrap
from oncoweave.evaluate.weighted import mean_recall
from oncoweave.phantom.labelled_tiles import cut_tiles
from oncoweave.train import pretrain as pretraining
from oncoweave.train.probe import Probed, ProbeData, load_probe, probe
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_files import write_tiles

RECIPE = "vit_tiny_cpu"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One data set."""

    name: str
    data: ProbeData
    probed: list[Probed]
    card: dict
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phantom", type=Path)
    parser.add_argument("--crc", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--side", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    measured = []
    if given.phantom:
        train, test = phantom_tiles(given.phantom, given.out)
        measured.append(measure("phantom", train, test, given))
    if given.crc:
        measured.append(measure("crc_tiles_5class", given.crc / "train", given.crc / "test", given))
    text = "\n\n".join(page(m) for m in measured)
    (given.out / "dinov2_probe.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def phantom_tiles(cohort: Path, out: Path) -> tuple[Path, Path]:
    """Cut labelled tiles; a third of the patients, drawn at random, are tested on."""
    rng = np.random.default_rng(0)
    tiles = cut_tiles(cohort, side=224, per_slide=8, rng=rng)
    patients = sorted(set(tiles.patients))
    tested = set(rng.permutation(patients)[: len(patients) // 3])
    of_test = np.array([p in tested for p in tiles.patients])
    paths = []
    for name, rows in (("train", ~of_test), ("test", of_test)):
        part = tiles.take(rows)
        paths.append(out / f"phantom_{name}.h5")
        if not paths[-1].is_file():
            write_tiles(paths[-1], part.images, labels=part.labels, groups=part.slides)
    return paths[0], paths[1]


def measure(name: str, train: Path, test: Path, given: argparse.Namespace) -> Measured:
    """Pretrain on the training tiles and probe."""
    recipe = shelf.load("recipes", RECIPE)
    plan = recipe.plan(**({"steps": given.steps} if given.steps else {}))
    started = time.process_time()
    result = pretraining.pretrain(plan, given.out / name, data=[train])
    seconds = time.process_time() - started
    data = load_probe(train, test, side=given.side or plan.data.side)
    stream = plan.data.open([train], views=plan.objective_settings["views"], batch=plan.batch, seed=plan.seed)
    start = pretraining.build(plan, stream).exported.eval()
    stream.close()
    with torch.no_grad():
        probed = [probe(lambda tiles: start(tiles.float() / 255), data, name="before (random weights)")]
    trained = load_tile_encoder(plan.encoder, weights=result.weights)
    probed.append(probe(trained.encode, data, name=f"after {plan.steps} steps"))
    probed.append(probe(load_tile_encoder("colour").encode, data, name="colour statistics"))
    return Measured(name=name, data=data, probed=probed, card=result.card, cpu_seconds=seconds)


def page(m: Measured) -> str:
    """Lay one data set out as Markdown, with the paired difference of the linear probe to the encoder before."""
    test = m.data.test
    lines = [
        f"### {m.name}",
        "",
        f"{len(m.data.train.label)} training tiles ({len(np.unique(m.data.train.group))} slides or files), {len(test.label)} test"
        f" tiles ({len(np.unique(test.group))}), {len(m.data.classes)} classes, probed at {m.data.test.images.shape[-1]} px;"
        f" {m.cpu_seconds:.0f} s of processor time for {m.card['steps_since_start']} steps.",
        "",
        "| encoder | width | k-NN | linear | cost | linear, less before |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for found in m.probed:
        difference = "" if found is m.probed[0] else shown(paired(found, m.probed[0], m.data), sign="+")
        cells = [found.encoder, str(found.dim), shown(found.neighbours), shown(found.linear), f"{found.cost:g}", difference]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def paired(one: Probed, other: Probed, data: ProbeData) -> Interval:
    """Difference in balanced accuracy of two classifiers, resampling the slides of both alike."""
    y = data.test.label
    a, b = mean_recall(y, one.predicted == y), mean_recall(y, other.predicted == y)
    rng = np.random.default_rng(0)
    return bootstrap(lambda weights: a(weights) - b(weights), data.test.group, replicates=2000, generator=rng)


def shown(interval: Interval, *, sign: str = "") -> str:
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


if __name__ == "__main__":
    main()
