"""The tables `tag` and `tag_event`, and all their SQL."""

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.oci.digest import Algorithm, Digest
from moorage.oci.names import Tag
from moorage.oci.versions import version_key


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
) -> None:
    """Point a tag to a manifest, of this sha256 digest; `algorithm` is the one it was pushed by."""
    before = _find_sha256(tx, repository_id, tag)
    tx.run(
        """
        INSERT INTO tag (repository, name, manifest, algorithm, moved_at, moved_by, version_key)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest,
            algorithm = excluded.algorithm, moved_at = excluded.moved_at, moved_by = excluded.moved_by
        """,
        (repository_id, tag, manifest_id, algorithm, now_ms(), moved_by, version_key(tag)),
    )
    if before != digest:
        _record(tx, repository_id, tag, before, digest, moved_by)


def delete(tx: Transaction, repository_id: int, tag: Tag, moved_by: str) -> bool:
    """Remove a tag; False when there is none."""
    before = _find_sha256(tx, repository_id, tag)
    if before is None:
        return False
    tx.run("DELETE FROM tag WHERE repository = ? AND name = ?", (repository_id, tag))
    _record(tx, repository_id, tag, before, None, moved_by)
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
    tx: Transaction, repository_id: int, tag: Tag, before: Digest | None, after: Digest | None, by: str
) -> None:
    tx.run(
        """
        INSERT INTO tag_event (repository, name, number, from_digest, to_digest, at, by) SELECT ?, ?,
            coalesce((SELECT max(number) FROM tag_event WHERE repository = ? AND name = ?), 0) + 1, ?, ?, ?, ?
        """,
        (repository_id, tag, repository_id, tag, before, after, now_ms(), by),
    )


async def list_tags(db: Database, repository_id: int, after: str, limit: int) -> list[Tag]:
    """At most `limit` tags bytewise after `after`, in order."""
    rows = await db.all(
        "SELECT name FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
        (repository_id, after, limit),
    )
    return [Tag(row[0]) for row in rows]
