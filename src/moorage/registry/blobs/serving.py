"""Blobs on their way out: found by repository and digest, read in pieces, never served wrong.

A whole blob is hashed while it is sent unless this process has hashed the same, unchanged file
within the last hour; the last piece leaves only when the digest is right. A reader that meets a
wrong or missing file takes the blob out of service, so that the next push brings it back.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from concurrent.futures import Executor

from moorage.database import Database, Transaction
from moorage.errors import BlobUnknown, ContentDamaged
from moorage.oci.digest import SHA512, Digest, algorithm_of, encoded_of
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs import rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.store import BlobDamaged, BlobFile, BlobStore, Piece
from moorage.registry.blobs.withdrawing import withdraw
from moorage.registry.repositories.rows import find_repository
from moorage.threads import in_thread

PIECE_MAX_BYTES = 1024 * 1024
PIECE_MIN_BYTES = 64 * 1024
PIECE_COLD_BYTES = 256 * 1024
PIECES_BUDGET_BYTES = 16 * 1024 * 1024
VERIFIED_FOR_S = 3600.0
_VERIFIED_MAX = 10_000


class BlobServer:
    """Opens and reads blobs for one worker process; remembers which files it found whole."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        threads: Executor,
        second_digests: SecondDigests,
        lease_ms: int = rows.LEASE_MS,
    ) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._second_digests = second_digests
        self._verified: OrderedDict[tuple[int, ...], float] = OrderedDict()
        self._lease_ms = lease_ms
        self._hashing = 0

    async def find(self, repository: RepositoryName, digest: Digest) -> Blob:
        """A blob that this repository holds and whose file is there.

        Whoever is told so need not push it: if nothing else keeps it, its lease is renewed before the reply,
        which is once an hour at most. Where that cannot be written the refusal is the reply: another process
        may still collect garbage, and take the manifest that needs this.

        Raises BlobUnknown (404), and what a write raises.
        """
        blob = await self._find_row(repository, digest)
        size = self._store.blob_size(blob.digest, blob.generation)
        if size != blob.size:
            await self.withdraw(blob, "missing" if size is None else "wrong size")
            raise BlobUnknown(digest=digest)
        is_due = await rows.is_lease_due(self._db, repository, blob.digest, self._lease_ms)
        if is_due and not await self._renew_lease(repository, blob.digest):
            raise BlobUnknown(digest=digest)
        return blob

    async def _renew_lease(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the blob is still there to be leased: it may have been collected since it was found."""

        def work(tx: Transaction) -> bool:
            repository_id = find_repository(tx, repository)
            if repository_id is None or rows.find_blob_in(tx, repository, digest) is None:
                return False
            rows.lease(tx, repository_id, digest, self._lease_ms)
            return True

        return await self._db.write(work)

    async def open(self, repository: RepositoryName, digest: Digest) -> tuple[Blob, BlobFile]:
        """A blob and its file, open; the caller closes it.

        Raises BlobUnknown (404); ContentDamaged (500) when the file has not the size that its row says.
        """
        blob = await self._find_row(repository, digest)
        file = self._store.open_blob(blob.digest, blob.generation)
        if file is None:
            await self.withdraw(blob, "missing")
            raise BlobUnknown(digest=digest)
        if file.identity[-1] != blob.size:
            file.close()
            await self.withdraw(blob, "wrong size")
            raise ContentDamaged(digest=digest)
        return blob, file

    async def _find_row(self, repository: RepositoryName, digest: Digest) -> Blob:
        blob = await rows.find_blob(self._db, repository, digest)
        is_late = blob is None and algorithm_of(digest) == SHA512
        if is_late and await self._second_digests.complete(repository):
            blob = await rows.find_blob(self._db, repository, digest)
        if blob is None:
            raise BlobUnknown(digest=digest)
        return blob

    def read_small(self, blob: Blob, file: BlobFile) -> bytes | bytearray | None:
        """The whole of a blob that is small and in memory, checked; None for any other.

        Raises BlobDamaged.
        """
        if blob.size > PIECE_MIN_BYTES:
            return None
        content = file.read_cached(0, blob.size)
        if content is None:
            return None
        if hashlib.sha256(content).hexdigest() != encoded_of(blob.digest):
            raise BlobDamaged(blob.digest)
        return content

    async def read_whole(self, blob: Blob, file: BlobFile) -> AsyncGenerator[Piece, None]:
        """A blob in pieces, the last of which comes only if all of them match the digest.

        Raises BlobDamaged instead.
        """
        verified_at = self._verified.get(file.identity)
        if verified_at is not None and time.monotonic() - verified_at < VERIFIED_FOR_S:
            async for piece in self.read_part(file, ByteRange(0, blob.size - 1)):
                yield piece
            return
        hasher = hashlib.sha256()
        self._hashing += 1
        try:
            offset = 0
            while offset < blob.size:
                length = min(self._piece_bytes(), blob.size - offset)
                content = await in_thread(self._threads, _read_and_hash, file, offset, length, hasher)
                offset += length
                if offset == blob.size:
                    self._check(blob, file, hasher.hexdigest())
                yield content
        finally:
            self._hashing -= 1

    async def read_part(self, file: BlobFile, part: ByteRange) -> AsyncGenerator[Piece, None]:
        """A part of a blob in pieces. A part cannot be checked against the digest of the whole."""
        offset, end = part.first, part.last + 1
        while offset < end:
            length = min(PIECE_MAX_BYTES, end - offset)
            piece: Piece | None = file.part_in_memory(offset, length)
            if piece is None:
                length = min(PIECE_COLD_BYTES, length)
                piece = await in_thread(self._threads, file.read, offset, length)
            yield piece
            offset += length

    def _piece_bytes(self) -> int:
        """Large pieces cost least; many readers at once share a budget."""
        return max(PIECE_MIN_BYTES, min(PIECE_MAX_BYTES, PIECES_BUDGET_BYTES // self._hashing))

    def _check(self, blob: Blob, file: BlobFile, found: str) -> None:
        if found != encoded_of(blob.digest):
            raise BlobDamaged(blob.digest)
        self._verified[file.identity] = time.monotonic()
        self._verified.move_to_end(file.identity)
        if len(self._verified) > _VERIFIED_MAX:
            self._verified.popitem(last=False)

    async def withdraw(self, blob: Blob, finding: str) -> None:
        """Take a blob out of service and its file, if any, aside."""
        await withdraw(self._db, self._store, blob, finding)


def _read_and_hash(file: BlobFile, offset: int, length: int, hasher: "hashlib._Hash") -> bytes:
    content = file.read(offset, length)
    hasher.update(content)
    return content
