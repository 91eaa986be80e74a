"""Putting a manifest: checked, stored with its edges and tags in one transaction, reported.

Source: distribution-spec main (967efdc), "Pushing Manifests".
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import structlog

from moorage.database import Database, Transaction
from moorage.errors import DigestInvalid, ManifestBlobUnknown, ManifestInvalid, PreconditionFailed
from moorage.oci.digest import SHA256, SHA512, Digest, algorithm_of, digest_of
from moorage.oci.manifest import Kind, Manifest, Reference, parse_manifest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.blobs.rows import HeldBlob
from moorage.registry.blobs.store import BlobStore
from moorage.registry.manifests import rows
from moorage.registry.manifests import trash_rows as trashed
from moorage.registry.manifests.relinking import link_targets
from moorage.registry.repositories.rows import ensure_repository
from moorage.registry.tags import rows as tag_rows

DEPTH_MAX = 8
"""An index may hold indexes this deep; no client makes more than two levels."""

_PARSE_IN_THREAD_BYTES = 64 * 1024
_LARGE_AT_ONCE = asyncio.Semaphore(1)
"""A parsed manifest is far larger than its text; of the large ones a worker reads one at a time."""

log = structlog.get_logger()

Precondition = Callable[[Collection[Digest]], bool]
"""Given both digests of what a tag names now, or none: may it be moved?"""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push made: the digest in the algorithm it was pushed by, and the subject, if any."""

    digest: Digest
    subject: Digest | None
    tags: tuple[Tag, ...]
    skipped_bytes: int = 0
    """Of its config and layers, what the client need not send: it was here, or was mounted."""


@dataclass(slots=True)
class _Travelled:
    """Bytes of config and layers by how they came since a manifest last named them here."""

    uploaded_bytes: int = 0
    mounted_bytes: int = 0
    skipped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Push:
    repository: RepositoryName
    manifest: Manifest
    payload: bytes
    digest: Digest
    tags: tuple[Tag, ...]
    pushed_by: Actor
    may_move: Precondition | None = field(default=None)
    may_lack: bool = False
    """Whether it is kept though what it points at is not here yet."""


async def push_manifest(
    db: Database,
    store: BlobStore,
    repository: RepositoryName,
    payload: bytes,
    content_type: str | None,
    *,
    digest: Digest | None,
    tags: Sequence[Tag],
    pushed_by: Actor,
    may_move: Precondition | None = None,
) -> Pushed:
    """Store a manifest as it came; `digest` is what the client says it is, None when it pushes by tag.

    All tags are moved or none. Raises ManifestInvalid (400), DigestInvalid (400),
    ManifestBlobUnknown (400) with every missing digest, PreconditionFailed (412), StorageReadOnly (503).
    """
    store.check_writable()
    algorithm = algorithm_of(digest) if digest else SHA256
    found = digest_of(payload, algorithm)
    if digest is not None and found != digest:
        raise DigestInvalid(digest=digest, found=found)
    if len(payload) > _PARSE_IN_THREAD_BYTES:
        async with _LARGE_AT_ONCE:
            manifest = await asyncio.to_thread(parse_manifest, payload, content_type)
    else:
        manifest = parse_manifest(payload, content_type)
    push = _Push(repository, manifest, payload, found, tuple(dict.fromkeys(tags)), pushed_by, may_move)
    travelled = await db.write(lambda tx: _store(tx, push))
    # after the reply: the client need not wait for the line
    asyncio.get_running_loop().call_soon(_say_pushed, push, travelled)
    skipped_bytes = travelled.skipped_bytes + travelled.mounted_bytes
    return Pushed(found, manifest.subject.digest if manifest.subject else None, push.tags, skipped_bytes)


def _say_pushed(push: _Push, travelled: _Travelled) -> None:
    log.info(
        "image_pushed",
        repository=push.repository,
        digest=push.digest,
        tags=list(push.tags),
        media_type=push.manifest.media_type,
        pushed_by=str(push.pushed_by),
        uploaded_bytes=travelled.uploaded_bytes,
        mounted_bytes=travelled.mounted_bytes,
        skipped_bytes=travelled.skipped_bytes,
    )


def _store(tx: Transaction, push: _Push) -> _Travelled:
    repository_id = ensure_repository(tx, push.repository)
    _check_precondition(tx, repository_id, push)
    row_id, sha256, travelled = _keep(tx, repository_id, push, None)
    pushed_by = str(push.pushed_by)
    for tag in push.tags:
        tag_rows.move(tx, repository_id, tag, row_id, sha256, algorithm_of(push.digest), pushed_by)
    record(tx, push.pushed_by, "push", push.repository, detail=" ".join([push.digest, *push.tags]))
    return travelled


def keep_manifest(
    tx: Transaction,
    repository_id: int,
    repository: RepositoryName,
    manifest: Manifest,
    payload: bytes,
    digest: Digest,
    kept_by: Actor,
    kept_at: int,
) -> bool:
    """Store a manifest that came by no push, at a time in milliseconds; False when it is here already.

    `digest` was found to be its own. Raises ManifestInvalid, ManifestBlobUnknown (400), nothing changed.
    """
    if rows.find_held(tx, repository_id, [digest]):
        return False
    _keep(tx, repository_id, _Push(repository, manifest, payload, digest, (), kept_by), kept_at)
    return True


