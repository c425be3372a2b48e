"""What ``vit_tiny_cpu`` learns: probes before and after it, beside colour statistics, on phantom and real tiles.

    python benchmarks/dinov2_probe.py --out RESULTS [--phantom COHORT] [--crc FOLDER] [--seeds 1] [--objective dinov2]
        [--data TILES ...] [--steps N]

For each data set and seed the recipe is run on the training tiles, whose labels it does not see, or on other tiles given with
``--data``; a run that stands in RESULTS is gone on with. The encoder it started from and the one it ended with are probed on the
test tiles, and colour statistics. COHORT is a phantom cohort (``oncoweave phantom COHORT --missing 0 --no-scans``), of which a
third of the patients are tested on; FOLDER has ``train`` and ``test``, with a subfolder for each class. With ``--objective``
another objective takes the place of DINOv2, on crops of the same size, with the same encoder, steps and optimiser. Prints
Markdown, also into ``RESULTS/dinov2_probe_OBJECTIVE.md``.

``within`` is a linear probe inside the training tiles: five folds, each classified by the other four, tiles of a slide together,
or where slides are not known those of a cluster of stain, at the same cost. The second table gives the linear probe's accuracy by
its cost, whichever of them is chosen.
"""

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from oncoweave.core import shelf
from oncoweave.evaluate.discrimination import balanced_accuracy
from oncoweave.evaluate.intervals import Interval, bootstrap
from oncoweave.evaluate.weighted import mean_recall
from oncoweave.phantom.labelled_tiles import cut_tiles
from oncoweave.train import pretrain as pretraining
from oncoweave.train.plan import Plan
from oncoweave.train.probe import LabelledTiles, Probed, ProbeData, embed_tiles, embedded, load_probe, probe_embeddings
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_protocols.embedded import standardised
from oncoweave.train.tile_protocols.linear_probe import COSTS, linear
from oncoweave.train.tile_protocols.simpleshot import nearest_mean

