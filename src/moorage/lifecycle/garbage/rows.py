"""What the collector asks and changes: leases that are over, blobs out of service, pauses, the clock."""

from collections.abc import Iterable
from typing import NamedTuple

from moorage.database import Database, Transaction
from moorage.oci.digest import Digest
from moorage.registry.blobs.rows import Blob, add_to_total, blob_of, unlink


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
        if tx.one(
            "SELECT 1 FROM manifest_reference WHERE target = ? AND repository = ?", (digest, repository_id)
        ):
            continue
        unlink(tx, repository_id, digest)
        loose.append(Digest(digest))
    return len(ended), loose


def mark_garbage(tx: Transaction, digests: Iterable[Digest]) -> int:
    """Take out of service those blobs that no repository links and no manifest refers to; how many.

    The proof stands in the transaction that acts on it: links, which leases keep, and references.
    """
    marked = 0
    for digest in dict.fromkeys(digests):
        row = tx.one(
            """
            SELECT size, state FROM blob WHERE digest = ? AND state <> 'deleting'
            AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = blob.digest)
            AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = blob.digest)
            """,
            (digest,),
        )
        if row is None:
            continue
        tx.run("UPDATE blob SET state = 'deleting' WHERE digest = ?", (digest,))
        if row[1] == "live":
            add_to_total(tx, -1, -row[0])
        marked += 1
    return marked


async def list_garbage(db: Database, limit: int) -> list[Blob]:
    """At most `limit` blobs that are out of service and whose files are to go."""
    rows = await db.all(
        "SELECT digest, sha512, size, generation FROM blob WHERE state = 'deleting' ORDER BY digest LIMIT ?",
        (limit,),
    )
    return [blob_of(row) for row in rows]


def forget_garbage(tx: Transaction, blobs: Iterable[Blob]) -> list[Blob]:
    """Forget blobs whose files of this generation are gone, unless they were pushed anew; which were."""
    forgotten = []
    for blob in blobs:
        changed = tx.run(
            "DELETE FROM blob WHERE digest = ? AND generation = ? AND state = 'deleting'",
            (blob.digest, blob.generation),
        )
        if changed:
            forgotten.append(blob)
            tx.run(
                "UPDATE blob_total SET retired_generation = max(retired_generation, ?) WHERE id = 1",
                (blob.generation,),
            )
    return forgotten


def find_obstacle(tx: Transaction, now_ms: int) -> str | None:
    """Why nothing may be collected now; None when it may."""
    row = tx.one("SELECT mistrusted FROM store_state WHERE id = 1")
    if row is not None and row[0] is not None:
        return str(row[0])
    pause = tx.one("SELECT holder FROM garbage_pause WHERE until > ? LIMIT 1", (now_ms,))
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


def read_clock(tx: Transaction) -> Reading:
    """The last reading that was kept."""
    row = tx.one("SELECT clock, uptime, boot, ahead, ahead_since FROM store_state WHERE id = 1")
    assert row is not None  # noqa: S101 - the migration put it there
    return Reading(*row)


def keep_clock(tx: Transaction, reading: Reading) -> None:
    """Keep a reading."""
    tx.run(
        "UPDATE store_state SET clock = ?, uptime = ?, boot = ?, ahead = ?, ahead_since = ? WHERE id = 1",
        reading,
    )
