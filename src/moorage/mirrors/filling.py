"""Blobs of upstreams on their way in: fetched once, and served to all who want them while they come.

A blob that is being fetched is an upload like any other, under an id that everyone finds: whoever holds its
file is the one that fetches it, in whichever process, and goes on when those who wanted it leave. All others
read the file as it grows. The last byte is given out only when the whole was found to be what its digest
says and is kept. Whoever sees the file held by no one and unfinished goes on from where it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Container
from concurrent.futures import Executor
from functools import partial
from typing import Final

import structlog

from moorage.database import Database
from moorage.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestInvalid,
    RegistryError,
    UploadBusy,
    UploadUnknown,
)
from moorage.mirrors import rows
from moorage.mirrors.asking import (
    Busy,
    Contradicted,
    Failed,
    NotAllowed,
    NotThere,
    Registry,
    Unreachable,
    UpstreamFailure,
)
from moorage.mirrors.fetching import refusal_of
from moorage.mirrors.fill import Fill, read
from moorage.mirrors.lines import Lines
from moorage.mirrors.looking import Looks
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.saving import Savings
from moorage.mirrors.throttling import Throttle
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.digest import Digest
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs.linking import mount_blob
from moorage.registry.blobs.rows import Blob, find_blob
from moorage.registry.blobs.store import BlobFile, BlobStore, Piece
from moorage.registry.uploads.hashing import SHA512_INLINE_MAX_BYTES
from moorage.registry.uploads.rows import find_repository_of
from moorage.registry.uploads.uploading import Chunk, Uploads
from moorage.threads import in_thread

BEGIN_S: Final = 8.0
"""How long a client waits for the first byte of a blob."""

_LOOK_EVERY_S: Final = 0.005
_LOOK_AGAIN_S: Final = 0.25
_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts to go on with a blob that was cut; so many in a row that bring nothing end it."""

_TURNS_MAX: Final = 3
_AT_ONCE: Final = 128
"""Blobs that come at once; the other half of the connections is for questions, or a line would seem cut."""

log = structlog.get_logger()


