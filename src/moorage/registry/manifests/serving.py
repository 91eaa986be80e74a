"""Manifests on their way out, and away."""

import hashlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

import structlog

from moorage.database import Database, Transaction
from moorage.errors import ContentDamaged, ManifestUnknown
from moorage.oci.digest import Digest, encoded_of, is_digest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.manifests import rows
from moorage.registry.manifests import trash_rows as trashed
from moorage.registry.manifests.rows import StoredManifest
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import rows as tag_rows

PIECE_BYTES = 256 * 1024
"""A manifest of more than this is served in pieces of it."""

log = structlog.get_logger()


async def get_manifest(
    db: Database, repository: RepositoryName, reference: str, *, is_wanted: bool = True
) -> StoredManifest:
    """A manifest by tag or digest, its bytes checked against its digest.

    `is_wanted` False: it is only asked whether it is there. One that is damaged is not, so that who asks
    before a push pushes it, which mends it.

    Raises ManifestUnknown (404), ContentDamaged (500).
    Source: distribution-spec main (967efdc), "Pulling Manifests".
    """
    find = rows.find_by_digest if is_digest(reference) else rows.find_by_tag
    stored = await find(db, repository, reference)  # type: ignore[arg-type] # is_digest tells which it is
    if stored is None:
        raise ManifestUnknown(name=repository, reference=reference[:200])
    if hashlib.sha256(stored.payload).hexdigest() != encoded_of(stored.sha256):
        log.error("manifest_damaged", repository=repository, digest=stored.sha256)
        if not is_wanted:
            raise ManifestUnknown(name=repository, reference=reference[:200])
        raise ContentDamaged(digest=stored.digest)
    return stored


async def read_pieces(
    db: Database, repository: RepositoryName, stored: StoredManifest, size: int
) -> AsyncGenerator[bytes, None]:
    """A large manifest in pieces, each read when it is wanted: a slow reader shall not hold the whole.

    Raises ContentDamaged when it is deleted meanwhile.
    """
    for offset in range(0, size, PIECE_BYTES):
        piece = await rows.read_payload(db, repository, stored.sha256, offset, PIECE_BYTES)
        if piece is None:
            raise ContentDamaged(digest=stored.digest)
        yield piece


class Unlinked(NamedTuple):
    """What a deleted tag pointed to, and the bytes that nothing but that needs, if nothing leads to it."""

    digest: Digest
    frees_bytes: int


async def delete_tag(db: Database, repository: RepositoryName, tag: Tag, deleted_by: Actor) -> Unlinked:
    """Remove one tag; its manifest and other tags stay.

    Raises ManifestUnknown (404). Source: distribution-spec main (967efdc), "Deleting tags".
    """

    def work(tx: Transaction) -> Unlinked:
        repository_id = find_repository(tx, repository)
        target = None if repository_id is None else tag_rows.find_target(tx, repository_id, tag)
        if repository_id is None or target is None:
            raise ManifestUnknown(name=repository, reference=tag)
        tag_rows.delete(tx, repository_id, tag, str(deleted_by))
        record(tx, deleted_by, "delete", repository, detail=f"tag {tag}")
        held = rows.find_held(tx, repository_id, [target[0]])[target[0]]
        return Unlinked(target[0], trashed.measure_if_loose(tx, held.row_id))

    unlinked = await db.write(work)
    log.info("tag_deleted", repository=repository, tag=tag, deleted_by=str(deleted_by))
    return unlinked
