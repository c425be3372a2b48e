"""The command line answers fast, and its errors are one line for the user."""

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


def test_doctor_names_what_is_installed():
    done = oncoweave_cli("doctor")
    assert done.returncode == 0
    assert "core: torch" in done.stdout
