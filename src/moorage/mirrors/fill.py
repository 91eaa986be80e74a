"""A blob on its way in, as one process sees it, and how it is read while it comes.

The file that grows may be replaced: when who wrote it was killed, or what had come was found to be wrong. A
reader goes on in the other file only if that begins with all that it has given out; and before the last byte
it turns to the file of the blob in the same way. So nobody gets a whole that is not what the digest says.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from moorage.errors import RegistryError
from moorage.mirrors.asking import Failed, UpstreamFailure
from moorage.mirrors.refusing import CANNOT_KEEP
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobFile, BlobStore, Piece, UploadState
from moorage.threads import in_thread

_PIECE_BYTES: Final = 1024 * 1024
_NAMESPACE: Final = uuid.UUID("6d6f6f72-6167-6500-0000-6d6972726f72")

log = structlog.get_logger()


class Fill:
    """A blob on its way in, as one process sees it: in `available` bytes of its upload's file."""

    def __init__(
        self,
        upstream: Upstream,
        repository: RepositoryName,
        digest: Digest,
        size: int | None,
        *,
        is_kept: bool = True,
        has_client: bool = False,
    ) -> None:
        """`is_kept`: it goes to the store, not only to a client; `has_client`: one has asked for it."""
        self.upstream = upstream
        self.repository = repository
        self.digest = digest
        self.is_kept = is_kept
        self.has_client = has_client
        self.size = size
        """In bytes, as a manifest or the upstream says; None until then."""
        self.upload_id = str(uuid.uuid5(_NAMESPACE, f"{upstream.name} {digest}"))
        self.is_ours = False
        """Whether this process writes the file: what is in it from before counts, or was cut off."""
        self.available = 0
        self.file_number = 0
        """Of the file in which they are; another once it was replaced."""
        self.blob: Blob | None = None
        self.failure: UpstreamFailure | RegistryError | None = None
        self._found: UploadState | None = None
        self._changed = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes."""
        return self.blob is not None or self.failure is not None

    def note_state(self, state: UploadState) -> None:
        """The file is so by now.

        Another process may have been given the file a moment ago, with bytes that a crash left in it and
        that it is about to cut off: nothing counts before the file was seen to change.
        """
        if self._found is None:
            self._found = state
        if self.has_ended or not state.number or not (self.is_ours or state != self._found):
            return
        if (state.size, state.number) != (self.available, self.file_number):
            self.available, self.file_number = state.size, state.number
            self._wake()

    def end(self, blob: Blob | None, failure: UpstreamFailure | RegistryError | None) -> None:
        """It is kept, or has failed; what comes later counts no more."""
        if self.has_ended:
            return
        self.blob, self.failure = blob, failure
        if blob is not None:
            self.available = blob.size
            self.size = blob.size if self.size is None else self.size
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until there is more, or an end."""
        if not self.has_ended:
            await self._changed.wait()


def say_failed(fill: Fill, failure: Exception) -> None:
    """Log why a blob did not come."""
    log.warning(
        "mirror_blob_failed",
        upstream=fill.upstream.name,
        repository=fill.repository,
        digest=fill.digest,
        reason=str(failure)[:300],
    )


@dataclass(frozen=True, slots=True)
class Given:
    """What a client was given of a blob, which can be kept no more, up to before `offset`.

    `file`: the blob's first bytes; all that were given, if `is_begun`. To be closed by who goes on.
    """

    file: BlobFile
    offset: int
    is_begun: bool


GoOn = Callable[[Fill, Given, int, RegistryError], AsyncGenerator[bytes, None]]
"""The rest of a part up to a byte, from the upstream; given out whole only if all of the blob was right."""


class Reading:
    """A part of a blob that is read while it comes; `close` it in the end."""

    def __init__(
        self,
        store: BlobStore,
        threads: Executor,
        fill: Fill,
        file: BlobFile,
        first: int,
        go_on: GoOn,
    ) -> None:
        self._store = store
        self._threads = threads
        self._fill = fill
        self._go_on = go_on
        self._file = file
        self._has_file = True
        self._first = first
        self._offset = first
        self._is_blob = False

    def close(self) -> None:
        """Let go of the file."""
        if self._has_file:
            self._file.close()

    async def pieces(self, last: int) -> AsyncGenerator[Piece, None]:
        """All up to `last`; the blob's last byte only when the whole is kept, or was seen to be right.

        Raises Failed when it can not be gone on with, and whatever has ended the fill.
        """
        end = last + 1
        while self._offset < end:
            ready = min(end, await self._ready())
            if ready <= self._offset:
                failure = self._fill.failure
                if isinstance(failure, CANNOT_KEEP):
                    async with aclosing(self._pass_on(last, failure)) as rest:
                        async for piece in rest:
                            yield piece
                    return
                if failure is not None:
                    raise failure
                await self._fill.change()
                continue
            length = min(_PIECE_BYTES, ready - self._offset)
            ready_piece: Piece | None = self._file.part_in_memory(self._offset, length)
            if ready_piece is None:
                ready_piece = await in_thread(self._threads, self._file.read, self._offset, length)
            yield ready_piece
            self._offset += length

    def _pass_on(self, last: int, refusal: RegistryError) -> AsyncGenerator[bytes, None]:
        """The rest, which is not kept. Whoever goes on closes the file: it takes up room."""
        self._has_file = False
        given = Given(self._file, self._offset, self._offset > self._first)
        return self._go_on(self._fill, given, last, refusal)

    async def _ready(self) -> int:
        """Up to where may be given out now: but for the last byte what is here, until the whole is right."""
        fill = self._fill
        if fill.blob is not None:
            if not self._is_blob:
                if fill.blob.size != fill.size:
                    raise Failed(f"{fill.digest} has {fill.blob.size} bytes, not {fill.size}")
                await self._change_to(self._store.open_blob(fill.blob.digest, fill.blob.generation))
                self._is_blob = True
            return fill.blob.size
        if fill.file_number == _number(self._file):
            if fill.available < self._offset and self._offset > self._first:
                raise Failed(f"{fill.digest} was begun anew")
        elif fill.available >= self._offset and not fill.has_ended:
            await self._change_to(self._store.read_upload(fill.upload_id))
        else:
            # the other file is not so far yet
            return self._offset
        return min(fill.available, (fill.size or 1) - 1)

    async def _change_to(self, file: BlobFile | None) -> None:
        """Go on in this file.

        Raises Failed unless it begins as what was given out.
        """
        if file is None:
            raise Failed(f"{self._fill.digest} is here no more")
        if _number(file) == _number(self._file):
            file.close()
            return
        old, self._file = self._file, file
        try:
            is_same = await in_thread(self._threads, _begin_alike, old, file, self._first, self._offset)
        finally:
            old.close()
        if not is_same:
            raise Failed(f"what came of {self._fill.digest} was not right")


async def read(
    store: BlobStore, threads: Executor, fill: Fill, file: BlobFile, part: ByteRange, go_on: GoOn
) -> AsyncGenerator[Piece, None]:
    """A part of a blob as it comes. Closes the file. Raises as `Reading.pieces` does."""
    reading = Reading(store, threads, fill, file, part.first, go_on)
    try:
        async with aclosing(reading.pieces(part.last)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        reading.close()


def _number(file: BlobFile) -> int:
    return file.identity[1]


def _begin_alike(one: BlobFile, other: BlobFile, first: int, end: int) -> bool:
    """Whether two files have the same bytes from `first` to before `end`."""
    for at in range(first, end, _PIECE_BYTES):
        length = min(_PIECE_BYTES, end - at)
        if one.read(at, length) != other.read(at, length):
            return False
    return True
