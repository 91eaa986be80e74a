"""Other registries, asked over HTTP: the port `Registry` of `moorage.mirrors.asking`.

Source: distribution-spec v1.1.1, "Pull", "Content Discovery"; RFC 9110, 14; see the package for what is
refused.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from moorage.connecting import Addresses
from moorage.errors import ManifestInvalid
from moorage.mirrors.asking import BlobStream, Failed, Fetched, NotThere, Quota, Shown, Unfit
from moorage.mirrors.upstreams import Address
from moorage.oci import media_types
from moorage.oci.descriptor import parse_descriptor
from moorage.oci.digest import Digest, algorithm_of, encoded_of
from moorage.oci.names import RepositoryName, Tag, is_tag
from moorage.upstream.asking import Asker, home_of, in_task
from moorage.upstream.headers import read_content_range, read_length, read_next_link
from moorage.upstream.manifests import ACCEPT, PAGES, check_manifest, read_shown, said_digest
from moorage.upstream.places import NoPlace, Place, follow
from moorage.upstream.tokens import Scopes

if TYPE_CHECKING:
    from moorage.upstream.connections import Reply

LIST_MAX_BYTES: Final = 4 * 1024 * 1024
TAG_PAGES_MAX: Final = 20
REFERRER_PAGES_MAX: Final = 5
REFERRERS_MAX: Final = 1000
SETTING: Final = "mirrors.private_addresses"


class HttpRegistry:
    """As one process asks them, in one event loop; `close` it in the end.

    `private_addresses`: networks, as 10.0.0.0/8, in which registries may be asked though they are not public.
    """

    def __init__(self, private_addresses: Iterable[str]) -> None:
        self._asker = Asker(Addresses(private_addresses, SETTING))

    async def close(self) -> None:
        """Close the connections."""
        await self._asker.close()

    async def ping(self, at: Address, timeout_s: float) -> None:
        """See `Registry`."""
        await ping(self._asker, at, timeout_s)

    async def head_manifest(
        self, at: Address, repository: RepositoryName, reference: str, timeout_s: float
    ) -> Shown:
        """See `Registry`."""
        reply = await self._ask(at, "HEAD", repository, f"manifests/{reference}", timeout_s, ACCEPT)
        reply.close()
        return read_shown(reply.place.name, reply.headers, reference)

    async def get_manifest(
        self, at: Address, repository: RepositoryName, reference: str, max_bytes: int, timeout_s: float
    ) -> Fetched:
        """See `Registry`."""
        return await in_task(self._get_manifest(at, repository, reference, max_bytes, timeout_s))

    async def _get_manifest(
        self, at: Address, repository: RepositoryName, reference: str, max_bytes: int, timeout_s: float
    ) -> Fetched:
        until_s = asyncio.get_running_loop().time() + timeout_s
        reply = await self._ask(at, "GET", repository, f"manifests/{reference}", timeout_s, ACCEPT)
        host = reply.place.name
        if (read_length(reply.headers.get("Content-Length")) or 0) > max_bytes:
            reply.close()
            raise Unfit(f"{host} has a manifest of more than {max_bytes} bytes there")
        try:
            async with asyncio.timeout_at(until_s):
                payload = await reply.read(max_bytes)
        except TimeoutError as error:
            raise Failed(f"{host} did not send a manifest within {round(timeout_s, 1):g} s") from error
        return check_manifest(host, reply.headers, reference, payload)

    async def head_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, timeout_s: float
    ) -> int | None:
        """See `Registry`."""
        return await head_blob(self._asker, at, repository, digest, timeout_s, pull_scope(repository))

    def open_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, offset: int, timeout_s: float
    ) -> AbstractAsyncContextManager[BlobStream]:
        """See `Registry`."""
        return self._open_blob(at, repository, digest, offset, timeout_s)

    @asynccontextmanager
    async def _open_blob(
        self, at: Address, repository: RepositoryName, digest: Digest, offset: int, timeout_s: float
    ) -> AsyncIterator[BlobStream]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        reply = await self._ask(at, "GET", repository, f"blobs/{digest}", timeout_s, headers)
        try:
            reply.check_plain()
            check_blob(reply, digest)
            extent = _extent(reply, offset)
            async with aclosing(_pieces(reply, offset - extent.begins, extent.length)) as pieces:
                yield BlobStream(extent.size, pieces)
        finally:
            reply.close()

    async def list_tags(
        self, at: Address, repository: RepositoryName, last: str, limit: int, timeout_s: float
    ) -> list[str]:
        """See `Registry`."""
        target: str | Place = f"tags/list?n={limit}" + (f"&last={quote(last, safe='')}" if last else "")
        found: list[str] = []
        for _ in range(TAG_PAGES_MAX):
            reply = await self._ask(at, "GET", repository, target, timeout_s, {"Accept": "application/json"})
            document = await _read_object(reply)
            names = document.get("tags") or []
            if not isinstance(names, list):
                raise Failed(f"{reply.place.name} sent no list of tags")
            tags = [each for each in names if isinstance(each, str) and is_tag(each)]
            # one that knows no `last` begins anew each time
            found += tags[tags.index(Tag(last)) + 1 :] if last in tags else tags
            following = _next_page(reply, at)
            if len(found) >= limit or following is None:
                break
            target = following
        return found[:limit]

    async def list_referrers(
        self, at: Address, repository: RepositoryName, subject: Digest, timeout_s: float
    ) -> list[Mapping[str, Any]]:
        """See `Registry`; where there is no such API, the tag that stands for it is read."""
        try:
            return await self._list_referrers(at, repository, subject, timeout_s)
        except NotThere:
            tag = f"{algorithm_of(subject)}-{encoded_of(subject)}"[:128]
        try:
            fetched = await self.get_manifest(at, repository, tag, LIST_MAX_BYTES, timeout_s)
        except NotThere:
            return []
        return _descriptors(msgspec.json.decode(fetched.payload))

    async def _list_referrers(
        self, at: Address, repository: RepositoryName, subject: Digest, timeout_s: float
    ) -> list[Mapping[str, Any]]:
        target: str | Place = f"referrers/{subject}"
        found: list[Mapping[str, Any]] = []
        for _ in range(REFERRER_PAGES_MAX):
            reply = await self._ask(
                at, "GET", repository, target, timeout_s, {"Accept": media_types.OCI_INDEX}
            )
            found += _descriptors(await _read_object(reply))
            following = _next_page(reply, at)
            if len(found) >= REFERRERS_MAX or following is None:
                break
            target = following
        return found[:REFERRERS_MAX]

    def quota_of(self, at: Address) -> Quota | None:
        """See `Registry`."""
        return self._asker.quota_of(at)

    async def _ask(
        self,
        at: Address,
        method: str,
        repository: RepositoryName,
        target: str | Place,
        timeout_s: float,
        headers: Mapping[str, str],
    ) -> "Reply":
        if isinstance(target, str):
            target = f"/v2/{repository}/{target}"
        return await self._asker.ask(
            at, method, target, pull_scope(repository), headers=headers, timeout_s=timeout_s
        )


def pull_scope(repository: RepositoryName) -> Scopes:
    """What a token has to allow for reading a repository."""
    return (f"repository:{repository}:pull",)


async def ping(asker: Asker, at: Address, timeout_s: float) -> None:
    """See `Registry`.

    Raises an UpstreamFailure.
    """
    reply = await asker.ask(at, "GET", "/v2/", (), timeout_s=timeout_s, takes_challenge=True)
    is_page = reply.status == HTTPStatus.OK and is_html(reply)
    await in_task(reply.discard())
    if is_page:
        raise Failed(f"{reply.place.name} answers with a web page: it is no registry")


async def head_blob(
    asker: Asker,
    at: Address,
    repository: RepositoryName,
    digest: Digest,
    timeout_s: float,
    scopes: Scopes,
) -> int | None:
    """The size of a blob in bytes, None where it is not said.

    Raises an UpstreamFailure.
    """
    reply = await asker.ask(at, "HEAD", f"/v2/{repository}/blobs/{digest}", scopes, timeout_s=timeout_s)
    reply.close()
    check_blob(reply, digest)
    return read_length(reply.headers.get("Content-Length"))


def check_blob(reply: "Reply", digest: Digest) -> None:
    """Refuse what says itself that it is no such blob.

    Raises Failed.
    """
    if is_html(reply):
        raise Failed(f"{reply.place.name} answers with a web page in place of a blob")
    said = said_digest(reply.headers)
    if said is not None and algorithm_of(said) == algorithm_of(digest) and said != digest:
        raise Failed(f"{reply.place.name} has another blob there: {said}")


def is_html(reply: "Reply") -> bool:
    """Whether it is a page for a person, as of a proxy that wants to be paid."""
    return media_types.bare(reply.headers.get("Content-Type", "")) in PAGES


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where a body begins in its blob, its length and the blob's in bytes, None where not said."""

    begins: int
    length: int | None
    size: int | None


