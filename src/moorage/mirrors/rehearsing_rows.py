"""What a rehearsal asks of all tables: what was pulled of upstreams, and for which platforms.

Times are in milliseconds since 1970-01-01 UTC.
"""

from typing import Final, NamedTuple

from moorage.database import Database
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName

CHILDREN_MAX: Final = 200
"""Children that tell for which platforms a repository is in use."""


class Pulled(NamedTuple):
    """A tag or a digest that was pulled, be it here still or not."""

    repository_id: int
    repository: RepositoryName
    reference: str
    pulled_at: int


async def list_pulled(db: Database, upstream: str, since: int) -> list[Pulled]:
    """What was pulled of an upstream since then, in order: by tags, and by the digests of whole images.

    A digest is left out where an index that is here has it, and where nobody has asked for it since the tag
    that named it names another.
    """
    rows = await db.scan(
        """
        SELECT r.id, r.name, p.reference, max(p.last_at) FROM mirrored_repository o
        JOIN repository r ON r.id = o.repository AND r.deleted_at IS NULL
        JOIN (
            SELECT repository, reference, last_at FROM pull
            UNION ALL SELECT repository, reference, last_at FROM mirrored_pull WHERE is_whole = 1
        ) p ON p.repository = r.id
        WHERE o.upstream = ? AND p.last_at >= ?
        AND (instr(p.reference, ':') = 0 OR (
            NOT EXISTS (
                SELECT 1 FROM manifest_reference e WHERE e.target = p.reference AND e.repository = r.id
                AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = e.manifest)
            ) AND NOT EXISTS (
                SELECT 1 FROM manifest m
                JOIN manifest s ON s.repository = m.repository AND s.digest = m.subject
                WHERE m.repository = r.id AND m.digest = p.reference
            ) AND NOT EXISTS (
                SELECT 1 FROM tag t JOIN manifest m ON m.id = t.manifest
                WHERE m.repository = r.id AND m.digest = p.reference
            ) AND NOT EXISTS (
                SELECT 1 FROM mirrored_digest d
                JOIN tag_event v ON v.repository = d.repository AND v.name = d.name
                WHERE d.repository = r.id AND d.digest = p.reference
                AND v.from_digest = p.reference AND v.at >= p.last_at
            )
        ))
        GROUP BY r.id, p.reference ORDER BY r.name, p.reference
        """,
        (upstream, since),
    )
    return [Pulled(row[0], RepositoryName(row[1]), row[2], row[3]) for row in rows]


async def list_pulled_children(db: Database, repository_id: int, since: int) -> list[tuple[Digest, bytes]]:
    """Children of indexes that were pulled since then, each with the bytes of an index that lists it."""
    rows = await db.scan(
        """
        SELECT e.target, m.payload FROM (
            SELECT reference, last_at FROM pull WHERE repository = ?
            UNION ALL SELECT reference, last_at FROM mirrored_pull WHERE repository = ?
        ) p
        JOIN manifest_reference e ON e.target = p.reference AND e.repository = ? AND e.kind = 'manifest'
        JOIN manifest m ON m.id = e.manifest
        WHERE p.last_at >= ? AND instr(p.reference, ':') > 0
        GROUP BY e.target ORDER BY max(p.last_at) DESC LIMIT ?
        """,
        (repository_id, repository_id, repository_id, since, CHILDREN_MAX),
    )
    return [(Digest(row[0]), row[1]) for row in rows]