RECIPE = "vit_tiny_cpu"
CROPS = {"simclr": ("views", 2), "pixel_mae": ("image", 1)}
"""Of objectives other than the recipe's: what their crops are called, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One encoder on one data set."""

    seed: str
    probed: Probed
    means: np.ndarray
    """Classes by nearest class mean."""
    by_cost: list[float]
    within: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phantom", type=Path)
    parser.add_argument("--crc", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--objective", default="dinov2", choices=["dinov2", *CROPS])
    parser.add_argument("--data", type=Path, nargs="*", help="Tiles to pretrain on in place of the training tiles.")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pages = []
    if given.phantom:
        pages.append(measure("phantom", *phantom_tiles(given.phantom, given.out), given))
    if given.crc:
        pages.append(measure("crc_tiles_5class", given.crc / "train", given.crc / "test", given))
    text = "\n\n".join(pages)
    (given.out / f"dinov2_probe_{given.objective}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def phantom_tiles(cohort: Path, out: Path) -> tuple[Path, Path]:
    """Cut labelled tiles; a third of the patients, drawn at random, are tested on."""
    paths = out / "phantom_train.h5", out / "phantom_test.h5"
    if all(path.is_file() for path in paths):
        return paths
    rng = np.random.default_rng(0)
    tiles = cut_tiles(cohort, side=224, per_slide=8, rng=rng)
    patients = sorted(set(tiles.patients))
    tested = set(rng.permutation(patients)[: len(patients) // 3])
    of_test = np.array([p in tested for p in tiles.patients])
    for path, rows in zip(paths, (~of_test, of_test), strict=True):
        part = tiles.take(rows)
        write_tiles(path, part.images, labels=part.labels, groups=part.slides)
    return paths


def planned(given: argparse.Namespace, seed: int) -> Plan:
    """The recipe, or the same run with another objective."""
    plan = shelf.load("recipes", RECIPE).plan(**({"steps": given.steps} if given.steps else {}))
    plan = dataclasses.replace(plan, seed=seed, watch_every=0)
    if given.objective == plan.objective:
        return plan
    name, count = CROPS[given.objective]
    views = plan.objective_settings["views"]
    crop = dataclasses.replace(views.crops[0], name=name, count=count)
    decoder = {"decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4} if given.objective == "pixel_mae" else {}
    settings = {"views": dataclasses.replace(views, crops=(crop,)), **decoder}
    return dataclasses.replace(plan, objective=given.objective, objective_settings=settings, encoder_settings={})


def measure(name: str, train: Path, test: Path, given: argparse.Namespace) -> str:
    """Pretrain with every seed, probe, and lay out as Markdown."""
    pairs, seconds = [], []
    for seed in range(given.seeds):
        plan = planned(given, seed)
        started = time.process_time()
        result = pretraining.pretrain(plan, given.out / f"{name}_{given.objective}_{seed}", data=given.data or [train])
        seconds.append(time.process_time() - started)
        data = load_probe(train, test, side=plan.data.side)
        stream = plan.data.open(given.data or [train], views=plan.objective_settings["views"], batch=plan.batch, seed=seed)
        start = pretraining.build(plan, stream).exported.eval()
        stream.close()
        trained = load_tile_encoder(plan.encoder, weights=result.weights)
        before = probed(lambda tiles, start=start: start(tiles.float() / 255).detach(), data, "random weights", seed=str(seed))
        pairs.append((before, probed(trained.encode, data, f"after {plan.steps} steps", seed=str(seed))))
    colour = probed(load_tile_encoder("colour").encode, data, "colour statistics", seed="")
    return page(f"{name}, {given.objective}", data, pairs=pairs, colour=colour, seconds=seconds)


def probed(encode, data: ProbeData, name: str, *, seed: str) -> Row:
    """Probe an encoder on the test tiles and within the training tiles."""
    x, z = embed_tiles(encode, data.train.images), embed_tiles(encode, data.test.images)
    y = data.train.label
    found = probe_embeddings((x, z), data, name=name)
    scaled_x, scaled_z = standardised(x, z)
    return Row(
        seed=seed,
        probed=found,
        means=nearest_mean(scaled_x, y, scaled_z),
        by_cost=[balanced_accuracy(data.test.label, linear(x, y, z, cost=cost)) for cost in COSTS],
        within=within(x, data.train, cost=found.cost),
    )


def within(x: np.ndarray, train: LabelledTiles, *, cost: float) -> float:
    """Balanced accuracy of five folds of the training tiles, each classified by the others."""
    label = train.label
    slides = embedded(x, train).together
    predicted = np.empty_like(label)
    for fit, held in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, label, slides):
        predicted[held] = linear(x[fit], label[fit], x[held], cost=cost)
    return balanced_accuracy(label, predicted)


def page(title: str, data: ProbeData, *, pairs: list[tuple[Row, Row]], colour: Row, seconds: list[float]) -> str:
    """Lay one data set out: probes with their paired differences, and accuracies by cost."""
    groups = [len(np.unique(side.group)) for side in (data.train, data.test)]
    lines = [
        f"### {title}",
        "",
        f"{len(data.train.label)} training tiles ({groups[0]} slides or files), {len(data.test.label)} test tiles ({groups[1]}),"
        f" {len(data.classes)} classes, {data.test.images.shape[-1]} px; {', '.join(f'{s:.0f}' for s in seconds)} s of processor"
        " time a run.",
        "",
        "| seed | encoder | k-NN | class means | linear | cost | class means, less before | linear, less before | within |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for before, after in pairs:
        lines += [_row(before, None, data), _row(after, before, data)]
    lines += [_row(colour, None, data), "", "Linear probe on the test tiles by cost:", ""]
    lines += [f"| seed | encoder | {' | '.join(f'{cost:g}' for cost in COSTS)} |", f"|{' --- |' * (len(COSTS) + 2)}"]
    for row in [row for pair in pairs for row in pair] + [colour]:
        lines.append(f"| {row.seed} | {row.probed.encoder} | {' | '.join(f'{value:.3f}' for value in row.by_cost)} |")
    return "\n".join(lines)


def _row(row: Row, before: Row | None, data: ProbeData) -> str:
    found = row.probed
    cells = [row.seed, found.encoder, *(shown(i) for i in (found.neighbours, found.means, found.linear))]
    cells.append(f"{found.cost:g}")
    if before is None:
        cells += ["", ""]
    else:
        pairs = (row.means, before.means), (found.predicted, before.probed.predicted)
        cells += [shown(paired(*pair, data), sign="+") for pair in pairs]
    return f"| {' | '.join([*cells, f'{row.within:.3f}'])} |"


def paired(one: np.ndarray, other: np.ndarray, data: ProbeData) -> Interval:
    """Difference in balanced accuracy of two classifiers, resampling the slides of both alike."""
    y = data.test.label
    a, b = mean_recall(y, one == y), mean_recall(y, other == y)
    rng = np.random.default_rng(0)
    return bootstrap(lambda weights: a(weights) - b(weights), data.test.group, replicates=2000, generator=rng)


def shown(interval: Interval, *, sign: str = "") -> str:
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


if __name__ == "__main__":
    main()
