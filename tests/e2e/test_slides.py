import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from oncoweave.cli.main import _add_verbs, app
from oncoweave.core.endpoint import Endpoint
from oncoweave.data.bags import read_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, verify, write_cohort

_KILLER = """
import os, signal, sys
from pathlib import Path
import torch
from oncoweave.train.embed import EmbedOptions, embed_slides
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.wsi.files import find_slides
from oncoweave.wsi.tiling import TileRecipe

torch.set_num_threads(1)
slides, out = find_slides([sys.argv[1]]).slides, sys.argv[2]
encoder, recipe = load_tile_encoder("colour/tiny"), TileRecipe(tile=128)
replace, count = Path.replace, 0


def run(folder, die_at):
    def dying(source, target):
        global count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target)

    Path.replace = dying
    embed_slides(slides, folder, encoder=encoder, recipe=recipe, options=EmbedOptions(batch=4))
    return count


total = run(f"{out}/whole", 0)
print(total)
for point in range(1, total + 1):
    child = os.fork()
    if child == 0:
        count = 0
        run(f"{out}/killed-{point}", point)
        os._exit(3)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
"""


@pytest.fixture
def cli():
    if not app.registered_groups:
        _add_verbs()
    runner = CliRunner()
    return lambda *args: runner.invoke(app, ["slides", *map(str, args)])


def test_a_run_killed_at_any_publication_resumes_to_the_same_bags(write_slide, tmp_path):
    """SIGKILL arrives right before each file would be moved into place, when a half-written one lies there."""
    from oncoweave.train.embed import EmbedOptions, embed_slides
    from oncoweave.train.tile_encoder import load_tile_encoder
    from oncoweave.wsi.files import find_slides
    from oncoweave.wsi.tiling import TileRecipe

    for name in ("a", "b"):
        write_slide(f"in/{name}.tiff", size=(512, 512), boxes=((128, 128, 256, 256),), levels=1)
    out = tmp_path / "out"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _KILLER, str(tmp_path / "in"), str(out)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    points = int(done.stdout.split()[0])
    assert points == 2 * (1 + 1 + 2) + 2  # preview, bag, and the record of two files for each slide; the record at the end
    whole = {p.name: p.read_bytes() for p in (out / "whole" / "bags").iterdir()}
    assert set(whole) == {"a.h5", "b.h5"}
    encoder, recipe, slides = load_tile_encoder("colour/tiny"), TileRecipe(tile=128), find_slides([tmp_path / "in"]).slides
    for point in range(1, points + 1):
        folder = out / f"killed-{point}"
        assert list(folder.rglob("*.partial")), "the kill came between two files"
        for bag in folder.glob("bags/*.h5"):
            assert bag.read_bytes() == whole[bag.name]  # whole, or not there
        record = embed_slides(slides, folder, encoder=encoder, recipe=recipe, options=EmbedOptions(batch=4))
        assert {p.name: p.read_bytes() for p in (folder / "bags").iterdir()} == whole
        assert not list(folder.rglob("*.partial"))
        assert len(pd.read_parquet(folder / "slides.parquet")) == 2
        assert record.count("failed") == 0


def test_embed_says_what_became_of_every_slide(write_slide, tmp_path, cli):
    write_slide("in/good.tiff")
    write_slide("in/no_mpp.tiff", mpp=None)
    (tmp_path / "in" / "broken.svs").write_bytes(b"nothing")
    (tmp_path / "in" / "notes.txt").write_text("not a slide")
    result = cli("embed", tmp_path / "in", "--out", tmp_path / "out", "--tile", 128)
    assert result.exit_code == 0, result.output
    for line in (
        "3 slides: 1 embedded, 0 kept from an earlier run, 2 failed; 12 tiles of colour/plain (59 wide)",
        "failed: no_mpp: no_mpp.tiff: no usable resolution: it states none. Declare the level-0 um/px with --slide-mpp",
        "failed: broken: broken.svs: cannot be opened as a slide",
        "passed over: 1 file(s) that are not slides by name",
    ):
        assert line in result.output
    assert (tmp_path / "out" / "previews" / "good.png").is_file()
    again = cli("embed", tmp_path / "in", "--out", tmp_path / "out", "--tile", 128, "--slide-mpp", 0.5)
    assert "3 slides: 1 embedded, 1 kept" not in again.output  # a declared resolution is part of the recipe of every slide
    assert "resolution declared, not stated by the file: 1 slide(s)" in again.output


def test_the_progress_bar_counts_slides_and_never_names_them(write_slide, tmp_path, cli, monkeypatch):
    from rich.progress import Progress

    shown, update = [], Progress.update

    def spy(self, *arguments, **changes):
        shown.append(str(changes.get("description", "")))
        return update(self, *arguments, **changes)

    monkeypatch.setattr(Progress, "update", spy)
    for patient in ("DOE-JANE-1961", "ROE-RICHARD-1954"):
        write_slide(f"in/{patient}.tiff")
    cli("embed", tmp_path / "in", "--out", tmp_path / "out", "--tile", 128)
    assert {text for text in shown if text} == {"tiles of slide 1 of 2", "tiles of slide 2 of 2"}


