"""Threads that prepare the batches to come while the network works on this one."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class ReadAhead(Generic[Result]):
    """The results of each step's jobs, worked off by threads, those of the next ``ahead`` steps in advance.

    ``jobs`` lists the arguments of each call of ``work`` at a step; without ``readers`` the caller's own thread does the work.
    """

    def __init__(
        self,
        jobs: Callable[[int], Sequence[tuple[Any, ...]]],
        work: Callable[..., Result],
        *,
        readers: int,
        ahead: int,
        name: str,
    ) -> None:
        self._jobs, self._work, self._ahead = jobs, work, ahead
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix=name) if readers else None
        self._ready: dict[int, list[Future[Result]]] = {}

    def results(self, step: int) -> list[Result]:
        """Give the results of a step, in the order of its jobs; what was prepared for steps far from it is dropped."""
        if self._pool is None:
            return [self._work(*job) for job in self._jobs(step)]
        for old in [s for s in self._ready if not step <= s <= step + self._ahead]:
            for future in self._ready.pop(old):
                future.cancel()
        for number in range(step, step + self._ahead + 1):
            if number not in self._ready:
                self._ready[number] = [self._pool.submit(self._work, *job) for job in self._jobs(number)]
        return [future.result() for future in self._ready.pop(step)]

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
