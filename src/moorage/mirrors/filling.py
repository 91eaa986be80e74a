"""Blobs of upstreams on their way in: fetched once, and served to all who want them while they come.

A blob that is being fetched is an upload like any other, under an id that everyone finds: whoever holds its
file is the one that fetches it, in whichever process, and goes on when those who wanted it leave. All others
read the file as it grows. The last byte is given out only when the whole was found to be what its digest
says and is kept. Whoever sees the file held by no one and unfinished goes on from where it ends.
"""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing
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
from moorage.mirrors.asking import Failed, NotAllowed, NotThere, Registry, Unreachable, UpstreamFailure
from moorage.mirrors.fill import Fill, read, say_failed
from moorage.mirrors.lines import Lines
from moorage.mirrors.looking import Looks
from moorage.mirrors.passing import Passed, Passing
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.refusing import CANNOT_KEEP, refusal_of
from moorage.mirrors.saving import Savings
from moorage.mirrors.streaming import BEGIN_S, Streams
from moorage.mirrors.throttling import Throttle
from moorage.mirrors.upstreams import Upstream
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

_LOOK_EVERY_S: Final = 0.005
_LOOK_AGAIN_S: Final = 0.25
_TURNS_MAX: Final = 3

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
        self._lines = lines
        self._lease_ms = lease_ms
        self._throttle = throttle
        self._streams = Streams(registry, upstreams, lines, savings, throttle)
        self.looks = looks
        self.passing = Passing(self._streams, threads, savings)
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

        `client`: who waits for it; None where nobody does.
        Raises BlobUnknown (404), TooManyMisses (429), UpstreamFailed, UpstreamUnreachable, as an upload does.
        """
        fill = await self._begin(upstream, repository, digest, client)
        if isinstance(fill, Blob):
            return fill
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
        """The blob when the whole of it is kept, for no client: the least urgent. Raises as `bring` does."""
        fill = await self._begin(upstream, repository, digest, None)
        if isinstance(fill, Blob):
            return fill
        while not fill.has_ended:
            await fill.change()
        if fill.failure is not None:
            raise self._refusal(fill, fill.failure)
        return await self._link(fill, repository)

    async def _begin(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, client: str | None
    ) -> Blob | Fill:
        """A blob that is kept by now, or that comes. Raises BlobUnknown (404), TooManyMisses (429)."""
        if not await rows.find_users(self._db, repository, digest):
            # what another repository of the upstream has may be a secret
            await self.looks.head(upstream, repository, digest, client)
        kept = await self._link_kept(upstream, repository, digest)
        if kept is not None:
            return kept
        fill = await self._join(upstream, repository, digest)
        fill.has_client |= client is not None
        return fill

    async def pass_on(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, refusal: RegistryError
    ) -> Passed:
        """A blob that `bring` could not keep, by one of CANNOT_KEEP, as it comes; nothing of it stays.

        Raises as `bring` does, and `refusal` where too much passes already.
        """
        size = await self._read_size(repository, digest)
        fill = Fill(upstream, repository, digest, size, is_kept=False, has_client=True)
        try:
            return await self.passing.open(fill, refusal)
        except UpstreamFailure as failure:
            raise self._refusal(fill, failure) from failure

    def _refusal(self, fill: Fill, failure: UpstreamFailure | RegistryError) -> RegistryError:
        match failure:
            case NotThere() | NotAllowed():
                return BlobUnknown(digest=fill.digest, reason=f"{fill.upstream.name}: {failure}")
            case UpstreamFailure():
                return refusal_of(fill.upstream, failure, self._lines.describe(fill.upstream))
        return failure

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
            # what cannot be kept passes through, and that is said once, not of each blob
            if not isinstance(failure, CANNOT_KEEP):
                say_failed(fill, failure)
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
            if self._throttle is not None:
                self._throttle.say_waited_for(fill)
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
        self._streams.check_connected(fill.upstream)
        left = None if fill.size is None or fill.size > SHA512_INLINE_MAX_BYTES else fill.size - received
        # it may have been deleted since: what makes it anew makes no local one
        ensure = partial(rows.ensure_mirrored, upstream=fill.upstream.name)
        # what cannot be kept ends here, and its connection with it
        async with aclosing(self._streams.pieces(fill, received)) as pieces:
            chunk = Chunk(pieces, left, is_followed=True)
            return await self._uploads.finish(fill.repository, fill.upload_id, chunk, fill.digest, ensure)

    def open(self, fill: Fill) -> BlobFile | None:
        """The file of a blob that comes, for `read`; None when it has ended meanwhile."""
        return self._store.read_upload(fill.upload_id)

    async def read(self, fill: Fill, file: BlobFile, part: ByteRange) -> AsyncGenerator[Piece, None]:
        """A part of a blob as it comes; the blob's last byte only when the whole is right. Closes the file.

        Raises the failure that ends it.
        """
        coming = read(self._store, self._threads, fill, file, part, self.passing.go_on)
        try:
            async with aclosing(coming) as pieces:
                async for piece in pieces:
                    yield piece
        except UpstreamFailure as failure:
            raise self._refusal(fill, failure) from failure
