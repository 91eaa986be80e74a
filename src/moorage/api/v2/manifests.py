"""Endpoints 3, 7 and 9: pull, push and delete a manifest.

Source: distribution-spec main (967efdc).
"""

from collections.abc import Collection

import msgspec

from moorage.api.deletions import describe_deleted
from moorage.api.exchange import (
    API_VERSION,
    EMPTY,
    NOSNIFF,
    Header,
    QueryInvalid,
    QueryTooLong,
    Reply,
    Request,
)
from moorage.api.gate import Needs
from moorage.api.v2.conditions import etag, matches
from moorage.api.v2.locations import manifest_location
from moorage.api.v2.services import Services
from moorage.errors import (
    ManifestTooLarge,
    ManifestUnknown,
    TagInvalid,
    TooManyTags,
    Unsupported,
)
from moorage.mirrors.saving import NO_UPSTREAM
from moorage.oci.digest import Digest, parse_digest
from moorage.oci.names import RepositoryName, Tag, is_tag
from moorage.registry.manifests.pushing import Precondition, push_manifest
from moorage.registry.manifests.serving import (
    PIECE_BYTES,
    delete_tag,
    get_manifest,
    read_pieces,
)
from moorage.registry.trash.deleting import delete_manifest

_JSON: Header = (b"content-type", b"application/json")
TAGS_MAX = 100
"""`tag` parameters in one push; the specification asks for ten."""


async def get(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """The stored bytes with the stored type; `Accept` never makes them anything else."""
    if ":" in reference:
        parse_digest(reference)
    stored = await get_manifest(services.db, name, reference, is_wanted=request.method != "HEAD")
    services.pulls.count(name, stored.sha256 if ":" in reference else reference)
    headers = headers_for(stored.media_type, stored.digest)
    if_none_match = request.header(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, stored.digest):
        return Reply(304, headers)
    size = len(stored.payload)
    headers.append((b"content-length", b"%d" % size))
    if size <= PIECE_BYTES or request.method == "HEAD":
        return Reply(200, headers, stored.payload)
    light = msgspec.structs.replace(stored, payload=b"")
    return Reply(200, headers, pieces=read_pieces(services.db, name, light, size))


def headers_for(media_type: str, digest: Digest) -> list[Header]:
    """What is said of a manifest, but for its length."""
    encoded = digest.encode()
    return [
        (b"content-type", media_type.encode()),
        (b"docker-content-digest", encoded),
        (b"etag", b'"%b"' % encoded),
        API_VERSION,
        NOSNIFF,
    ]


async def put(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Push by tag, by digest, or by digest with `?tag=` parameters."""
    digest, tags = _target(request, reference)
    payload = await _payload(request, services.settings.manifests.max_bytes)
    await services.gate.confirm(request, Needs.PUSH, name)
    pushed = await push_manifest(
        services.db,
        services.store,
        name,
        payload,
        request.header(b"content-type"),
        digest=digest,
        tags=tags,
        pushed_by=services.actor(request),
        may_move=_precondition(request),
    )
    if pushed.skipped_bytes:
        services.mirrors.savings.count(NO_UPSTREAM, "push_skipped_bytes", pushed.skipped_bytes)
    headers = [
        (b"location", manifest_location(name, pushed.digest)),
        (b"docker-content-digest", pushed.digest.encode()),
        (b"etag", etag(pushed.digest)),
        API_VERSION,
        NOSNIFF,
        EMPTY,
    ]
    if pushed.subject is not None:
        headers.append((b"oci-subject", pushed.subject.encode()))
    if digest is not None and pushed.tags:
        headers.append((b"oci-tag", ", ".join(pushed.tags).encode()))
    return Reply(201, headers)


def _target(request: Request, reference: str) -> tuple[Digest | None, list[Tag]]:
    """What the manifest is pushed as: a digest, and tags."""
    try:
        fields = [value for key, value in request.query() if key == "tag"]
    except QueryTooLong as error:
        raise TooManyTags(max=TAGS_MAX) from error
    except QueryInvalid as error:
        raise TagInvalid(reason="the query is malformed") from error
    if len(fields) > TAGS_MAX:
        raise TooManyTags(max=TAGS_MAX)
    if ":" not in reference:
        if fields:
            raise TagInvalid(reason="tag parameters go with a digest, not with a tag")
        return None, [_tag(reference)]
    return parse_digest(reference), [_tag(field) for field in dict.fromkeys(fields)]


def _tag(text: str) -> Tag:
    if not is_tag(text):
        raise TagInvalid(tag=text[:140])
    return Tag(text)


async def _payload(request: Request, max_bytes: int) -> bytes:
    """The whole body, which is never read further than the limit."""
    length = request.content_length
    if length is not None and length > max_bytes:
        raise ManifestTooLarge(max_bytes=max_bytes)
    pieces, total = [], 0
    async for piece in request.body():
        total += len(piece)
        if total > max_bytes:
            raise ManifestTooLarge(max_bytes=max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _precondition(request: Request) -> Precondition | None:
    """What If-Match and If-None-Match ask of the tags that would move."""
    if_match, if_none_match = request.header(b"if-match"), request.header(b"if-none-match")
    if if_match is None and if_none_match is None:
        return None

    def may_move(current: Collection[str]) -> bool:
        if if_match is not None and not any(matches(if_match, each, is_weak_ok=False) for each in current):
            return False
        return if_none_match is None or not any(matches(if_none_match, each) for each in current)

    return may_move


async def delete(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """By tag: the tag only. By digest: the manifest, every tag of it, and what only it needs.

    The reply says what that was, for people; the specification asks for no body.
    """
    if not services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    if ":" in reference:
        settings = services.settings.delete
        deleted = await delete_manifest(
            services.db,
            name,
            parse_digest(reference),
            services.actor(request),
            settings.grace_ms,
            may_break=settings.needed,
        )
        body = msgspec.json.encode(describe_deleted(name, deleted, settings))
        length = b"%d" % len(body)
        return Reply(202, [_JSON, (b"content-length", length), API_VERSION, NOSNIFF], body)
    if not is_tag(reference):
        raise ManifestUnknown(reference=reference[:140])
    await delete_tag(services.db, name, Tag(reference), services.actor(request))
    return Reply(202, [API_VERSION, NOSNIFF, EMPTY])


__all__ = ["delete", "get", "put"]
