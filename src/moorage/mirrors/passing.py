"""What cannot be kept passes through: for lack of room, or because the store cannot be written to.

The client gets it from the upstream as it comes, through a bounded number of streams, each with a piece or
two in memory. The last byte is given out only when the whole was found to be what its digest says; else the
answer stays short. Nothing of it stays here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from moorage.errors import RegistryError
from moorage.mirrors.asking import Failed, Unreachable, UpstreamFailure
from moorage.mirrors.fill import Fill, Given, say_failed
from moorage.mirrors.saving import Savings
from moorage.mirrors.streaming import BEGIN_S, Streams
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import algorithm_of
from moorage.registry.blobs.store import BlobDamaged, BlobFile
from moorage.registry.uploads.hashing import READ_BYTES, Hashes
from moorage.threads import in_thread

AT_ONCE: Final = 32
"""What passes at once through one process; who comes then is told why it is not kept."""

SLOT_S: Final = 1.5
"""How long a client waits before that; who has a part already, longer."""

SAY_EVERY_S: Final = 600.0
"""Between two events of an upstream, however much passes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Passed:
    """A blob that passes through: its size in bytes, and the whole of it, which has begun to come."""

    size: int
    pieces: AsyncGenerator[bytes, None]


class Passing:
    """As one process does it."""

    def __init__(self, streams: Streams, threads: Executor, savings: Savings) -> None:
        self._streams = streams
        self._threads = threads
        self._savings = savings
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._said_at: dict[str, float] = {}

    def note(self, upstream: Upstream, refusal: RegistryError) -> None:
        """Something passes through, because of this: counted, and said now and then."""
        self._savings.count(upstream.name, "passed", 1)
        now, said_at = time.monotonic(), self._said_at.get(upstream.name)
        if said_at is None or now - said_at >= SAY_EVERY_S:
            self._said_at[upstream.name] = now
            log.warning("mirror_passes_through", upstream=upstream.name, reason=str(refusal))

    async def open(self, fill: Fill, refusal: RegistryError) -> Passed:
        """The whole of a blob, when its first bytes are here. Read the pieces to their end, or close them.

        Raises UpstreamFailure; and `refusal` where too much passes already.
        """
        self._streams.check_connected(fill.upstream)
        pieces = self._pieces(fill, None, None, refusal)
        try:
            async with asyncio.timeout(BEGIN_S):
                # it is under way from here on: whoever closes it ends the stream
                await anext(pieces)
        except TimeoutError as error:
            raise Unreachable(f"no byte of {fill.digest} came within {BEGIN_S:.0f} s") from error
        self.note(fill.upstream, refusal)
        return Passed(fill.size or 0, pieces)

    async def go_on(
        self, fill: Fill, given: Given, last: int, refusal: RegistryError
    ) -> AsyncGenerator[bytes, None]:
        """See `fill.GoOn`. Raises UpstreamFailure; and `refusal` where too much passes already."""
        passed = Fill(fill.upstream, fill.repository, fill.digest, fill.size, is_kept=False, has_client=True)
        async with aclosing(self._pieces(passed, given, last, refusal)) as pieces:
            async for piece in pieces:
                if piece:
                    yield piece
                else:
                    self.note(fill.upstream, refusal)

    async def hold(self, payload: bytes, refusal: RegistryError) -> AsyncGenerator[bytes, None]:
        """What is in memory, sent to a client that may be slow: one of what passes. Close it in the end.

        Raises `refusal` where too much passes already.
        """

        async def pieces() -> AsyncGenerator[bytes, None]:
            async with self._slot(refusal, SLOT_S):
                yield b""
                yield payload

        held = pieces()
        await anext(held)
        return held

    async def _pieces(
        self, fill: Fill, given: Given | None, last: int | None, refusal: RegistryError
    ) -> AsyncGenerator[bytes, None]:
        """An empty piece when it comes, then all that was not given, up to `last` or the end.

        Raises UpstreamFailure, `refusal`.
        """
        try:
            async with self._slot(refusal, SLOT_S if given is None else BEGIN_S):
                hashes, at = await self._hash_given(fill, given)
                offset = at if given is None else given.offset
                fill.available = at
                held, is_begun = b"", False
                async with aclosing(self._streams.pieces(fill, at)) as pieces:
                    async for piece in pieces:
                        await in_thread(self._threads, hashes.update, piece)
                        begins, at = at, at + len(piece)
                        fill.available = at
                        if not is_begun:
                            is_begun = True
                            yield b""
                        end = len(piece) if last is None else max(0, last + 1 - begins)
                        ready = held + piece[max(0, offset - begins) : end]
                        held = ready[-1:]
                        if len(ready) > 1:
                            yield ready[:-1]
                if hashes.digest(algorithm_of(fill.digest)) != fill.digest:
                    raise Failed(f"it sent other bytes than those of {fill.digest}")
                if not is_begun:
                    yield b""
                yield held
        except UpstreamFailure as failure:
            say_failed(fill, failure)
            raise

    async def _hash_given(self, fill: Fill, given: Given | None) -> tuple[Hashes, int]:
        """What is known of a blob's first bytes, and how many they are.

        Raises Failed where bytes were given that are here no more.
        """
        hashes = Hashes((algorithm_of(fill.digest),))
        if given is None:
            return hashes, 0
        at = 0
        try:
            # the file may have been cut where it stood, for want of room
            with suppress(BlobDamaged):
                while at < given.offset:
                    length = min(READ_BYTES, given.offset - at)
                    await in_thread(self._threads, _hash_part, given.file, at, length, hashes)
                    at += length
        finally:
            # it takes up room
            given.file.close()
        if given.is_begun and at < given.offset:
            raise Failed(f"what came of {fill.digest} is here no more")
        return hashes, at

    @asynccontextmanager
    async def _slot(self, refusal: RegistryError, within_s: float) -> AsyncIterator[None]:
        """A place among what passes. Raises `refusal` where none is free in time."""
        try:
            async with asyncio.timeout(within_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise refusal from error
        try:
            yield
        finally:
            self._slots.release()


def _hash_part(file: BlobFile, offset: int, length: int, hashes: Hashes) -> None:
    hashes.update(file.read(offset, length))
