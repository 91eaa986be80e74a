"""A blob on its way: begun again where the line was cut, and compared with its digest."""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import algorithm_of, encoded_of
from moorage.transfer.between.ports import CopyRefused, Interrupted, OpenBlob, Source

ATTEMPTS_MAX: Final = 5
"""So often without a byte between them, a blob is asked for again."""

_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 120.0


def reading(source: Source, target: Descriptor) -> OpenBlob:
    """How a destination reads a blob. What is not as its descriptor says raises CopyRefused at its end."""

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(_read(source, target, offset)) as pieces:
            yield pieces

    return open_at


async def pause(attempt: int, at_least_s: float) -> None:
    """Wait before an attempt, longer each time, so that not all come at once."""
    backoff_s = _PAUSE_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - no secret
    await asyncio.sleep(max(backoff_s, min(at_least_s, _PAUSE_MAX_S)))


async def _read(source: Source, target: Descriptor, offset: int) -> AsyncGenerator[bytes]:
    hasher = hashlib.new(algorithm_of(target.digest), usedforsecurity=False)
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
                    hasher.update(piece)
                    yield piece
            reason = Interrupted(f"{target.digest} ended after {at} of {target.size} bytes")
        except Interrupted as interruption:
            reason = interruption
        if at < target.size:
            vain += 1
            if vain >= ATTEMPTS_MAX:
                raise reason
            await pause(vain, reason.after_s)
    if offset == 0 and hasher.hexdigest() != encoded_of(target.digest):
        raise _wrong(target, "other bytes than the digest")


def _wrong(target: Descriptor, said: str) -> CopyRefused:
    return CopyRefused(
        f"the source gives for {target.digest} {said} that its manifest names: nothing of it is kept"
    )
