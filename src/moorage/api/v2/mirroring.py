"""The endpoints of a pull where the repository's content is another registry's.

What is here is answered as ever. What is not, or may have moved, is asked for first; a blob is sent while it
comes. What an upstream could not be asked about is served as it was last known, with `Warning` and `Age`.
Source: RFC 9111, 5.1 and RFC 7234, 5.5 (`Warning`, which clients and people still read).
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from moorage.api.exchange import Header, QueryInvalid, Reply, Request
from moorage.api.v2 import blobs, lists, manifests
from moorage.api.v2.conditions import matches
from moorage.api.v2.paging import parse_page
from moorage.api.v2.services import Answer, Services
from moorage.errors import (
    BlobUnknown,
    ContentDamaged,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyMisses,
    UpstreamFailed,
    UpstreamUnreachable,
)
from moorage.mirrors.fill import Fill
from moorage.mirrors.misses import client_of
from moorage.mirrors.refusing import CANNOT_KEEP, Unkept
from moorage.mirrors.saving import Kind
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest, parse_digest
from moorage.oci.names import RepositoryName, Tag, is_tag
from moorage.oci.ranges import ByteRange
from moorage.registry.blobs.store import BlobFile, Piece
from moorage.registry.manifests.serving import PIECE_BYTES

_PULLED: Final = frozenset({"manifest", "blob", "tags", "referrers"})
_STALE: Final[Header] = (b"warning", b'110 moorage "the upstream registry cannot be asked"')
_TAGS_MAX: Final = 1000


async def place(
    services: Services, request: Request, name: RepositoryName, route: str
) -> tuple[RepositoryName, Upstream | None]:
    """The repository that a request is about, and the upstream whose content it has.

    Raises NameUnknown (404), Unsupported (405) for a push to a mirror.
    """
    if request.method in {"GET", "HEAD"} and route in _PULLED:
        return await _place_pull(services, request, name, route)
    upstreams = services.mirrors.upstreams
    await upstreams.look()
    if upstreams.all and request.method != "DELETE":
        await upstreams.check_push(name, _host(services, request))
    return name, None


async def _place_pull(
    services: Services, request: Request, name: RepositoryName, route: str
) -> tuple[RepositoryName, Upstream | None]:
    upstreams, host = services.mirrors.upstreams, _host(services, request)
    await upstreams.look_for(name, host)
    if not upstreams.all:
        return name, None
    if request.method == "HEAD" and route == "blob" and host is None and not upstreams.is_prefixed(name):
        # who is about to push asks so, and a push by a bare name comes to this registry: what the root
        # upstream has of that name would be left out of it
        return name, None
    return await upstreams.place(name, host)


def _host(services: Services, request: Request) -> str | None:
    """Which registry the client means, where it is not this one: what containerd says to a mirror."""
    if not request.scope["query_string"]:
        return None
    try:
        host = dict(request.query()).get("ns")
    except QueryInvalid:
        return None
    asked = request.headers.get(b"host", b"").decode("latin-1")
    is_own = host in {asked, services.gate.base(request).partition("//")[2]}
    return None if not host or is_own else host


def manifest(answer: Answer) -> Answer:
    """Pull a manifest; see `manifests.get`."""

    async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        upstream = request.upstream
        if upstream is None:
            return await answer(services, request, name, reference)
        mirrors = services.mirrors
        found: int | Unkept | None = None
        kind: Kind = "hits"
        if not mirrors.manifests.is_fresh(name, reference) and is_tag(reference):
            found = await mirrors.manifests.refresh(upstream, name, Tag(reference))
        if isinstance(found, Unkept):
            return await _pass_manifest(services, request, upstream, found)
        try:
            reply = await answer(services, request, name, reference)
        except (ManifestUnknown, NameUnknown, ContentDamaged):
            if ":" in reference:
                parse_digest(reference)
            elif not is_tag(reference):
                raise
            kind = "misses"
            await _be_a_task()
            unkept = await mirrors.manifests.pull(upstream, name, reference, _client(request))
            if unkept is not None:
                return await _pass_manifest(services, request, upstream, unkept)
            reply = await answer(services, request, name, reference)
        mirrors.savings.count(upstream.name, kind, 1)
        if request.method == "GET":
            mirrors.savings.count(upstream.name, "served_bytes", reply.length)
        return _named(reply, upstream, services, found)

    return get


async def _pass_manifest(services: Services, request: Request, upstream: Upstream, unkept: Unkept) -> Reply:
    """A manifest that could not be kept, from memory."""
    fetched, savings = unkept.fetched, services.mirrors.savings
    passing = services.mirrors.fills.passing
    headers = manifests.headers_for(fetched.media_type, fetched.digest)
    if_none_match = request.header(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, fetched.digest):
        return _named(Reply(304, headers), upstream, services, None)
    size = len(fetched.payload)
    headers.append((b"content-length", b"%d" % size))
    reply = Reply(200, headers, fetched.payload)
    if request.method != "HEAD":
        if size > PIECE_BYTES:
            reply.pieces = await passing.hold(fetched.payload, unkept.refusal)
        savings.count(upstream.name, "served_bytes", size)
    passing.note(upstream, unkept.refusal)
    savings.count(upstream.name, "misses", 1)
    return _named(reply, upstream, services, None)


def blob(answer: Answer) -> Answer:
    """Pull a blob; see `blobs.get`."""

    async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        upstream = request.upstream
        if upstream is None:
            return await answer(services, request, name, reference)
        kind: Kind = "hits"
        try:
            reply = await answer(services, request, name, reference)
        except (BlobUnknown, NameUnknown, ContentDamaged):
            kind = "misses"
            reply = await _bring(services, request, upstream, name, answer, reference)
        services.mirrors.savings.count(upstream.name, kind, 1)
        services.mirrors.savings.count(upstream.name, "served_bytes", _length(reply))
        return _named(reply, upstream, services, None)

    return get


async def _bring(
    services: Services,
    request: Request,
    upstream: Upstream,
    name: RepositoryName,
    answer: Answer,
    reference: str,
) -> Reply:
    """A blob that is not here: as it comes, or, when several parts are wanted, when it has come."""
    digest = parse_digest(reference)
    fills = services.mirrors.fills
    await _be_a_task()
    try:
        brought = await fills.bring(upstream, name, digest, _client(request))
    except CANNOT_KEEP as refusal:
        return await _pass(services, request, upstream, name, digest, refusal)
    if isinstance(brought, Fill) and brought.size:
        if_none_match = request.header(b"if-none-match")
        if if_none_match is not None and matches(if_none_match, digest):
            return Reply(304, blobs.headers_for(digest))
        parts = blobs.parts_of(request, brought.size, digest)
        file = fills.open(brought) if len(parts) <= 1 else None
        if file is not None:
            return _reply(services, brought, file, parts)
    try:
        await fills.finish(upstream, name, digest)
    except CANNOT_KEEP as refusal:
        return await _pass(services, request, upstream, name, digest, refusal)
    return await answer(services, request, name, reference)


async def _pass(
    services: Services,
    request: Request,
    upstream: Upstream,
    name: RepositoryName,
    digest: Digest,
    refusal: RegistryError,
) -> Reply:
    """A blob that cannot be kept, as it comes.

    Always the whole, which RFC 9110, 14.2 allows: a part could not be checked.
    """
    headers = [each for each in blobs.headers_for(digest) if each[0] != b"accept-ranges"]
    if_none_match = request.header(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, digest):
        return Reply(304, headers)
    passed = await services.mirrors.fills.pass_on(upstream, name, digest, refusal)
    headers.append((b"content-length", b"%d" % passed.size))
    return Reply(200, headers, pieces=passed.pieces)


def _reply(services: Services, fill: Fill, file: BlobFile, parts: list[ByteRange]) -> Reply:
    headers = blobs.headers_for(fill.digest)
    size = fill.size or 0
    part = parts[0] if parts else ByteRange(0, size - 1)
    headers.append((b"content-length", b"%d" % part.length))
    if parts:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (part.first, part.last, size)))
    pieces: AsyncGenerator[Piece, None] = services.mirrors.fills.read(fill, file, part)
    return Reply(206 if parts else 200, headers, pieces=pieces)


def blob_head(answer: Answer) -> Answer:
    """Ask whether there is a blob: what an image that is here needs is there to be fetched."""

    async def head(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        upstream = request.upstream
        if upstream is None:
            return await answer(services, request, name, reference)
        try:
            return _named(await answer(services, request, name, reference), upstream, services, None)
        except (BlobUnknown, NameUnknown):
            size = None
        except CANNOT_KEEP:
            # that it stays for a while could not be written down: who pulls does not rely on that
            size = await _size_here(services, name, parse_digest(reference))
        digest = parse_digest(reference)
        if size is None:
            await _be_a_task()
            size = await services.mirrors.head_blob(upstream, name, digest, _client(request))
        headers = [*blobs.headers_for(digest), (b"content-length", b"%d" % size)]
        return _named(Reply(200, headers), upstream, services, None)

    return head


async def _size_here(services: Services, name: RepositoryName, digest: Digest) -> int | None:
    """The bytes of a blob that a pull would get from this disk; None where it would not."""
    try:
        blob, file = await services.blobs.open(name, digest)
    except (BlobUnknown, NameUnknown):
        return None
    file.close()
    return blob.size


def tags(answer: Answer) -> Answer:
    """List tags: those that the upstream has, while it can be asked."""

    async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        upstream = request.upstream
        if upstream is None:
            return await answer(services, request, name, reference)
        page = parse_page(request)
        limit = min(page.limit, _TAGS_MAX)
        page = replace(page, limit=limit)
        looks, client = services.mirrors.looks, _client(request)
        await _be_a_task()
        try:
            found = await looks.list_tags(upstream, name, page.last, limit + 1, client) if limit else []
        except (UpstreamFailed, UpstreamUnreachable):
            reply = await answer(services, request, name, reference)
            reply.headers.append(_STALE)
            return _named(reply, upstream, services, None)
        except TooManyMisses as refusal:
            try:
                reply = await answer(services, request, name, reference)
            except NameUnknown:
                raise refusal from None
            # what is here is served as ever
            reply.headers.append(_STALE)
            return _named(reply, upstream, services, None)
        return _named(lists.page_of_tags(name, page, found), upstream, services, None)

    return get


def referrers(answer: Answer) -> Answer:
    """List referrers: those of the upstream come along."""

    async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        upstream = request.upstream
        if upstream is None:
            return await answer(services, request, name, reference)
        digest = parse_digest(reference)
        await _be_a_task()
        age_ms = await services.mirrors.bring_referrers(upstream, name, digest, _client(request))
        return _named(await answer(services, request, name, reference), upstream, services, age_ms)

    return get


def _client(request: Request) -> str:
    """To whom it is charged what the upstream does not have."""
    return client_of(request.caller, request.client)


async def _be_a_task() -> None:
    """Give way once: a request runs at first in no task of its own, and what has a timeout needs one."""
    await asyncio.sleep(0)


def _named(reply: Reply, upstream: Upstream, services: Services, age_ms: int | None) -> Reply:
    """The reply, which says whose content it is, and how old where that could not be asked."""
    reply.headers.append((b"oci-namespace", upstream.name.encode()))
    if age_ms is not None:
        services.mirrors.savings.count(upstream.name, "stale", 1)
        reply.headers += [_STALE, (b"age", b"%d" % (age_ms // 1000))]
    return reply


def _length(reply: Reply) -> int:
    """How many bytes of body a reply announces."""
    return next((int(value) for key, value in reply.headers if key == b"content-length"), 0)


__all__ = ["blob", "blob_head", "manifest", "place", "referrers", "tags"]
