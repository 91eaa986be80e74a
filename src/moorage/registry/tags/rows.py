"""The tables `tag`, `tag_event` and `tag_pin`, and all their SQL."""

from collections.abc import Sequence
from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Algorithm, Digest
from moorage.oci.names import Tag
from moorage.oci.versions import version_key
from moorage.registry.pulls import rows as pull_rows
from moorage.registry.repositories.rows import find_name
from moorage.registry.tags.immutability import check_may_all_change, check_may_change


class TagEvent(NamedTuple):
    """A move of a tag, the `number`th of its name from 1; None is nowhere. Digests are sha256.

    `at` is in milliseconds since 1970-01-01 UTC.
    """

    name: Tag
    number: int
    from_digest: Digest | None
    to_digest: Digest | None
    at: int
    by: str


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


def list_tagged(tx: Transaction, manifest_ids: Sequence[int]) -> list[int]:
    """Those of at most 500 manifests that have tags."""
    rows = tx.all(
        f"SELECT DISTINCT manifest FROM tag WHERE manifest IN ({', '.join('?' * len(manifest_ids))})",
        manifest_ids,
    )
    return [int(row[0]) for row in rows]


def list_named(tx: Transaction, repository_id: int, tags: Sequence[Tag]) -> list[tuple[Tag, int, Digest]]:
    """Those of at most 500 tags that are there, with the row and sha256 digest of what each points to."""
    rows = tx.all(
        f"""
        SELECT t.name, m.id, m.digest FROM tag t JOIN manifest m ON m.id = t.manifest
        WHERE t.repository = ? AND t.name IN ({", ".join("?" * len(tags))}) ORDER BY t.name
        """,
        (repository_id, *tags),
    )
    return [(Tag(row[0]), row[1], Digest(row[2])) for row in rows]


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
    Raises TagImmutable (409) for one that is fixed to another.
    """
    moved_at = moved_at or now_ms()
    before = _find_sha256(tx, repository_id, tag)
    if before is not None and before != digest:
        check_may_change(tx, find_name(tx, repository_id), tag, "moved")
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
    """Remove a tag; False when there is none. It stays pinned, should it come again.

    Raises TagImmutable (409).
    """
    before = _find_sha256(tx, repository_id, tag)
    if before is None:
        return False
    check_may_change(tx, find_name(tx, repository_id), tag, "deleted")
    pull_rows.forget_tag(tx, repository_id, tag)
    tx.run("DELETE FROM tag WHERE repository = ? AND name = ?", (repository_id, tag))
    _record(tx, repository_id, tag, before, None, moved_by, now_ms())
    return True


def delete_of(
    tx: Transaction, repository_id: int, manifest_id: int, digest: Digest, moved_by: str
) -> list[tuple[Tag, Algorithm]]:
    """Remove all tags of a manifest, of this sha256 digest; which they were. As `delete` does each.

    All at once: it may have tens of thousands, and nobody writes meanwhile. Raises TagImmutable (409).
    """
    tags = list_of(tx, manifest_id)
    if not tags:
        return []
    check_may_all_change(tx, find_name(tx, repository_id), [tag for tag, _ in tags], "deleted")
    pull_rows.forget_tags_of(tx, manifest_id)
    tx.run(
        """
        INSERT INTO tag_event (repository, name, number, from_digest, to_digest, at, by)
        SELECT t.repository, t.name, coalesce(
            (SELECT max(number) FROM tag_event WHERE repository = t.repository AND name = t.name), 0
        ) + 1, ?, NULL, ?, ? FROM tag t WHERE t.manifest = ?
        """,
        (digest, now_ms(), moved_by, manifest_id),
    )
    tx.run("DELETE FROM tag WHERE manifest = ?", (manifest_id,))
    return tags


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


_EVENT = "SELECT name, number, from_digest, to_digest, at, by FROM tag_event"
_NUMBER_MAX = 2**63 - 1


async def list_events(
    db: Database, repository_id: int, tag: Tag, before: int | None, limit: int
) -> list[TagEvent]:
    """At most `limit` moves of a tag, the newest first; with `before` those of a lower number."""
    rows = await db.all(
        f"{_EVENT} WHERE repository = ? AND name = ? AND number < ? ORDER BY number DESC LIMIT ?",
        (repository_id, tag, _NUMBER_MAX if before is None else before, limit),
    )
    return [TagEvent(*row) for row in rows]


async def list_events_in(
    db: Database, repository_id: int, before: tuple[int, str, int] | None, limit: int
) -> list[TagEvent]:
    """At most `limit` moves of all tags, the newest first; with `before` those after (at, name, number).

    Sorts all of them, off the loop: an index by time would cost each push.
    """
    rows = await db.scan(
        f"{_EVENT} WHERE repository = ? AND (at, name, number) < (?, ?, ?)"
        " ORDER BY at DESC, name DESC, number DESC LIMIT ?",
        (repository_id, *(before or (_NUMBER_MAX, "", 0)), limit),
    )
    return [TagEvent(*row) for row in rows]


def find_event_at(tx: Transaction, repository_id: int, tag: Tag, at: int) -> TagEvent | None:
    """The last move of a tag up to a time."""
    row = tx.one(
        f"{_EVENT} WHERE repository = ? AND name = ? AND at <= ? ORDER BY number DESC LIMIT 1",
        (repository_id, tag, at),
    )
    return None if row is None else TagEvent(*row)


def pin(tx: Transaction, repository_id: int, tag: Tag, pinned_by: str) -> None:
    """Let no rule of retention take a tag, whether it is pinned already or not."""
    tx.run(
        "INSERT INTO tag_pin (repository, name, pinned_at, pinned_by) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, name) DO NOTHING",
        (repository_id, tag, now_ms(), pinned_by),
    )


def unpin(tx: Transaction, repository_id: int, tag: Tag) -> bool:
    """Let retention decide again; False when the tag was not pinned."""
    return tx.run("DELETE FROM tag_pin WHERE repository = ? AND name = ?", (repository_id, tag)) > 0
