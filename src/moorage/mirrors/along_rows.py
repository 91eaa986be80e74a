"""What comes along with an image: the column `mirrored_subject.along_at`, and what is looked for.

Times are in milliseconds since 1970-01-01 UTC.
"""

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


async def has_come_along(db: Database, repository: RepositoryName, digest: Digest) -> bool:
    """Whether all that signs or describes a manifest has been looked for."""
    row = await db.one(
        "SELECT 1 FROM repository r JOIN mirrored_subject s ON s.repository = r.id AND s.digest = ?"
        " WHERE r.name = ? AND s.along_at IS NOT NULL",
        (digest, repository),
    )
    return row is not None


def note_along(tx: Transaction, repository: RepositoryName, digest: Digest) -> None:
    """It has."""
    tx.run(
        "UPDATE mirrored_subject SET along_at = ? WHERE digest = ?"
        " AND repository = (SELECT id FROM repository WHERE name = ?)",
        (now_ms(), digest, repository),
    )


def forget_subject(tx: Transaction, repository_id: int, digest: Digest) -> None:
    """Look for it anew: the manifest came anew."""
    tx.run("DELETE FROM mirrored_subject WHERE repository = ? AND digest = ?", (repository_id, digest))


async def list_referrers(
    db: Database, repository: RepositoryName, subject: Digest, limit: int
) -> list[Digest]:
    """At most `limit` manifests that are here whose subject is this one."""
    rows = await db.all(
        """
        SELECT m.digest FROM repository r
        JOIN manifest s ON s.repository = r.id AND s.digest = ?
        JOIN manifest m ON m.repository = r.id AND m.subject IN (s.digest, s.sha512)
        WHERE r.name = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = m.id) ORDER BY m.id LIMIT ?
        """,
        (subject, repository, limit),
    )
    return [Digest(row[0]) for row in rows]


async def list_children(db: Database, repository: RepositoryName, digest: Digest, limit: int) -> list[Digest]:
    """At most `limit` manifests that are here and that an index lists."""
    rows = await db.all(
        """
        SELECT c.digest FROM repository r JOIN manifest m ON m.repository = r.id AND m.digest = ?
        JOIN manifest_reference e ON e.manifest = m.id AND e.kind = 'manifest'
        JOIN manifest c ON c.repository = r.id AND c.digest = e.target
        WHERE r.name = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = c.id) LIMIT ?
        """,
        (digest, repository, limit),
    )
    return [Digest(row[0]) for row in rows]
