"""Every tile-level protocol for the built-in tile encoder, beside random weights and colour statistics, on three tasks.

    python benchmarks/tile_protocols.py OUT --data SHARED [--only crc luad_lusc phantom] [--page PAGE.md]

SHARED holds ``crc_tiles_5class`` (1,250 training and 500 test tiles, slides not known) and ``luad_lusc_tiles`` (190 tiles; the
first number of a file's name is its patient). The phantom's tiles are cut from slides drawn under OUT. Every task has a folder
there; finished parts are kept. With ``--page`` the tasks' pages are joined, and their pictures laid beside.
"""

import argparse
import re
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.phantom.labelled_tiles import PhantomTiles, cut_tiles
from oncoweave.train.builtin_weights import builtin_weights
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_protocols.run import TileProtocolOptions, run_tile_protocols
from oncoweave.train.tile_task import load_tile_task

ENCODER = "vit/nano"
PATIENTS = 16
PERTURBED = {"crc": 25, "luad_lusc": 60, "phantom": 25}
"""Test tiles of which the 91 versions are made."""
EPOCHS = 3
TITLES = {
    "crc": "Colorectal tiles, 5 classes",
    "luad_lusc": "LUAD against LUSC",
    "phantom": f"Phantom tissue, {PATIENTS} patients",
}
FOLDERS = {"crc": "crc_tiles_5class", "luad_lusc": "luad_lusc_tiles/tcga_luadlusc"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    weights, _ = builtin_weights(ENCODER)
    encoders = {f"{ENCODER}, built in": load_tile_encoder(ENCODER, weights=weights)}
    for task in given.only:
        started = time.process_time()
        train, test = tiles_of(task, given.out / task, given.data)
        patient = load_tile_task("luad_lusc_tiles").layout.patient if task == "luad_lusc" else ""
        options = TileProtocolOptions(title=TITLES[task], perturbed_tiles=PERTURBED[task], tuning_epochs=EPOCHS, patient=patient)
        run_tile_protocols(encoders, train, test, given.out / task, options=options)
        print(f"{task}: {time.process_time() - started:.0f} s of processor time", flush=True)
    if given.page is not None:
        join(given.out, given.only, given.page)


def tiles_of(task: str, out: Path, data: Path) -> tuple[Path, Path]:
    """Where the training and the test tiles of a task are; the phantom's are drawn once."""
    if task in FOLDERS:
        return data / FOLDERS[task] / "train", data / FOLDERS[task] / "test"
    paths = out / "train.h5", out / "test.h5"
    if all(path.is_file() for path in paths):
        return paths
    out.mkdir(parents=True, exist_ok=True)
    phantom(out, *paths)
    return paths


def phantom(out: Path, train: Path, test: Path) -> None:
    """Draw a cohort, cut tiles, and test on three patients of eight; classes that only one side has are left out, and named."""
    cohort = out / "cohort"
    if not cohort.exists():
        config = Config(patients=PATIENTS, seed=5, missing=0.0, without=("volume", "film"))
        write_phantom(config, cohort, progress=False)
    rng = np.random.default_rng(0)
    tiles = cut_tiles(cohort, side=224, per_slide=6, rng=rng)
    patients = np.array(tiles.patients)
    tested = np.isin(patients, rng.permutation(np.unique(patients))[: PATIENTS * 3 // 8])
    labels = np.array(tiles.labels)
    both = np.intersect1d(labels[tested], labels[~tested])
    left_out = sorted(set(labels) - set(both))
    print(f"phantom: {len(patients)} tiles; left out, of one side only: {', '.join(left_out) or 'nothing'}", flush=True)
    for path, side in ((train, ~tested), (test, tested)):
        part: PhantomTiles = tiles.take(side & np.isin(labels, both))
        write_tiles(path, part.images, labels=part.labels, groups=part.patients)


def join(out: Path, tasks: list[str], page: Path) -> None:
    """Put the tasks' pages under one heading each, after whatever stands in PAGE before the first of them."""
    head = page.read_text(encoding="utf-8").partition("\n## ")[0] if page.is_file() else f"# {page.stem}\n"
    parts = [head.rstrip() + "\n"]
    for task in tasks:
        picture = page.with_name(f"{page.stem}_{task}.svg")
        shutil.copyfile(out / task / "scores.svg", picture)
        text = (out / task / "page.md").read_text(encoding="utf-8").replace("(scores.svg)", f"({picture.name})")
        parts.append(re.sub(r"^#", "##", text, flags=re.MULTILINE))
    page.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
