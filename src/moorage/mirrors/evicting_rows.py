"""What a budget asks and changes: the table `mirrored_total`, and over all tables what can be evicted.

Times are in milliseconds since 1970-01-01 UTC.
"""

from collections.abc import Collection
from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs.rows import unlink
from moorage.registry.manifests.trash_rows import NOTHING_HAS_IT

_AT_ONCE = 200


class Image(NamedTuple):
    """What is evicted as one: a manifest that nothing here leads to but its tags.

    `used_at`: when it, a tag of it or a child was last pulled, or it was fetched.
    """

    manifest: int
    repository_id: int
    repository: RepositoryName
    digest: Digest
    used_at: int


class Place(NamedTuple):
    """Where an image stands among those of its upstream, the least recently used first."""

    used_at: int = -1
    manifest: int = 0


# No index, no subject that is served leads to it, nor does a signature's tag say that it is another's.
_IMAGES = f"""
    SELECT m.id, m.repository, r.name, m.digest, max(
        m.pushed_at,
        coalesce((SELECT last_at FROM pull WHERE repository = m.repository AND reference = m.digest), 0),
        coalesce((
            SELECT max(p.last_at) FROM tag t
            JOIN pull p ON p.repository = t.repository AND p.reference = t.name
            WHERE t.manifest = m.id
        ), 0),
        coalesce((
            SELECT max(p.last_at) FROM manifest_reference e
            JOIN pull p ON p.repository = e.repository AND p.reference = e.target
            WHERE e.manifest = m.id AND e.kind = 'manifest'
        ), 0)
    ) AS used_at
    FROM mirrored_repository o JOIN repository r ON r.id = o.repository AND r.deleted_at IS NULL
    JOIN manifest m ON m.repository = o.repository
    WHERE {{which}} AND {NOTHING_HAS_IT}
    AND NOT EXISTS (
        SELECT 1 FROM tag t JOIN manifest s ON s.repository = t.repository
            AND s.digest = 'sha256:' || substr(t.name, 8, 64) AND s.id <> m.id
        WHERE t.manifest = m.id AND t.name GLOB 'sha256-*'
        AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
    )
    AND NOT EXISTS (
        SELECT 1 FROM tag t JOIN tag_pin n ON n.repository = t.repository AND n.name = t.name
        WHERE t.manifest = m.id
    )
"""


async def list_images(db: Database, upstream: str, after: Place, before: int, limit: int) -> list[Image]:
    """At most `limit` images of an upstream that were last used before then, after a place, in order."""
    images = _IMAGES.format(which="o.upstream = ?")
    rows = await db.scan(
        f"SELECT * FROM ({images}) WHERE used_at < ? AND (used_at, id) > (?, ?) ORDER BY used_at, id LIMIT ?",
        (upstream, before, after.used_at, after.manifest, limit),
    )
    return [Image(*row) for row in rows]


def find_image(tx: Transaction, manifest: int) -> Image | None:
    """An image as it is now; None where it is none any more."""
    row = tx.one(_IMAGES.format(which="m.id = ?"), (manifest,))
    return None if row is None else Image(*row)


async def list_mirrored(db: Database, upstream: str) -> list[tuple[int, RepositoryName]]:
    """The repositories of an upstream that are here, with their ids, by name."""
    rows = await db.scan(
        "SELECT r.id, r.name FROM mirrored_repository m"
        " JOIN repository r ON r.id = m.repository AND r.deleted_at IS NULL WHERE m.upstream = ?"
        " ORDER BY r.name",
        (upstream,),
    )
    return [(row[0], RepositoryName(row[1])) for row in rows]


async def read_totals(db: Database) -> dict[str, int]:
    """The bytes that are kept of each upstream, each blob once, as they were counted."""
    return {row[0]: row[1] for row in await db.all("SELECT upstream, bytes FROM mirrored_total")}


