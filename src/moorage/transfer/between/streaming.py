"""A blob on its way: begun again where the line was cut, and compared with its digest."""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Final, Self

from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest, algorithm_of, encoded_of
from moorage.threads import ended
from moorage.transfer.between.ports import CopyRefused, Interrupted, OpenBlob, Source

ATTEMPTS_MAX: Final = 5
"""So often without a byte between them, a blob is asked for again."""

_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 120.0
_STEP_S: Final = 1.0


def reading(source: Source, target: Descriptor, threads: Executor) -> OpenBlob:
    """How a destination reads a blob, hashed in threads.

    What is not as its descriptor says raises CopyRefused at its end; the digest of what is read from the
    middle on is for whoever has the rest.
    """

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        steps = _Steps(_read(source, target, offset, threads))
        try:
            yield steps
        finally:
            await steps.close()

    return open_at


class _Steps:
    """What a generator gives, each step in a task of its own.

    Whoever sends a blob may be answered, well or badly, while another task still waits for the next piece:
    what waits must end before the source is closed.
    """

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces
        self._step: asyncio.Task[bytes | None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._step = asyncio.create_task(self._take())
        piece = await self._step
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _take(self) -> bytes | None:
        return await anext(self._pieces, None)

    async def close(self) -> None:
        """The step that is under way has a moment to end."""
        if self._step is not None and not self._step.done():
            await asyncio.wait({self._step}, timeout=_STEP_S)
            self._step.cancel()
            await asyncio.wait({self._step})
        if self._step is not None and not self._step.cancelled():
            # said to whoever read, or to no one any more
            self._step.exception()
        await self._pieces.aclose()


async def pause(attempt: int, at_least_s: float) -> None:
    """Wait before an attempt, longer each time, so that not all come at once."""
    backoff_s = _PAUSE_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
    await asyncio.sleep(max(backoff_s, min(at_least_s, _PAUSE_MAX_S)))


class _Hashing:
    """The hash of what goes by: a piece is hashed in a thread while it travels."""

    def __init__(self, digest: Digest, threads: Executor) -> None:
        self._digest = digest
        self._threads = threads
        self._hasher = hashlib.new(algorithm_of(digest), usedforsecurity=False)
        self._work: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Go on with a piece as soon as the one before is done."""
        await self._end()
        self._work = asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.update, piece)

    async def is_right(self) -> bool:
        """Whether all of it is what its digest says."""
        await self._end()
        return self._hasher.hexdigest() == encoded_of(self._digest)

    async def _end(self) -> None:
        if self._work is not None:
            await ended(self._work)


async def _read(source: Source, target: Descriptor, offset: int, threads: Executor) -> AsyncGenerator[bytes]:
    hashing = _Hashing(target.digest, threads) if offset == 0 else None
    at, vain, is_begun = offset, 0, False
    while at < target.size or not is_begun:
        is_begun = True
        try:
            async with source.open_blob(target, at) as pieces:
                async for piece in pieces:
                    if not piece:
                        continue
                    at, vain = at + len(piece), 0
                    if at > target.size:
                        raise _wrong(target, f"more than the {target.size} bytes")
                    if hashing is not None:
                        await hashing.add(piece)
                    yield piece
            reason = Interrupted(f"{target.digest} ended after {at} of {target.size} bytes")
        except Interrupted as interruption:
            reason = interruption
        if at < target.size:
            vain += 1
            if vain >= ATTEMPTS_MAX:
                raise reason
            await pause(vain, reason.after_s)
    if hashing is not None and not await hashing.is_right():
        raise _wrong(target, "other bytes than the digest")


def _wrong(target: Descriptor, said: str) -> CopyRefused:
    return CopyRefused(
        f"the source gives for {target.digest} {said} that its manifest names: nothing of it is kept"
    )
