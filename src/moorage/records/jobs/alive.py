"""Two locks by which it can be seen who is alive: the kernel lets go of what a dead process held.

`worker.lock` is held by each worker, `running.lock` by these and by each command that runs a job itself.
"""

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

WORKER: Final = "worker.lock"
RUNNING: Final = "running.lock"
_AGAIN_AFTER_S = 0.02


class SharedLock:
    """One of the two, for as long as it is entered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def is_alone(self) -> bool:
        """Whether no other process holds it; if so none can, until this one calls `share`."""
        return _is_taken(self._fd, fcntl.LOCK_EX)

    async def share(self) -> None:
        """Hold it with the others from here on."""
        while not _is_taken(self._fd, fcntl.LOCK_SH):  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(_AGAIN_AFTER_S)


def has_worker(folder: Path) -> bool:
    """Whether a job worker is alive on a data folder."""
    with SharedLock(folder / WORKER) as lock:
        return not lock.is_alone()


def _is_taken(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
