"""What the collector asks and changes: leases that are over, blobs out of service, pauses, the clock."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs.rows import Blob, blob_of
from moorage.registry.blobs.total_rows import take_from_total

_ASKED_AT_ONCE = 200


def end_leases(tx: Transaction, before_ms: int, limit: int) -> tuple[int, list[Digest]]:
    """Settle at most `limit` leases that were over then: how many, and the blobs that lost a link by it.

    A blob that a manifest of the repository refers to stays linked, be the manifest in the trash.
    """
    ended = tx.all(
        "DELETE FROM lease WHERE (repository, digest) IN"
        " (SELECT repository, digest FROM lease WHERE until <= ? ORDER BY until LIMIT ?)"
        " RETURNING repository, digest",
        (before_ms, limit),
    )
    loose = []
    for repository_id, digest in ended:
        of_repository = (digest, repository_id)
        unlinked = tx.run(
            "DELETE FROM repository_blob WHERE digest = ? AND repository = ?"
            " AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = ? AND repository = ?)",
            (*of_repository, *of_repository),
        )
        # one without a link was deleted by itself
        if unlinked or not tx.one(
            "SELECT 1 FROM manifest_reference WHERE target = ? AND repository = ?", of_repository
        ):
            loose.append(Digest(digest))
    return len(ended), loose


def mark_garbage(tx: Transaction, digests: Iterable[Digest]) -> int:
    """Take out of service those blobs that no repository links and no manifest refers to; how many.

    The proof stands in the transaction that acts on it: links, which leases keep, and references.
    """
    asked = list(dict.fromkeys(digests))
    marked = 0
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        some = asked[start : start + _ASKED_AT_ONCE]
        found = tx.all(
            f"""
            SELECT digest, size, state FROM blob WHERE digest IN ({_marks(some)}) AND state <> 'deleting'
            AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = blob.digest)
            AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = blob.digest)
            """,
            some,
        )
        if not found:
            continue
        garbage = [row[0] for row in found]
        tx.run(f"UPDATE blob SET state = 'deleting' WHERE digest IN ({_marks(garbage)})", garbage)
        take_from_total(tx, [row[1] for row in found if row[2] == "live"])
        marked += len(garbage)
    return marked


# in the words of the index `blob_not_live`: SQLite takes it for nothing less, else it looks through all blobs
_GARBAGE = "state = 'deleting' AND state <> 'live'"


async def list_garbage(db: Database, limit: int) -> list[Blob]:
    """At most `limit` blobs that are out of service and whose files are to go."""
    rows = await db.all(
        f"SELECT digest, sha512, size, generation FROM blob WHERE {_GARBAGE} ORDER BY digest LIMIT ?",
        (limit,),
    )
    return [blob_of(row) for row in rows]


def forget_garbage(tx: Transaction, blobs: Iterable[Blob]) -> list[Blob]:
    """Forget blobs whose files of this generation are gone, unless they were pushed anew; which were."""
    forgotten = [
        blob
        for blob in blobs
        if tx.run(
            "DELETE FROM blob WHERE digest = ? AND generation = ? AND state = 'deleting'",
            (blob.digest, blob.generation),
        )
    ]
    if forgotten:
        tx.run(
            "UPDATE blob_total SET retired_generation = max(retired_generation, ?) WHERE id = 1",
            (max(blob.generation for blob in forgotten),),
        )
    return forgotten


def find_obstacle(tx: Transaction) -> str | None:
    """Why nothing may be collected now; None when it may."""
    row = tx.one("SELECT mistrusted FROM store_state WHERE id = 1")
    if row is not None and row[0] is not None:
        return str(row[0])
    pause = tx.one("SELECT holder FROM garbage_pause WHERE until > ? LIMIT 1", (now_ms(),))
    return None if pause is None else f"{pause[0]} is under way"


class Reading(NamedTuple):
    """What the clocks said, in milliseconds: the trusted time, since the machine came up, and in which boot.

    `ahead_ms`: how far the machine's clock leapt ahead of that, and at which uptime.
    """

    clock_ms: int
    uptime_ms: int
    boot: str
    ahead_ms: int
    ahead_since_ms: int


_CLOCK = "SELECT clock, uptime, boot, ahead, ahead_since FROM store_state WHERE id = 1"


async def find_clock(db: Database) -> Reading:
    """The last reading that was kept, outside a transaction."""
    row = await db.one(_CLOCK)
    assert row is not None  # noqa: S101 - the migration put it there
    return Reading(*row)


def read_clock(tx: Transaction) -> Reading:
    """The last reading that was kept."""
    row = tx.one(_CLOCK)
    assert row is not None  # noqa: S101 - the migration put it there
    return Reading(*row)


def keep_clock(tx: Transaction, reading: Reading) -> None:
    """Keep a reading."""
    tx.run(
        "UPDATE store_state SET clock = ?, uptime = ?, boot = ?, ahead = ?, ahead_since = ? WHERE id = 1",
        reading,
    )


class Totals(NamedTuple):
    """Live blobs, their bytes, and as whole blocks; the same bytes of what is garbage."""

    blobs: int
    bytes: int
    disk_bytes: int
    garbage_bytes: int
    garbage_disk_bytes: int


async def read_totals(db: Database) -> Totals:
    """What is counted as it changes, and the garbage there is at the moment."""
    row = await db.one("SELECT blobs, bytes, disk_bytes FROM blob_total WHERE id = 1")
    garbage = await db.scan(
        "SELECT coalesce(sum(size), 0), coalesce(sum((size + 4095) / 4096 * 4096), 0) FROM blob"
        f" WHERE {_GARBAGE}"
    )
    assert row is not None  # noqa: S101 - the migration put it there
    return Totals(*row, *garbage[0])


# What a served manifest refers to, or a lease of a repository that is there keeps. The newest first, as in
# `registry/trash/rows.py`.
_NEEDED = """
    (
        SELECT o.manifest FROM manifest_reference o
        JOIN repository r ON r.id = o.repository AND r.deleted_at IS NULL
        WHERE o.target = b.digest AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = o.manifest)
        ORDER BY o.repository DESC, o.manifest DESC LIMIT 1
    ) IS NOT NULL OR EXISTS (
        SELECT 1 FROM repository_blob l JOIN repository r ON r.id = l.repository AND r.deleted_at IS NULL
        JOIN lease s ON s.repository = l.repository AND s.digest = l.digest
        WHERE l.digest = b.digest
        AND NOT EXISTS (
            SELECT 1 FROM manifest_reference WHERE target = l.digest AND repository = l.repository
        )
    )
