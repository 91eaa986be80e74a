"""A blob read from the disk and compared with its digest, slowly or at once."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal

from moorage.errors import StorageFailed
from moorage.oci.digest import encoded_of
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobDamaged, BlobFile, BlobStore
from moorage.threads import in_thread

Finding = Literal["whole", "missing", "wrong size", "wrong bytes", "unreadable"]

PIECE_BYTES = 1024 * 1024


def idle_thread() -> ThreadPoolExecutor:
    """One thread that gets the processor and the disk when nobody else wants them."""
    return ThreadPoolExecutor(1, thread_name_prefix="scrub", initializer=_become_idle)


def _become_idle() -> None:
    # on Linux 0 is the calling thread; the disk goes by the same class. A sandbox may forbid it
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class BlobReader:
    """Reads at no more than `rate` bytes a second, None for as fast as the disk can."""

    def __init__(self, store: BlobStore, threads: ThreadPoolExecutor, rate: int | None) -> None:
        self._store = store
        self._threads = threads
        self._rate = rate

    async def look_at(self, blob: Blob, told: Callable[[int], Awaitable[None]]) -> Finding:
        """Read all of a blob; `told` hears of each piece's bytes."""
        file = self._store.open_blob(blob.digest, blob.generation)
        if file is None:
            return "missing"
        try:
            if file.identity[-1] != blob.size:
                return "wrong size"
            digest = await self._hash(file, blob.size, told)
        except BlobDamaged:
            return "wrong size"
        except StorageFailed:
            return "unreadable"
        finally:
            file.close()
        return "whole" if digest == encoded_of(blob.digest) else "wrong bytes"

    async def _hash(self, file: BlobFile, size: int, told: Callable[[int], Awaitable[None]]) -> str:
        hasher = hashlib.sha256()
        loop = asyncio.get_running_loop()

        def take(offset: int, length: int) -> None:
            hasher.update(file.read_aside(offset, length))

        for offset in range(0, size, PIECE_BYTES):
            started = loop.time()
            length = min(PIECE_BYTES, size - offset)
            await in_thread(self._threads, take, offset, length)
            await told(length)
            if self._rate:
                await asyncio.sleep(max(0.0, length / self._rate - (loop.time() - started)))
        return hasher.hexdigest()
