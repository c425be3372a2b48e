"""Tasks worked off by several processes, each of which holds a copy of everything it needs.

Processes are spawned, not forked: a fork of a process with threads, as torch has them, can hang. Only the caller hears of what is
done, so what all tasks share (a ledger, a progress bar) stays in its hands alone.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from oncoweave.core.errors import ConfigError

Given = TypeVar("Given")
Task = TypeVar("Task")
News = TypeVar("News")
Tell = Callable[[News], None]
Work = Callable[[Task, Tell[News]], None]
"""Works off a task, and tells of it as it goes."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def work_off(
    tasks: Sequence[Task], make: Callable[[Given], Work[Task, News]], given: Given, *, jobs: int, hear: Callable[[News], None]
) -> None:
    """Work off tasks, in order in this process where ``jobs`` is 1, else in as many processes as there are jobs.

    Each process gets an equal share of the cores for the threads of its linear algebra, unless ``OMP_NUM_THREADS`` says how many
    it is to have. An error in one, and Ctrl-C, end all of them.

    Args:
        tasks: what there is to do; the first come first.
        make: a function of a module, called once in each process with ``given``; what it returns works off a task.
        given: what every process gets a copy of.
        jobs: processes at most.
        hear: called here with what tasks tell, in the order in which it comes.

    Raises:
        ConfigError: a process was killed, or ``jobs`` is less than 1.
    """
    if jobs < 1:
        msg = f"jobs wanted 1 or more, got {jobs}"
        raise ConfigError(msg)
    if min(jobs, len(tasks)) > 1:
        with _started(min(jobs, len(tasks)), make) as workers:
            for worker in workers:
                worker.connection.send(given)
            _hand_out(tasks, workers, hear)
    elif tasks:
        work = make(given)
        for task in tasks:
            work(task, hear)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Worker:
    process: BaseProcess
    connection: "Connection"


class _InWorker(Exception):
    """The traceback of a worker's error, which does not travel with it."""


_TOLD, _DONE, _FAILED = "told", "done", "failed"


def _hand_out(tasks: Sequence[Task], workers: Sequence[_Worker], hear: Callable[[News], None]) -> None:
    waiting, idle, busy = list(reversed(tasks)), list(workers), dict[object, tuple[_Worker, Task]]()
    while waiting or busy:
        while waiting and idle:
            worker, task = idle.pop(), waiting.pop()
            busy[worker.connection] = worker, task
            _say(worker, task)
        for connection in wait([worker.connection for worker, _ in busy.values()]):
            worker, task = busy[connection]
            word, content, trace = _heard(worker, task)
            if word == _FAILED:
                raise content from _InWorker(trace)
            if word == _DONE:
                idle.append(busy.pop(connection)[0])
            else:
                hear(content)


def _say(worker: _Worker, task: object) -> None:
    try:
        worker.connection.send(task)
    except BrokenPipeError:
        raise _killed(worker, task) from None


def _heard(worker: _Worker, task: object) -> Any:  # noqa: ANN401  (what tasks tell is for the caller to know)
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _killed(worker, task) from None


def _killed(worker: _Worker, task: object) -> ConfigError:
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return ConfigError(f"a worker process ended with {how} at {task}; if memory ran out, give fewer --jobs")


@contextmanager
def _started(number: int, make: Callable) -> Iterator[list[_Worker]]:
    context, workers = multiprocessing.get_context("spawn"), list[_Worker]()
    try:
        with _shared_cores(number), _deaf_to_interrupts():
            for _ in range(number):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, make), daemon=True)
                process.start()
                there.close()
                workers.append(_Worker(process=process, connection=here))
        yield workers
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.process.close()
            worker.connection.close()  # last: a worker that waits would see its end first, and print a fault


@contextmanager
def _shared_cores(number: int) -> Iterator[None]:
    """Set, for processes started in the block, how many threads each may have; libraries read it when they are imported."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = str(max(1, cores // number))
    added = {} if _THREADS[0] in os.environ else {name: share for name in _THREADS if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, even before they run our code: this one ends them, without their tracebacks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: "Connection", make: Callable[[Given], Work[Task, News]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given = connection.recv()
    try:
        work = make(given)
        while True:
            task = connection.recv()
            work(task, lambda news: connection.send((_TOLD, news, "")))
            connection.send((_DONE, None, ""))
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent raises it)
        connection.send((_FAILED, _portable(error), traceback.format_exc()))


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended: nobody else may find it writing in the folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    try:
        ForkingPickler.dumps(error)  # as the connection will
        made_again = copy(error)
    except Exception:  # noqa: BLE001  (errors of other libraries may need more than their text to be made again)
        made_again = None
    return error if type(made_again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
