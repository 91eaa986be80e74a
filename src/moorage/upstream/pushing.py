"""Pushing to other registries, for `moorage copy` and `moorage push`.

Source: distribution-spec v1.1.1, "Push".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from moorage.connecting import Addresses
from moorage.mirrors.asking import Busy, Failed, NotAllowed, NotThere, UpstreamFailure
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import SHA256, Digest, algorithm_of, digest_of, is_digest
from moorage.oci.names import RepositoryName
from moorage.upstream.asking import Asker
from moorage.upstream.client import SETTING, head_blob, ping, pull_scope
from moorage.upstream.failures import Refused
from moorage.upstream.headers import read_content_end
from moorage.upstream.manifests import said_digest
from moorage.upstream.places import NoPlace, Place, follow_upload, parse_place
from moorage.upstream.tokens import Scopes

if TYPE_CHECKING:
    from moorage.upstream.connections import Reply

PUSH_STALL_S: Final = 60.0
"""A body of which nothing goes for this long has failed."""

KEEP_WITHIN_S: Final = 300.0
"""How long a registry may take to answer what it was sent."""

RESUMES_MAX: Final = 5
"""How often in a row a blob may fail without a byte more."""

_WAIT_S: Final = 1.0
_WAIT_MAX_S: Final = 60.0
_START_WITHIN_S: Final = 30.0
_BINARY: Final = "application/octet-stream"

OpenAt = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens a blob from an offset in bytes on; entered once more after each cut."""

Progress = Callable[[int], None]
"""Told how many bytes of a blob the registry has by now; it may be fewer than last time, after a cut."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that a registry has begun: where it goes on (absolute), and how many bytes it has."""

    url: str
    received_bytes: int = 0


