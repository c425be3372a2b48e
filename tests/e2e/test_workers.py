"""Tasks in several processes: the same results, one error for all, nobody left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.train.workers import work_off


def draws(seed: int) -> Callable:
    """Tell, for each task, numbers from its own stream, then the threads this process may have."""

    def work(task: int, tell: Callable) -> None:
        tell((task, np.random.default_rng([seed, task]).normal(size=3).tolist()))
        tell((task, os.environ.get("OMP_NUM_THREADS"), os.getpid()))

    return work


def fails(_: object) -> Callable:
    def work(task: str, tell: Callable) -> None:
        if task == "note":
            error = DataError("patient 'a': wanted 1 column, got 2")
            error.add_note("while fitting model 'm'")
            raise error
        if task == "odd":
            raise OddError(1, 2)
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        tell(os.getpid())
        time.sleep(60)

    return work


class OddError(Exception):
    """One that cannot be made again from its text."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_several_processes_tell_what_one_does_and_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = {}
    for jobs in (1, 2):
        heard: list = []
        work_off([0, 1, 2], draws, 5, jobs=jobs, hear=heard.append)
        told[jobs] = heard
    assert sorted(t for t in told[1] if len(t) == 2) == sorted(t for t in told[2] if len(t) == 2)
    threads = {t[1] for t in told[2] if len(t) == 3}
    assert threads == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.getpid() not in {t[2] for t in told[2] if len(t) == 3}
    assert not multiprocessing.active_children()


def test_an_error_of_one_comes_with_its_note_and_traceback_and_ends_the_others():
    pids: list[int] = []
    with pytest.raises(DataError, match="wanted 1 column, got 2") as caught:
        work_off(["wait", "note"], fails, None, jobs=2, hear=pids.append)
    assert caught.value.__notes__ == ["while fitting model 'm'"]
    assert "in work" in str(caught.value.__cause__)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("task", "error", "match"), [("die", ConfigError, "signal 9 at die"), ("odd", RuntimeError, "OddError: 1 and 2")]
)
def test_a_killed_process_and_an_error_that_cannot_travel_are_told(task, error, match):
    with pytest.raises(error, match=match):
        work_off([task, "wait"], fails, None, jobs=2, hear=lambda _: None)
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_all_processes_without_a_word_of_theirs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell may have switched off for what it starts
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_workers import fails\n"
        "from oncoweave.train.workers import work_off\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        work_off(['wait', 'wait'], fails, None, jobs=2, hear=lambda pid: print(pid, flush=True))\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    for by, word in ((signal.SIGINT, "interrupted\n"), (signal.SIGKILL, "")):
        run = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        pids = [int(run.stdout.readline()) for _ in range(2)]
        (partial(os.killpg, run.pid) if by == signal.SIGINT else run.send_signal)(by)
        rest, errors = run.communicate(timeout=20)
        assert rest == word
        assert errors == "" or by == signal.SIGKILL
        deadline = time.monotonic() + 10
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.05)


def test_fewer_than_one_process_is_refused():
    with pytest.raises(ConfigError, match="jobs wanted 1 or more, got 0"):
        work_off([1], draws, 5, jobs=0, hear=lambda _: None)
