"""Bringing back what was deleted, with its tags."""

from dataclasses import dataclass

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import ContentGone, DeletionUnknown
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, record
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.manifests import trash_rows as trashed
from moorage.registry.manifests.relinking import link_targets
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash import rows

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Restored:
    """What is served again. `taken`: tags that point elsewhere by now and were left so."""

    repository: RepositoryName
    digests: list[Digest]
    tags: list[Tag]
    taken: list[Tag]


async def restore_deletion(db: Database, deletion_id: int, restored_by: Actor) -> Restored:
    """Serve again all that a deletion took; its tags too, unless they have been pushed anew since.

    Raises DeletionUnknown (404), ContentGone (409).
    """
    restored = await db.write(lambda tx: restore(tx, deletion_id, restored_by))
    log.info(
        "deletion_restored",
        repository=restored.repository,
        deletion=deletion_id,
        digest=restored.digests[0] if restored.digests else None,
        tags=restored.tags,
        taken=restored.taken,
        restored_by=str(restored_by),
    )
    return restored


def restore(tx: Transaction, deletion_id: int, restored_by: Actor) -> Restored:
    """The same inside a transaction."""
    found = rows.find(tx, deletion_id)
    if found is None or not found[1].purge_at:
        # of one that is being purged a part may be gone
        raise DeletionUnknown(deletion=deletion_id)
    repository_id, deletion = found
    waiting = [row_id for row_id, _ in trashed.list_in_deletion(tx, deletion_id)]
    digests = manifest_rows.list_digests(tx, waiting)
    while waiting:
        row_id = waiting.pop()
        gone = link_targets(tx, row_id)
        if gone:
            raise ContentGone(digest=deletion.digest, gone=gone[0])
        trashed.take_from_trash(tx, row_id)
        # also what another deletion took: an index is whole or not there
        waiting += trashed.list_trashed_children(tx, row_id)
    tags, taken = [], []
    for tag, digest, algorithm in rows.list_tags(tx, deletion_id):
        held = manifest_rows.find_held(tx, repository_id, [digest]).get(digest)
        if held is None or tag_rows.find_target(tx, repository_id, tag) is not None:
            taken.append(tag)
            continue
        tag_rows.move(tx, repository_id, tag, held.row_id, held.digest, algorithm, str(restored_by))
        tags.append(tag)
    rows.delete(tx, deletion_id)
    detail = " ".join(["manifest", deletion.digest, *tags])
    record(tx, restored_by, "restore", deletion.repository, detail=detail)
    return Restored(deletion.repository, digests, tags, taken)


async def purge_deletion(db: Database, deletion_id: int, purged_by: Actor) -> None:
    """Let a deletion's time be over now; the next collection of garbage takes it.

    Raises DeletionUnknown (404).
    """

    def work(tx: Transaction) -> None:
        found = rows.find(tx, deletion_id)
        if found is None:
            raise DeletionUnknown(deletion=deletion_id)
        rows.make_due(tx, deletion_id)
        record(tx, purged_by, "purge", found[1].repository, detail=f"manifest {found[1].digest}")

    await db.write(work)


def purge_due(tx: Transaction, now: int, lease_ms: int, limit: int) -> tuple[int, bool]:
    """Remove for good at most `limit` manifests whose time in the trash is over: how many, and if to go on.

    What they refer to is leased: a client may have been told just now that it is here; of what was evicted
    for less long. From the first of them on a deletion cannot be restored.
    """
    purged, due = 0, rows.list_due(tx, now, limit)
    for deletion_id, reason in due:
        kept_ms = min(lease_ms, rows.EVICTED_LEASE_MS) if reason == "evicted" else lease_ms
        rows.make_due(tx, deletion_id)
        trashed.keep_with_parents(tx, deletion_id)
        members = trashed.list_in_deletion(tx, deletion_id, limit - purged)
        for row_id, _ in members:
            manifest_rows.delete(tx, row_id, now_ms() + kept_ms)
        purged += len(members)
        if purged >= limit:
            break
        rows.delete(tx, deletion_id)
    return purged, bool(due)