def _extent(reply: "Reply", offset: int) -> _Extent:
    """What of a blob a body is, when it was asked for from `offset` on.

    Raises Failed.
    """
    host = reply.place.host
    length = read_length(reply.headers.get("Content-Length"))
    if reply.status == HTTPStatus.OK:
        if length is not None and length < offset:
            raise Failed(f"{host} has only {length} bytes where {offset} have come before")
        return _Extent(0, length, length)
    found = read_content_range(reply.headers.get("Content-Range"))
    if reply.status != HTTPStatus.PARTIAL_CONTENT or not offset or found is None:
        raise Failed(f"{host} answered {reply.status} where a blob was asked for")
    first, last, size = found
    if first != offset or (size is not None and last != size - 1):
        raise Failed(f"{host} sends bytes {first} to {last} where those from {offset} on were asked for")
    if length is not None and length != last - first + 1:
        raise Failed(f"{host} announces {length} bytes and the range {first} to {last}")
    return _Extent(first, last - first + 1, size)


async def _pieces(reply: "Reply", skipped: int, length: int | None) -> AsyncGenerator[bytes]:
    """The body after the first `skipped` bytes; `length` is the whole body's.

    Raises Failed, for more or fewer bytes too.
    """
    received = 0
    async with aclosing(reply.pieces()) as pieces:
        async for piece in pieces:
            begins, received = received, received + len(piece)
            if length is not None and received > length:
                raise Failed(f"{reply.place.name} sends more than the {length} bytes it announced")
            if begins >= skipped:
                yield piece
            elif received > skipped:
                yield piece[skipped - begins :]
    if received < (skipped if length is None else length):
        raise Failed(f"{reply.place.name} broke off after {received} bytes")


async def _read_object(reply: "Reply") -> dict[str, Any]:
    """Raises Failed."""
    body = await in_task(reply.read(LIST_MAX_BYTES))
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise Failed(f"{reply.place.name} did not answer with JSON") from error
    if not isinstance(document, dict):
        raise Failed(f"{reply.place.name} did not answer with a JSON object")
    return document


def _descriptors(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of an index that are descriptors of manifests."""
    manifests = document.get("manifests")
    found: list[Mapping[str, Any]] = []
    for each in manifests[:REFERRERS_MAX] if isinstance(manifests, list) else ():
        try:
            descriptor = parse_descriptor(each, "manifests")
        except ManifestInvalid:
            continue
        if descriptor.media_type in media_types.MANIFESTS:
            found.append(each)
    return found


def _next_page(reply: "Reply", at: Address) -> Place | None:
    """Where the list goes on: nowhere but at the same registry."""
    link = read_next_link(reply.headers.get("Link"))
    if link is None:
        return None
    try:
        place = follow(reply.place, link)
    except NoPlace:
        return None
    return place if place.origin == home_of(at).origin and place.url != reply.place.url else None