def test_embed_fails_when_every_slide_does(write_slide, tmp_path, cli):
    write_slide("in/blank.tiff", boxes=())
    result = cli("embed", tmp_path / "in", "--out", tmp_path / "out", "--tile", 128)
    assert result.exit_code == 1
    assert "1 slides: 0 embedded, 0 kept from an earlier run, 1 failed; 0 tiles" in result.output
    assert "failed: blank: blank.tiff: no tile: no tissue found" in result.output


def test_info_and_preview(write_slide, tmp_path, cli):
    path = write_slide(mpp=0.25, levels=3)
    result = cli("info", path)
    assert result.exit_code == 0
    for text in ("1024 x 768", "1, 2, 4", "0.25 (40x)", "openslide (generic-tiff)"):
        assert text in result.output
    result = cli("preview", path, "--out", tmp_path / "pictures", "--tile", 64)
    assert result.exit_code == 0, result.output
    assert "slide.png: 12 tiles" in result.output
    assert (tmp_path / "pictures" / "slide.png").is_file()
    (tmp_path / "broken.svs").write_bytes(b"nothing")
    assert cli("info", tmp_path / "broken.svs").exit_code == 1
    assert cli("preview", tmp_path / "broken.svs", "--out", tmp_path / "pictures").exit_code == 1


@pytest.fixture
def cohort(write_slide, tmp_path) -> Path:
    write_slide("slides/s1.tiff")
    write_slide("slides/s2.tiff", seed=1)
    write_slide("slides/s3.tiff", mpp=None)
    (tmp_path / "slides" / "s4.tiff").write_bytes(b"nothing")
    rows = [("p1", "s1", None), ("p1", "s2", None), ("p2", "s3", 0.5), ("p3", "s4", None)]
    slides = pd.DataFrame(
        {
            "patient_id": [patient for patient, _, _ in rows],
            "sample_id": [slide for _, slide, _ in rows],
            "slide_id": [slide for _, slide, _ in rows],
            "slide_path": [str(tmp_path / "slides" / f"{slide}.tiff") for _, slide, _ in rows],
            "slide_mpp": [mpp for _, _, mpp in rows],
        }
    )
    patients = pd.DataFrame({"dead": [0, 1, 0]}, index=pd.Index(["p1", "p2", "p3"], name="patient_id"))
    write_cohort(
        Cohort(
            name="c",
            patients=patients,
            tables={"he": slides},
            modalities={"he": ModalitySpec(name="he", kind="slide")},
            endpoints={"dead": Endpoint(name="dead", kind="binary", columns=("dead",))},
        ),
        tmp_path / "cohort",
    )
    return tmp_path / "cohort"


def test_a_cohorts_slides_become_its_bags(cohort, cli):
    write_cohort(read_cohort(cohort), cohort, documents={"import.json": {"patients": 4}})
    result = cli("embed", cohort, "--tile", 128)
    assert result.exit_code == 0, result.output
    table = read_cohort(cohort).tables["he"].set_index("slide_id")
    assert table["path"].tolist()[:3] == ["bags/he/s1.h5", "bags/he/s2.h5", "bags/he/s3.h5"]
    assert pd.isna(table.loc["s4", "path"])
    assert len(read_bag(cohort / table.loc["s1", "path"])) == 12
    assert verify(cohort) == []
    notes = read_cohort(cohort).modalities["he"].notes
    assert notes["encoder"] == "colour/plain"
    listed = json.loads((cohort / "slides-he.json").read_text())["slides"]
    assert [s["status"] for s in listed] == ["done", "done", "done", "failed"]
    assert "cannot be opened" in listed[3]["reason"]
    assert json.loads((cohort / "import.json").read_text()) == {"patients": 4}
    again = cli("embed", cohort, "--tile", 128, "--drop-failed")
    assert "4 slides: 0 embedded, 3 kept from an earlier run, 1 failed" in again.output
    assert list(read_cohort(cohort).tables["he"]["slide_id"]) == ["s1", "s2", "s3"]
    assert verify(cohort) == []


@pytest.mark.real
def test_real_slides(real_data, tmp_path, cli):
    """Every sample file ends as a bag or with its reason, none with a traceback."""
    result = cli("embed", real_data / "wsi_samples", "--out", tmp_path / "out", "--encoder", "colour/tiny", "--tile", 256)
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(tmp_path / "out" / "slides.parquet").set_index("slide_id")
    assert table.loc["cmu_1_small_region", "status"] == "done"
    assert 40 <= table.loc["cmu_1_small_region", "tiles"] <= 60
    for name, reason in {
        "tcga-cr-7395-01a-01-ts1": "it states none",
        "boxes_pyramid": "352.778 x 352.778 um/px, which no slide scanner has",
        "broken": "cannot be opened as a slide",
        "smalltif": "wanted an 8-bit RGB image, found uint16",
        "sm_image": "less than one tile",
        "unopenable": "no decoder for its compression",
    }.items():
        assert reason in table.loc[name, "reason"], name
