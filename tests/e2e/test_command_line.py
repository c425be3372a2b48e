"""The command line answers fast, and its errors are one line for the user."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import oncoweave.cli

VERBS = sorted(p.stem for p in Path(oncoweave.cli.__file__).parent.glob("*.py") if p.stem not in ("__init__", "main"))


def oncoweave_cli(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "oncoweave.cli.main", *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_verb_without_torch_or_pandas():
    code = (
        "import sys; sys.argv = ['oncoweave', '--help']\n"
        "from oncoweave.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    for verb in VERBS:
        assert verb in done.stdout


@pytest.mark.parametrize("command", [["-m", "oncoweave.cli.main", "--help"], ["-c", "import oncoweave"]])
def test_help_and_import_take_under_a_second(command):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0


def test_an_error_is_one_line_and_exit_code_one():
    done = oncoweave_cli("list", "fusions")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: no shelf named 'fusions'; did you mean 'fusion'?"


def test_list_prints_a_shelf_with_its_stages():
    done = oncoweave_cli("list", "fusion")
    assert done.returncode == 0
    assert "early" in done.stdout
    assert "late" in done.stdout


def test_list_tells_objectives_that_pretrain_from_those_that_are_supervised():
    done = oncoweave_cli("list", "objectives")
    head, dinov2 = (next(line for line in done.stdout.splitlines() if word in line) for word in ("pretrains", "dinov2"))
    kinds, pretrains, told = (head.index(word) for word in ("kinds", "pretrains", "what it is"))
    assert [dinov2[kinds:pretrains].strip(), dinov2[pretrains:told].strip()] == ["", "tile"]


def test_doctor_names_what_is_installed():
    done = oncoweave_cli("doctor")
    assert done.returncode == 0
    assert "core: torch" in done.stdout


def test_doctor_shows_the_extra_to_install():
    code = (
        "import sys; sys.argv = ['oncoweave', 'doctor']\n"
        "from oncoweave.train import environment\n"
        "environment._version = lambda package: None if package == 'h5py' else '1'\n"
        "environment._requirements = lambda: [('dist', 'h5py')]\n"
        "from oncoweave.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "160"}
    )
    assert "pip install 'oncoweave[dist]'" in done.stdout


@pytest.fixture
def taken(tmp_path):
    """A file, a folder and a page of bytes where something else is wanted."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "a.svs").write_bytes(b"x")
    (tmp_path / "page.yaml").write_text("name: c\npatients: {table: p.csv}\nendpoints: {}\nmodalities: {}\n")
    (tmp_path / "p.csv").write_text("patient_id\n1\n2\n")
    (tmp_path / "latin.csv").write_bytes("path\ngrö.svs\n".encode("latin1"))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("slides embed a.svs --out file", "file: File exists"),
        ("slides embed a.svs --out /proc/none/x", "/proc/none: No such file or directory"),
        ("cohort import page.yaml file/c", "file: File exists"),
        ("cohort import page.yaml /proc/none/x", "/proc/none: No such file or directory"),
        ("slides embed latin.csv --out o", "latin.csv: cannot be read as a CSV table"),
        ("run folder", "folder cannot be read: Is a directory; wanted a YAML file"),
        ("run binary.yaml", "binary.yaml is not text: invalid start byte at byte 128; wanted YAML in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_one(taken, command, message):
    done = subprocess.run(
        [sys.executable, "-m", "oncoweave.cli.main", *command.split()], capture_output=True, text=True, check=False, cwd=taken
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_table_that_would_replace_a_folder_is_one_line_and_exit_code_one(tmp_path, monkeypatch, capsys):
    from oncoweave.cli import main as command_line
    from oncoweave.core.files import publish

    def write() -> None:
        with publish(tmp_path / "folder") as partial:
            partial.write_text("a,b")

    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(command_line, "app", write)
    monkeypatch.setattr(command_line, "_add_verbs", lambda: None)
    with pytest.raises(SystemExit, match="1"):
        command_line.main()
    assert capsys.readouterr().err.strip() == f"error: {tmp_path / 'folder'}: Is a directory"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_interrupted_command_says_how_to_go_on():
    code = (
        "import sys; sys.argv = ['oncoweave', 'list', 'fusion']\n"
        "from oncoweave.core import shelf\n"
        "def interrupt(name): raise KeyboardInterrupt\n"
        "shelf.catalogue = interrupt\n"
        "from oncoweave.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.strip() == "interrupted; give the same command again to go on"
