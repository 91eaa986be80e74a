"""Disk work in threads, which always runs to its end before its caller goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
T = TypeVar("T")


async def in_thread(threads: Executor, function: Callable[[*Args], T], *arguments: *Args) -> T:
    """Run `function` in a thread.

    A cancelled caller waits for the thread too: it holds an open file, whose number could be given to
    another file while the thread still writes to it.
    """
    return await ended(asyncio.get_running_loop().run_in_executor(threads, function, *arguments))


async def ended(work: "asyncio.Future[T]") -> T:
    """The value of `work`, which a cancelled caller neither cancels nor leaves behind."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return work.result()
