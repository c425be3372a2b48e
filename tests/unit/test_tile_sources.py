"""Tiles from slides, folders and shards: what the index says, what is refused, and what is read."""

import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from oncoweave.core.errors import ConfigError, DataError, SlideError
from oncoweave.train import slide_tiles
from oncoweave.train.tile_files import write_tiles
from oncoweave.train.tile_sources import JoinedTiles, TileSource, open_tiles
from oncoweave.wsi.tiling import TileRecipe

RECIPE = TileRecipe(tile=64, min_tissue=0.5)


def picture(value: int, side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), value, dtype=np.uint8)


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(value)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images each, the value of whose pixels is their number."""
    for number in range(6):
        path = tmp_path / "tiles" / "ab"[number // 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return tmp_path / "tiles"


def tar(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def test_subfolders_are_classes(folder):
    source = open_tiles([folder])
    assert isinstance(source, TileSource)
    assert source.index.classes == ("a", "b")
    assert source.index.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.index.labelled
    assert [int(source.read(i)[0, 0, 0]) for i in range(6)] == list(range(6))


def test_an_image_that_is_none_is_refused_with_its_reason(folder):
    (folder / "a" / "broken.png").write_bytes(b"not an image")
    (folder / "a" / ".hidden.png").write_bytes(b"not an image")
    index = open_tiles([folder]).index
    assert len(index) == 6
    assert [r.what for r in index.refused] == ["a/broken.png"]
    assert "not readable as an image" in index.refused[0].reason


def test_an_image_damaged_behind_its_head_fails_when_it_is_read(folder):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "png")
    (folder / "a" / "0.png").write_bytes(stream.getvalue()[:2000])
    source = open_tiles([folder])
    assert len(source.index) == 6
    with pytest.raises(DataError, match=r"a/0\.png: cannot be decoded"):
        source.read(0)


def test_fingerprints_follow_the_content_and_not_the_place(folder, tmp_path):
    first = open_tiles([folder]).index.fingerprint
    folder.rename(tmp_path / "elsewhere")
    assert open_tiles([tmp_path / "elsewhere"]).index.fingerprint == first
    (tmp_path / "elsewhere" / "a" / "0.png").unlink()
    assert open_tiles([tmp_path / "elsewhere"]).index.fingerprint != first


def test_a_tar_shard_reads_its_notes(tmp_path):
    notes = json.dumps({"slide": "S1", "label": "tumour"}).encode()
    members = {"x/1.png": png(1), "x/1.json": notes, "x/2.png": png(2), "x/2.cls": b"stroma\n", "x/3.txt": b"?"}
    source = open_tiles([tar(tmp_path / "t.tar", members)])
    assert source.index.classes == ("stroma", "tumour")
    assert source.index.label.tolist() == [1, 0]
    assert [source.index.groups[g] for g in source.index.group] == ["S1", "t.tar:x/2"]
    assert [int(source.read(i)[0, 0, 0]) for i in range(2)] == [1, 2]
    assert source.index.refused[0].what == "t.tar:x/3"
    source.close()


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w:gz") as file:
        file.add(__file__, arcname="a.png")
    with pytest.raises(DataError, match=r"t\.tar: cannot be read as an uncompressed tar file"):
        open_tiles([tmp_path / "t.tar"])


@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_array_shards_round_trip(tmp_path, ending):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    labels, groups = ["a", "b", "a", "b"], ["S1", "S1", "S2", "S2"]
    path = tmp_path / f"tiles.{ending}"
    if ending == "h5":
        write_tiles(path, images, labels=labels, groups=groups)
    else:
        np.savez(path, images=images, labels=np.array(labels), groups=np.array(groups))
    source = open_tiles([path])
    assert source.index.label.tolist() == [0, 1, 0, 1]
    assert source.index.groups == ("S1", "S2")
    assert source.index.group.tolist() == [0, 0, 1, 1]
    for i in range(4):
        np.testing.assert_array_equal(source.read(i), images[i])
    source.close()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, r"needs an array 'images' \[n, height, width, 3\]; it has \['x'\]"),
        ({"images": np.zeros((2, 8, 8, 3))}, "wanted uint8 .*, got float64"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.array(["a"])}, "'labels' has 1 entries for 2 images"),
        ({"images": np.array([{}], dtype=object)}, "cannot be read|Object arrays"),
    ],
)
def test_array_shards_that_cannot_be_used_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises((DataError, ValueError), match=message):
        open_tiles([tmp_path / "t.npz"])


def test_joined_sources_share_classes(folder, tmp_path):
    images = np.stack([picture(100), picture(101)])
    write_tiles(tmp_path / "t.h5", images, labels=["c", "a"], groups=["S", "S"])
    source = open_tiles([folder, tmp_path / "t.h5"])
    assert isinstance(source, JoinedTiles)
    assert source.index.classes == ("a", "b", "c")
    assert source.index.label.tolist() == [0, 0, 0, 1, 1, 1, 2, 0]
    assert source.index.group.tolist() == [0, 1, 2, 3, 4, 5, 6, 6]
    assert [int(source.read(i)[0, 0, 0]) for i in (5, 6, 7)] == [5, 100, 101]
    source.close()


def test_a_folder_of_several_kinds_is_refused(folder):
    np.savez(folder / "t.npz", images=picture(0)[None])
    with pytest.raises(DataError, match=r"wanted a folder of either slides.*it holds 6 images, 1 shards; name the one"):
        open_tiles([folder])


def test_no_path_and_no_tile_are_errors(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        open_tiles([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds none of them"):
        open_tiles([tmp_path / "empty"])


def test_slides_are_groups_and_unusable_ones_are_refused(write_slide, tmp_path):
    write_slide("slides/a.tiff", seed=1)
    write_slide("slides/b.tiff", seed=2, boxes=((0, 0, 256, 256),))
    write_slide("slides/glass.tiff", boxes=())
    write_slide("slides/unsized.tiff", mpp=None)
    source = open_tiles([tmp_path / "slides"], recipe=RECIPE)
    index = source.index
    assert index.groups == ("a", "b")
    assert np.bincount(index.group).tolist() == [8 * 6, 4 * 4]
    assert not index.labelled
    assert {r.what: r.reason for r in index.refused}.keys() == {"glass", "unsized"}
    assert "no tissue found" in next(r.reason for r in index.refused if r.what == "glass")
    tile = source.read(0)
    assert tile.shape == (64, 64, 3)
    assert tile.mean() < 200  # tissue
    source.close()


def test_no_more_slides_are_open_than_allowed(write_slide, tmp_path, monkeypatch):
    monkeypatch.setattr(slide_tiles, "_OPEN", 2)
    for i in range(4):
        write_slide(f"slides/{i}.tiff", seed=i, levels=1)
    source = open_tiles([tmp_path / "slides"], recipe=RECIPE)
    wanted = {i: source.read(i) for i in range(0, len(source.index), 7)}
    with ThreadPoolExecutor(4) as pool:
        for number, tile in zip(wanted, pool.map(source.read, wanted), strict=True):
            np.testing.assert_array_equal(tile, wanted[number])
    assert len(source._open) <= 2
    source.close()
    assert not source._open


def test_a_tile_out_of_focus_fails_when_it_is_read(write_slide, tmp_path):
    path = write_slide("slides/a.tiff")
    source = open_tiles([path], recipe=TileRecipe(tile=64, min_tissue=0.5))
    source.recipe = TileRecipe(tile=64, min_tissue=0.5, quality=type(RECIPE.quality)(sharpness=1e9))
    with pytest.raises(SlideError, match=r"a: the tile at level-0 pixel \(256, 128\) is out of focus"):
        source.read(0)
    source.close()


def test_stain_normalisation_is_refused(write_slide):
    with pytest.raises(ConfigError, match="wanted a recipe with stain none, got 'macenko'"):
        open_tiles([write_slide()], recipe=TileRecipe(stain="macenko"))
