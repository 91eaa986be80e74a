"""Which of several processes fetches something that is not here yet.

Each thing is one byte of a file, chosen by hash; whoever has it locked asks. A process that dies holds
nothing, and nothing is written: a name that someone made up leaves no trace.
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

    def close(self) -> None:
        """Give up all."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @asynccontextmanager
    async def hold(self, key: str, within_s: float) -> AsyncIterator[None]:
        """Be the one who asks, as soon as no other process does.

        After so long, and where nothing can be locked, be one of those who ask.
        """
        place = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_OFFSET_BYTES).digest())
        until_s = time.monotonic() + within_s
        is_mine = self._lock(place)
        while not is_mine and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_AGAIN_S)
            is_mine = self._lock(place)
        try:
            yield
        finally:
            if is_mine and self._file is not None:
                with suppress(OSError):
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _lock(self, place: int) -> bool:
        """Whether no other process has it."""
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            # where nothing can be locked each process asks
            return error.errno not in {errno.EACCES, errno.EAGAIN}
        return True
