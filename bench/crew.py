"""The processes that clients live in, apart from the servers and from this one."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SIZE = 2
"""How many processes: enough that one GIL does not pace a server on two cores."""


class Crew:
    """Client processes that are started once and used for every row."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(SIZE, multiprocessing.get_context("spawn"), _leave_interrupts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, work: Callable[P, T], *values: P.args, **named: P.kwargs) -> T:
        """Run `work` in one of them and wait."""
        return self._pool.submit(work, *values, **named).result()

    def run_all(self, work: Callable[..., T], calls: Sequence[tuple[object, ...]]) -> list[T]:
        """Run `work` once for each of `calls`, side by side, and wait for all."""
        running = [self._pool.submit(work, *values) for values in calls]
        return [one.result() for one in running]


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that started these: it ends the servers, then them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