def mirror_manifest(
    tx: Transaction,
    repository_id: int,
    repository: RepositoryName,
    manifest: Manifest,
    payload: bytes,
    digest: Digest,
    mirrored_by: Actor,
    tag: Tag | None,
) -> None:
    """Store a manifest of another registry, which may be here before what it points at, and move its tag.

    `digest` was found to be its own. What went to the trash with it comes from there again, if at all.
    Raises ManifestInvalid (400), TagImmutable (409).
    """
    push = _Push(repository, manifest, payload, digest, (), mirrored_by, may_lack=True)
    row_id, sha256, _ = _keep(tx, repository_id, push, None)
    if tag is not None:
        tag_rows.move(tx, repository_id, tag, row_id, sha256, algorithm_of(digest), str(mirrored_by))


def _keep(
    tx: Transaction, repository_id: int, push: _Push, pushed_at: int | None
) -> tuple[int, Digest, _Travelled]:
    """The manifest with its edges: its row, its sha256 digest, and how its blobs came."""
    edges, depth, blobs = _resolve(tx, repository_id, push)
    sha256 = push.digest if algorithm_of(push.digest) == SHA256 else digest_of(push.payload, SHA256)
    sha512 = push.digest if algorithm_of(push.digest) == SHA512 else digest_of(push.payload, SHA512)
    row_id = rows.put(
        tx,
        repository_id,
        push.manifest,
        push.payload,
        (sha256, sha512),
        algorithm_of(push.digest),
        depth,
        str(push.pushed_by),
        pushed_at,
    )
    rows.put_references(tx, repository_id, row_id, edges)
    if not push.tags:
        rows.note_untagged(tx, row_id)
    deletion_id = trashed.take_from_trash(tx, row_id)
    if deletion_id is not None and not push.may_lack:
        # what was signed is back, and so are its signatures
        _serve_again(tx, trashed.list_trashed_referrers(tx, row_id, deletion_id))
    return row_id, sha256, _count_travelled(tx, repository_id, blobs)


def _check_precondition(tx: Transaction, repository_id: int, push: _Push) -> None:
    if push.may_move is None:
        return
    for tag in push.tags:
        if not push.may_move(tag_rows.find_target(tx, repository_id, tag) or ()):
            raise PreconditionFailed(tag=tag)


def _resolve(
    tx: Transaction, repository_id: int, push: _Push
) -> tuple[list[tuple[Kind, Digest]], int, list[HeldBlob]]:
    """The edges by sha256 digest, the depth, and the blobs among the targets.

    An index may list blobs (BuildKit's cache does), so each child is looked for as both.
    """
    edges: list[tuple[Kind, Digest]] = []
    missing: list[str] = []
    blobs: dict[Digest, HeldBlob] = {}
    depth = 0
    targets = [reference.target.digest for reference in push.manifest.references]
    held = blob_rows.find_held(tx, repository_id, targets)
    children = rows.find_held(tx, repository_id, targets) if push.manifest.is_index else {}
    for reference in push.manifest.references:
        target = reference.target
        child, blob = children.get(target.digest), held.get(target.digest)
        if child is not None:
            _check_size(reference, child.size)
            depth = max(depth, child.depth + 1)
            edges.append((reference.kind, child.digest))
        elif blob is not None:
            _check_size(reference, blob.size)
            blobs[blob.digest] = blob
            edges.append((reference.kind, blob.digest))
        elif reference.may_be_absent or push.may_lack:
            edges.append((reference.kind, target.digest))
        else:
            missing.append(target.digest)
    if (
        missing
        and push.manifest.is_index
        and _serve_again(tx, trashed.list_swept(tx, repository_id, missing))
    ):
        return _resolve(tx, repository_id, push)
    if missing:
        raise ManifestBlobUnknown(list(dict.fromkeys(missing)))
    if depth > DEPTH_MAX:
        raise ManifestInvalid(where="manifests", reason=f"indexes nested deeper than {DEPTH_MAX} levels")
    return edges, depth, list(blobs.values())


def _serve_again(tx: Transaction, row_ids: Sequence[int]) -> bool:
    """Take from the trash those of these manifests that have all their blobs; whether there was one."""
    whole = [row_id for row_id in row_ids if not link_targets(tx, row_id)]
    for row_id in whole:
        trashed.take_from_trash(tx, row_id)
    return bool(whole)


def _check_size(reference: Reference, stored_bytes: int) -> None:
    if reference.target.size != stored_bytes:
        raise ManifestInvalid(
            where=reference.kind.value,
            digest=reference.target.digest,
            reason="the descriptor's size is not the stored content's",
            size=reference.target.size,
            stored_bytes=stored_bytes,
        )


def _count_travelled(tx: Transaction, repository_id: int, blobs: list[HeldBlob]) -> _Travelled:
    travelled = _Travelled()
    for blob in blobs:
        match blob.arrival:
            case "uploaded":
                travelled.uploaded_bytes += blob.size
            case "mounted":
                travelled.mounted_bytes += blob.size
            case None:
                travelled.skipped_bytes += blob.size
                continue
        blob_rows.forget_arrival(tx, repository_id, blob.digest)
    return travelled
