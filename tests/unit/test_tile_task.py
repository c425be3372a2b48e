import re

import pytest

from oncoweave.core.errors import DataError
from oncoweave.train.tile_task import load_tile_task, tile_folders


def test_both_sides_are_found_and_a_missing_class_is_named(tmp_path):
    task = load_tile_task("luad_lusc_tiles")
    for side in ("train", "test"):
        for folder in ("LUAD", "LUSC"):
            (tmp_path / "tcga_luadlusc" / side / folder).mkdir(parents=True)
    assert tile_folders(task, tmp_path) == (tmp_path / "tcga_luadlusc" / "train", tmp_path / "tcga_luadlusc" / "test")
    (tmp_path / "tcga_luadlusc" / "test" / "LUSC").rmdir()
    with pytest.raises(DataError, match="test has no folder 'LUSC' of tiles of LUSC; lay the data out as"):
        tile_folders(task, tmp_path)


@pytest.mark.parametrize(("name", "train", "test"), [("crc_tiles", 1250, 500), ("luad_lusc_tiles", 130, 60)])
def test_the_public_tiles_lie_as_their_tasks_say(name, train, test, real_data):
    task = load_tile_task(name)
    sides = tile_folders(task, real_data / task.source.cohorts[0])
    counts = [sum(len(list((side / folder).iterdir())) for folder in task.layout.folders.values()) for side in sides]
    assert counts == [train, test]


def test_lung_tiles_name_their_patients():
    pattern = load_tile_task("luad_lusc_tiles").layout.patient
    paths = ["LUAD/0_0_521.jpg", "LUAD/0_9_521.jpg", "LUAD/12_0_33.jpg", "LUSC/0_0_521.jpg"]
    assert [re.search(pattern, path).group() for path in paths] == ["LUAD/0", "LUAD/0", "LUAD/12", "LUSC/0"]
