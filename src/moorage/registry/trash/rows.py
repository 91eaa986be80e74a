"""The tables `deletion` and `deleted_tag`, and all their SQL."""

from typing import Final, Literal, NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.oci.digest import Algorithm, Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.manifests.trash_rows import find_in_trash

Reason = Literal["asked", "retention", "untagged", "evicted"]

_TAGS_AT_ONCE: Final = 500

EVICTED_LEASE_MS: Final = 60_000
"""How long the blobs of what was evicted stay: another registry has them, so no one was promised them."""


class Deletion(NamedTuple):
    """One act of deleting, as the trash shows it. Times are in milliseconds since 1970-01-01 UTC."""

    id: int
    repository: RepositoryName
    digest: Digest
    reason: Reason
    deleted_at: int
    deleted_by: str
    purge_at: int
    manifests: int
    """How many of its manifests are in the trash still."""


def insert(
    tx: Transaction, repository_id: int, digest: Digest, reason: Reason, deleted_by: str, purge_at: int
) -> int:
    """Begin a deletion; its id."""
    row = tx.one(
        # as a lease: a clock set back for a moment shortens nothing
        "INSERT INTO deletion (repository, digest, reason, deleted_at, deleted_by, purge_at)"
        " SELECT ?, ?, ?, ?, ?, ? + max(0, clock - ?) FROM store_state WHERE id = 1 RETURNING id",
        (repository_id, digest, reason, now_ms(), deleted_by, purge_at, now_ms()),
    )
    assert row is not None  # noqa: S101 - inserted one line above
    return int(row[0])


def insert_tags(tx: Transaction, deletion_id: int, digest: Digest, tags: list[tuple[Tag, Algorithm]]) -> None:
    """Note which tags of a manifest went with it."""
    for start in range(0, len(tags), _TAGS_AT_ONCE):
        some = tags[start : start + _TAGS_AT_ONCE]
        tx.run(
            "INSERT INTO deleted_tag (deletion, name, digest, algorithm)"
            f" VALUES {', '.join(['(?, ?, ?, ?)'] * len(some))}",
            [value for tag, algorithm in some for value in (deletion_id, tag, digest, algorithm)],
        )


def delete(tx: Transaction, deletion_id: int) -> None:
    """Forget a deletion of which nothing is in the trash."""
    tx.run("DELETE FROM deleted_tag WHERE deletion = ?", (deletion_id,))
    tx.run("DELETE FROM deletion WHERE id = ?", (deletion_id,))


_SHOWN = """
    SELECT d.id, r.name, d.digest, d.reason, d.deleted_at, d.deleted_by, d.purge_at,
        (SELECT count(*) FROM trash WHERE deletion = d.id)
    FROM deletion d JOIN repository r ON r.id = d.repository AND r.deleted_at IS NULL
"""


def find(tx: Transaction, deletion_id: int) -> tuple[int, Deletion] | None:
    """The repository's id and the deletion."""
    row = tx.one(f"{_SHOWN} WHERE d.id = ?", (deletion_id,))
    return None if row is None else (_repository_of(tx, deletion_id), _deletion(row))


def _repository_of(tx: Transaction, deletion_id: int) -> int:
    row = tx.one("SELECT repository FROM deletion WHERE id = ?", (deletion_id,))
    assert row is not None  # noqa: S101 - found by the caller
    return int(row[0])


async def read(db: Database, deletion_id: int) -> Deletion | None:
    """A deletion of a repository that is there."""
    row = await db.one(f"{_SHOWN} WHERE d.id = ?", (deletion_id,))
    return None if row is None else _deletion(row)


async def list_deletions(
    db: Database, repository: RepositoryName | None, before: int, limit: int
) -> list[Deletion]:
    """At most `limit` deletions with a lower id than `before`, the newest first."""
    if repository is None:
        rows = await db.all(f"{_SHOWN} WHERE d.id < ? ORDER BY d.id DESC LIMIT ?", (before, limit))
    else:
        rows = await db.all(
            f"{_SHOWN} WHERE r.name = ? AND d.id < ? ORDER BY d.id DESC LIMIT ?", (repository, before, limit)
        )
    return [_deletion(row) for row in rows]


def _deletion(row: Row) -> Deletion:
    return Deletion(*row)


async def read_tags(db: Database, deletion_id: int) -> list[Tag]:
    """The tags that went with a deletion."""
    rows = await db.all("SELECT name FROM deleted_tag WHERE deletion = ? ORDER BY name", (deletion_id,))
    return [Tag(row[0]) for row in rows]


def list_tags(tx: Transaction, deletion_id: int) -> list[tuple[Tag, Digest, Algorithm]]:
    """The same with what they pointed to and the algorithms they were pushed by, inside a transaction."""
    rows = tx.all(
        "SELECT name, digest, algorithm FROM deleted_tag WHERE deletion = ? ORDER BY name", (deletion_id,)
    )
    return [(Tag(row[0]), Digest(row[1]), row[2]) for row in rows]


def find_deletion_of(tx: Transaction, repository_id: int, digest: Digest) -> int | None:
    """The deletion that has this manifest in the trash."""
    found = find_in_trash(tx, repository_id, digest)
    return None if found is None else found[1]


def list_due(tx: Transaction, now: int, limit: int) -> list[tuple[int, Reason]]:
    """At most `limit` deletions whose time is over, and why each was."""
    rows = tx.all(
        "SELECT id, reason FROM deletion WHERE purge_at <= ? ORDER BY purge_at LIMIT ?", (now, limit)
    )
    return [(row[0], row[1]) for row in rows]


def make_due(tx: Transaction, deletion_id: int) -> None:
    """Let a deletion's time be over."""
    tx.run("UPDATE deletion SET purge_at = 0 WHERE id = ?", (deletion_id,))


def measure(tx: Transaction, deletion_id: int) -> int:
    """The bytes on disk that only this deletion's manifests, and others in the trash, still need."""
    row = tx.one(_MEASURE, (deletion_id,))
    return int(row[0]) if row else 0


async def measure_shown(db: Database, deletion_id: int) -> int:
    """The same for a list."""
    row = await db.one(_MEASURE, (deletion_id,))
    return int(row[0]) if row else 0


# The newest first: rules of retention take the oldest, so of thousands that share a layer one that is served
# is found at once. EXISTS would not look in an order.
_MEASURE = """
    SELECT coalesce(sum(b.size), 0) FROM blob b WHERE b.state = 'live' AND b.digest IN (
        SELECT e.target FROM trash t JOIN manifest_reference e ON e.manifest = t.manifest WHERE t.deletion = ?
    ) AND (
        SELECT o.manifest FROM manifest_reference o
        JOIN repository r ON r.id = o.repository AND r.deleted_at IS NULL
        WHERE o.target = b.digest AND NOT EXISTS (SELECT 1 FROM trash WHERE manifest = o.manifest)
        ORDER BY o.repository DESC, o.manifest DESC LIMIT 1
    ) IS NULL
"""


def delete_some_in(tx: Transaction, repository_id: int, limit: int) -> int:
    """Forget at most `limit` deletions of a repository that goes for good."""
    rows = tx.all("SELECT id FROM deletion WHERE repository = ? LIMIT ?", (repository_id, limit))
    for row in rows:
        delete(tx, row[0])
    return len(rows)
