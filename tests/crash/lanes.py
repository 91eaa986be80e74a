"""Points under way at once, each in a lane: a process of its own, in which nothing but the points runs.

It has imported everything and has no threads, so that it forks what it plays and checks by itself. That
costs a fifth of what it costs to have a fork server do it.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import ForkContext, ForkServerContext
from typing import TypeVar

LANES = max(2, len(os.sched_getaffinity(0)))

Given = TypeVar("Given")
Found = TypeVar("Found")

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.crash.power"])
_fork = multiprocessing.get_context("fork")


def processes() -> ForkContext | ForkServerContext:
    """How to start a process here."""
    return _server if multiprocessing.parent_process() is None else _fork


_open: list[ProcessPoolExecutor] = []


@contextmanager
def lanes() -> Iterator[None]:
    """The lanes are there until the context ends."""
    with ProcessPoolExecutor(LANES, _server, _settle) as pool:
        _open.append(pool)
        try:
            yield
        finally:
            _open.remove(pool)


def run_in_lanes(visit: Callable[[Given], Found], given: Iterable[Given]) -> list[Found]:
    """What a visit finds of each of them, in their order."""
    return list(_open[-1].map(visit, given))


def _settle() -> None:
    """Keep what is there out of every collection: its marks would make each fork copy it."""
    gc.collect()
    gc.freeze()
