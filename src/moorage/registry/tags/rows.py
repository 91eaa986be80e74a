"""The tables `tag` and `tag_event`, and all their SQL."""

from collections.abc import Sequence
from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Algorithm, Digest
from moorage.oci.names import Tag
from moorage.oci.versions import version_key

_ASKED_AT_ONCE = 500


class TagState(NamedTuple):
    """What a tag names, by sha256 digest, and who moved or deleted it last; None when it is not there."""

    target: Digest | None
    by: str


def find_target(tx: Transaction, repository_id: int, tag: Tag) -> tuple[Digest, Digest] | None:
    """The sha256 and the sha512 digest of what a tag points to."""
    row = tx.one(
        "SELECT m.digest, m.sha512 FROM tag t JOIN manifest m ON m.id = t.manifest"
        " WHERE t.repository = ? AND t.name = ?",
        (repository_id, tag),
    )
    return None if row is None else (Digest(row[0]), Digest(row[1]))


def move(
    tx: Transaction,
    repository_id: int,
    tag: Tag,
    manifest_id: int,
    digest: Digest,
    algorithm: Algorithm,
    moved_by: str,
    moved_at: int | None = None,
) -> None:
    """Point a tag to a manifest, of this sha256 digest; `algorithm` is the one it was pushed by.

    `moved_at`: since when in milliseconds, where that is not now.
    """
    moved_at = moved_at or now_ms()
    before = _find_sha256(tx, repository_id, tag)
    tx.run(
        """
        INSERT INTO tag (repository, name, manifest, algorithm, moved_at, moved_by, version_key)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest,
            algorithm = excluded.algorithm, moved_at = excluded.moved_at, moved_by = excluded.moved_by
        """,
        (repository_id, tag, manifest_id, algorithm, moved_at, moved_by, version_key(tag)),
    )
    if before != digest:
        _record(tx, repository_id, tag, before, digest, moved_by, moved_at)


def delete(tx: Transaction, repository_id: int, tag: Tag, moved_by: str) -> bool:
    """Remove a tag; False when there is none."""
    before = _find_sha256(tx, repository_id, tag)
    if before is None:
        return False
    tx.run("DELETE FROM tag WHERE repository = ? AND name = ?", (repository_id, tag))
    _record(tx, repository_id, tag, before, None, moved_by, now_ms())
    return True


def list_of(tx: Transaction, manifest_id: int) -> list[tuple[Tag, Algorithm]]:
    """The tags of a manifest, with the algorithm that each was pushed by."""
    rows = tx.all("SELECT name, algorithm FROM tag WHERE manifest = ? ORDER BY name", (manifest_id,))
    return [(Tag(row[0]), row[1]) for row in rows]


def forget_some_in(tx: Transaction, repository_id: int, limit: int) -> int:
    """Forget at most `limit` tags, events, pins and pulls of a repository that goes for good; how many."""
    forgotten = 0
    for table, key in (
        ("tag", "name"),
        ("tag_event", "name, number"),
        ("tag_pin", "name"),
        ("pull", "reference"),
    ):
        forgotten += tx.run(
            f"DELETE FROM {table} WHERE (repository, {key}) IN"
            f" (SELECT repository, {key} FROM {table} WHERE repository = ? LIMIT ?)",
            (repository_id, limit - forgotten),
        )
    return forgotten


def _find_sha256(tx: Transaction, repository_id: int, tag: Tag) -> Digest | None:
    target = find_target(tx, repository_id, tag)
    return None if target is None else target[0]


def _record(
    tx: Transaction,
    repository_id: int,
    tag: Tag,
    before: Digest | None,
    after: Digest | None,
    by: str,
    at: int,
) -> None:
    tx.run(
        """
        INSERT INTO tag_event (repository, name, number, from_digest, to_digest, at, by) SELECT ?, ?,
            coalesce((SELECT max(number) FROM tag_event WHERE repository = ? AND name = ?), 0) + 1, ?, ?, ?, ?
        """,
        (repository_id, tag, repository_id, tag, before, after, at, by),
    )


async def list_tags(db: Database, repository_id: int, after: str, limit: int) -> list[Tag]:
    """At most `limit` tags bytewise after `after`, in order."""
    rows = await db.all(
        "SELECT name FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
        (repository_id, after, limit),
    )
    return [Tag(row[0]) for row in rows]


_STATES = """
    SELECT e.name, m.digest, e.by FROM tag_event e
    LEFT JOIN tag t ON t.repository = e.repository AND t.name = e.name
    LEFT JOIN manifest m ON m.id = t.manifest
    WHERE e.repository = ? AND e.name IN ({}) AND e.number =
        (SELECT max(number) FROM tag_event WHERE repository = e.repository AND name = e.name)
"""


async def read_states(db: Database, repository_id: int, tags: Sequence[str]) -> dict[str, TagState]:
    """Where these tags are, of those that ever were."""
    states: dict[str, TagState] = {}
    for start in range(0, len(tags), _ASKED_AT_ONCE):
        some = tags[start : start + _ASKED_AT_ONCE]
        rows = await db.all(_STATES.format(", ".join("?" * len(some))), (repository_id, *some))
        states |= {row[0]: TagState(*row[1:]) for row in rows}
    return states


def find_state(tx: Transaction, repository_id: int, tag: str) -> TagState | None:
    """Where a tag is, inside a transaction; None when it never was."""
    row = tx.one(_STATES.format("?"), (repository_id, tag))
    return None if row is None else TagState(*row[1:])
