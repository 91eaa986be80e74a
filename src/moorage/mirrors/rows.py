"""The tables `mirrored_repository`, `_tag`, `_digest` and `_subject`, and all their SQL.

Times are in milliseconds since 1970-01-01 UTC.
"""

from typing import Final, NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import NameTaken
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.repositories.rows import ensure_repository


class MirroredTag(NamedTuple):
    """A tag of a mirrored repository: what it names here, and what its upstream said of it.

    `digest` and `sha512` are None where it is not here; `checked_at` is when the upstream last said what it
    names; until `asking_until` some process asks it; `gone_at`: since when the upstream has no such tag.
    """

    digest: Digest | None
    sha512: Digest | None
    checked_at: int
    asking_until: int
    gone_at: int | None


async def find_upstream(db: Database, name: RepositoryName) -> tuple[bool, str | None]:
    """Whether there is a repository of this name, and whose content it has; None: it is local."""
    row = await db.one(
        "SELECT m.upstream FROM repository r LEFT JOIN mirrored_repository m ON m.repository = r.id"
        " WHERE r.name = ?",
        (name,),
    )
    return (False, None) if row is None else (True, row[0])


async def find_upstream_of_deleted(db: Database, repository_id: int) -> str | None:
    """The upstream whose content a repository in the trash has; None: it was local, or is by now."""
    row = await db.one("SELECT upstream FROM mirrored_repository WHERE repository = ?", (repository_id,))
    return None if row is None else str(row[0])


async def is_namespace_local(db: Database, namespace: str) -> bool:
    """Whether anything here has this namespace, or had it: then a bare name in it is nobody else's."""
    # "0" is the character after "/"
    names = (namespace, f"{namespace}/", f"{namespace}0")
    row = await db.one(
        """
        SELECT 1 FROM namespace WHERE name = ?
        UNION ALL SELECT 1 FROM repository WHERE name = ? OR (name > ? AND name < ?)
        UNION ALL SELECT 1 FROM repository_deletion WHERE name = ? OR (name > ? AND name < ?)
        UNION ALL SELECT 1 FROM repository_alias WHERE name = ? OR (name > ? AND name < ?)
        LIMIT 1
        """,
        (namespace, *names, *names, *names),
    )
    return row is not None


def mark_mirrored(tx: Transaction, repository_id: int, upstream: str) -> None:
    """Say that a repository's content is an upstream's."""
    tx.run(
        "INSERT INTO mirrored_repository (repository, upstream) VALUES (?, ?)"
        " ON CONFLICT (repository) DO NOTHING",
        (repository_id, upstream),
    )


def ensure_mirrored(tx: Transaction, name: RepositoryName, upstream: str) -> int:
    """The id of an upstream's repository, which is made if it is not there.

    Raises NameTaken (409) where a local one has the name: made, or brought back, since it was asked for.
    """
    row = tx.one(
        "SELECT r.id, m.upstream FROM repository r LEFT JOIN mirrored_repository m ON m.repository = r.id"
        " WHERE r.name = ?",
        (name,),
    )
    if row is not None:
        if row[1] != upstream:
            raise NameTaken(name=name, taken_by=f"a repository that does not mirror {upstream}")
        return int(row[0])
    repository_id = ensure_repository(tx, name)
    mark_mirrored(tx, repository_id, upstream)
    return repository_id


async def find_tag(db: Database, repository: RepositoryName, tag: Tag) -> MirroredTag | None:
    """A tag that is here, or that an upstream has said something of."""
    row = await db.one(
        """
        SELECT m.digest, m.sha512, coalesce(c.checked_at, 0), coalesce(c.asking_until, 0), c.gone_at
        FROM repository r
        LEFT JOIN tag t ON t.repository = r.id AND t.name = ?
        LEFT JOIN manifest m ON m.id = t.manifest
        LEFT JOIN mirrored_tag c ON c.repository = r.id AND c.name = ?
        WHERE r.name = ? AND (t.name IS NOT NULL OR c.name IS NOT NULL)
        """,
        (tag, tag, repository),
    )
    return None if row is None else MirroredTag(*row)


def claim_tag(tx: Transaction, repository: RepositoryName, tag: Tag, fresh_after: int, until: int) -> bool:
    """Be the one who asks what a tag names now, until then; False when another does, or just has."""
    now = now_ms()
    return bool(
        tx.run(
            """
            INSERT INTO mirrored_tag (repository, name, checked_at, asking_until)
            SELECT id, ?, 0, ? FROM repository WHERE name = ?
            ON CONFLICT (repository, name) DO UPDATE SET asking_until = excluded.asking_until
                WHERE (checked_at <= ? OR checked_at > ?) AND (asking_until < ? OR asking_until > ?)
            """,
            # a time ahead was noted under another clock
            (tag, until, repository, fresh_after, now, now, until),
        )
    )


def note_checked(tx: Transaction, repository: RepositoryName, tag: Tag, *, is_gone: bool = False) -> None:
    """Its upstream has said what a tag names: what it names here, or that there is none."""
    now = now_ms()
    tx.run(
        """
        INSERT INTO mirrored_tag (repository, name, checked_at, asking_until, gone_at)
        SELECT id, ?, ?, 0, ? FROM repository WHERE name = ?
        ON CONFLICT (repository, name) DO UPDATE SET checked_at = excluded.checked_at, asking_until = 0,
            gone_at = CASE WHEN excluded.gone_at IS NOT NULL THEN coalesce(gone_at, excluded.gone_at) END
        """,
        (tag, now, now if is_gone else None, repository),
    )


