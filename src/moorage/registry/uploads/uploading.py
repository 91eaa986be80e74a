"""The use cases of an upload: begin, look, append, finish, cancel, expire.

Source: distribution-spec main (967efdc), "Pushing Blobs".
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar, TypeVarTuple

import msgspec
import structlog

from moorage.config import UploadSettings
from moorage.database import Database, Transaction
from moorage.errors import (
    BodyTooLarge,
    ChunkOutOfOrder,
    DigestInvalid,
    RegistryError,
    SizeInvalid,
    StorageFailed,
    StorageFull,
    TooManyUploads,
    UploadBusy,
    UploadUnknown,
)
from moorage.oci.digest import SHA256, SHA512, Digest, algorithm_of
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore, UploadFile
from moorage.registry.repositories.rows import ensure_repository
from moorage.registry.uploads import rows
from moorage.registry.uploads.hashing import Hashes, hash_file, wanted
from moorage.registry.uploads.receiving import receive
from moorage.registry.uploads.rows import Upload
from moorage.threads import in_thread

log = structlog.get_logger()

_STRAY_S = 24 * 3600.0

Args = TypeVarTuple("Args")
T = TypeVar("T")


Ensure = Callable[[Transaction, RepositoryName], int]
"""The id of a repository, which is made if it is not there."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A request's body. `length` in bytes where declared; `claimed` where it says it stands.

    `is_followed`: others read the upload's file while it grows.
    """

    body: AsyncIterator[bytes]
    length: int | None = None
    claimed: ByteRange | None = None
    is_followed: bool = False


class Uploads:
    """The uploads of one store, as one worker process serves them."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        threads: Executor,
        settings: UploadSettings,
        lease_ms: int = blob_rows.LEASE_MS,
    ) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._settings = settings
        self._lease_ms = lease_ms

    async def begin(self, repository: RepositoryName, started_by: str) -> Upload:
        """Open an upload.

        Raises TooManyUploads (429), StorageReadOnly (503), StorageFull (507).
        """
        self._store.check_writable()
        upload = Upload(str(uuid.uuid4()), repository)

        def work(tx: Transaction) -> None:
            if rows.count_started_by(tx, started_by) >= self._settings.max_open:
                raise TooManyUploads(max_open=self._settings.max_open)
            rows.insert(tx, upload, started_by)

        await self._db.write(work)
        return upload

    async def join(self, repository: RepositoryName, upload_id: str, started_by: str) -> Upload:
        """The open upload of this id, which is begun if there is none: several want the same bytes.

        Raises StorageReadOnly (503), StorageFull (507), UploadUnknown (404) where it is another repository's.
        """
        self._store.check_writable()
        if not await rows.is_open(self._db, upload_id):
            upload = Upload(upload_id, repository)
            await self._db.write(lambda tx: rows.insert_unless_open(tx, upload, started_by))
        return await self.get(repository, upload_id)

    async def get(self, repository: RepositoryName, upload_id: str) -> Upload:
        """An open upload as it stands.

        Raises UploadUnknown (404), also when its file was lost or has just become a blob's.
        """
        upload = await rows.find(self._db, repository, upload_id)
        if upload is None:
            raise UploadUnknown(upload=upload_id[:64])
        if self._store.upload_size(upload_id) < upload.received:
            # a blob's row is written, and the upload's deleted, before the file goes: if the row is
            # still there now, the file was lost under it
            if await rows.find(self._db, repository, upload_id) is not None:
                await self._db.write(lambda tx: rows.delete(tx, upload_id))
            raise UploadUnknown(upload=upload_id)
        return upload

    async def append(self, repository: RepositoryName, upload_id: str, chunk: Chunk) -> Upload:
        """Add a chunk; return the upload as it now stands, its bytes synced.

        When the client leaves midway, what arrived counts and the upload can be resumed.
        Raises UploadUnknown (404), UploadBusy (409), ChunkOutOfOrder (416), SizeInvalid (400),
        BodyTooLarge (413), StorageFull (507) and what the body raises.
        """
        async with self._held(repository, upload_id, chunk) as (upload, file):
            hashes = Hashes(wanted(None)) if upload.received == 0 else None
            return await self._take(upload, file, chunk, hashes)

    async def finish(
        self,
        repository: RepositoryName,
        upload_id: str,
        chunk: Chunk,
        digest: Digest,
        ensure: Ensure = ensure_repository,
    ) -> Blob:
        """Add the last chunk, which may be empty; check the whole against `digest`; make it a blob.

        Durable when this returns. A wrong digest ends the upload. `ensure` finds or makes the repository.
        Raises as `append` does, and DigestInvalid (400).
        """
        async with self._held(repository, upload_id, chunk) as (begun, file):
            algorithms = wanted(chunk.length, algorithm_of(digest))
            hashes = Hashes(algorithms) if begun.received == 0 else None
            upload = await self._take(begun, file, chunk, hashes, record=False)
            is_known = hashes is not None or upload.received == begun.received
            if not is_known:
                upload = replace(upload, digest_so_far=None)
            blob = await self._in_thread(self._identify, upload, file, digest, hashes)
            if digest not in {blob.digest, blob.sha512}:
                await self._drop(upload.id)
                raise DigestInvalid(digest=digest, found=blob.named_like(digest))
            return await self._commit(upload, blob, ensure)

    async def cancel(self, repository: RepositoryName, upload_id: str) -> None:
        """End an upload and forget its bytes.

        Raises UploadUnknown (404), UploadBusy (409).
        """
        async with self._held(repository, upload_id, None):
            await self._drop(upload_id)

    async def abandon(self, upload: Upload) -> None:
        """Drop an upload that no client knows of."""
        with contextlib.suppress(RegistryError):
            await self._drop(upload.id)

    async def expire(self, limit: int = 100) -> int:
        """Drop at most `limit` uploads that got no bytes for as long as the settings allow."""
        dropped = 0
        for upload in await rows.list_untouched(self._db, self._settings.expiry, limit):
            with contextlib.suppress(UploadUnknown, UploadBusy):
                async with self._held(upload.repository, upload.id, None) as (held, _):
                    if held.touched_at != upload.touched_at:
                        continue
                    await self._drop(upload.id)
                log.info("upload_expired", upload=upload.id, repository=upload.repository)
                dropped += 1
        return dropped

    async def drop_strays(self) -> None:
        """Remove the files that a crash left without a row, a day after they were last written to."""
        for name in await self._in_thread(self._store.list_old_uploads, _STRAY_S):
            if not await rows.is_open(self._db, name):
                await self._in_thread(self._store.discard_upload, name)

    @contextlib.asynccontextmanager
    async def _held(
        self, repository: RepositoryName, upload_id: str, chunk: Chunk | None
    ) -> AsyncIterator[tuple[Upload, UploadFile]]:
        """The only writer of an upload; its file cut back to the bytes that count."""
        if chunk is not None:
            self._store.check_writable()
        await self.get(repository, upload_id)
        file = self._store.open_upload(upload_id)
        try:
            # again, now that no one else can change it
            upload = await self.get(repository, upload_id)
            if chunk is not None:
                _check_order(upload, chunk)
            # those who read it go on if what comes now is what they were given
            await self._cut_back(file, upload.received, in_place=chunk is None or not chunk.is_followed)
            try:
                yield upload, file
            except StorageFull:
                await self._make_room(
                    file, upload.received, is_followed=chunk is not None and chunk.is_followed
                )
                raise
        except StorageFailed:
            with contextlib.suppress(RegistryError):
                await self._drop(upload_id)
            await self._in_thread(self._store.discard_upload, upload_id)
            raise
        except UploadUnknown:
            # ended while we waited: opening made the file anew
            await self._in_thread(self._store.discard_upload, upload_id)
            raise
        finally:
            file.close()

    async def _cut_back(self, file: UploadFile, size: int, *, in_place: bool = True) -> None:
        if file.size > size:
            await self._in_thread(lambda: file.truncate(size, in_place=in_place))

    async def _make_room(self, file: UploadFile, size: int, *, is_followed: bool) -> None:
        """Cut a file back that has no room to grow; who reads along keeps what it has read, if possible."""
        if is_followed:
            with contextlib.suppress(StorageFull):
                await self._cut_back(file, size, in_place=False)
        await self._cut_back(file, size)

    async def _take(
        self, upload: Upload, file: UploadFile, chunk: Chunk, hashes: Hashes | None, *, record: bool = True
    ) -> Upload:
        """Append a chunk's bytes, sync them, and count them in the row."""
        limit = self._settings.max_bytes
        if limit is not None and chunk.length is not None and upload.received + chunk.length > limit:
            await self._drop(upload.id)
            raise BodyTooLarge(size_max_bytes=limit)
        try:
            await receive(
                self._threads,
                file,
                chunk.body,
                hashes,
                limit,
                self._store.check_writable,
                as_it_comes=chunk.is_followed,
            )
        except BodyTooLarge:
            await self._drop(upload.id)
            raise
        except (StorageFull, StorageFailed):
            raise
        except BaseException:
            # the client left, stalled, or the server is stopping: what arrived is kept
            await asyncio.shield(self._count(upload, file, hashes))
            raise
        arrived = file.size - upload.received
        if chunk.claimed is not None and arrived != chunk.claimed.length:
            await self._cut_back(file, upload.received)
            raise SizeInvalid(declared_bytes=chunk.claimed.length, received_bytes=arrived)
        if not record:
            await self._in_thread(file.sync)
            return replace(
                upload,
                received=file.size,
                digest_so_far=(hashes and hashes.digest(SHA256)) or upload.digest_so_far,
            )
        return await self._count(upload, file, hashes)

    async def _count(self, upload: Upload, file: UploadFile, hashes: Hashes | None) -> Upload:
        if file.size == upload.received:
            return upload
        await self._in_thread(file.sync)
        counted = replace(upload, received=file.size, digest_so_far=hashes.digest(SHA256) if hashes else None)
        if not await self._db.write(lambda tx: rows.update(tx, counted)):
            raise UploadUnknown(upload=upload.id)
        return counted

    @staticmethod
    def _identify(upload: Upload, file: UploadFile, digest: Digest, hashes: Hashes | None) -> Blob:
        """The blob that the file's bytes are; reads them again only for a digest not yet known."""
        needed = wanted(upload.received, algorithm_of(digest))
        sha256 = (hashes and hashes.digest(SHA256)) or upload.digest_so_far
        sha512 = hashes.digest(SHA512) if hashes else None
        if sha256 is None or (SHA512 in needed and sha512 is None):
            hashes = hash_file(file, needed)
            sha256, sha512 = hashes.digest(SHA256), hashes.digest(SHA512)
        assert sha256 is not None  # noqa: S101 - every choice of algorithms has it
        return Blob(sha256, sha512, upload.received, 0)

    async def _commit(self, upload: Upload, blob: Blob, ensure: Ensure) -> Blob:
        """Rename, then one transaction. Bytes that are here already are not kept twice."""
        live: int | None = None
        while live is None:
            before, is_live = await blob_rows.find_generation(self._db, blob.digest)
            generation = before
            if not is_live or self._store.blob_size(blob.digest, before) != blob.size:
                generation += 1
                await self._in_thread(self._store.commit, upload.id, blob.digest, generation)
            if not is_live and self._store.blob_size(blob.digest, before) is not None:
                # garbage that the collector, once the row names another file, would not come to
                await self._in_thread(self._store.remove_blobs, [(blob.digest, before)])
            blob = msgspec.structs.replace(blob, generation=generation)
            live = await self._db.write(lambda tx, blob=blob: self._record(tx, upload, blob, ensure))  # type: ignore[misc]
            if live != generation:
                # no row will ever name this file
                await self._in_thread(self._store.remove_blobs, [(blob.digest, generation)])
        await self._in_thread(self._store.discard_upload, upload.id)
        log.debug("blob_committed", repository=upload.repository, digest=blob.digest, bytes=blob.size)
        return blob

    def _record(self, tx: Transaction, upload: Upload, blob: Blob, ensure: Ensure) -> int | None:
        """Row live, repository linked and leased, upload gone: all or nothing; which generation is live."""
        live = blob_rows.make_live(tx, blob.digest, blob.sha512, blob.size, blob.generation)
        if live is None:
            return None
        repository = rows.take(tx, upload.id)
        if repository is None:
            raise UploadUnknown(upload=upload.id)
        repository_id = ensure(tx, repository)
        blob_rows.link(tx, repository_id, blob.digest, "uploaded", self._lease_ms)
        return live

    async def _drop(self, upload_id: str) -> None:
        await self._db.write(lambda tx: rows.delete(tx, upload_id))
        await self._in_thread(self._store.discard_upload, upload_id)

    async def _in_thread(self, function: Callable[[*Args], T], *arguments: *Args) -> T:
        return await in_thread(self._threads, function, *arguments)


def _check_order(upload: Upload, chunk: Chunk) -> None:
    """Refuse a chunk that leaves a gap or overlaps, or whose length is not the one it claims.

    No claim is always in order: dockerd streams a whole layer in one PATCH that way.
    """
    if chunk.claimed is None:
        return
    if chunk.claimed.first != upload.received:
        raise ChunkOutOfOrder(
            upload_id=upload.id, received=upload.received, claimed_first=chunk.claimed.first
        )
    if chunk.length is not None and chunk.length != chunk.claimed.length:
        raise SizeInvalid(declared_bytes=chunk.claimed.length, content_length_bytes=chunk.length)
