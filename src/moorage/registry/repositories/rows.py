"""The tables `repository` and `repository_alias`, and all their SQL."""

from typing import NamedTuple

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import NameUnknown
from moorage.oci.names import RepositoryName


class Repository(NamedTuple):
    """A repository. `created_at` is in milliseconds since 1970-01-01 UTC."""

    name: RepositoryName
    created_at: int


async def read_repository(db: Database, name: RepositoryName) -> Repository:
    """A repository.

    Raises NameUnknown (404).
    """
    row = await db.one("SELECT name, created_at FROM repository WHERE name = ?", (name,))
    if row is None:
        raise NameUnknown(name=name)
    return Repository(*row)


async def get_repository(db: Database, name: RepositoryName) -> int:
    """The id of a repository.

    Raises NameUnknown (404).
    """
    row = await db.one("SELECT id FROM repository WHERE name = ?", (name,))
    if row is None:
        raise NameUnknown(name=name)
    return int(row[0])


def find_repository(tx: Transaction, name: RepositoryName) -> int | None:
    """The id of a repository, inside a transaction; None when there is none of this name."""
    row = tx.one("SELECT id FROM repository WHERE name = ?", (name,))
    return None if row is None else int(row[0])


def find_name(tx: Transaction, repository_id: int) -> RepositoryName:
    """The name of a repository that there is."""
    row = tx.one("SELECT name FROM repository WHERE id = ?", (repository_id,))
    assert row is not None  # noqa: S101 - its id is the caller's
    return RepositoryName(row[0])


def ensure_repository(tx: Transaction, name: RepositoryName) -> int:
    """The id of a repository, which is made if it is not there."""
    found = find_repository(tx, name)
    if found is not None:
        return found
    tx.run("INSERT INTO repository (name, created_at) VALUES (?, ?)", (name, now_ms()))
    end_alias(tx, name)
    made = find_repository(tx, name)
    assert made is not None  # noqa: S101 - inserted one line above
    return made


async def list_repositories(db: Database, after: str, limit: int) -> list[str]:
    """At most `limit` names bytewise after `after`, in order."""
    rows = await db.all(
        "SELECT name FROM repository WHERE name > ? AND deleted_at IS NULL ORDER BY name LIMIT ?",
        (after, limit),
    )
    return [str(row[0]) for row in rows]


class DeletedRepository(NamedTuple):
    """A repository in the trash. Times are in milliseconds since 1970-01-01 UTC."""

    id: int
    name: RepositoryName
    deleted_at: int
    deleted_by: str
    purge_at: int


_DELETED = (
    "SELECT id, deleted_name, deleted_at, deleted_by, purge_at FROM repository WHERE deleted_at IS NOT NULL"
)


def put_in_trash(tx: Transaction, repository_id: int, deleted_by: str, purge_at: int) -> None:
    """Give a repository's name free. What it has is found by no name that a client can say."""
    tx.run(
        """
        UPDATE repository SET deleted_name = name, name = '@' || id,
            deleted_at = ?, deleted_by = ?,
            purge_at = ? + max(0, (SELECT clock FROM store_state WHERE id = 1) - ?)
        WHERE id = ? AND deleted_at IS NULL
        """,
        (now_ms(), deleted_by, purge_at, now_ms(), repository_id),
    )
    tx.run("DELETE FROM repository_alias WHERE repository = ?", (repository_id,))


def take_from_trash(tx: Transaction, repository_id: int, name: RepositoryName) -> None:
    """Give a deleted repository this name, which is free."""
    tx.run(
        """
        UPDATE repository SET name = ?,
            deleted_name = NULL, deleted_at = NULL, deleted_by = NULL, purge_at = NULL
        WHERE id = ?
        """,
        (name, repository_id),
    )
    end_alias(tx, name)


def find_deleted(tx: Transaction, repository_id: int) -> DeletedRepository | None:
    """A repository in the trash."""
    row = tx.one(f"{_DELETED} AND id = ?", (repository_id,))
    return None if row is None else DeletedRepository(*row)


