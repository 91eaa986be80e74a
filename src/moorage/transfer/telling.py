"""Work in threads, followed from the loop: how far it is, and that it is wanted no more."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from moorage.lifecycle.progress import Progress
from moorage.transfer.copying import Left

EVERY_S = 0.5

T = TypeVar("T")


class Telling:
    """Counts what threads do, and tells of it twice a second while they do it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._is_left = False
        self.done = 0
        self.total: int | None = None
        self.unit = "bytes"
        self.note = ""

    def begin(self, total: int | None, unit: str, note: str = "") -> None:
        """A piece of work of its own, counted from 0."""
        self.done, self.total, self.unit, self.note = 0, total, unit, note

    def count(self, units: int) -> None:
        """In a thread: so much more is done. Raises Left when no one wants it any more."""
        if self._is_left:
            raise Left
        self.done += units

    def set(self, done: int, total: int) -> None:
        """In a thread: so much of so much is done. Raises Left when no one wants it any more."""
        self.total = total
        self.count(done - self.done)

    async def until(self, work: Awaitable[T]) -> T:
        """Wait for work; when telling of it raises, or the waiting is cancelled, it ends before this does."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=EVERY_S)
                await self._progress.say(self.done, self.total, self.unit, self.note)
                if done:
                    return task.result()
        except BaseException:
            self._is_left = True
            with suppress(BaseException):
                await task
            raise
