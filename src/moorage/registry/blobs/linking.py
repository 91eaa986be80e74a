"""Which repository holds which blob: mounting and deleting. The bytes do not move."""

from collections.abc import Sequence

import structlog

from moorage.database import Database, Transaction
from moorage.errors import BlobUnknown, ContentNeeded
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore
from moorage.registry.repositories.rows import ensure_repository, find_repository

log = structlog.get_logger()


async def mount_blob(
    db: Database,
    store: BlobStore,
    repository: RepositoryName,
    digest: Digest,
    source: RepositoryName,
    lease_ms: int = rows.LEASE_MS,
) -> Blob | None:
    """Let `repository` serve a blob that `source` holds; None when it cannot be mounted.

    Source: distribution-spec main (967efdc), "Mounting a blob from another repository".
    """
    blob = await rows.find_blob(db, source, digest)
    if blob is None or store.blob_size(blob.digest, blob.generation) != blob.size:
        return None

    def work(tx: Transaction) -> Blob | None:
        held = rows.find_blob_in(tx, source, digest)
        if held is not None and rows.find_blob_in(tx, repository, digest) is None:
            rows.link(tx, ensure_repository(tx, repository), held.digest, "mounted", lease_ms)
        elif held is not None:
            rows.lease(tx, ensure_repository(tx, repository), held.digest, lease_ms)
        return held

    return await db.write(work)


async def hold_blobs(
    db: Database, repository: RepositoryName, digests: Sequence[Digest], lease_ms: int = rows.LEASE_MS
) -> set[Digest]:
    """Which of these blobs a repository has, as a HEAD would say it of each: they stay for so long."""
    if not await rows.read_held(db, repository, digests):
        return set()

    def work(tx: Transaction) -> set[Digest]:
        repository_id = find_repository(tx, repository)
        held = {} if repository_id is None else rows.find_held(tx, repository_id, digests)
        for blob in held.values():
            assert repository_id is not None  # noqa: S101 - it holds them
            rows.lease(tx, repository_id, blob.digest, lease_ms)
        return set(held)

    return await db.write(work)


async def delete_blob(
    db: Database,
    repository: RepositoryName,
    digest: Digest,
    deleted_by: Actor,
    lease_ms: int = rows.LEASE_MS,
    *,
    may_break: bool = False,
) -> None:
    """Stop `repository` from serving a blob; others that hold it still do.

    `may_break`: also one that a manifest of this repository needs, which then cannot be pulled whole.
    Raises BlobUnknown (404), ContentNeeded (409). Source: distribution-spec main (967efdc), "Deleting Blobs".
    """

    def work(tx: Transaction) -> None:
        repository_id = find_repository(tx, repository)
        blob = rows.find_blob_in(tx, repository, digest)
        if blob is None or repository_id is None:
            raise BlobUnknown(digest=digest)
        parent = rows.find_user(tx, repository_id, blob.digest)
        if parent is not None and not may_break:
            raise ContentNeeded(digest=digest, needed_by=parent)
        rows.unlink(tx, repository_id, blob.digest)
        rows.lease(tx, repository_id, blob.digest, lease_ms)
        record(tx, deleted_by, "delete", repository, detail=f"blob {digest}")

    await db.write(work)
    log.info("blob_deleted", repository=repository, digest=digest, deleted_by=str(deleted_by))
