"""Pretraining as it is used: killed and gone on with, from the command line, and its weights in slides embed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from oncoweave.train.tile_files import write_tiles

RUN = """
import dataclasses, os, signal, sys
from pathlib import Path
from oncoweave.nn.augment import Crop, Views
from oncoweave.train.plan import Optimisation, Plan
from oncoweave.train.pretrain import Machine, pretrain
from oncoweave.train.tile_stream import TileData

data, out, killed, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
crops = Crop(name="global", count=2, side=32, scale=(0.3, 1.0)), Crop(name="local", count=2, side=16, scale=(0.1, 0.3))
views = Views(crops=crops)
plan = Plan(
    name="small", encoder="vit/tiny",
    encoder_settings={"dim": 24, "depth": 2, "heads": 2, "hidden": 48, "image": 32, "mask_token": True, "drop_path": 0.2},
    objective="dinov2", objective_settings={
        "views": views, "hidden": 16, "bottleneck": 8, "prototypes": 32, "teacher_temperature_warm_up": 4, "freeze_prototypes": 3,
    },
    data=TileData(side=32, readers=2), batch=4, steps=9,
    optimisation=Optimisation(rate=1e-3, power=0.0, warm_up=2), checkpoint_every=4, watch_every=3,
)

def progress(done, steps, row):
    if done == killed:
        os.kill(os.getpid(), signal.SIGKILL)

machine = Machine(accelerator="cpu", devices=processes, strategy="sharded" if processes > 1 else "auto")
if os.environ.get("PLAIN"):  # what each process draws for itself is left out
    settings = {**plan.objective_settings, "patch_weight": 0.0}
    encoder = {**plan.encoder_settings, "drop_path": 0.0}
    plan = dataclasses.replace(plan, objective_settings=settings, encoder_settings=encoder, watch_every=0)
pretrain(plan, out, data=[data], machine=machine, progress=progress)
"""


def cli(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "oncoweave.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def shard(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    write_tiles(tmp_path / "tiles.h5", images, labels=["a", "b"] * 6, groups=[f"S{i // 3}" for i in range(12)])
    return tmp_path / "tiles.h5"


def test_a_killed_run_ends_with_the_same_bytes(shard, tmp_path):
    def run(out: str, killed: int = 0) -> int:
        command = [sys.executable, "-c", RUN, str(shard), str(tmp_path / out), str(killed), "1"]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run("whole") == 0
    assert run("cut", killed=6) == -signal.SIGKILL
    assert run("cut") == 0
    for name in ("encoder.safetensors", "checkpoint.safetensors", "log.jsonl", "curves.svg"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not list((tmp_path / "cut").glob(".*partial"))


def test_shards_on_two_processes_make_the_run_of_one(shard, tmp_path):
    """With the optimiser's state, which is gathered, and with what is logged, which is a mean over processes."""
    script = tmp_path / "run.py"  # Fabric starts the second process from a file
    script.write_text(RUN)
    env = {**os.environ, "PLAIN": "1", "OMP_NUM_THREADS": "1"}
    for processes in ("1", "2"):
        command = [sys.executable, str(script), str(shard), str(tmp_path / processes), "0", processes]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / p / "checkpoint.safetensors") for p in "12")
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-6, err_msg=name)
    logs = [[json.loads(line) for line in (tmp_path / p / "log.jsonl").read_text().splitlines()] for p in "12"]
    for a, b in zip(*logs, strict=True):
        assert b == pytest.approx(a, rel=1e-4)


def test_weights_from_the_command_line_go_into_slides_embed(shard, tmp_path, write_slide):
    done = cli("pretrain", "tile", "vit_tiny_cpu", "--data", shard, "--out", tmp_path / "run", "--steps", 1, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "step 1: loss" in done.stdout
    weights = tmp_path / "run" / "encoder.safetensors"
    assert load_file(weights)["blocks.3.attn.qkv.weight"].shape == (288, 96)
    write_slide("a.tiff")
    embedded = cli(
        "slides", "embed", tmp_path / "a.tiff", "--out", tmp_path / "bags", "--encoder", "vit/nano", "--weights", weights,
        "--tile", 128,
    )  # fmt: skip
    assert embedded.returncode == 0, embedded.stderr
    assert "RANDOM WEIGHTS" not in embedded.stderr
    record = pd.read_parquet(tmp_path / "bags" / "slides.parquet")
    assert record["status"].tolist() == ["done"]


def test_the_probe_command_shows_its_baselines(shard, tmp_path):
    done = cli("pretrain", "probe", "--train", shard, "--test", shard, "--side", 32)
    assert done.returncode == 0, done.stderr
    assert "vit/tiny, random weights" in done.stdout
    assert "colour statistics" in done.stdout
    assert "12 training and 12 test tiles, 2 classes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tile", "vit_tiny_gpu"), "no entry on shelf 'recipes' named 'vit_tiny_gpu'; did you mean 'vit_tiny_cpu'"),
        (("slide", "vit_tiny_cpu"), "pretrains a tile encoder"),
        (("tile", "longnet_tiny_cpu"), "pretrains a slide encoder"),
        (("tile", "vit_tiny_cpu", "--probe-train", "x"), "give both --probe-train and --probe-test"),
        (("tile", "vit_tiny_cpu"), "nothing: no such file or folder"),
    ],
)
def test_what_cannot_be_pretrained_is_refused(tmp_path, arguments, message):
    done = cli("pretrain", *arguments, "--data", tmp_path / "nothing", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert message in " ".join(done.stderr.replace("│", " ").split()).replace("- ", "-")


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['oncoweave', 'pretrain', 'tile', '--help']\n"
        "from oncoweave.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    assert "--probe-train" in done.stdout
