"""The table `upload` and all its SQL."""

from dataclasses import dataclass
from datetime import timedelta

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName

EMPTY_EXPIRY_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class Upload:
    """A blob on its way in. `digest_so_far` is the sha256 of the `received` bytes, where known."""

    id: str
    repository: RepositoryName
    received: int = 0
    digest_so_far: Digest | None = None
    touched_at: int = 0


def insert(tx: Transaction, upload: Upload, started_by: str) -> None:
    """Begin."""
    tx.run(
        "INSERT INTO upload (id, repository, received, digest_so_far, started_by, started_at, touched_at)"
        " VALUES (?, ?, 0, NULL, ?, ?, ?)",
        (upload.id, upload.repository, started_by, now_ms(), now_ms()),
    )


def insert_unless_open(tx: Transaction, upload: Upload, started_by: str) -> None:
    """Begin, unless another has begun an upload of this id."""
    if tx.one("SELECT 1 FROM upload WHERE id = ?", (upload.id,)) is None:
        insert(tx, upload, started_by)


async def find_repository_of(db: Database, upload_id: str) -> RepositoryName | None:
    """The repository that an open upload is to."""
    row = await db.one("SELECT repository FROM upload WHERE id = ?", (upload_id,))
    return None if row is None else RepositoryName(row[0])


async def find(db: Database, repository: RepositoryName, upload_id: str) -> Upload | None:
    """An open upload of this repository."""
    row = await db.one(
        "SELECT received, digest_so_far, touched_at FROM upload WHERE id = ? AND repository = ?",
        (upload_id, repository),
    )
    return None if row is None else Upload(upload_id, repository, *row)


async def find_start(db: Database, repository: RepositoryName, upload_id: str) -> tuple[str, int] | None:
    """Who began an open upload of this repository, and when."""
    row = await db.one(
        "SELECT started_by, started_at FROM upload WHERE id = ? AND repository = ?", (upload_id, repository)
    )
    return None if row is None else (row[0], row[1])


async def is_open(db: Database, upload_id: str) -> bool:
    """Whether an upload, of whichever repository, has not ended."""
    return await db.one("SELECT 1 FROM upload WHERE id = ?", (upload_id,)) is not None


def update(tx: Transaction, upload: Upload) -> bool:
    """Record what has arrived; False when the upload is no longer open."""
    return bool(
        tx.run(
            "UPDATE upload SET received = ?, digest_so_far = ?, touched_at = ? WHERE id = ?",
            (upload.received, upload.digest_so_far, now_ms(), upload.id),
        )
    )


def delete(tx: Transaction, upload_id: str) -> bool:
    """End; False when it had ended already."""
    return bool(tx.run("DELETE FROM upload WHERE id = ?", (upload_id,)))


def take(tx: Transaction, upload_id: str) -> RepositoryName | None:
    """End; the repository, which may have been renamed since the upload began. None when it had ended."""
    row = tx.one("DELETE FROM upload WHERE id = ? RETURNING repository", (upload_id,))
    return None if row is None else RepositoryName(row[0])


def move_all(tx: Transaction, repository: RepositoryName, renamed: RepositoryName) -> None:
    """Let the uploads to a repository be those of the name that it has now."""
    tx.run("UPDATE upload SET repository = ? WHERE repository = ?", (renamed, repository))


def count_started_by(tx: Transaction, started_by: str) -> int:
    """How many uploads this client has open."""
    row = tx.one("SELECT count(*) FROM upload WHERE started_by = ?", (started_by,))
    return int(row[0]) if row else 0


async def count(db: Database) -> int:
    """How many uploads are open."""
    row = await db.one("SELECT count(*) FROM upload")
    return int(row[0]) if row else 0


async def list_open_in(db: Database, repository: RepositoryName) -> list[str]:
    """The ids of a repository's open uploads."""
    rows = await db.all("SELECT id FROM upload WHERE repository = ?", (repository,))
    return [str(row[0]) for row in rows]


async def list_untouched(db: Database, expiry: timedelta, limit: int) -> list[Upload]:
    """At most `limit` uploads that got no byte for as long as `expiry`, oldest first.

    One that never got a byte has no more than an hour: nothing is lost with it.
    """
    before = now_ms() - int(expiry.total_seconds() * 1000)
    empty_before = max(before, now_ms() - EMPTY_EXPIRY_MS)
    rows = await db.all(
        """
        SELECT id, repository, received, digest_so_far, touched_at FROM upload
        WHERE touched_at < ? OR (touched_at < ? AND received = 0) ORDER BY touched_at LIMIT ?
        """,
        (before, empty_before, limit),
    )
    return [Upload(*row) for row in rows]
