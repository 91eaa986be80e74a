"""The tables `blob`, `repository_blob` and `lease`; see also `total_rows.py` and `lifecycle.garbage.rows`."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.oci.digest import SHA256, SHA512, Digest, algorithm_of
from moorage.oci.names import RepositoryName
from moorage.registry.blobs.total_rows import add_to_total

LEASE_MS = 24 * 3600 * 1000
LEASE_RENEWED_AFTER_MS = 3600 * 1000

_ASKED_AT_ONCE = 500

Arrival = Literal["uploaded", "mounted"]


class Blob(msgspec.Struct, frozen=True, gc=False):
    """A live blob. `digest` is its sha256; `sha512` is None until it has been computed."""

    digest: Digest
    sha512: Digest | None
    size: int
    generation: int

    def named_like(self, asked: Digest) -> Digest:
        """The blob's digest in the algorithm it was asked for by."""
        return self.sha512 if algorithm_of(asked) == SHA512 and self.sha512 else self.digest


# The repository's link first, and by a LEFT JOIN only then the blob: a planner that looked for the blob first
# would take longer for one that is elsewhere than for one that is nowhere, and so tell which it is.
_LIVE_BY_SHA256 = """
    SELECT b.digest, b.sha512, b.size, b.generation FROM repository r
    JOIN repository_blob l ON l.repository = r.id AND l.digest = ?
    LEFT JOIN blob b ON b.digest = l.digest AND b.state = 'live'
    WHERE r.name = ?
"""
_LIVE_BY_SHA512 = """
    SELECT b.digest, b.sha512, b.size, b.generation FROM repository r
    JOIN repository_blob l ON l.repository = r.id
        AND l.digest = coalesce((SELECT digest FROM blob WHERE sha512 = ?), '')
    LEFT JOIN blob b ON b.digest = l.digest AND b.state = 'live'
    WHERE r.name = ?
"""


def _live(row: Row | None) -> Blob | None:
    """None also for a link to a blob that is not live."""
    return None if row is None or row[0] is None else blob_of(row)


def blob_of(row: Row) -> Blob:
    """The blob in a row of (digest, sha512, size, generation)."""
    return Blob(Digest(row[0]), Digest(row[1]) if row[1] else None, row[2], row[3])


async def find_blob(db: Database, repository: RepositoryName, digest: Digest) -> Blob | None:
    """A live blob of this repository by either of its digests."""
    sql = _LIVE_BY_SHA512 if algorithm_of(digest) == SHA512 else _LIVE_BY_SHA256
    return _live(await db.one(sql, (digest, repository)))


def find_blob_in(tx: Transaction, repository: RepositoryName, digest: Digest) -> Blob | None:
    """The same inside a transaction."""
    sql = _LIVE_BY_SHA512 if algorithm_of(digest) == SHA512 else _LIVE_BY_SHA256
    return _live(tx.one(sql, (digest, repository)))


async def find_holders(db: Database, digest: Digest, limit: int) -> list[RepositoryName]:
    """At most `limit` repositories that hold a live blob of this digest, the first to hold it first."""
    column = "sha512" if algorithm_of(digest) == SHA512 else "digest"
    rows = await db.all(
        f"""
        SELECT r.name FROM blob b
        JOIN repository_blob l ON l.digest = b.digest
        JOIN repository r ON r.id = l.repository AND r.deleted_at IS NULL
        WHERE b.{column} = ? AND b.state = 'live' ORDER BY l.repository LIMIT ?
        """,
        (digest, limit),
    )
    return [RepositoryName(row[0]) for row in rows]