async def read_deleted(db: Database, repository_id: int) -> DeletedRepository | None:
    """The same outside a transaction."""
    row = await db.one(f"{_DELETED} AND id = ?", (repository_id,))
    return None if row is None else DeletedRepository(*row)


async def list_deleted(db: Database, before: int, limit: int) -> list[DeletedRepository]:
    """At most `limit` repositories in the trash with a lower id than `before`, the newest first."""
    rows = await db.all(
        f"{_DELETED} AND purge_at IS NOT NULL AND id < ? ORDER BY id DESC LIMIT ?", (before, limit)
    )
    return [DeletedRepository(*row) for row in rows]


def find_due(tx: Transaction, now: int) -> int | None:
    """A repository whose time in the trash is over."""
    row = tx.one("SELECT id FROM repository WHERE purge_at <= ? ORDER BY purge_at LIMIT 1", (now,))
    return None if row is None else int(row[0])


def make_due(tx: Transaction, repository_id: int) -> None:
    """Let a deleted repository's time be over."""
    tx.run("UPDATE repository SET purge_at = 0 WHERE id = ? AND deleted_at IS NOT NULL", (repository_id,))


def delete_repository(tx: Transaction, repository_id: int) -> None:
    """Forget a repository, of which nothing else is left."""
    tx.run("DELETE FROM repository_alias WHERE repository = ?", (repository_id,))
    tx.run("DELETE FROM repository WHERE id = ?", (repository_id,))


def has_repositories(tx: Transaction, namespace: str) -> bool:
    """Whether there are repositories in a namespace, or one of its very name: also such as can be restored,
    and such as are pulled from by a name there that they had before.
    """  # noqa: D205 - one sentence
    # "0" is the character after "/"
    names = (namespace, f"{namespace}/", f"{namespace}0")
    row = tx.one(
        """
        SELECT 1 FROM repository WHERE name = ? OR (name > ? AND name < ?)
        UNION ALL SELECT 1 FROM repository WHERE purge_at IS NOT NULL
            AND (deleted_name = ? OR (deleted_name > ? AND deleted_name < ?))
        UNION ALL SELECT 1 FROM repository_alias WHERE (name = ? OR (name > ? AND name < ?)) AND until > ?
        LIMIT 1
        """,
        (*names, *names, *names, now_ms()),
    )
    return row is not None


# names that repositories had before


class Alias(NamedTuple):
    """A name by which a repository can be pulled from until then, in milliseconds since 1970-01-01 UTC."""

    name: RepositoryName
    until: int


def rename(tx: Transaction, repository_id: int, name: RepositoryName) -> None:
    """Give a repository a name that no other has."""
    tx.run("UPDATE repository SET name = ? WHERE id = ?", (name, repository_id))
    end_alias(tx, name)


def add_alias(tx: Transaction, repository_id: int, name: RepositoryName, until: int) -> None:
    """Let a repository be pulled from by the name it had. Those of any repository that are over go."""
    tx.run("DELETE FROM repository_alias WHERE until <= ?", (now_ms(),))
    tx.run(
        "INSERT INTO repository_alias (name, repository, until) VALUES (?, ?, ?)",
        (name, repository_id, until),
    )


def end_alias(tx: Transaction, name: RepositoryName) -> None:
    """Let a name mean the repository that has it, and no longer one that had it before."""
    tx.run("DELETE FROM repository_alias WHERE name = ?", (name,))


async def find_renamed(db: Database, name: RepositoryName) -> RepositoryName | None:
    """The name that a repository has now which had this one before."""
    row = await db.one(
        "SELECT r.name FROM repository_alias a JOIN repository r ON r.id = a.repository"
        " WHERE a.name = ? AND a.until > ? AND r.deleted_at IS NULL",
        (name, now_ms()),
    )
    return None if row is None else RepositoryName(row[0])


async def list_aliases(db: Database, repository_id: int) -> list[Alias]:
    """The names that a repository had before, while it can be pulled from by them."""
    rows = await db.all(
        "SELECT name, until FROM repository_alias WHERE repository = ? AND until > ? ORDER BY name",
        (repository_id, now_ms()),
    )
    return [Alias(*row) for row in rows]
