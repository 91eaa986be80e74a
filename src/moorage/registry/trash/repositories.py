"""Deleting a whole repository, bringing it back, and forgetting it piece by piece."""

from contextlib import suppress

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import DeletionUnknown, NameTaken, NameUnknown, UploadBusy, UploadUnknown
from moorage.identity.access.rows import record_deletion
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.repositories import rows
from moorage.registry.tags import rows as tag_rows
from moorage.registry.tags.keeping import check_has_no_fixed_tag
from moorage.registry.trash import rows as trash_rows
from moorage.registry.uploads.rows import list_open_in
from moorage.registry.uploads.uploading import Uploads

log = structlog.get_logger()


async def delete_repository(
    db: Database, uploads: Uploads, name: RepositoryName, deleted_by: Actor, grace_ms: int
) -> rows.DeletedRepository:
    """Put a repository with all it has into the trash, at once, however large it is; end its uploads.

    An upload that is being written at this moment goes on; if it ends well it makes the repository anew.
    A token from before says nothing of that one. Raises NameUnknown (404), TagImmutable (409).
    """
    await check_has_no_fixed_tag(db, name, "deleted")

    def work(tx: Transaction) -> rows.DeletedRepository:
        repository_id = rows.find_repository(tx, name)
        if repository_id is None:
            raise NameUnknown(name=name)
        rows.put_in_trash(tx, repository_id, str(deleted_by), now_ms() + grace_ms)
        record_deletion(tx, name)
        record(tx, deleted_by, "repository.delete", name)
        deleted = rows.find_deleted(tx, repository_id)
        assert deleted is not None  # noqa: S101 - put there above
        return deleted

    deleted = await db.write(work)
    for upload_id in await list_open_in(db, name):
        with suppress(UploadUnknown, UploadBusy):
            await uploads.cancel(name, upload_id)
    log.info("repository_deleted", repository=name, deleted_by=str(deleted_by))
    return deleted


async def restore_repository(
    db: Database, repository_id: int, name: RepositoryName | None, restored_by: Actor
) -> RepositoryName:
    """Bring a deleted repository back with all it had, under its name or another; which it is.

    Raises DeletionUnknown (404), NameTaken (409).
    """

    def work(tx: Transaction) -> RepositoryName:
        deleted = rows.find_deleted(tx, repository_id)
        if deleted is None or not deleted.purge_at:
            raise DeletionUnknown(repository=repository_id)
        wanted = name or deleted.name
        if rows.find_repository(tx, wanted) is not None:
            raise NameTaken(name=wanted, taken_by="a repository of this name, made since")
        rows.take_from_trash(tx, repository_id, wanted)
        if wanted != deleted.name:
            # a token from before says nothing of what has this name now
            record_deletion(tx, wanted)
        record(tx, restored_by, "repository.restore", wanted)
        return wanted

    restored = await db.write(work)
    log.info("repository_restored", repository=restored, restored_by=str(restored_by))
    return restored


async def purge_repository(db: Database, repository_id: int, purged_by: Actor) -> None:
    """Let a deleted repository's time be over now; the next collection of garbage takes it.

    Raises DeletionUnknown (404).
    """

    def work(tx: Transaction) -> None:
        deleted = rows.find_deleted(tx, repository_id)
        if deleted is None:
            raise DeletionUnknown(repository=repository_id)
        rows.make_due(tx, repository_id)
        record(tx, purged_by, "repository.purge", deleted.name)

    await db.write(work)


def purge_some(tx: Transaction, repository_id: int, limit: int) -> tuple[bool, list[Digest]]:
    """Remove at most about `limit` rows of a deleted repository: whether all is gone, and blobs let go of.

    From the first of them on it cannot be restored.
    """
    rows.make_due(tx, repository_id)
    if tag_rows.forget_some_in(tx, repository_id, limit):
        return False, []
    manifests = manifest_rows.list_some_in(tx, repository_id, limit)
    if manifests:
        unlinked = [digest for row_id in manifests for digest in blob_rows.list_unlinked(tx, row_id)]
        for row_id in manifests:
            manifest_rows.delete(tx, row_id, None)
        return False, unlinked
    loose = blob_rows.unlink_some_in(tx, repository_id, limit) or blob_rows.forget_leases_in(
        tx, repository_id, limit
    )
    if loose or trash_rows.delete_some_in(tx, repository_id, limit):
        return False, loose
    rows.delete_repository(tx, repository_id)
    return True, []
