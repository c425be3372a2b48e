import json
import threading
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from oncoweave.core.errors import ConfigError, DataError, SlideError
from oncoweave.core.files import locked
from oncoweave.data.bags import read_bag
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.train import embed
from oncoweave.train.embed import EmbedOptions, embed_slide, embed_slides
from oncoweave.train.embed_cohort import cohort_slides
from oncoweave.train.tile_encoder import load_tile_encoder
from oncoweave.wsi.files import SlideFile, find_slides
from oncoweave.wsi.tiling import TileRecipe

RECIPE = TileRecipe(mpp=0.5, tile=128)
QUICK = EmbedOptions(previews=False)


@pytest.fixture(scope="module")
def colour():
    return load_tile_encoder("colour/tiny")


def run(paths, folder, encoder, recipe=RECIPE, options=QUICK, **declared):
    return embed_slides(find_slides(paths, **declared).slides, folder, encoder=encoder, recipe=recipe, options=options)


def statuses(record):
    return {name: result.status for name, result in record.results.items()}


def test_a_bag_holds_the_encoding_of_each_tile(write_slide, tmp_path, colour):
    path = write_slide(boxes=((256, 128, 512, 384),))
    record = run([path], tmp_path / "out", colour)
    bag = read_bag(tmp_path / "out" / "bags" / "slide.h5")
    import tifffile

    image = tifffile.imread(path)
    tiles = np.stack([image[y : y + 128, x : x + 128] for x, y in bag.coords])
    wanted = colour.encode(torch.from_numpy(tiles).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(bag.features, wanted, atol=2e-3)  # stored in float16
    assert bag.features.dtype == np.float16
    assert (bag.attrs.mpp, bag.attrs.level0_mpp, bag.attrs.patch_size_level0) == (0.5, pytest.approx(0.5), 128.0)
    assert (bag.attrs.encoder, bag.attrs.encoder_fingerprint) == ("colour/tiny", colour.fingerprint)
    assert json.loads(bag.attrs.recipe)["tile"] == 128
    assert len(bag.tissue_fraction) == len(bag) == record.results["slide"].tiles == 12


@pytest.mark.parametrize("options", [EmbedOptions(batch=1, readers=1), EmbedOptions(batch=7, readers=4), EmbedOptions(batch=100)])
def test_batches_and_threads_change_nothing(write_slide, tmp_path, colour, options):
    path = write_slide()
    run([path], tmp_path / "a", colour)
    run([path], tmp_path / "b", colour, options=replace(options, previews=False))
    a, b = (read_bag(tmp_path / out / "bags" / "slide.h5") for out in "ab")
    np.testing.assert_array_equal(a.coords, b.coords)
    np.testing.assert_allclose(a.features, b.features, atol=1e-3)
    assert a.attrs == b.attrs


def test_readers_never_run_far_ahead(colour):
    started = []
    done = embed._in_order(lambda i: started.append(i) or i, 500, options=EmbedOptions(batch=8))
    for seen, index in enumerate(done):
        assert index == seen
        assert len(started) <= seen + 1 + 4 * 8


def test_tiles_are_read_while_the_encoder_works():
    """The first tile is consumed only once a later one was read; without overlap this would wait in vain."""
    read_on = threading.Event()
    done = embed._in_order(lambda i: read_on.set() if i == 5 else i, 20, options=EmbedOptions(batch=2))
    next(done)
    assert read_on.wait(timeout=10)
    assert sum(1 for _ in done) == 19


def test_a_tile_that_cannot_be_read_fails_the_slide_and_leaves_no_bag(write_slide, tmp_path, colour):
    path = write_slide(levels=2)
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        start, length = page.dataoffsets[6], page.databytecounts[6]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    record = run([path], tmp_path / "out", colour)
    assert statuses(record) == {"slide": "failed"}
    assert "cannot be read at level-0 pixel" in record.results["slide"].reason
    assert "damaged or cut short, copy it again" in record.results["slide"].reason
    assert not (tmp_path / "out" / "bags" / "slide.h5").exists()


def test_every_refusal_is_recorded_with_its_reason_and_the_rest_go_on(write_slide, tmp_path, colour):
    write_slide("in/good.tiff")
    write_slide("in/blank.tiff", boxes=())
    write_slide("in/no_mpp.tiff", mpp=None)
    write_slide("in/small.tiff", size=(100, 100), boxes=())
    (tmp_path / "in" / "broken.svs").write_bytes(b"not a slide at all")
    whole = write_slide("in/cut.tiff").read_bytes()
    (tmp_path / "in" / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    record = run([tmp_path / "in"], tmp_path / "out", colour)
    assert statuses(record) == {"good": "done", **dict.fromkeys(["blank", "no_mpp", "small", "broken", "cut"], "failed")}
    table = pd.read_parquet(tmp_path / "out" / "slides.parquet").set_index("slide_id")
    for name, reason in {
        "blank": "blank.tiff: no tile: no tissue found on a thumbnail of 8 um/px",
        "no_mpp": "no_mpp.tiff: no usable resolution: it states none. Declare the level-0 um/px with --slide-mpp",
        "small": "small.tiff: no tile: the slide has 100 x 100 px, less than one tile",
        "broken": "broken.svs: cannot be opened as a slide (openslide: ",
        "cut": "cut.tiff: cannot be opened as a slide (openslide: ",
    }.items():
        assert table.loc[name, "reason"].startswith(reason), name
        assert table.loc[name, "tiles"] == 0
    assert table.loc["good", "status"] == "done"
    assert (table.loc["good", "tiles"], table.loc["good", "mpp"]) == (12, pytest.approx(0.5))
    assert (table["seconds"] > 0).all()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["finished"] == {"done": 1, "reused": 0, "failed": 5}
    assert set(summary["failures"]) == {"blank", "no_mpp", "small", "broken", "cut"}
    assert [p.name for p in (tmp_path / "out" / "bags").iterdir()] == ["good.h5"]


def test_a_declared_resolution_is_used_where_there_is_none_and_noted(write_slide, tmp_path, colour):
    write_slide("in/none.tiff", mpp=None)
    write_slide("in/half.tiff", mpp=0.5)
    record = run([tmp_path / "in"], tmp_path / "out", colour, mpp=0.25)
    assert (record.results["none"].mpp, record.results["none"].mpp_declared) == (0.25, True)
    assert (record.results["half"].mpp, record.results["half"].mpp_declared) == (pytest.approx(0.5), False)
    assert read_bag(tmp_path / "out" / "bags" / "none.h5").attrs.patch_size_level0 == 256.0


def test_enlarged_tiles_are_noted(write_slide, tmp_path, colour):
    record = run([write_slide(mpp=1.0)], tmp_path / "out", colour)
    assert record.results["slide"].enlarged == pytest.approx(2.0)
    assert record.results["slide"].tiles == 48


def test_equal_work_is_kept_and_changed_work_is_made_again(write_slide, tmp_path, colour):
    path, out = write_slide("in/slide.tiff"), tmp_path / "out"
    run([path], out, colour)
    bag = out / "bags" / "slide.h5"
    first = bag.read_bytes()
    again = run([path], out, colour, options=replace(QUICK, batch=3))
    assert statuses(again) == {"slide": "reused"}
    assert again.results["slide"].tiles == 12
    assert again.results["slide"].mpp == pytest.approx(0.5)
    assert bag.read_bytes() == first
    for change in ({"recipe": replace(RECIPE, min_tissue=0.3)}, {"encoder": load_tile_encoder("colour")}):
        assert statuses(run([path], out, **{"encoder": colour, **change})) == {"slide": "done"}
    write_slide("in/slide.tiff", seed=1)
    assert statuses(run([path], out, colour)) == {"slide": "done"}
    assert bag.read_bytes() != first
    bag.write_bytes(first[:200])
    assert statuses(run([path], out, colour)) == {"slide": "done"}


def test_a_bag_of_an_earlier_recipe_does_not_survive_a_failure(write_slide, tmp_path, colour):
    path, out = write_slide(), tmp_path / "out"
    run([path], out, colour)
    record = run([path], out, colour, recipe=replace(RECIPE, tile=2000))
    assert statuses(record) == {"slide": "failed"}
    assert record.results["slide"].reason.endswith("; the bag of an earlier recipe that stood here was removed")
    assert not (out / "bags" / "slide.h5").exists()


def test_slides_of_earlier_runs_stay_in_the_table(write_slide, tmp_path, colour):
    a, b, out = write_slide("a.tiff"), write_slide("b.tiff", boxes=()), tmp_path / "out"
    run([a], out, colour)
    run([b], out, colour)
    table = pd.read_parquet(out / "slides.parquet")
    assert dict(zip(table["slide_id"], table["status"], strict=True)) == {"b": "failed", "a": "done"}


def test_a_foreign_bag_is_never_overwritten(write_slide, tmp_path, colour):
    bag = tmp_path / "out" / "bags" / "slide.h5"
    bag.parent.mkdir(parents=True)
    with h5py.File(bag, "w") as file:
        file["features"], file["coords"] = np.zeros((2, 3)), np.zeros((2, 2))
    before = bag.read_bytes()
    with pytest.raises(ConfigError, match=r"slide\.h5: already there and not written by oncoweave \(gigapath layout\)"):
        run([write_slide()], tmp_path / "out", colour)
    assert bag.read_bytes() == before


def test_a_slide_id_that_leads_elsewhere_writes_nothing(write_slide, tmp_path, colour):
    slide = SlideFile(slide_id="../../evil", path=write_slide())
    before = sorted(tmp_path.rglob("*"))
    for work in (lambda: embed_slides([slide], tmp_path / "out", encoder=colour, recipe=RECIPE),
                 lambda: embed_slide(slide, tmp_path / "out", encoder=colour, recipe=RECIPE)):  # fmt: skip
        with pytest.raises(DataError, match=r"slide id: '\.\./\.\./evil' cannot name a file"):
            work()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cohorts_slide_id_that_leads_elsewhere_is_refused():
    table = pd.DataFrame({"patient_id": ["p"], "sample_id": ["p"], "slide_id": ["../evil"], "slide_path": ["/a.svs"]})
    cohort = Cohort(
        name="c",
        patients=pd.DataFrame(index=pd.Index(["p"], name="patient_id")),
        tables={"wsi": table},
        modalities={"wsi": ModalitySpec(name="wsi", kind="slide")},
    )
    with pytest.raises(DataError, match=r"modality 'wsi', row 1, column 'slide_id': '\.\./evil' cannot name a file"):
        cohort_slides(cohort, "wsi")


def test_one_run_at_a_time(write_slide, tmp_path, colour):
    with locked(tmp_path / "out"), pytest.raises(ConfigError, match=r"out: another run is writing there"):
        run([write_slide()], tmp_path / "out", colour)
    assert statuses(run([write_slide()], tmp_path / "out", colour)) == {"slide": "done"}


def test_an_encoder_that_cannot_take_the_tiles_is_refused_before_any_slide(tmp_path):
    vit = load_tile_encoder("vit/tiny", warn=lambda text: None)
    with pytest.raises(
        ConfigError, match=r"vit/tiny cannot take tiles of 100 px \(--tile\): tiles of 100 x 100 px are not whole"
    ):
        embed_slides([], tmp_path / "out", encoder=vit, recipe=TileRecipe(tile=100))
    assert not (tmp_path / "out").exists()


def test_blurred_tiles_are_dropped_and_counted(write_slide, tmp_path, colour):
    from scipy import ndimage

    path = write_slide(boxes=((256, 128, 512, 384),))
    import tifffile

    image = tifffile.imread(path)
    soft = ndimage.gaussian_filter(image, (3, 3, 0))
    image[:, 512:] = soft[:, 512:]
    scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", metadata=None, **scale)
    record = run([path], tmp_path / "out", colour)
    assert (record.results["slide"].tiles, record.results["slide"].blur_tiles) == (6, 6)
    assert read_bag(tmp_path / "out" / "bags" / "slide.h5").coords[:, 0].max() < 512
    kept = run([path], tmp_path / "out", colour, recipe=replace(RECIPE, quality=replace(RECIPE.quality, blur=False)))
    assert kept.results["slide"].tiles == 12


@pytest.mark.parametrize("stain", ["macenko", "reinhard"])
def test_stain_normalisation_is_part_of_the_recipe(write_slide, tmp_path, colour, stain):
    path = write_slide(boxes=((256, 128, 256, 256),))
    recipe = replace(RECIPE, stain=stain)
    result = embed_slide(SlideFile(slide_id="s", path=path), tmp_path / "out", encoder=colour, recipe=recipe, options=QUICK)
    plain = embed_slide(SlideFile(slide_id="s", path=path), tmp_path / "plain", encoder=colour, recipe=RECIPE, options=QUICK)
    assert result.tiles == plain.tiles == 4
    a, b = (read_bag(tmp_path / out / "bags" / "s.h5") for out in ("out", "plain"))
    assert np.abs(a.features - b.features).max() > 0.01
    assert a.attrs.fingerprint != b.attrs.fingerprint


def test_a_stain_that_cannot_be_fitted_is_a_recorded_failure(write_slide, tmp_path, colour):
    import tifffile

    path = write_slide()
    image = np.full((600, 600, 3), 243, dtype=np.uint8)
    image[100:500, 100:500] = (180, 90, 160)
    scale = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", metadata=None, **scale)
    recipe = replace(RECIPE, stain="macenko", quality=replace(RECIPE.quality, blur=False), min_tissue=1.0)
    record = run([path], tmp_path / "out", colour, recipe=recipe)
    assert "stain (macenko) cannot be fitted" in record.results["slide"].reason


def test_a_feature_too_large_for_float16_is_refused_by_name(write_slide, tmp_path, colour):
    class Loud(torch.nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), 1e6)

    loud = replace(colour, module=Loud(), dim=2)
    record = run([write_slide()], tmp_path / "out", loud)
    assert "features that are not finite" in record.results["slide"].reason


def test_one_slide_alone_raises(write_slide, tmp_path, colour):
    with pytest.raises(SlideError, match=r"slide\.tiff: no tile: no tissue found"):
        embed_slide(SlideFile(slide_id="s", path=write_slide(boxes=())), tmp_path / "out", encoder=colour, recipe=RECIPE)
    assert (tmp_path / "out" / "previews" / "s.png").is_file()  # to see why
