"""The table `scrub`, the questions that reading everything asks, and all their SQL."""

from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Digest


class Round(NamedTuple):
    """How far the reading of everything has come. Times are in milliseconds since 1970-01-01 UTC.

    `finished_at` is of this round, or while it is under way of the one before; `is_urgent`: someone waits
    for it, so it is read as fast as the disk can.
    """

    started_at: int | None
    finished_at: int | None
    blob_after: str
    manifest_after: int
    blobs: int
    bytes: int
    manifests: int
    damaged: int
    is_urgent: bool

    @property
    def is_under_way(self) -> bool:
        """Whether it has been begun and not ended."""
        return self.started_at is not None and (self.finished_at or -1) < self.started_at

    def is_due(self, period_ms: int) -> bool:
        """Whether there is something to read now: the rest of a round, or the next one."""
        # a time that is still to come was written by a clock that went wrong
        now = now_ms()
        return self.is_under_way or self.finished_at is None or not 0 <= now - self.finished_at < period_ms


async def read_round(db: Database) -> Round:
    """The round that is under way, else the last."""
    row = await db.one(
        "SELECT started_at, finished_at, blob_after, manifest_after, blobs, bytes, manifests, damaged,"
        " is_urgent FROM scrub WHERE id = 1"
    )
    assert row is not None  # noqa: S101 - the migration put it there
    return Round(*row)


def begin_round(tx: Transaction, *, is_urgent: bool = False) -> None:
    """Begin again, from the first blob. Who reads on in the round before notices."""
    tx.run(
        "UPDATE scrub SET started_at = max(?, coalesce(started_at, 0) + 1, coalesce(finished_at, 0) + 1),"
        " blob_after = '', manifest_after = 0, blobs = 0, bytes = 0, manifests = 0, damaged = 0,"
        " is_urgent = ? WHERE id = 1",
        (now_ms(), int(is_urgent)),
    )


def save_round(tx: Transaction, round_: Round) -> bool:
    """Keep how far a round has come; False when another was begun meanwhile."""
    changed = tx.run(
        "UPDATE scrub SET finished_at = ?, blob_after = ?, manifest_after = ?, blobs = ?, bytes = ?,"
        " manifests = ?, damaged = ? WHERE id = 1 AND started_at = ?",
        (*round_[1:8], round_.started_at),
    )
    return bool(changed)


class ManifestRow(NamedTuple):
    """A manifest as it is stored. `is_mirrored`: another registry has it, and what it points at."""

    row_id: int
    repository: str
    digest: Digest
    media_type: str
    payload: bytes
    is_mirrored: int


_MANIFEST = """
    SELECT m.id, r.name, m.digest, m.media_type, m.payload, o.repository IS NOT NULL FROM manifest m
    JOIN repository r ON r.id = m.repository
    LEFT JOIN mirrored_repository o ON o.repository = m.repository
"""


async def list_manifests(db: Database, after: int, limit: int) -> list[ManifestRow]:
    """At most `limit` manifests of all repositories, by id."""
    found = await db.all(f"{_MANIFEST} WHERE m.id > ? ORDER BY m.id LIMIT ?", (after, limit))
    return [ManifestRow(*row) for row in found]


async def count_manifests(db: Database) -> int:
    """How many there are."""
    row = await db.one("SELECT count(*) FROM manifest")
    return 0 if row is None else int(row[0])


async def find_manifest(db: Database, repository: str, digest: str) -> ManifestRow | None:
    """A manifest of a repository, by either of its digests."""
    row = await db.one(
        f"{_MANIFEST} WHERE r.name = ? AND (m.digest = ? OR m.sha512 = ?)", (repository, digest, digest)
    )
    return None if row is None else ManifestRow(*row)


async def list_tagged(db: Database, repository: str, tag: str | None) -> list[tuple[str, Digest]]:
    """Tags of a repository and what they point to: all, or the one of this name."""
    found = await db.all(
        """
        SELECT t.name, m.digest FROM repository r JOIN tag t ON t.repository = r.id
        JOIN manifest m ON m.id = t.manifest
        WHERE r.name = ? AND (? IS NULL OR t.name = ?) ORDER BY t.name
        """,
        (repository, tag, tag),
    )
    return [(row[0], Digest(row[1])) for row in found]


class Target(NamedTuple):
    """What a manifest points at. `state` is the blob's, None when the repository holds no such blob."""

    digest: Digest
    kind: str
    is_manifest: bool
    state: str | None
    size: int
    generation: int


async def list_targets(db: Database, manifest_id: int) -> list[Target]:
    """All that a manifest points at, as its repository holds it."""
    found = await db.all(
        """
        SELECT e.target, e.kind, c.id IS NOT NULL, b.state, coalesce(b.size, 0), coalesce(b.generation, 0)
        FROM manifest m JOIN manifest_reference e ON e.manifest = m.id
        LEFT JOIN manifest c ON c.repository = m.repository AND c.digest = e.target
        LEFT JOIN repository_blob l ON l.repository = m.repository AND l.digest = e.target
        LEFT JOIN blob b ON b.digest = l.digest
        WHERE m.id = ? ORDER BY e.kind, e.target
        """,
        (manifest_id,),
    )
    return [Target(Digest(row[0]), row[1], bool(row[2]), *row[3:]) for row in found]


async def list_referrers(
    db: Database, repository: str, digest: Digest, limit: int
) -> list[tuple[Digest, str]]:
    """At most `limit` manifests whose subject is this one, with the type of artifact each is."""
    found = await db.all(
        """
        SELECT m.digest, coalesce(m.artifact_type, m.media_type) FROM repository r
        JOIN manifest s ON s.repository = r.id AND s.digest = ?
        JOIN manifest m ON m.repository = r.id AND m.subject IN (s.digest, s.sha512)
        WHERE r.name = ? ORDER BY m.id LIMIT ?
        """,
        (digest, repository, limit),
    )
    return [(Digest(row[0]), row[1]) for row in found]
