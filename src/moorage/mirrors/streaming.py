"""Blobs as they come from an upstream, from whichever of its addresses gives them, whoever wants them."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Container
from contextlib import aclosing
from typing import Final

from moorage.clock import now_ms
from moorage.mirrors.asking import (
    Busy,
    Failed,
    NotAllowed,
    NotThere,
    Registry,
    Unfit,
    Unreachable,
    UpstreamFailure,
)
from moorage.mirrors.fill import Fill
from moorage.mirrors.lines import Lines
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.saving import Savings
from moorage.mirrors.throttling import Throttle
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.digest import Digest

BEGIN_S: Final = 8.0
"""How long a client waits for the first byte of a blob."""

_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts to go on with a blob that was cut; so many in a row that bring nothing end it."""

PACE_S: Final = 30.0
PACE_BYTES: Final = 64 * 1024
"""What comes while so long is waited for it; who sends less would hold a place for days."""

_AT_ONCE: Final = 128
"""Blobs that come at once; the other half of the connections is for questions, or a line would seem cut."""


class Streams:
    """As one process has them."""

    def __init__(
        self,
        registry: Registry,
        upstreams: Upstreams,
        lines: Lines,
        savings: Savings,
        throttle: Throttle | None,
    ) -> None:
        self._registry = registry
        self._upstreams = upstreams
        self._lines = lines
        self._savings = savings
        self._throttle = throttle
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def check_connected(self, upstream: Upstream) -> None:
        """Refuse to ask an upstream that an operator wants left alone.

        Raises Unreachable.
        """
        if self._upstreams.is_disconnected(upstream):
            raise Unreachable("it was disconnected by an operator")

    async def pieces(self, fill: Fill, offset: int) -> AsyncGenerator[bytes, None]:
        """The blob from an offset on, from whichever address gives it; gone on with where it was cut.

        Raises UpstreamFailure.
        """
        began_at, waits = offset, iter(_WAITS_S)
        busy: set[Address] = set()
        try:
            while True:
                before = offset
                failure: UpstreamFailure | None = None
                for address in await self._list_askable(fill, busy):
                    asked_at = now_ms()
                    try:
                        async with aclosing(self._stream(fill, address, offset)) as stream:
                            async for piece in stream:
                                offset += len(piece)
                                yield piece
                    except UpstreamFailure as error:
                        await self._lines.failed(fill.upstream, address, error, asked_at)
                        if isinstance(error, Busy):
                            busy.add(address)
                        # the upstream's own word counts most, and what an alternative lacks it may have
                        is_own = address == fill.upstream.address
                        is_word = is_own or not isinstance(error, NotThere | NotAllowed)
                        failure = failure or (error if is_word else None)
                        continue
                    return
                # that it sends next to nothing is no reason to go on asking it
                if offset - before >= PACE_BYTES:
                    waits = iter(_WAITS_S)
                # who was given a part waits for the rest; who was given nothing is told at once
                wait_s = next(waits, None) if offset > began_at or fill.available else None
                if wait_s is None:
                    raise failure or Unreachable(self._lines.describe(fill.upstream))
                await asyncio.sleep(wait_s)
        finally:
            self._savings.count(fill.upstream.name, "fetched_bytes", offset - began_at)

    async def _list_askable(self, fill: Fill, busy: Container[Address]) -> list[Address]:
        """Which addresses may be asked; those of open lines too when someone waits for the rest of a blob."""
        usable = await self._lines.find_usable(fill.upstream)
        if usable or not fill.available or self._upstreams.is_disconnected(fill.upstream):
            return usable
        return [each for each in fill.upstream.addresses if each not in busy]

    async def _stream(self, fill: Fill, address: Address, offset: int) -> AsyncGenerator[bytes, None]:
        """The rest of the blob from one address. Raises UpstreamFailure."""
        if fill.size is not None and offset == fill.size:
            fill.is_ours = True
            return
        upstream = fill.upstream
        remote = upstream.remote_of(fill.repository)
        asked_at = now_ms()
        asked = self._registry.open_blob(address, remote, fill.digest, offset, BEGIN_S)
        async with self._slots, asked as stream:
            size = fill.size = _size_of(fill, stream.size)
            # not before: what a crash has left is no answer while the rest cannot be had
            fill.is_ours = True
            await self._lines.succeeded(upstream, address, asked_at)
            if fill.is_kept:
                await self._upstreams.claim(upstream, fill.repository)
            self._savings.count(upstream.name, "gets", 1)
            came = offset
            async for piece in _paced(stream.pieces, fill.digest):
                came += len(piece)
                if came > size:
                    raise Failed(f"it sent more than the {size} bytes of {fill.digest}")
                if self._throttle is not None:
                    await self._throttle.take(fill, len(piece))
                yield piece
        if came != size:
            raise Failed(f"it sent {came} of the {size} bytes of {fill.digest}")


async def _paced(pieces: AsyncIterator[bytes], digest: Digest) -> AsyncGenerator[bytes, None]:
    """The pieces, as long as they come at some pace; what the reader does with them is not counted.

    Raises Failed.
    """
    waited_s, came_bytes = 0.0, 0
    began_s = time.monotonic()
    async for piece in pieces:
        waited_s += time.monotonic() - began_s
        came_bytes += len(piece)
        if waited_s >= PACE_S:
            if came_bytes < PACE_BYTES:
                raise Failed(f"it sent {came_bytes} bytes of {digest} in {waited_s:.0f} s")
            waited_s, came_bytes = 0.0, 0
        yield piece
        began_s = time.monotonic()


def _size_of(fill: Fill, said: int | None) -> int:
    """How many bytes a blob has, as far as is known, when an upstream has said it, or not.

    Raises Failed, Unfit.
    """
    if said is None:
        if fill.size is None:
            raise Failed(f"it does not say how large {fill.digest} is")
        return fill.size
    if fill.available and fill.size not in {None, said}:
        raise Unfit(f"it says that {fill.digest} has {said} bytes, not {fill.size}")
    # what a manifest says of a size anyone may have written
    return said