def find_total(tx: Transaction, upstream: str) -> int:
    """The same of one."""
    row = tx.one("SELECT bytes FROM mirrored_total WHERE upstream = ?", (upstream,))
    return 0 if row is None else int(row[0])


_SUM = """
    SELECT coalesce(sum(size), 0) FROM blob WHERE digest IN (
        SELECT l.digest FROM mirrored_repository m JOIN repository_blob l ON l.repository = m.repository
        WHERE m.upstream = ?
    )
"""


async def measure_total(db: Database, upstream: str) -> int:
    """What the rows add up to, off the loop."""
    return int((await db.scan(_SUM, (upstream,)))[0][0])


def correct_total(tx: Transaction, upstream: str, difference: int) -> None:
    """Add what the count was found to be short of: what changes it meanwhile is kept."""
    tx.run("UPDATE mirrored_total SET bytes = bytes + ? WHERE upstream = ?", (difference, upstream))


def let_go(tx: Transaction, repository_id: int, deletion_id: int, lease_ms: int) -> None:
    """Let a repository serve no more what only evicted manifests of it need; the bytes go after a lease."""
    rows = tx.all(
        """
        DELETE FROM repository_blob WHERE repository = ? AND digest IN (
            SELECT e.target FROM trash t JOIN manifest_reference e ON e.manifest = t.manifest
            WHERE t.deletion = ?
        ) AND NOT EXISTS (
            SELECT 1 FROM manifest_reference o
            WHERE o.target = repository_blob.digest AND o.repository = repository_blob.repository
            AND NOT EXISTS (
                SELECT 1 FROM trash t JOIN deletion d ON d.id = t.deletion
                WHERE t.manifest = o.manifest AND d.reason = 'evicted'
            )
        ) RETURNING digest
        """,
        (repository_id, deletion_id),
    )
    for row in rows:
        _lease(tx, repository_id, row[0], lease_ms)


def release_loose(tx: Transaction, upstream: str, before: int, lease_ms: int) -> int:
    """Let go of at most a few blobs that no manifest needs and that came before then; how many."""
    rows = tx.all(
        """
        SELECT l.repository, l.digest FROM mirrored_repository m
        JOIN lease s ON s.repository = m.repository
        JOIN repository_blob l ON l.repository = s.repository AND l.digest = s.digest AND l.linked_at < ?
        WHERE m.upstream = ? AND NOT EXISTS (
            SELECT 1 FROM manifest_reference WHERE target = l.digest AND repository = l.repository
        ) LIMIT ?
        """,
        (before, upstream, _AT_ONCE),
    )
    for repository_id, digest in rows:
        unlink(tx, repository_id, Digest(digest))
        _lease(tx, repository_id, digest, lease_ms)
    return len(rows)


def _lease(tx: Transaction, repository_id: int, digest: str, lease_ms: int) -> None:
    """Keep a blob for so long, also where it was leased for longer."""
    tx.run(
        """
        INSERT INTO lease (repository, digest, until)
        SELECT ?, ?, max(?, clock) + ? FROM store_state WHERE id = 1
        ON CONFLICT (repository, digest) DO UPDATE SET until = excluded.until
        """,
        (repository_id, digest, now_ms(), lease_ms),
    )


def forget_checks(
    tx: Transaction, repository_id: int, digests: Collection[str], tags: Collection[str]
) -> None:
    """Forget when an upstream was asked about what is here no more, so that it is asked again."""
    for digest in digests:
        tx.run("DELETE FROM mirrored_subject WHERE repository = ? AND digest = ?", (repository_id, digest))
    for tag in tags:
        tx.run("DELETE FROM mirrored_tag WHERE repository = ? AND name = ?", (repository_id, tag))


def forget_pulls(tx: Transaction, before: int) -> None:
    """Forget when was last pulled what has left, if that was before then."""
    tx.run("DELETE FROM mirrored_pull WHERE last_at < ?", (before,))