class HttpPusher:
    """As one process pushes, in one event loop; `close` it in the end.

    `private_addresses` as of `HttpRegistry`; `connecting.EVERYWHERE` for a command that a person runs.
    Each method raises an `UpstreamFailure` of `moorage.mirrors.asking`.
    """

    def __init__(self, private_addresses: Iterable[str]) -> None:
        self._asker = Asker(Addresses(private_addresses, SETTING))

    async def close(self) -> None:
        """Close the connections."""
        await self._asker.close()

    async def ping(self, at: Address, timeout_s: float) -> None:
        """Ask whether it is a registry, and whether it takes our credentials: for `moorage login`."""
        await ping(self._asker, at, timeout_s)

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        """The size of a blob that is there, in bytes, None where it is not said.

        Raises NotThere too.
        """
        return await head_blob(self._asker, at, repository, digest, timeout_s, push_scope(repository))

    async def mount_blob(
        self,
        at: Address,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName,
        timeout_s: float,
    ) -> Upload | None:
        """Have it take a blob from another of its repositories: None when it did, else an upload it began."""
        scopes = (*push_scope(repository), *pull_scope(source))
        target = f"/v2/{repository}/blobs/uploads/?{urlencode({'mount': digest, 'from': source})}"
        reply = await self._asker.ask(at, "POST", target, scopes, timeout_s=timeout_s)
        await reply.discard()
        return None if reply.status == HTTPStatus.CREATED else _uploading(reply, 0)

    async def start_upload(self, at: Address, repository: RepositoryName, timeout_s: float) -> Upload:
        """Begin an upload."""
        target = f"/v2/{repository}/blobs/uploads/"
        reply = await self._asker.ask(at, "POST", target, push_scope(repository), timeout_s=timeout_s)
        await reply.discard()
        return _uploading(reply, 0)

    async def find_upload(
        self, at: Address, repository: RepositoryName, upload: Upload, timeout_s: float
    ) -> Upload:
        """Where an upload stands.

        Raises NotThere when it is gone.
        """
        reply = await self._asker.ask(
            at, "GET", _place_of(upload), push_scope(repository), timeout_s=timeout_s
        )
        await reply.discard()
        received = read_content_end(reply.headers.get("Range"))
        if received is None:
            raise Failed(f"{reply.place.name} does not say where the upload stands")
        return _uploading(reply, received, upload.url)

    async def append(
        self,
        at: Address,
        repository: RepositoryName,
        upload: Upload,
        pieces: AsyncIterator[bytes],
        length: int,
        on_progress: Progress | None = None,
    ) -> Upload:
        """Send the next `length` bytes in one request; the upload as it stands then."""
        first = upload.received_bytes
        headers = {"Content-Type": _BINARY, "Content-Length": str(length)}
        if first:
            headers["Content-Range"] = f"{first}-{first + length - 1}"
        feed = _Feed(pieces, first, length, on_progress)
        try:
            async with asyncio.timeout(PUSH_STALL_S) as deadline:
                reply = await self._asker.ask(
                    at,
                    "PATCH",
                    _place_of(upload),
                    push_scope(repository),
                    headers=headers,
                    body=feed.give(deadline),
                    timeout_s=None,
                )
                await reply.discard()
        except TimeoutError as error:
            raise Failed(f"{_place_of(upload).name} took nothing for {PUSH_STALL_S:g} s") from error
        except UpstreamFailure as failure:
            if feed.failure is not None:
                # what was to be sent could not be read: that is what there is to say
                raise feed.failure from failure
            raise
        received = read_content_end(reply.headers.get("Range"))
        return _uploading(reply, first + length if received is None else received, upload.url)

    async def finish_upload(
        self, at: Address, repository: RepositoryName, upload: Upload, digest: Digest
    ) -> None:
        """Have it check and keep what it has; it may take minutes to."""
        joint = "&" if "?" in upload.url else "?"
        place = _place_of(Upload(f"{upload.url}{joint}digest={quote(digest, safe='')}"))
        scopes = push_scope(repository)
        reply = await self._asker.ask(at, "PUT", place, scopes, timeout_s=KEEP_WITHIN_S)
        await reply.discard()
        _check_digest(reply, digest)

    async def push_blob(
        self,
        at: Address,
        repository: RepositoryName,
        digest: Digest,
        size: int,
        open_at: OpenAt,
        *,
        upload: Upload | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Send a whole blob, and go on after a cut from where the registry stands, a few times.

        `upload`: one that was begun already, as by a mount that was not to be.
        """
        failures, most = 0, 0
        while True:
            try:
                upload = upload or await self.start_upload(at, repository, _START_WITHIN_S)
                await self._send_rest(at, repository, upload, digest, size, open_at, on_progress)
            except (Refused, NotAllowed):
                raise
            except UpstreamFailure as failure:
                failures += 1
                if failures > RESUMES_MAX:
                    raise
                await asyncio.sleep(_wait_of(failure, failures))
                if await self._has_blob(at, repository, digest):
                    return
                upload = await self._find(at, repository, upload)
                if upload is not None and upload.received_bytes > most:
                    failures, most = 0, upload.received_bytes
            else:
                return

    async def put_manifest(
        self,
        at: Address,
        repository: RepositoryName,
        reference: str,
        media_type: str,
        payload: bytes,
        timeout_s: float,
    ) -> Digest:
        """Push a manifest by tag or digest, as it is; its digest (sha256, or the one it is pushed by)."""
        reply = await self._asker.ask(
            at,
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            push_scope(repository),
            headers={"Content-Type": media_type},
            body=payload,
            timeout_s=timeout_s,
        )
        await reply.discard()
        digest = Digest(reference) if is_digest(reference) else digest_of(payload, SHA256)
        _check_digest(reply, digest)
        return digest

    async def _send_rest(
        self,
        at: Address,
        repository: RepositoryName,
        upload: Upload,
        digest: Digest,
        size: int,
        open_at: OpenAt,
        on_progress: Progress | None,
    ) -> None:
        offset = upload.received_bytes
        if offset < size:
            async with open_at(offset) as pieces:
                upload = await self.append(at, repository, upload, pieces, size - offset, on_progress)
        if upload.received_bytes != size:
            raise Failed(f"{_place_of(upload).name} has {upload.received_bytes} bytes of {size}")
        await self.finish_upload(at, repository, upload, digest)

    async def _has_blob(self, at: Address, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the answer that did not come would have been a good one."""
        try:
            await self.head_blob(at, repository, digest, _START_WITHIN_S)
        except UpstreamFailure:
            return False
        return True

    async def _find(self, at: Address, repository: RepositoryName, upload: Upload | None) -> Upload | None:
        """Where it stands; None for one to be begun anew."""
        if upload is None:
            return None
        try:
            found = await self.find_upload(at, repository, upload, _START_WITHIN_S)
        except (NotThere, Refused):
            return None
        except UpstreamFailure:
            return upload
        # registries say "0-0" of nothing, and of one byte
        return found if found.received_bytes > 1 else None


class _Feed:
    """What is sent, piece by piece, and what went wrong in reading it."""

    def __init__(
        self, pieces: AsyncIterator[bytes], first: int, length: int, on_progress: Progress | None
    ) -> None:
        self._pieces = pieces
        self._first = first
        self._length = length
        self._on_progress = on_progress
        self.failure: Exception | None = None

    async def give(self, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The pieces; whenever one is taken there is time for the next."""
        loop = asyncio.get_running_loop()
        sent = 0
        try:
            async for piece in self._pieces:
                sent += len(piece)
                self._check(sent <= self._length, sent)
                yield piece
                deadline.reschedule(loop.time() + PUSH_STALL_S)
                if self._on_progress is not None:
                    self._on_progress(self._first + sent)
            self._check(sent == self._length, sent)
        except Exception as failure:
            self.failure = failure
            raise
        deadline.reschedule(loop.time() + KEEP_WITHIN_S)

    def _check(self, is_right: bool, sent: int) -> None:  # noqa: FBT001
        if not is_right:
            raise Failed(f"{sent} bytes came where {self._length} were to be sent")


def push_scope(repository: RepositoryName) -> Scopes:
    """What a token has to allow for writing to a repository."""
    return (f"repository:{repository}:pull,push",)


def _place_of(upload: Upload) -> Place:
    """Raises Failed."""
    try:
        return parse_place(upload.url)
    except NoPlace as reason:
        raise Failed(f"the upload goes on nowhere: {reason}") from reason


def _uploading(reply: "Reply", received: int, url: str | None = None) -> Upload:
    """Where an upload goes on; `url`: where it went on before, if that need not be said again.

    Raises Failed.
    """
    location = reply.headers.get("Location") or url
    if location is None:
        raise Failed(f"{reply.place.name} does not say where the upload goes on")
    try:
        return Upload(follow_upload(reply.place, location).url, received)
    except NoPlace as reason:
        raise Failed(f"{reply.place.name} has the upload go on where nobody follows: {reason}") from reason


def _check_digest(reply: "Reply", digest: Digest) -> None:
    """Raises Failed."""
    said = said_digest(reply.headers)
    if said is not None and algorithm_of(said) == algorithm_of(digest) and said != digest:
        raise Failed(f"{reply.place.name} has kept {said} where {digest} was sent")


def _wait_of(failure: UpstreamFailure, failures: int) -> float:
    if isinstance(failure, Busy):
        return min(failure.retry_after_s, _WAIT_MAX_S)
    return float(min(_WAIT_S * 2 ** (failures - 1), _WAIT_MAX_S))
