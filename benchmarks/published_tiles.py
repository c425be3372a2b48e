"""Linear probes of two sets of labelled tiles: lung adeno- against squamous carcinoma, and five classes of colorectal tissue.

No figure was published on these subsets; the floors are of earlier colour and texture statistics (other ones than ours). Tiles
are resized to 112 px. ``colour, linear`` is the probe of our colour statistics, whose cost is chosen on inner folds; ``colour,
forest`` a random forest on the same numbers; ``vit/nano`` the encoder that comes with the package, trained on drawn slides;
``random`` the same network with random weights. Lung tiles name their patients, ten tiles each: the six tested patients are what
is drawn for the interval. Colorectal tiles name none, so that their intervals, over tiles, are too narrow.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from published_line import OPEN, REPRODUCED, Line, Result, interval_of, judged
from sklearn.ensemble import RandomForestClassifier

from oncoweave.evaluate.intervals import Interval
from oncoweave.evaluate.weighted import mean_recall
from oncoweave.train.builtin_weights import builtin_weights
from oncoweave.train.probe import LabelledTiles, ProbeData, embed_tiles, load_probe, probe_embeddings
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_sources import open_tiles

SIDE, TREES = 112, 500
ENCODER = "vit/nano"
SETS = {"luad_lusc_tiles": "tcga_luadlusc", "crc_tiles_5class": ""}
FLOORS = {
    "luad_lusc_tiles": {"colour, forest": 0.717, "colour, linear": 0.500},
    "crc_tiles_5class": {"colour, linear": 0.728, "colour, forest": 0.592},
}
"""Balanced accuracy of earlier colour and texture statistics with a forest or a logistic regression, the better one first."""


def load(data: Path, name: str) -> ProbeData:
    """Read the tiles of a set; lung tiles are grouped by patient."""
    folder = data / name / SETS[name]
    probe = load_probe(folder / "train", folder / "test", side=SIDE)
    if name != "luad_lusc_tiles":
        return probe
    return replace(probe, train=_by_patient(probe.train, folder / "train"), test=_by_patient(probe.test, folder / "test"))


def _by_patient(tiles: LabelledTiles, folder: Path) -> LabelledTiles:
    """Group tiles by class and first number of the file name, the patient's."""
    source = open_tiles([folder])
    names = [Path(source.index.groups[group]).name.split("_")[0] for group in source.index.group]
    source.close()
    patients = [f"{label}/{name}" for label, name in zip(source.index.label, names, strict=True)]
    return replace(tiles, group=np.unique(patients, return_inverse=True)[1].astype(np.int64))


def predictions(data: ProbeData) -> dict[str, np.ndarray]:
    """Class of each test tile by every encoder and classifier."""
    weights, _ = builtin_weights(ENCODER)
    encoders = {
        "colour": load_tile_encoder("colour"),
        ENCODER: load_tile_encoder(ENCODER, weights=weights),
        "random": load_tile_encoder(ENCODER, warn=lambda text: None),
    }
    found = {}
    for name, encoder in encoders.items():
        x, z = embed_tiles(encoder.encode, data.train.images), embed_tiles(encoder.encode, data.test.images)
        found[f"{name}, linear"] = probe_embeddings((x, z), data, name=name, replicates=1).predicted
        if name == "colour":
            forest = RandomForestClassifier(TREES, random_state=0).fit(x, data.train.label)
            found["colour, forest"] = forest.predict(z)
    return found


def measured(predicted: np.ndarray, test: LabelledTiles) -> Interval:
    """Balanced accuracy, with an interval over patients where they are known."""
    statistic = mean_recall(test.label, (predicted == test.label).astype(float))
    one_each = len(np.unique(test.group)) == len(test.group)
    # patients are drawn within their class, so that a draw of six always has both
    return interval_of(statistic, test.group, strata=None if one_each else test.label)


def run(data: Path, out: Path) -> Result:
    """Probe both sets."""
    del out
    lines, table = [], []
    for name, floors in FLOORS.items():
        tiles = load(data, name)
        called = predictions(tiles)
        found = {model: measured(p, tiles.test) for model, p in called.items()}
        groups = len(np.unique(tiles.test.group))
        table += [{"set": name, "model": model, "balanced accuracy": i.value, "low": i.low, "high": i.high,
                   "tiles": len(tiles.test.label), "patients or tiles drawn": groups} for model, i in found.items()]  # fmt: skip
        ours = found[f"{ENCODER}, linear"]
        for model, floor in floors.items():
            again = found[model]
            verdict = judged(floor, again.value)
            if verdict != REPRODUCED and again.low <= floor <= again.high:
                verdict += ", within interval"
            lines.append(
                Line(
                    task=f"{name}, {len(tiles.classes)} classes",
                    data=name,
                    figure=f"balanced accuracy of {model} (the floor)",
                    n=len(tiles.test.label),
                    events=0,
                    published=floor,
                    reproduced=again.value,
                    ours=f"{ENCODER}, linear probe",
                    value=ours.value,
                    low=ours.low,
                    high=ours.high,
                    floor=floor,
                    floor_is="earlier statistics",
                    verdict=verdict,
                    reason=(
                        f"{groups} patients tested: nothing can be told apart"
                        if name == "luad_lusc_tiles"
                        else "no patients named; intervals over tiles are too narrow"
                    )
                    + ("; every tile gets one class" if len(np.unique(called[model])) == 1 else ""),
                )
            )
        lines.append(
            Line(
                task=f"{name}, {len(tiles.classes)} classes",
                data=name,
                figure="balanced accuracy, published",
                n=len(tiles.test.label),
                events=0,
                ours=f"{ENCODER}, linear probe",
                value=ours.value,
                low=ours.low,
                high=ours.high,
                verdict=OPEN,
                reason="none was published on this subset",
            )
        )
    return Result(lines=tuple(lines), tables={"Tiles": pd.DataFrame(table)})
