"""Endpoints 4, 5, 6, 11, 13 and 14: a blob on its way in.

Source: distribution-spec main (967efdc), "Pushing Blobs".
"""

import asyncio

from moorage.api.exchange import API_VERSION, EMPTY, NOSNIFF, Header, QueryInvalid, Reply, Request
from moorage.api.v2.locations import blob_location, upload_headers
from moorage.api.v2.services import Services
from moorage.errors import ChunkOutOfOrder, DigestInvalid
from moorage.oci.digest import ALGORITHMS, Digest, is_digest, parse_digest
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.oci.ranges import ByteRange, parse_content_range
from moorage.registry.blobs.linking import mount_blob
from moorage.registry.blobs.rows import Blob, find_holders
from moorage.registry.uploads.rows import Upload
from moorage.registry.uploads.uploading import Chunk

_HOLDERS_MAX = 20
"""Repositories that are looked at for a blob to mount, where none is named."""
MOUNT_REFUSED_AFTER_S = 0.005
"""When a mount that cannot be is answered, where callers differ: how long it was looked for tells nothing."""
_TIMER_S = 0.001
"""How exact the loop's timers are."""


async def post(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Begin an upload; or mount a blob; or take a whole blob in one request."""
    fields = _fields(request)
    if "mount" in fields:
        blob = await _mount(services, request, name, fields["mount"], fields.get("from"))
        if blob is not None:
            return _created(name, blob, parse_digest(fields["mount"]))
        return _accepted(await services.uploads.begin(name, str(services.actor(request))))
    if "digest" in fields:
        digest = parse_digest(fields["digest"])
        upload = await services.uploads.begin(name, str(services.actor(request)))
        return await _finish(services, request, upload, digest)
    algorithm = fields.get("digest-algorithm")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise DigestInvalid(algorithm=algorithm[:40], supported=list(ALGORITHMS))
    return _accepted(await services.uploads.begin(name, str(services.actor(request))))


async def _mount(
    services: Services, request: Request, name: RepositoryName, mount: str, source: str | None
) -> Blob | None:
    """The mounted blob; None, and so an upload, for whatever cannot be mounted, pulled or understood."""
    if not is_digest(mount) or (source is not None and not is_repository_name(source)):
        return None
    digest = Digest(mount)
    loop = asyncio.get_running_loop()
    until = loop.time() + MOUNT_REFUSED_AFTER_S
    holders = [RepositoryName(source)] if source else await find_holders(services.db, digest, _HOLDERS_MAX)
    for origin in holders:
        if await services.gate.may(request.caller, origin, "pull"):
            blob = await mount_blob(
                services.db, services.store, name, digest, origin, services.settings.delete.delay_ms
            )
            if blob is not None:
                return blob
    if not request.caller.is_unasked:
        await asyncio.sleep(until - _TIMER_S - loop.time())
        while loop.time() < until:  # noqa: ASYNC110 - a timer would round what it shall hide up to the next ms
            await asyncio.sleep(0)
    return None


async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """How far an upload is."""
    upload = await services.uploads.get(name, reference)
    return Reply(204, [*upload_headers(name, upload.id, upload.received), API_VERSION, NOSNIFF])


async def patch(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Add a chunk, or a whole blob in a stream."""
    chunk = await _chunk(services, request, name, reference)
    return _accepted(await services.uploads.append(name, reference, chunk))


async def put(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Add the last chunk, if any, and close the upload by the digest of the whole."""
    await services.uploads.get(name, reference)
    fields = _fields(request)
    if "digest" not in fields:
        raise DigestInvalid(reason="the closing PUT needs ?digest=")
    digest = parse_digest(fields["digest"])
    chunk = await _chunk(services, request, name, reference)
    return _created(name, await services.uploads.finish(name, reference, chunk, digest), digest)


async def delete(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Cancel."""
    await services.uploads.cancel(name, reference)
    return Reply(204, [API_VERSION, NOSNIFF])


async def _finish(services: Services, request: Request, upload: Upload, digest: Digest) -> Reply:
    """A single POST: an upload that no one else knows of, ended whatever happens."""
    chunk = Chunk(request.body(), request.content_length)
    try:
        blob = await services.uploads.finish(upload.repository, upload.id, chunk, digest)
    except DigestInvalid:
        raise
    except BaseException:
        await services.uploads.abandon(upload)
        raise
    return _created(upload.repository, blob, digest)


def _fields(request: Request) -> dict[str, str]:
    """The query's fields, none of which may come twice.

    Raises DigestInvalid (400): `digest` and its kin are the only fields uploads know.
    """
    try:
        pairs = request.query()
    except QueryInvalid as error:
        raise DigestInvalid(reason="the query is malformed") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise DigestInvalid(reason="a query field appears twice")
    return fields


async def _chunk(services: Services, request: Request, name: RepositoryName, upload_id: str) -> Chunk:
    """The request's body and where it says it stands.

    Raises ChunkOutOfOrder (416) for a Content-Range that makes no sense.
    """
    header = request.header(b"content-range")
    claimed: ByteRange | None = None
    if header is not None:
        claimed = parse_content_range(header)
        if claimed is None:
            upload = await services.uploads.get(name, upload_id)
            raise ChunkOutOfOrder(
                upload_id=upload.id, received=upload.received, reason="want Content-Range: <first>-<last>"
            )
    return Chunk(request.body(), request.content_length, claimed)


def _accepted(upload: Upload) -> Reply:
    headers: list[Header] = upload_headers(upload.repository, upload.id, upload.received)
    return Reply(202, [*headers, API_VERSION, NOSNIFF, EMPTY])


def _created(name: RepositoryName, blob: Blob, asked: Digest) -> Reply:
    digest = blob.named_like(asked)
    return Reply(
        201,
        [
            (b"location", blob_location(name, digest)),
            (b"docker-content-digest", digest.encode()),
            API_VERSION,
            NOSNIFF,
            EMPTY,
        ],
    )
