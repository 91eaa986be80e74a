"""Removing a whole repository."""

from contextlib import suppress

import structlog

from moorage.database import Database, Transaction
from moorage.errors import NameUnknown, UploadBusy, UploadUnknown
from moorage.identity.access.rows import record_deletion
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.manifests import rows as manifest_rows
from moorage.registry.repositories import rows
from moorage.registry.tags import rows as tag_rows
from moorage.registry.uploads.rows import list_open_in
from moorage.registry.uploads.uploading import Uploads

log = structlog.get_logger()


async def delete_repository(db: Database, uploads: Uploads, name: RepositoryName, deleted_by: Actor) -> None:
    """Remove a repository, its tags and their history, its manifests, its links to blobs and its uploads.

    The blobs' bytes stay until garbage is collected. An upload that is being written at this moment goes
    on; if it ends well it makes the repository anew. A token from before says nothing of that one.
    Raises NameUnknown (404).
    """

    def work(tx: Transaction) -> None:
        repository_id = rows.find_repository(tx, name)
        if repository_id is None:
            raise NameUnknown(name=name)
        tag_rows.delete_all_in(tx, repository_id)
        manifest_rows.delete_all_in(tx, repository_id)
        blob_rows.unlink_all_in(tx, repository_id)
        rows.delete_repository(tx, repository_id)
        record_deletion(tx, name)
        record(tx, deleted_by, "repository.delete", name)

    await db.write(work)
    for upload_id in await list_open_in(db, name):
        with suppress(UploadUnknown, UploadBusy):
            await uploads.cancel(name, upload_id)
    log.info("repository_deleted", repository=name, deleted_by=str(deleted_by))
