"""The sha512 digests of large blobs that were pushed by sha256: computed in time, or when asked for.

A small blob gets both digests as it comes; one pushed by sha512 always has both.
"""

import asyncio
import hashlib
from concurrent.futures import Executor

import structlog

from moorage.database import Database
from moorage.errors import StorageFailed
from moorage.oci.digest import SHA512, Digest, encoded_of
from moorage.oci.names import RepositoryName
from moorage.registry.blobs import rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobDamaged, BlobFile, BlobStore
from moorage.threads import in_thread

_READ_BYTES = 1024 * 1024
_BATCH = 20
_REST_SHARE = 3.0
"""For each second of hashing, this many seconds of rest: a quarter of one core at most."""

log = structlog.get_logger()


class SecondDigests:
    """Finds what lacks a sha512 digest, one batch at a time."""

    def __init__(self, db: Database, store: BlobStore, threads: Executor) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._after = ""
        self._asked_for = asyncio.Lock()

    async def compute(self) -> int:
        """Hash a batch of blobs; how many. Starts from the front again when it reached the end."""
        batch = await rows.find_without_sha512(self._db, self._after, _BATCH)
        for blob in batch:
            await self._compute_one(blob, _REST_SHARE)
            self._after = blob.digest
        if not batch:
            self._after = ""
        return len(batch)

    async def complete(self, repository: RepositoryName) -> bool:
        """Hash now what a repository holds without a sha512 digest; whether there was any.

        Each blob is hashed once, so asking for digests that nothing has costs no more than that.
        """
        async with self._asked_for:
            batch = await rows.find_without_sha512_in(self._db, repository, _BATCH)
            for blob in batch:
                await self._compute_one(blob, rest_share=0.0)
        return bool(batch)

    async def _compute_one(self, blob: Blob, rest_share: float) -> None:
        file = self._store.open_blob(blob.digest, blob.generation)
        if file is None:
            return
        try:
            sha256, sha512 = await self._hash(file, blob.size, rest_share)
        except (BlobDamaged, StorageFailed) as error:
            # whoever pulls it is told, and takes it out of service
            log.warning("second_digest_failed", digest=blob.digest, reason=str(error))
            return
        finally:
            file.close()
        if sha256 == encoded_of(blob.digest):
            digest = Digest(f"{SHA512}:{sha512}")
            await self._db.write(lambda tx: rows.set_sha512(tx, blob.digest, digest))
            log.debug("second_digest_computed", digest=blob.digest, bytes=blob.size)

    async def _hash(self, file: BlobFile, size: int, rest_share: float) -> tuple[str, str]:
        sha256, sha512 = hashlib.sha256(), hashlib.sha512()
        loop = asyncio.get_running_loop()

        def hash_piece(offset: int) -> None:
            piece = file.read(offset, min(_READ_BYTES, size - offset))
            sha256.update(piece)
            sha512.update(piece)

        for offset in range(0, size, _READ_BYTES):
            started = loop.time()
            await in_thread(self._threads, hash_piece, offset)
            await asyncio.sleep((loop.time() - started) * rest_share)
        return sha256.hexdigest(), sha512.hexdigest()