def end_claim(tx: Transaction, repository: RepositoryName, tag: Tag) -> None:
    """It was asked in vain: another may ask."""
    tx.run(
        "UPDATE mirrored_tag SET asking_until = 0"
        " WHERE repository = (SELECT id FROM repository WHERE name = ?) AND name = ?",
        (repository, tag),
    )


def note_shown(tx: Transaction, repository_id: int, tag: Tag, digest: Digest) -> None:
    """The upstream itself has said that a tag names this."""
    tx.run(
        "INSERT INTO mirrored_digest (repository, name, digest, shown_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, name, digest) DO UPDATE SET shown_at = excluded.shown_at",
        (repository_id, tag, digest, now_ms()),
    )


async def read_shown(db: Database, repository: RepositoryName, tag: Tag) -> set[Digest]:
    """All that the upstream itself has said that a tag names."""
    rows = await db.all(
        "SELECT d.digest FROM repository r JOIN mirrored_digest d ON d.repository = r.id AND d.name = ?"
        " WHERE r.name = ?",
        (tag, repository),
    )
    return {Digest(row[0]) for row in rows}


async def read_subject_checked(db: Database, repository: RepositoryName, subject: Digest) -> int | None:
    """When an upstream was last asked for the referrers of a manifest."""
    row = await db.one(
        "SELECT s.checked_at FROM repository r"
        " JOIN mirrored_subject s ON s.repository = r.id AND s.digest = ? WHERE r.name = ?",
        (subject, repository),
    )
    return None if row is None else int(row[0])


def note_subject_checked(tx: Transaction, repository: RepositoryName, subject: Digest) -> None:
    """An upstream has said which referrers a manifest has."""
    tx.run(
        "INSERT INTO mirrored_subject (repository, digest, checked_at)"
        " SELECT id, ?, ? FROM repository WHERE name = ?"
        " ON CONFLICT (repository, digest) DO UPDATE SET checked_at = excluded.checked_at",
        (subject, now_ms(), repository),
    )


async def find_users(db: Database, repository: RepositoryName, digest: Digest) -> list[tuple[str, bytes]]:
    """Manifests, with their types, that point at a blob: at most a few, for what they say of its size."""
    rows = await db.all(
        """
        SELECT m.media_type, m.payload FROM repository r
        JOIN manifest_reference e ON e.repository = r.id AND e.target = ?
        JOIN manifest m ON m.id = e.manifest
        WHERE r.name = ? LIMIT 3
        """,
        (digest, repository),
    )
    return [(row[0], row[1]) for row in rows]


async def list_mirrored_holders(db: Database, digest: Digest, limit: int) -> list[tuple[RepositoryName, str]]:
    """At most `limit` mirrored repositories that hold a live blob of this digest, and their upstreams."""
    rows = await db.all(
        """
        SELECT r.name, m.upstream FROM blob b JOIN repository_blob l ON l.digest = b.digest
        JOIN mirrored_repository m ON m.repository = l.repository
        JOIN repository r ON r.id = m.repository AND r.deleted_at IS NULL
        WHERE b.digest = ? AND b.state = 'live' LIMIT ?
        """,
        (digest, limit),
    )
    return [(RepositoryName(row[0]), row[1]) for row in rows]


class Held(NamedTuple):
    """What is here of an upstream: repositories, and the bytes of their blobs, each counted once."""

    repositories: int = 0
    bytes: int = 0


async def read_held(db: Database) -> dict[str, Held]:
    """What is here of each upstream."""
    repositories = await db.all(
        "SELECT m.upstream, count(*) FROM mirrored_repository m"
        " JOIN repository r ON r.id = m.repository AND r.deleted_at IS NULL GROUP BY m.upstream"
    )
    totals = await db.all("SELECT upstream, bytes FROM mirrored_total")
    of_bytes = {upstream: int(size) for upstream, size in totals}
    return {upstream: Held(number, of_bytes.get(upstream, 0)) for upstream, number in repositories}


def list_repositories_in(tx: Transaction, upstream: str) -> list[RepositoryName]:
    """The repositories of an upstream, but for those in the trash."""
    rows = tx.all(
        "SELECT r.name FROM mirrored_repository m"
        " JOIN repository r ON r.id = m.repository AND r.deleted_at IS NULL"
        " WHERE m.upstream = ? ORDER BY r.name",
        (upstream,),
    )
    return [RepositoryName(row[0]) for row in rows]


def make_local(tx: Transaction, upstream: str) -> list[int]:
    """Let the repositories of an upstream be like any other, those in the trash too; the ids of all."""
    rows = tx.all("DELETE FROM mirrored_repository WHERE upstream = ? RETURNING repository", (upstream,))
    return [int(row[0]) for row in rows]


def forget_some_said(tx: Transaction, repository_id: int, limit: int) -> int:
    """Forget at most about `limit` things that an upstream has said of a repository; how many."""
    forgotten = 0
    for table, key in _SAID.items():
        forgotten += tx.run(
            f"DELETE FROM {table} WHERE repository = ? AND {key} IN"
            f" (SELECT {key} FROM {table} WHERE repository = ? LIMIT ?)",
            (repository_id, repository_id, limit),
        )
    return forgotten


_SAID: Final = {
    "mirrored_digest": "name",
    "mirrored_tag": "name",
    "mirrored_subject": "digest",
    "mirrored_pull": "reference",
}
