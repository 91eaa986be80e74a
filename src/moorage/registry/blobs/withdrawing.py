"""A blob whose file is gone or wrong is taken out of service by whoever finds it; a push brings it back."""

import structlog

from moorage.database import Database, Transaction
from moorage.records.audit.rows import Actor, record
from moorage.registry.blobs import rows
from moorage.registry.blobs.rows import Blob
from moorage.registry.blobs.store import BlobStore

FOUND_BY = Actor("moorage", "local")
"""Who notices, in the audit."""

log = structlog.get_logger()


async def withdraw(db: Database, store: BlobStore, blob: Blob, finding: str) -> bool:
    """Take a blob out of service and its file, if any, aside; False when it was replaced meanwhile."""

    def work(tx: Transaction) -> bool:
        if not rows.mark_damaged(tx, blob.digest, blob.generation):
            return False
        record(tx, FOUND_BY, "withdraw", blob.digest, detail=finding)
        return True

    if not await db.write(work):
        return False
    store.quarantine(blob.digest, blob.generation)
    log.error("blob_damaged", digest=blob.digest, finding=finding, remedy="push the image again")
    return True
