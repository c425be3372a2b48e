"""Files appear whole or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oncoweave.core import files
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.core.files import (
    locked,
    publish,
    read_json,
    require_file_name,
    scratch_beside,
    sha256,
    sweep_partials,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with publish(path) as partial:
            partial.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("one", "two"):
        with publish(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    (tmp_path / ".a.xyz.partial").mkdir()
    (tmp_path / "kept").mkdir()
    assert sweep_partials(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_json_refuses_nan_and_hash_is_that_of_the_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["TCGA-AA-3949-01Z-00-DX1.6c1d", "Größe 1 (a)", "[x]", "a..b"])
def test_plain_names_are_taken_as_they_are(name):
    assert require_file_name(name, where="t.csv") == name


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "é" * 101])
def test_names_that_are_no_file_are_refused(name):
    with pytest.raises(DataError, match=r"t\.csv: .* cannot name a file: it .*; give a plain name"):
        require_file_name(name, where="t.csv")


KILLED = """
import os, signal, sys
from pathlib import Path
from oncoweave.core.files import publish
moved = Path.rename
def rename(self, target):
    moved(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "between":
    Path.rename = rename
with publish(Path(sys.argv[1])) as partial:
    partial.mkdir()
    (partial / "new").write_text("new")
    if sys.argv[2] == "within":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(path: Path, when: str) -> Path:
    subprocess.run([sys.executable, "-c", KILLED, str(path), when], check=False)
    (left,) = path.parent.glob(".*.partial")
    return left


def test_the_next_writer_clears_what_a_killed_one_left(tmp_path):
    left = kill_a_writer(tmp_path / "a.b[1]", "within")
    write_json(tmp_path / "a.b", {})  # another name: not its business
    assert left.exists()
    write_json(tmp_path / "a.b[1]", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b", "a.b[1]"]


@pytest.mark.parametrize("sweeper", ["next writer", "sweep"])
def test_a_folder_taken_away_by_a_killed_writer_is_put_back(tmp_path, sweeper):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    kill_a_writer(path, "between")
    assert not path.exists()
    if sweeper == "sweep":
        sweep_partials(tmp_path)
    else:
        with pytest.raises(RuntimeError), scratch_beside(path):
            raise RuntimeError("this one fails too")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["folder", "folder/old"]


def test_a_writer_at_work_is_left_alone(tmp_path):
    with scratch_beside(tmp_path / "a") as ours:
        write_json(tmp_path / "a", {})
        assert ours.is_dir()


def test_what_another_machine_left_goes_after_a_day(tmp_path):
    for name in (".a.00000000-1.abc.partial", ".a.abc.partial"):
        (tmp_path / name / "x").mkdir(parents=True)
    write_json(tmp_path / "a", {})
    assert len(list(tmp_path.iterdir())) == 3
    for entry in tmp_path.rglob("*"):
        os.utime(entry, (0, time.time() - files._DAY - 60))
    write_json(tmp_path / "a", {})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_any_name_can_be_written_twice(tmp_path):
    for name in ("replaced", "a.replaced", "x" * 200):
        for content in "12":
            with publish(tmp_path / name) as partial:
                partial.mkdir()
                (partial / content).touch()
        assert [p.name for p in (tmp_path / name).iterdir()] == ["2"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not locked there")
def test_a_folder_is_held_by_one_run_and_free_again_when_that_ends_in_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"), locked(tmp_path / "run"):
        with pytest.raises(ConfigError, match="run: another run is writing there"), locked(tmp_path / "run"):
            pass
        raise RuntimeError("power cut")
    with locked(tmp_path / "run"):
        pass


def test_a_published_file_may_be_read_by_those_who_may_read_other_new_files(tmp_path):
    (tmp_path / "plain").touch()
    with publish(tmp_path / "weights") as partial:
        partial.write_bytes(b"1")
        partial.chmod(0o600)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_publishing_a_link_leaves_the_linked_file_as_it_is(tmp_path):
    (tmp_path / "bag").write_bytes(b"1")
    (tmp_path / "bag").chmod(0o400)
    with publish(tmp_path / "laid") as partial:
        os.link(tmp_path / "bag", partial)
    assert (tmp_path / "bag").stat().st_mode & 0o777 == 0o400
