"""A bench with a task about tiles: its figures, its comparisons over tiles, and its place on the page."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from oncoweave.serve import wording
from oncoweave.serve.bench.run import run_bench
from oncoweave.train.bench.spec import Bench, Place, TileSpec
from oncoweave.train.bench.tiles import PROTOCOL
from oncoweave.train.study import Protocol
from oncoweave.train.tile_protocols import contenders
from oncoweave.train.tile_task import load_tile_task


def lay(task, folder, rng):
    """Tiles of two labels whose hues overlap."""
    for number, label in enumerate(list(task.layout.folders)[:2]):
        for side, count in ((task.layout.train, 10), (task.layout.test, 20)):
            place = folder / side / task.layout.folders[label]
            place.mkdir(parents=True)
            for i in range(count):
                hue = np.array([190, 120, 180] if number else [150, 120, 190]) + rng.normal(0, 25, 3)
                Image.fromarray(np.clip(hue + rng.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8)).save(place / f"{i}.png")
    for label in list(task.layout.folders)[2:]:
        for side in (task.layout.train, task.layout.test):
            (folder / side / task.layout.folders[label]).mkdir(parents=True)
    return folder


def test_tasks_about_tiles_have_figures_comparisons_and_a_place_on_the_page(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(contenders, "SIDE", 32)
    data = lay(load_tile_task("mhist_tiles"), tmp_path / "mhist", rng)
    asked = Bench(
        name="tiles",
        tasks={"mhist_tiles": Place(tiles=str(data))},
        protocol=Protocol(bootstrap=200, seed=3),
        tiles=TileSpec(encoders=("vit/nano",), episodes=4, perturbed_tiles=0, tuning_epochs=0),
    )
    found = run_bench(asked, tmp_path / "out")
    assert found.failures == {}
    table = found.scores.set_index("name")
    assert table.loc["vit-nano", "main"] and set(table["role"]) == {"fusion", "baseline"}

    held = pd.read_parquet(tmp_path / "out" / "tasks" / "mhist_tiles" / "tiles.parquet")
    held = held[held["protocol"] == PROTOCOL]
    recall = held.groupby(["encoder", "label"], observed=True)["value"].mean().groupby("encoder", observed=True).mean()
    assert recall.to_dict() == pytest.approx(table["value"].to_dict())

    duels = found.duels.set_index("question")
    assert duels.loc["main", "first"] == "vit-nano"
    assert duels.loc["main", "difference"] == pytest.approx(recall["vit-nano"] - recall[duels.loc["main", "second"]])
    assert duels["p_adjusted"].between(0, 1).all() and (duels["n"] == 40).all() and (duels["detectable"] > 0).all()
    assert duels["note"].str.contains("^tiles, as which are of one slide is not known").all()
    page = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    assert wording.number(duels.loc["main", "difference"], sign=True) in page
    assert "other tiles" in page and "yes" not in page  # twenty tiles a side are not MHIST
    audit = found.audits.set_index("task").loc["mhist_tiles"]
    assert (audit["audit"], audit["n"]) == ("near-same tile on both sides", 40)
    assert (
        "In mhist tiles the bootstrap draws tiles, as which" in page
        and "(of tiles, colour statistics and networks with random weights)" in page
    )