"""


async def measure_trash(db: Database) -> int:
    """The bytes that only what is in the trash needs."""
    found = await db.scan(
        f"""
        SELECT coalesce(sum(b.size), 0) FROM blob b WHERE b.state = 'live' AND b.digest IN (
            SELECT e.target FROM trash t JOIN manifest_reference e ON e.manifest = t.manifest
            UNION SELECT l.digest FROM repository r JOIN repository_blob l ON l.repository = r.id
            WHERE r.deleted_at IS NOT NULL
        ) AND NOT ({_NEEDED})
        """
    )
    return int(found[0][0])


async def measure_waiting(db: Database) -> int:
    """The bytes that nothing refers to and a lease keeps."""
    found = await db.scan(
        """
        SELECT coalesce(sum(b.size), 0) FROM blob b WHERE b.state = 'live'
        AND b.digest IN (SELECT digest FROM lease)
        AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = b.digest)
        """
    )
    return int(found[0][0])


async def measure_shared(db: Database) -> int:
    """What more it would be if each manifest had copies of its own of what it refers to."""
    found = await db.scan(
        """
        SELECT coalesce(sum(b.size * (e.users - 1)), 0)
        FROM (SELECT target, count(*) AS users FROM manifest_reference GROUP BY target) e
        JOIN blob b ON b.digest = e.target AND b.state = 'live' WHERE e.users > 1
        """
    )
    return int(found[0][0])


async def read_obstacle(db: Database) -> str | None:
    """Why nothing may be collected now."""
    row = await db.one(
        "SELECT s.mistrusted, (SELECT holder FROM garbage_pause WHERE until > ? LIMIT 1) FROM store_state s",
        (now_ms(),),
    )
    assert row is not None  # noqa: S101 - the migration put it there
    return row[0] or (f"{row[1]} is under way" if row[1] else None)


# of a deleted repository
_ONLY_THERE = f"""
    SELECT coalesce(sum(b.size), 0) FROM repository_blob l
    JOIN blob b ON b.digest = l.digest AND b.state = 'live'
    WHERE l.repository = r.id AND NOT ({_NEEDED})
"""


async def measure_deleted(db: Database, repository_id: int) -> int:
    """The bytes that go from the disk with a deleted repository."""
    found = await db.scan(f"SELECT ({_ONLY_THERE}) FROM repository r WHERE r.id = ?", (repository_id,))
    return int(found[0][0]) if found else 0


async def list_due_trash(
    db: Database, limit: int
) -> list[tuple[int, str, RepositoryName, Digest | None, int, int]]:
    """Deletions and deleted repositories by when their time is over: (at, kind, name, digest, bytes, id)."""
    rows = await db.scan(
        f"""
        SELECT d.purge_at, 'deletion', r.name, d.digest, (
            SELECT coalesce(sum(b.size), 0) FROM blob b WHERE b.state = 'live' AND b.digest IN (
                SELECT e.target FROM trash t JOIN manifest_reference e ON e.manifest = t.manifest
                WHERE t.deletion = d.id
            ) AND NOT ({_NEEDED})
        ), d.id
        FROM deletion d JOIN repository r ON r.id = d.repository AND r.deleted_at IS NULL
        ORDER BY d.purge_at LIMIT ?
        """,
        (limit,),
    )
    rows += await db.scan(
        f"""
        SELECT r.purge_at, 'repository', r.deleted_name, NULL, ({_ONLY_THERE}), r.id
        FROM repository r WHERE r.purge_at IS NOT NULL ORDER BY r.purge_at LIMIT ?
        """,
        (limit,),
    )
    return [(row[0], row[1], RepositoryName(row[2]), row[3], row[4], row[5]) for row in rows]


async def list_waiting(db: Database, limit: int) -> list[tuple[int, RepositoryName, Digest, int]]:
    """Blobs that nothing refers to, by when their leases are over: (at, repository, digest, bytes)."""
    rows = await db.scan(
        """
        SELECT l.until, coalesce(r.deleted_name, r.name), b.digest, b.size FROM lease l
        JOIN repository r ON r.id = l.repository
        JOIN blob b ON b.digest = l.digest AND b.state = 'live'
        WHERE NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = l.digest)
        ORDER BY l.until LIMIT ?
        """,
        (limit,),
    )
    return [(row[0], RepositoryName(row[1]), Digest(row[2]), row[3]) for row in rows]


async def is_due(db: Database) -> bool:
    """Whether a run would find anything to do, by the machine's clock."""
    now = now_ms()
    row = await db.one(
        f"""
        SELECT EXISTS (SELECT 1 FROM lease WHERE until <= ?)
        OR EXISTS (SELECT 1 FROM deletion WHERE purge_at <= ?)
        OR EXISTS (SELECT 1 FROM repository WHERE purge_at <= ?)
        OR EXISTS (SELECT 1 FROM blob WHERE {_GARBAGE})
        """,
        (now, now, now),
    )
    return bool(row and row[0])


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
