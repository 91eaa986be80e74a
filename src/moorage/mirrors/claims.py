"""Which of several processes fetches something that is not here yet; and what their clients wait for.

Each thing is one byte of a file, chosen by hash; whoever has it locked asks, and those whose clients wait
share it. A process that dies holds nothing, and nothing is written: a name that someone made up leaves no
trace.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

_LOOK_AGAIN_S: Final = 0.02
_OFFSET_BYTES: Final = 7


class Claims:
    """As one process makes them. Two of its own for one thing are not kept apart: see `Flights`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._shared: dict[int, asyncio.TimerHandle] = {}

    def close(self) -> None:
        """Give up all."""
        for each in self._shared.values():
            each.cancel()
        self._shared.clear()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @asynccontextmanager
    async def hold(self, key: str, within_s: float) -> AsyncIterator[None]:
        """Be the one who asks, as soon as no other process does.

        After so long, and where nothing can be locked, be one of those who ask.
        """
        place = _place_of(key)
        until_s = time.monotonic() + within_s
        is_mine = self._lock(place)
        while not is_mine and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_AGAIN_S)
            is_mine = self._lock(place)
        try:
            yield
        finally:
            if is_mine:
                self._unlock(place)

    def share(self, key: str, for_s: float) -> None:
        """Let every process see, for so long from now, that clients of this one wait for something."""
        place = _place_of(key)
        known = self._shared.pop(place, None)
        if known is not None:
            known.cancel()
        elif not self._lock(place, fcntl.LOCK_SH):
            # another looks at this moment; who waits says so again
            return
        self._shared[place] = asyncio.get_running_loop().call_later(for_s, self._unshare, place)

    def _unshare(self, place: int) -> None:
        del self._shared[place]
        self._unlock(place)

    def is_shared(self, key: str) -> bool:
        """Whether clients of any process wait for something."""
        place = _place_of(key)
        if place in self._shared or not self._lock(place):
            return True
        self._unlock(place)
        return False

    def _unlock(self, place: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _lock(self, place: int, how: int = fcntl.LOCK_EX) -> bool:
        """Whether no other process has it."""
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return True
        try:
            fcntl.lockf(self._file, how | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            # where nothing can be locked each process asks
            return error.errno not in {errno.EACCES, errno.EAGAIN}
        return True


def _place_of(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_OFFSET_BYTES).digest())
