"""The table `untagged` and all its SQL. Triggers write it: see the migration that makes it."""

from typing import NamedTuple

from moorage.database import Database, Transaction


class Untied(NamedTuple):
    """A manifest that no tag points to, as far as is known; what else is known of it.

    `used_at`: when it was last pushed, or it or a child of it pulled by digest, in milliseconds since
    1970-01-01 UTC.
    """

    manifest: int
    repository_id: int
    repository: str
    is_tagged: bool
    is_in_trash: bool
    is_needed: bool
    used_at: int


async def has_due(db: Database, before: int) -> bool:
    """Whether there is one that was untagged before then."""
    return await db.one("SELECT 1 FROM untagged WHERE since < ? LIMIT 1", (before,)) is not None


def list_due(tx: Transaction, before: int, limit: int) -> list[int]:
    """At most `limit` manifests that were untagged before then, the longest first."""
    rows = tx.all("SELECT manifest FROM untagged WHERE since < ? ORDER BY since LIMIT ?", (before, limit))
    return [int(row[0]) for row in rows]


def look(tx: Transaction, manifest: int) -> Untied | None:
    """A manifest of a repository that is there; None when it is gone, or its repository."""
    row = tx.one(
        """
        SELECT m.id, r.id, r.name,
            EXISTS (SELECT 1 FROM tag WHERE manifest = m.id),
            EXISTS (SELECT 1 FROM trash WHERE manifest = m.id),
            EXISTS (
                SELECT 1 FROM manifest_reference p WHERE p.target = m.digest AND p.repository = m.repository
                AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = p.manifest)
            ) OR EXISTS (
                SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject
                AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
            ) OR EXISTS (
                SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.sha512 = m.subject
                AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = s.id)
            ),
            max(m.pushed_at, coalesce(
                (SELECT last_at FROM pull WHERE repository = m.repository AND reference = m.digest), 0
            ), coalesce((
                SELECT max(p.last_at) FROM manifest_reference e
                JOIN pull p ON p.repository = e.repository AND p.reference = e.target
                WHERE e.manifest = m.id AND e.kind = 'manifest'
            ), 0))
        FROM manifest m JOIN repository r ON r.id = m.repository AND r.deleted_at IS NULL WHERE m.id = ?
        """,
        (manifest,),
    )
    if row is None:
        return None
    row_id, repository_id, name, is_tagged, is_in_trash, is_needed, used_at = row
    return Untied(row_id, repository_id, name, bool(is_tagged), bool(is_in_trash), bool(is_needed), used_at)


def forget(tx: Transaction, manifest: int) -> None:
    """Look at a manifest no more, until it is untied anew."""
    tx.run("DELETE FROM untagged WHERE manifest = ?", (manifest,))


def put_off(tx: Transaction, manifest: int, since: int) -> None:
    """Take a manifest to be untagged since then."""
    tx.run("UPDATE untagged SET since = ? WHERE manifest = ?", (since, manifest))
