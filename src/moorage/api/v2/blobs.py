"""Endpoints 2 and 10: pull and delete a blob.

Source: distribution-spec main (967efdc); RFC 9110 section 14.
"""

import secrets
from collections.abc import AsyncGenerator

from moorage.api.exchange import API_VERSION, EMPTY, NOSNIFF, Header, Reply, Request
from moorage.api.v2.conditions import etag, matches
from moorage.api.v2.services import Services
from moorage.errors import ContentDamaged, Unsupported
from moorage.oci.digest import Digest, parse_digest
from moorage.oci.names import RepositoryName
from moorage.oci.ranges import ByteRange, parse_range
from moorage.registry.blobs.linking import delete_blob
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.blobs.store import BlobDamaged, BlobFile, Piece

_OCTETS: Header = (b"content-type", b"application/octet-stream")
_RANGES: Header = (b"accept-ranges", b"bytes")
_FOREVER: Header = (b"cache-control", b"max-age=31536000")


async def head(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """All the headers of a GET and no body."""
    digest = parse_digest(reference)
    blob = await services.blobs.find(name, digest)
    if_none_match = request.header(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, digest):
        return Reply(304, headers_of(blob, digest))
    return Reply(200, [*headers_of(blob, digest), (b"content-length", b"%d" % blob.size)])


async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """The whole blob, a part of it, or several parts."""
    digest = parse_digest(reference)
    blob, file = await services.blobs.open(name, digest)
    try:
        return await _reply(services.blobs, request, blob, digest, file)
    except BlobDamaged as damage:
        file.close()
        await services.blobs.withdraw(blob, "wrong bytes")
        raise ContentDamaged(digest=digest) from damage
    except BaseException:
        file.close()
        raise


async def _reply(server: BlobServer, request: Request, blob: Blob, digest: Digest, file: BlobFile) -> Reply:
    headers = headers_of(blob, digest)
    if_none_match = request.header(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, digest):
        file.close()
        return Reply(304, headers)
    parts = parts_of(request, blob.size, digest)
    if len(parts) > 1:
        return _several_parts(server, blob, file, headers, parts)
    if parts:
        headers += [
            (b"content-range", b"bytes %d-%d/%d" % (parts[0].first, parts[0].last, blob.size)),
            (b"content-length", b"%d" % parts[0].length),
        ]
        return Reply(206, headers, pieces=_closing(server.read_part(file, parts[0]), server, blob, file))
    headers.append((b"content-length", b"%d" % blob.size))
    content = server.read_small(blob, file)
    if content is not None:
        file.close()
        return Reply(200, headers, content)
    return Reply(200, headers, pieces=_closing(server.read_whole(blob, file), server, blob, file))


def headers_of(blob: Blob, asked: Digest) -> list[Header]:
    """What is said of a blob, but for its length."""
    return headers_for(blob.named_like(asked))


def headers_for(digest: Digest) -> list[Header]:
    """The same of one that is not here yet."""
    return [
        _OCTETS,
        (b"docker-content-digest", digest.encode()),
        (b"etag", etag(digest)),
        _RANGES,
        _FOREVER,
        API_VERSION,
        NOSNIFF,
    ]


def parts_of(request: Request, size: int, digest: Digest) -> list[ByteRange]:
    """The parts that are asked for of a blob of so many bytes; none: the whole.

    Raises RangeUnsatisfiable (416).
    """
    header = request.header(b"range")
    if header is None:
        return []
    if_range = request.header(b"if-range")
    if if_range is not None and not matches(if_range, digest, is_weak_ok=False):
        return []
    return parse_range(header, size)


def _several_parts(
    server: BlobServer, blob: Blob, file: BlobFile, headers: list[Header], parts: list[ByteRange]
) -> Reply:
    """One part for each range, in the order asked: clients count them."""
    boundary = secrets.token_hex(16).encode()
    heads = [
        b"\r\n--%b\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes %d-%d/%d\r\n\r\n"
        % (boundary, part.first, part.last, blob.size)
        for part in parts
    ]
    tail = b"\r\n--%b--\r\n" % boundary
    length = sum(map(len, heads)) + sum(part.length for part in parts) + len(tail)
    headers = [header for header in headers if header is not _OCTETS]
    headers += [
        (b"content-type", b"multipart/byteranges; boundary=%b" % boundary),
        (b"content-length", b"%d" % length),
    ]

    async def pieces() -> AsyncGenerator[Piece, None]:
        for part, part_head in zip(parts, heads, strict=True):
            yield part_head
            async for piece in server.read_part(file, part):
                yield piece
        yield tail

    return Reply(206, headers, pieces=_closing(pieces(), server, blob, file))


async def _closing(
    pieces: AsyncGenerator[Piece, None], server: BlobServer, blob: Blob, file: BlobFile
) -> AsyncGenerator[Piece, None]:
    """The pieces; the file closed behind them, and the blob withdrawn when they turn out wrong."""
    try:
        async for piece in pieces:
            yield piece
    except BlobDamaged:
        await server.withdraw(blob, "wrong bytes")
        raise
    finally:
        file.close()


async def delete(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Stop this repository from serving the blob."""
    if not services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    settings = services.settings.delete
    await delete_blob(
        services.db,
        name,
        parse_digest(reference),
        services.actor(request),
        settings.delay_ms,
        may_break=settings.needed,
    )
    return Reply(202, [API_VERSION, NOSNIFF, EMPTY])
