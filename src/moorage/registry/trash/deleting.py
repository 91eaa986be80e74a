"""Deleting a manifest: it and what only it needs go to the trash, at once and together.

Source: distribution-spec main (967efdc), "Deleting Manifests"; what else goes along is ours.
"""

from dataclasses import dataclass

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import ContentNeeded, ManifestUnknown
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs.rows import find_user
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.manifests import trash_rows as trashed
from moorage.registry.repositories.rows import find_repository
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash import rows
from moorage.registry.trash.rows import Reason

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion took. `frees_bytes`: what leaves the disk some time after `purge_at`, in ms."""

    deletion: int
    digests: list[Digest]
    tags: list[Tag]
    frees_bytes: int
    purge_at: int


async def delete_manifest(
    db: Database,
    repository: RepositoryName,
    digest: Digest,
    deleted_by: Actor,
    grace_ms: int,
    *,
    may_break: bool = False,
) -> Deleted:
    """Put a manifest and every tag that points to it into the trash, with what only it needs.

    `may_break`: also one that an index needs, which then cannot be pulled whole.
    Raises ManifestUnknown (404), ContentNeeded (409), TagImmutable (409).
    """

    def work(tx: Transaction) -> Deleted:
        repository_id = find_repository(tx, repository)
        held = (
            None
            if repository_id is None
            else manifest_rows.find_held(tx, repository_id, [digest]).get(digest)
        )
        if repository_id is None or held is None:
            raise ManifestUnknown(name=repository, reference=digest)
        parent = find_user(tx, repository_id, held.digest)
        if parent is not None and not may_break:
            raise ContentNeeded(digest=digest, needed_by=parent)
        deleted = put_in_trash(tx, repository_id, held.row_id, "asked", deleted_by, now_ms() + grace_ms)
        record(tx, deleted_by, "delete", repository, detail=" ".join(["manifest", digest, *deleted.tags]))
        return deleted

    deleted = await db.write(work)
    log.info(
        "manifest_deleted",
        repository=repository,
        digest=digest,
        tags=deleted.tags,
        along=len(deleted.digests) - 1,
        deletion=deleted.deletion,
        deleted_by=str(deleted_by),
    )
    return deleted


def put_in_trash(
    tx: Transaction, repository_id: int, row_id: int, reason: Reason, deleted_by: Actor, purge_at: int
) -> Deleted:
    """Put a served manifest, its tags, and the children and referrers that only it keeps into the trash."""
    tags = tag_rows.list_of(tx, row_id)
    for tag, _ in tags:
        tag_rows.delete(tx, repository_id, tag, str(deleted_by))
    digests = manifest_rows.list_digests(tx, [row_id])
    deletion_id = rows.insert(tx, repository_id, digests[0], reason, str(deleted_by), purge_at)
    rows.insert_tags(tx, deletion_id, tags)
    trashed.put_in_trash(tx, row_id, deletion_id)
    waiting = [row_id]
    while waiting:
        for dependant in trashed.list_loose_dependants(tx, waiting.pop()):
            trashed.put_in_trash(tx, dependant, deletion_id)
            waiting.append(dependant)
    taken = [digest for _, digest in trashed.list_in_deletion(tx, deletion_id)]
    frees_bytes = rows.measure(tx, deletion_id)
    first = digests[0]
    others = [digest for digest in taken if digest != first]
    return Deleted(deletion_id, [first, *others], [tag for tag, _ in tags], frees_bytes, purge_at)