async def is_lease_due(
    db: Database, repository: RepositoryName, digest: Digest, lease_ms: int = LEASE_MS
) -> bool:
    """Whether nothing but an old lease, or no lease, keeps an unreferenced blob of this repository."""
    row = await db.one(
        """
        SELECT 1 FROM repository r WHERE r.name = ?
        AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE repository = r.id AND target = ?)
        AND NOT EXISTS (SELECT 1 FROM lease WHERE repository = r.id AND digest = ? AND until > ?)
        """,
        (repository, digest, digest, now_ms() + lease_ms - min(LEASE_RENEWED_AFTER_MS, lease_ms // 2)),
    )
    return row is not None


def lease(tx: Transaction, repository_id: int, digest: Digest, lease_ms: int = LEASE_MS) -> None:
    """Protect a blob of this repository for so long from now; a lease that lasts longer stays.

    Now is no earlier than garbage was last collected: a clock set back for a moment shortens nothing.
    """
    tx.run(
        """
        INSERT INTO lease (repository, digest, until)
        SELECT ?, ?, max(?, clock) + ? FROM store_state WHERE id = 1
        ON CONFLICT (repository, digest) DO UPDATE SET until = max(until, excluded.until)
        """,
        (repository_id, digest, now_ms(), lease_ms),
    )


def link(
    tx: Transaction, repository_id: int, digest: Digest, arrival: Arrival, lease_ms: int = LEASE_MS
) -> None:
    """Let a repository serve a blob, and lease it. A link that exists learns how bytes came again."""
    tx.run(
        """
        INSERT INTO repository_blob (repository, digest, origin, arrival, linked_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (repository, digest) DO UPDATE SET arrival = excluded.arrival
        """,
        (repository_id, digest, arrival, arrival, now_ms()),
    )
    lease(tx, repository_id, digest, lease_ms)


def unlink(tx: Transaction, repository_id: int, digest: Digest) -> None:
    """Stop a repository from serving a blob. The bytes stay: a lease's end asks what becomes of them."""
    tx.run("DELETE FROM repository_blob WHERE repository = ? AND digest = ?", (repository_id, digest))


def find_user(tx: Transaction, repository_id: int, digest: Digest) -> Digest | None:
    """A served manifest of this repository that refers to a blob, or to another manifest."""
    row = tx.one(
        """
        SELECT p.digest FROM manifest_reference e JOIN manifest p ON p.id = e.manifest
        WHERE e.target = ? AND e.repository = ? AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = p.id)
        LIMIT 1
        """,
        (digest, repository_id),
    )
    return None if row is None else Digest(row[0])


def unlink_some_in(tx: Transaction, repository_id: int, limit: int) -> list[Digest]:
    """Stop a repository from serving at most `limit` blobs, and forget their leases; which they were."""
    rows = tx.all(
        "DELETE FROM repository_blob WHERE (repository, digest) IN"
        " (SELECT repository, digest FROM repository_blob WHERE repository = ? LIMIT ?) RETURNING digest",
        (repository_id, limit),
    )
    digests = [Digest(row[0]) for row in rows]
    for digest in digests:
        tx.run("DELETE FROM lease WHERE repository = ? AND digest = ?", (repository_id, digest))
    return digests


def forget_leases_in(tx: Transaction, repository_id: int, limit: int) -> list[Digest]:
    """Remove at most `limit` leases of a repository that links nothing any more; of which blobs they were."""
    rows = tx.all(
        "DELETE FROM lease WHERE (repository, digest) IN"
        " (SELECT repository, digest FROM lease WHERE repository = ? LIMIT ?) RETURNING digest",
        (repository_id, limit),
    )
    return [Digest(row[0]) for row in rows]


def list_unlinked(tx: Transaction, manifest_id: int) -> list[Digest]:
    """What a manifest points at and its repository does not link: it was deleted alone."""
    rows = tx.all(
        """
        SELECT e.target FROM manifest_reference e WHERE e.manifest = ? AND NOT EXISTS
            (SELECT 1 FROM repository_blob WHERE repository = e.repository AND digest = e.target)
        """,
        (manifest_id,),
    )
    return [Digest(row[0]) for row in rows]


def list_unserved(tx: Transaction, manifest_id: int) -> list[tuple[Digest, bool]]:
    """The blobs that a manifest points at and its repository does not serve; whether each is live somewhere.

    Not those that are manifests of the repository. A mirror's are fetched when someone asks for them: it may
    never have had them, and the bytes may be another's.
    """
    rows = tx.all(
        """
        SELECT b.digest, b.state = 'live' FROM manifest_reference e JOIN blob b ON b.digest = e.target
        WHERE e.manifest = ? AND (b.state <> 'live' OR NOT EXISTS
            (SELECT 1 FROM repository_blob WHERE repository = e.repository AND digest = e.target))
        AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = e.repository AND digest = e.target)
        AND NOT EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = e.repository)
        """,
        (manifest_id,),
    )
    return [(Digest(row[0]), bool(row[1])) for row in rows]


def link_again(tx: Transaction, repository_id: int, digest: Digest) -> None:
    """Let a repository serve a live blob that it served before; what refers to it keeps it."""
    tx.run(
        """
        INSERT INTO repository_blob (repository, digest, origin, arrival, linked_at)
        VALUES (?, ?, 'mounted', NULL, ?) ON CONFLICT (repository, digest) DO NOTHING
        """,
        (repository_id, digest, now_ms()),
    )


class HeldBlob(NamedTuple):
    """A live blob of a repository: its sha256 digest, size, and how it came since a manifest named it."""

    digest: Digest
    size: int
    arrival: Arrival | None


def find_held(tx: Transaction, repository_id: int, digests: Iterable[Digest]) -> dict[Digest, HeldBlob]:
    """Which of these digests, of either algorithm, this repository holds live blobs of."""
    asked = list(dict.fromkeys(digests))
    held: dict[Digest, HeldBlob] = {}
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        some = asked[start : start + _ASKED_AT_ONCE]
        for column, algorithm in (("l.digest", SHA256), ("b.sha512", SHA512)):
            of_algorithm = [digest for digest in some if algorithm_of(digest) == algorithm]
            if not of_algorithm:
                continue
            marks = ", ".join("?" * len(of_algorithm))
            rows = tx.all(
                f"""
                SELECT {column}, l.digest, b.size, l.arrival FROM repository_blob l
                JOIN blob b ON b.digest = l.digest AND b.state = 'live'
                WHERE l.repository = ? AND {column} IN ({marks})
                """,
                (repository_id, *of_algorithm),
            )
            held |= {Digest(row[0]): HeldBlob(*row[1:]) for row in rows}
    return held


async def read_held(db: Database, repository: RepositoryName, digests: Sequence[Digest]) -> set[Digest]:
    """Which of these digests, of either algorithm, this repository holds live blobs of."""
    held: set[Digest] = set()
    for start in range(0, len(digests), _ASKED_AT_ONCE):
        some = digests[start : start + _ASKED_AT_ONCE]
        for column, algorithm in (("l.digest", SHA256), ("b.sha512", SHA512)):
            of_algorithm = [digest for digest in some if algorithm_of(digest) == algorithm]
            if not of_algorithm:
                continue
            rows = await db.all(
                f"""
                SELECT {column} FROM repository r JOIN repository_blob l ON l.repository = r.id
                JOIN blob b ON b.digest = l.digest AND b.state = 'live'
                WHERE r.name = ? AND {column} IN ({", ".join("?" * len(of_algorithm))})
                """,
                (repository, *of_algorithm),
            )
            held |= {Digest(row[0]) for row in rows}
    return held


def forget_arrival(tx: Transaction, repository_id: int, digest: Digest) -> None:
    """A manifest has named this blob: what comes after is counted anew."""
    tx.run(
        "UPDATE repository_blob SET arrival = NULL WHERE repository = ? AND digest = ?",
        (repository_id, digest),
    )


async def find_generation(db: Database, digest: Digest) -> tuple[int, bool]:
    """The generation that a blob's row names, and whether it is live.

    Where there is no row it is the last one of which files were removed: the next was never used.
    """
    row = await db.one(
        """
        SELECT coalesce(b.generation, t.retired_generation), coalesce(b.state, '') FROM blob_total t
        LEFT JOIN blob b ON b.digest = ? WHERE t.id = 1
        """,
        (digest,),
    )
    assert row is not None  # noqa: S101 - the migration put it there
    return row[0], row[1] == "live"


def make_live(
    tx: Transaction, digest: Digest, sha512: Digest | None, size: int, generation: int
) -> int | None:
    """Say that a blob's bytes are in the file of `generation`; the generation that is live now.

    A live row of the same generation, or of an earlier one whose file is known to be broken, is kept
    or moved on. None when the row has meanwhile got a generation as high that is not live, or a file of
    such a generation may just be removed: the caller's file is on a dead name and it must commit to the next.
    """
    row = tx.one("SELECT generation, state FROM blob WHERE digest = ?", (digest,))
    if row is None:
        if generation <= _retired_generation(tx):
            return None
        tx.run(
            "INSERT INTO blob (digest, sha512, size, generation, state, created_at)"
            " VALUES (?, ?, ?, ?, 'live', ?)",
            (digest, sha512, size, generation, now_ms()),
        )
        add_to_total(tx, 1, size)
        return generation
    current, is_live = row[0], row[1] == "live"
    if current > generation or (current == generation and not is_live):
        return int(current) if is_live else None
    tx.run(
        "UPDATE blob SET state = 'live', generation = ?, size = ?, sha512 = coalesce(sha512, ?)"
        " WHERE digest = ?",
        (generation, size, sha512, digest),
    )
    if not is_live:
        add_to_total(tx, 1, size)
    return generation


def mark_damaged(tx: Transaction, digest: Digest, generation: int) -> bool:
    """Stop serving a blob whose file is gone or wrong, unless it was replaced meanwhile."""
    row = tx.one(
        "SELECT size FROM blob WHERE digest = ? AND generation = ? AND state = 'live'", (digest, generation)
    )
    if row is None:
        return False
    tx.run("UPDATE blob SET state = 'damaged' WHERE digest = ?", (digest,))
    add_to_total(tx, -1, -row[0])
    return True


def _retired_generation(tx: Transaction) -> int:
    row = tx.one("SELECT retired_generation FROM blob_total WHERE id = 1")
    assert row is not None  # noqa: S101 - the migration put it there
    return int(row[0])


async def list_live(db: Database, after: str, limit: int) -> list[Blob]:
    """At most `limit` live blobs, in the order of their digests."""
    rows = await db.all(
        "SELECT digest, sha512, size, generation FROM blob WHERE state = 'live' AND digest > ?"
        " ORDER BY digest LIMIT ?",
        (after, limit),
    )
    return [blob_of(row) for row in rows]


async def find_without_sha512(db: Database, after: str, limit: int) -> list[Blob]:
    """Live blobs that cannot be found by their sha512 digest yet, in the order of their digests."""
    rows = await db.all(
        "SELECT digest, sha512, size, generation FROM blob"
        " WHERE sha512 IS NULL AND state = 'live' AND digest > ? ORDER BY digest LIMIT ?",
        (after, limit),
    )
    return [blob_of(row) for row in rows]


async def find_without_sha512_in(db: Database, repository: RepositoryName, limit: int) -> list[Blob]:
    """The same of one repository. The blobs that lack the digest are few, so they are gone through first."""
    rows = await db.all(
        """
        SELECT b.digest, b.sha512, b.size, b.generation FROM blob b
        CROSS JOIN repository r ON r.name = ?
        CROSS JOIN repository_blob l ON l.repository = r.id AND l.digest = b.digest
        WHERE b.sha512 IS NULL AND b.state = 'live' LIMIT ?
        """,
        (repository, limit),
    )
    return [blob_of(row) for row in rows]


def set_sha512(tx: Transaction, digest: Digest, sha512: Digest) -> None:
    """Let a blob be found by its sha512 digest too."""
    tx.run("UPDATE blob SET sha512 = ? WHERE digest = ? AND sha512 IS NULL", (sha512, digest))


async def get_total(db: Database) -> tuple[int, int]:
    """How many live blobs there are, and their bytes."""
    row = await db.one("SELECT blobs, bytes FROM blob_total WHERE id = 1")
    assert row is not None  # noqa: S101 - the migration put it there
    return row[0], row[1]


def correct_total(tx: Transaction, blobs: int, size: int, disk_bytes: int) -> None:
    """Add what the sums were found to be short of: what changes them meanwhile is kept."""
    tx.run(
        "UPDATE blob_total SET blobs = blobs + ?, bytes = bytes + ?, disk_bytes = disk_bytes + ?"
        " WHERE id = 1",
        (blobs, size, disk_bytes),
    )
