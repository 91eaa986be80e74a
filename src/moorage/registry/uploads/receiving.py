"""A body on its way to an upload's file: gathered, hashed and written in one hop to a thread.

While one batch is written the next is gathered, so the network and the disk work at once and no more
than two batches are in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor

from moorage.errors import BodyTooLarge
from moorage.registry.blobs.store import UploadFile
from moorage.registry.uploads.hashing import Hashes
from moorage.threads import ended

GATHER_BYTES = 512 * 1024
SYNC_EVERY_BYTES = 32 * 1024 * 1024


async def receive(
    threads: Executor,
    file: UploadFile,
    body: AsyncIterator[bytes],
    hashes: Hashes | None,
    size_max_bytes: int | None,
    check_room: Callable[[], None],
    *,
    as_it_comes: bool = False,
) -> None:
    """Append the whole of `body` to `file`.

    `as_it_comes`: others read the file meanwhile, so nothing is gathered while no batch is being written.
    What had arrived before an error is in the file when the error is raised; `check_room` is asked
    now and then. Raises what `body` raises, BodyTooLarge (413), StorageFull (507), StorageFailed (500).
    """
    writer = _Writer(threads, file, hashes, check_room)
    pieces: list[bytes] = []
    gathered, total = 0, file.size
    try:
        async for piece in body:
            total += len(piece)
            if size_max_bytes is not None and total > size_max_bytes:
                raise BodyTooLarge(size_max_bytes=size_max_bytes)
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= GATHER_BYTES or (as_it_comes and writer.is_idle):
                await writer.write(pieces)
                pieces, gathered = [], 0
    finally:
        await writer.finish(pieces)


class _Writer:
    """One batch in flight at a time; the disk is set to work early so that the last sync is short."""

    def __init__(
        self, threads: Executor, file: UploadFile, hashes: Hashes | None, check_room: Callable[[], None]
    ) -> None:
        self._threads = threads
        self._file = file
        self._hashes = hashes
        self._check_room = check_room
        self._batch: asyncio.Future[None] | None = None
        self._early_sync: asyncio.Future[None] | None = None
        self._synced_bytes = file.size

    @property
    def is_idle(self) -> bool:
        """Whether no batch is being written."""
        return self._batch is None or self._batch.done()

    async def write(self, pieces: Sequence[bytes]) -> None:
        await self._settle()
        loop = asyncio.get_running_loop()
        self._batch = loop.run_in_executor(self._threads, _append, self._file, pieces, self._hashes)

    async def finish(self, pieces: Sequence[bytes]) -> None:
        await self._settle()
        if pieces:
            await self.write(pieces)
            await self._settle()
        if self._early_sync is not None:
            await ended(self._early_sync)

    async def _settle(self) -> None:
        if self._batch is not None:
            await ended(self._batch)
            self._batch = None
        if self._file.size - self._synced_bytes < SYNC_EVERY_BYTES:
            return
        if self._early_sync is not None:
            if not self._early_sync.done():
                return
            self._early_sync.result()
        self._check_room()
        self._synced_bytes = self._file.size
        self._early_sync = asyncio.get_running_loop().run_in_executor(self._threads, self._file.sync)


def _append(file: UploadFile, pieces: Sequence[bytes], hashes: Hashes | None) -> None:
    # one buffer: hashing and writing let other threads run, which costs more for each piece than a copy
    batch = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if hashes is not None:
        hashes.update(batch)
    file.append(batch)
