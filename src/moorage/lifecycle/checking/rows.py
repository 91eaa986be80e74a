"""Questions over all tables at once, which change none: what has lost its other half."""

from typing import NamedTuple

from moorage.database import Database
from moorage.oci.digest import Digest


class BlobRow(NamedTuple):
    """A blob's row, whatever its state."""

    digest: Digest
    size: int
    generation: int
    state: str


async def list_blob_rows(db: Database, after: str, before: str, limit: int) -> list[BlobRow]:
    """At most `limit` blobs between two digests, in order."""
    found = await db.all(
        "SELECT digest, size, generation, state FROM blob WHERE digest > ? AND digest < ?"
        " ORDER BY digest LIMIT ?",
        (after, before, limit),
    )
    return [BlobRow(*row) for row in found]


async def find_blob_row(db: Database, digest: str) -> BlobRow | None:
    """The row of a blob, whatever its state."""
    row = await db.one("SELECT digest, size, generation, state FROM blob WHERE digest = ?", (digest,))
    return None if row is None else BlobRow(*row)


async def list_uploads(db: Database, after: str, limit: int) -> list[tuple[str, int]]:
    """At most `limit` uploads by id, and how many bytes count of each."""
    found = await db.all("SELECT id, received FROM upload WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [(row[0], row[1]) for row in found]


async def find_received(db: Database, upload_id: str) -> int | None:
    """How many bytes count of an upload; None when it has ended."""
    row = await db.one("SELECT received FROM upload WHERE id = ?", (upload_id,))
    return None if row is None else int(row[0])


async def last_manifest(db: Database) -> int:
    """The greatest id of a manifest that is named anywhere."""
    row = await db.one(
        "SELECT max(coalesce((SELECT max(id) FROM manifest), 0),"
        " coalesce((SELECT max(manifest) FROM tag), 0),"
        " coalesce((SELECT max(manifest) FROM manifest_reference), 0))"
    )
    return 0 if row is None else int(row[0])


_TAGS = """
    SELECT t.name FROM tag t LEFT JOIN manifest m ON m.id = t.manifest AND m.repository = t.repository
    WHERE t.manifest > ? AND t.manifest <= ? AND m.id IS NULL
"""
_EDGES = """
    SELECT e.target FROM manifest_reference e
    LEFT JOIN manifest m ON m.id = e.manifest AND m.repository = e.repository
    WHERE e.manifest > ? AND e.manifest <= ? AND m.id IS NULL
"""
# a mirror's images are here before what they need, which is fetched when someone asks for it
_LACKING = """
    SELECT r.name || '@' || m.digest || ' ' || e.target FROM manifest m
    JOIN repository r ON r.id = m.repository
    JOIN manifest_reference e ON e.manifest = m.id
    LEFT JOIN repository_blob l ON l.repository = m.repository AND l.digest = e.target
    LEFT JOIN manifest c ON c.repository = m.repository AND c.digest = e.target
    WHERE m.id > ? AND m.id <= ? AND l.digest IS NULL AND c.id IS NULL
    AND NOT EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = m.repository)
"""
_BY_MANIFEST = (
    ("tag_without_manifest", _TAGS),
    ("edge_without_manifest", _EDGES),
    ("image_lacks", _LACKING),
)


async def find_broken(db: Database, after: int, until: int) -> list[tuple[str, str]]:
    """Kind and target of what lacks its other half, of the manifests of these ids."""
    return [(kind, str(row[0])) for kind, sql in _BY_MANIFEST for row in await db.all(sql, (after, until))]


async def count_manifests(db: Database, after: int, until: int) -> int:
    """How many manifests have these ids."""
    row = await db.one("SELECT count(*) FROM manifest WHERE id > ? AND id <= ?", (after, until))
    return 0 if row is None else int(row[0])


async def list_lost_links(db: Database, limit: int) -> list[str]:
    """Blobs on their way out that a repository serves."""
    found = await db.all(
        # `state <> 'live'` as in the index, and from the few to the many
        "SELECT r.name || '@' || b.digest FROM blob b CROSS JOIN repository_blob l ON l.digest = b.digest"
        " JOIN repository r ON r.id = l.repository WHERE b.state = 'deleting' AND b.state <> 'live' LIMIT ?",
        (limit,),
    )
    return [str(row[0]) for row in found]


async def list_damaged(db: Database, after: str, limit: int) -> list[Digest]:
    """At most `limit` blobs that were withdrawn and not pushed again, in the order of their digests."""
    found = await db.all(
        "SELECT digest FROM blob WHERE state = 'damaged' AND state <> 'live' AND digest > ?"
        " ORDER BY digest LIMIT ?",
        (after, limit),
    )
    return [Digest(row[0]) for row in found]


async def list_damaged_needed(db: Database, after: str, limit: int) -> list[BlobRow]:
    """At most `limit` of them that a manifest refers to, also one in the trash, in order."""
    found = await db.all(
        "SELECT digest, size, generation, state FROM blob WHERE state = 'damaged' AND state <> 'live'"
        " AND digest > ? AND EXISTS (SELECT 1 FROM manifest_reference WHERE target = blob.digest)"
        " ORDER BY digest LIMIT ?",
        (after, limit),
    )
    return [BlobRow(*row) for row in found]


async def count_damaged(db: Database) -> int:
    """How many they are."""
    row = await db.one("SELECT count(*) FROM blob WHERE state = 'damaged' AND state <> 'live'")
    return 0 if row is None else int(row[0])


async def list_images_of(db: Database, target: Digest, limit: int) -> list[str]:
    """At most `limit` tags, as `team/app:1.0`, whose images need a blob or a manifest, by whatever way."""
    found = await db.all(
        """
        WITH RECURSIVE needing (repository, id, digest) AS (
            SELECT m.repository, m.id, m.digest FROM manifest_reference e JOIN manifest m ON m.id = e.manifest
            WHERE e.target = ?
            UNION
            SELECT m.repository, m.id, m.digest FROM needing n
            JOIN manifest_reference e ON e.target = n.digest AND e.repository = n.repository
            JOIN manifest m ON m.id = e.manifest
            LIMIT 1000
        )
        SELECT DISTINCT r.name || ':' || t.name FROM needing n
        JOIN tag t ON t.manifest = n.id
        JOIN repository r ON r.id = t.repository AND r.deleted_at IS NULL ORDER BY 1 LIMIT ?
        """,
        (target, limit),
    )
    return [str(row[0]) for row in found]


class Totals(NamedTuple):
    """By how much each sum of `blob_total` is less than what the rows add up to."""

    blobs: int
    bytes: int
    disk_bytes: int


async def compare_totals(db: Database) -> Totals:
    """The rows against `blob_total`, in one look. It takes a second for each few million rows."""
    row = await db.one(
        """
        SELECT live.blobs - t.blobs, live.bytes - t.bytes, live.disk - t.disk_bytes FROM blob_total t,
            (SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes,
                coalesce(sum((size + 4095) / 4096 * 4096), 0) AS disk FROM blob WHERE state = 'live') AS live
        WHERE t.id = 1
        """
    )
    assert row is not None  # noqa: S101 - the migration put it there
    return Totals(*row)