class Fills:
    """The blobs that come in, as one process sees them."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        threads: Executor,
        uploads: Uploads,
        registry: Registry,
        upstreams: Upstreams,
        lines: Lines,
        savings: Savings,
        lease_ms: int,
        looks: Looks,
        throttle: Throttle | None = None,
    ) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._uploads = uploads
        self._registry = registry
        self._upstreams = upstreams
        self._lines = lines
        self._savings = savings
        self._lease_ms = lease_ms
        self._throttle = throttle
        self.looks = looks
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._fills: dict[tuple[str, Digest], tuple[Fill, asyncio.Task[None]]] = {}

    async def close(self) -> None:
        """Leave what is on its way as it is: it is gone on with when someone asks for it."""
        ended = list(self._fills.values())
        for _, task in ended:
            task.cancel()
        await asyncio.gather(*(task for _, task in ended), return_exceptions=True)
        self._fills.clear()
        for fill, _ in ended:
            # where its task had not begun, whoever reads it would wait for ever
            fill.end(None, Failed("the registry is stopping"))

    async def bring(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, client: str | None = None
    ) -> Blob | Fill:
        """A blob that is kept by now, or one that is on its way and whose first bytes are here.

        Raises BlobUnknown (404), TooManyMisses (429), UpstreamFailed, UpstreamUnreachable, as an upload does.
        """
        if not await rows.find_users(self._db, repository, digest):
            # what another repository of the upstream has may be a secret
            await self.looks.head(upstream, repository, digest, client)
        kept = await self._link_kept(upstream, repository, digest)
        if kept is not None:
            return kept
        fill = await self._join(upstream, repository, digest)
        try:
            async with asyncio.timeout(BEGIN_S):
                while not fill.has_ended and (not fill.available or fill.size is None):
                    await fill.change()
        except TimeoutError as error:
            failure = Unreachable(f"no byte of {digest} came within {BEGIN_S:.0f} s")
            raise refusal_of(upstream, failure, self._lines.describe(upstream)) from error
        if fill.failure is not None:
            raise self._refusal(fill, fill.failure)
        if fill.blob is not None:
            return await self._link(fill, repository)
        return fill

    async def finish(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> Blob:
        """The blob when the whole of it is kept. Raises as `bring` does."""
        brought = await self.bring(upstream, repository, digest)
        if isinstance(brought, Blob):
            return brought
        while not brought.has_ended:
            await brought.change()
        if brought.failure is not None:
            raise self._refusal(brought, brought.failure)
        return await self._link(brought, repository)

    def _refusal(self, fill: Fill, failure: Exception | None) -> RegistryError:
        match failure:
            case NotThere() | NotAllowed():
                return BlobUnknown(digest=fill.digest, reason=f"{fill.upstream.name}: {failure}")
            case UpstreamFailure():
                return refusal_of(fill.upstream, failure, self._lines.describe(fill.upstream))
            case RegistryError():
                return failure
        return BlobUnknown(digest=fill.digest)

    async def _link_kept(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> Blob | None:
        """A blob that another mirrored repository of the upstream holds: this one has it too.

        What a local repository holds may be a secret: it is fetched like any other, and kept once.
        """
        for holder, of in await rows.list_mirrored_holders(self._db, digest, 20):
            if of != upstream.name or holder == repository:
                continue
            blob = await mount_blob(self._db, self._store, repository, digest, holder, self._lease_ms)
            if blob is not None:
                return blob
        return None

    async def _link(self, fill: Fill, repository: RepositoryName) -> Blob:
        """The blob, served by this repository too."""
        blob = await find_blob(self._db, repository, fill.digest)
        if blob is None:
            blob = await mount_blob(
                self._db, self._store, repository, fill.digest, fill.repository, self._lease_ms
            )
        if blob is None:
            raise BlobUnknown(digest=fill.digest)
        return blob

    async def _join(self, upstream: Upstream, repository: RepositoryName, digest: Digest) -> Fill:
        known = self._fills.get((upstream.name, digest))
        if known is not None:
            return known[0]
        size = await self._read_size(repository, digest)
        known = self._fills.get((upstream.name, digest))
        if known is not None:
            return known[0]
        fill = Fill(upstream, repository, digest, size)
        task = asyncio.create_task(self._run(fill))
        self._fills[upstream.name, digest] = fill, task
        return fill

    async def _read_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        """What a manifest that is here says of a blob's size in bytes."""
        for media_type, payload in await rows.find_users(self._db, repository, digest):
            try:
                manifest = parse_manifest(payload, media_type)
            except ManifestInvalid:
                continue
            for each in manifest.references:
                if each.target.digest == digest:
                    return each.target.size
        return None

    async def _run(self, fill: Fill) -> None:
        """Bring a blob to its end, by fetching it or by watching another process do so."""
        watching = asyncio.create_task(self._watch(fill))
        try:
            blob = await self._bring(fill)
        except (UpstreamFailure, RegistryError) as failure:
            fill.end(None, failure)
            log.warning(
                "mirror_blob_failed",
                upstream=fill.upstream.name,
                repository=fill.repository,
                digest=fill.digest,
                reason=str(failure)[:300],
            )
        except asyncio.CancelledError:
            fill.end(None, Failed("the registry is stopping"))
            raise
        except Exception:
            log.exception("mirror_blob_failed_oddly", upstream=fill.upstream.name, digest=fill.digest)
            fill.end(None, Failed("it could not be kept: see the log"))
        else:
            fill.end(blob, None)
            log.info(
                "blob_mirrored",
                upstream=fill.upstream.name,
                repository=fill.repository,
                digest=fill.digest,
                bytes=blob.size,
            )
        finally:
            watching.cancel()
            self._fills.pop((fill.upstream.name, fill.digest), None)

    async def _watch(self, fill: Fill) -> None:
        """Look how far the file has grown, whoever writes it."""
        while True:
            fill.note_state(self._store.upload_state(fill.upload_id))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _bring(self, fill: Fill) -> Blob:
        """Raises UpstreamFailure, RegistryError."""
        by = f"upstream {fill.upstream.name}"
        for _ in range(_TURNS_MAX):
            kept = await self._find_kept(fill)
            if kept is not None:
                return kept
            fill.repository = await find_repository_of(self._db, fill.upload_id) or fill.repository
            upload = await self._uploads.join(fill.repository, fill.upload_id, by)
            try:
                return await self._fetch(fill, upload.received)
            except DigestInvalid as refusal:
                raise Failed(f"it sent other bytes than those of {fill.digest}") from refusal
            except UploadBusy:
                blob = await self._wait_for_other(fill)
                if blob is not None:
                    return blob
            except UploadUnknown:
                # ended by another between two steps
                continue
        kept = await self._find_kept(fill)
        if kept is not None:
            return kept
        raise Failed(f"{fill.digest} was begun {_TURNS_MAX} times and did not come whole")

    async def _find_kept(self, fill: Fill) -> Blob | None:
        """The blob where it is kept, whichever repository of the upstream has it."""
        blob = await find_blob(self._db, fill.repository, fill.digest)
        if blob is not None and self._store.blob_size(blob.digest, blob.generation) == blob.size:
            return blob
        return None

    async def _wait_for_other(self, fill: Fill) -> Blob | None:
        """Wait while another process holds the file; the blob it made, None where it made none."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if (blob := await self._find_kept(fill)) is not None:
                return blob
            try:
                # not in a thread: who is cancelled meanwhile would hold it for good
                file = self._store.open_upload(fill.upload_id)
            except UploadBusy:
                continue
            try:
                blob = await self._find_kept(fill)
                if await find_repository_of(self._db, fill.upload_id) is None:
                    # it ended just before: opening made the file anew, which nobody else may have yet
                    await in_thread(self._threads, self._store.discard_upload, fill.upload_id)
            finally:
                file.close()
            return blob

    async def _fetch(self, fill: Fill, received: int) -> Blob:
        """Be the one who fetches it, from `received` bytes on. Raises UploadBusy where another is."""
        if self._upstreams.is_disconnected(fill.upstream):
            raise Unreachable("it was disconnected by an operator")
        left = None if fill.size is None or fill.size > SHA512_INLINE_MAX_BYTES else fill.size - received
        chunk = Chunk(self._pieces(fill, received), left, is_followed=True)
        # it may have been deleted since: what makes it anew makes no local one
        ensure = partial(rows.ensure_mirrored, upstream=fill.upstream.name)
        return await self._uploads.finish(fill.repository, fill.upload_id, chunk, fill.digest, ensure)

    async def _pieces(self, fill: Fill, offset: int) -> AsyncIterator[bytes]:
        """The blob from an offset on, from whichever address gives it; gone on with where it was cut.

        Raises UpstreamFailure.
        """
        began_at, waits = offset, iter(_WAITS_S)
        busy: set[Address] = set()
        while True:
            before = offset
            failure: UpstreamFailure | None = None
            for address in await self._list_askable(fill, busy):
                try:
                    async for piece in self._stream(fill, address, offset):
                        offset += len(piece)
                        yield piece
                except UpstreamFailure as error:
                    if not isinstance(error, Contradicted):
                        await self._lines.failed(fill.upstream, address, error)
                    if isinstance(error, Busy):
                        busy.add(address)
                    # the upstream's own word counts most, and what an alternative lacks it may have
                    is_word = address == fill.upstream.address or not isinstance(error, NotThere | NotAllowed)
                    failure = failure or (error if is_word else None)
                    continue
                self._savings.count(fill.upstream.name, "fetched_bytes", offset - began_at)
                return
            if offset > before:
                waits = iter(_WAITS_S)
            # who was given a part waits for the rest; who was given nothing is told at once
            wait_s = next(waits, None) if offset > began_at or fill.available else None
            if wait_s is None:
                raise failure or Unreachable(self._lines.describe(fill.upstream))
            await asyncio.sleep(wait_s)

    async def _list_askable(self, fill: Fill, busy: Container[Address]) -> list[Address]:
        """Which addresses may be asked; those of open lines too when someone waits for the rest of a blob."""
        usable = await self._lines.find_usable(fill.upstream)
        if usable or not fill.available or self._upstreams.is_disconnected(fill.upstream):
            return usable
        return [each for each in fill.upstream.addresses if each not in busy]

    async def _stream(self, fill: Fill, address: Address, offset: int) -> AsyncIterator[bytes]:
        """The rest of the blob from one address. Raises UpstreamFailure."""
        if fill.size is not None and offset == fill.size:
            fill.is_ours = True
            return
        upstream = fill.upstream
        remote = upstream.remote_of(fill.repository)
        asked = self._registry.open_blob(address, remote, fill.digest, offset, BEGIN_S)
        async with self._slots, asked as stream:
            if fill.size is None:
                if stream.size is None:
                    raise Failed(f"it does not say how large {fill.digest} is")
                fill.size = stream.size
            if stream.size is not None and stream.size != fill.size:
                if fill.available:
                    raise Contradicted(f"it says that {fill.digest} has {stream.size} bytes, not {fill.size}")
                # what a manifest says of a size anyone may have written
                fill.size = stream.size
            # not before: what a crash has left is no answer while the rest cannot be had
            fill.is_ours = True
            await self._lines.succeeded(upstream, address)
            await self._upstreams.claim(upstream, fill.repository)
            self._savings.count(upstream.name, "gets", 1)
            came = offset
            async for piece in stream.pieces:
                came += len(piece)
                if came > fill.size:
                    raise Failed(f"it sent more than the {fill.size} bytes of {fill.digest}")
                if self._throttle is not None:
                    await self._throttle.take(upstream, len(piece))
                yield piece
        if came != fill.size:
            raise Failed(f"it sent {came} of the {fill.size} bytes of {fill.digest}")

    def open(self, fill: Fill) -> BlobFile | None:
        """The file of a blob that comes, for `read`; None when it has ended meanwhile."""
        return self._store.read_upload(fill.upload_id)

    async def read(self, fill: Fill, file: BlobFile, part: ByteRange) -> AsyncGenerator[Piece, None]:
        """A part of a blob as it comes; the blob's last byte only when the whole is kept. Closes the file.

        Raises the failure that ends it.
        """
        try:
            async for piece in read(self._store, self._threads, fill, file, part):
                yield piece
        except UpstreamFailure as failure:
            raise self._refusal(fill, failure) from failure
