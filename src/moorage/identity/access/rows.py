"""The tables `namespace`, `access_grant`, `access_state` and `repository_deletion`, and all their SQL."""

from typing import Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import GrantUnknown, NamespaceUnknown, NameTaken
from moorage.identity.access.deciding import Action, Granted, Namespace, Scope, Subject, check_actions
from moorage.identity.access.patterns import check_pattern
from moorage.identity.accounts.names import EVERYONE, check_name
from moorage.identity.accounts.rows import Account, list_groups_of

Visibility = Literal["private", "public"]


class NamespaceRow(msgspec.Struct, frozen=True):
    """A namespace. `owner` is `account alice` or `group ops`; None: the administrators'."""

    id: int
    name: str
    owner: str | None
    visibility: Visibility
    created_at: int
    created_by: str


class Grant(msgspec.Struct, frozen=True):
    """A grant. `to` is `account alice`, `group ops` or `everyone`."""

    id: int
    to: str
    pattern: str
    actions: tuple[Action, ...]
    created_at: int
    created_by: str


async def read_state(db: Database) -> tuple[int, int]:
    """The version of all that decides, which every change raises; and how many accounts there are."""
    row = await db.one("SELECT version, accounts FROM access_state")
    assert row is not None  # noqa: S101 - the migration put it there
    return row[0], row[1]


# what a decision needs


async def read_subject(db: Database, account: Account | None) -> Subject:
    """An account as a decision sees it."""
    if account is None:
        return Subject()
    groups = await list_groups_of(db, account.id)
    return Subject(account.name, account.role, frozenset(name for _, name in groups))


async def read_namespace(db: Database, name: str) -> Namespace | None:
    """A namespace as a decision sees it."""
    row = await db.one(
        "SELECT n.visibility, a.name, g.name FROM namespace n LEFT JOIN account a ON a.id = n.owner_account"
        " LEFT JOIN account_group g ON g.id = n.owner_group WHERE n.name = ?",
        (name,),
    )
    return None if row is None else Namespace(name, row[0] == "public", row[1], row[2])


_GRANTS = (
    "SELECT p.id, a.name, g.name, p.pattern, p.actions, p.created_at, p.created_by FROM access_grant p"
    " LEFT JOIN account a ON a.id = p.account LEFT JOIN account_group g ON g.id = p.account_group"
)


async def read_grants_for(db: Database, account: Account) -> list[Granted]:
    """All grants for an account: its own, its groups', and everyone's."""
    rows = await db.all(
        f"{_GRANTS} WHERE p.account = ?"
        " OR p.account_group IN (SELECT account_group FROM membership WHERE account = ?)"
        " OR (p.account IS NULL AND p.account_group IS NULL) ORDER BY p.id",
        (account.id, account.id),
    )
    grants = map(_grant, rows)
    return [Granted(each.id, each.to, Scope(each.pattern, each.actions)) for each in grants]


def _grant(row: Row) -> Grant:
    row_id, account, group, pattern, actions, created_at, created_by = row
    to = f"account {account}" if account else f"group {group}" if group else EVERYONE
    return Grant(row_id, to, pattern, tuple(actions.split(",")), created_at, created_by)


# grants


async def list_grants(db: Database, after: int, limit: int) -> list[Grant]:
    """At most `limit` grants with a greater id than `after`, in order."""
    return [
        _grant(row) for row in await db.all(f"{_GRANTS} WHERE p.id > ? ORDER BY p.id LIMIT ?", (after, limit))
    ]


async def get_grant(db: Database, grant_id: int) -> Grant:
    """A grant.

    Raises GrantUnknown (404).
    """
    row = await db.one(f"{_GRANTS} WHERE p.id = ?", (grant_id,))
    if row is None:
        raise GrantUnknown(id=grant_id)
    return _grant(row)


def insert_grant(
    tx: Transaction,
    pattern: str,
    actions: list[str],
    created_by: str,
    *,
    account_id: int | None = None,
    group_id: int | None = None,
) -> Grant:
    """Give actions on a pattern to an account, a group, or (with neither) everyone who has signed in.

    Where the same receiver has a grant on the same pattern, its actions become these.
    Raises PatternInvalid (400), ActionsInvalid (400).
    """
    listed = ",".join(check_actions(actions))
    row = tx.one(
        "SELECT id FROM access_grant WHERE pattern = ?"
        " AND coalesce(account, 0) = ? AND coalesce(account_group, 0) = ?",
        (check_pattern(pattern), account_id or 0, group_id or 0),
    )
    if row is not None:
        tx.run("UPDATE access_grant SET actions = ? WHERE id = ?", (listed, row[0]))
    else:
        tx.run(
            "INSERT INTO access_grant (account, account_group, pattern, actions, created_at, created_by)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (account_id, group_id, pattern, listed, now_ms(), created_by),
        )
        row = tx.one("SELECT max(id) FROM access_grant")
    assert row is not None  # noqa: S101 - found or inserted
    made = tx.one(f"{_GRANTS} WHERE p.id = ?", (row[0],))
    assert made is not None  # noqa: S101 - the same
    return _grant(made)


def delete_grant(tx: Transaction, grant_id: int) -> None:
    """Take a grant back.

    Raises GrantUnknown (404).
    """
    if not tx.run("DELETE FROM access_grant WHERE id = ?", (grant_id,)):
        raise GrantUnknown(id=grant_id)


# namespaces

_NAMESPACES = (
    "SELECT n.id, n.name, a.name, g.name, n.visibility, n.created_at, n.created_by FROM namespace n"
    " LEFT JOIN account a ON a.id = n.owner_account LEFT JOIN account_group g ON g.id = n.owner_group"
)


def _namespace(row: Row) -> NamespaceRow:
    row_id, name, account, group, visibility, created_at, created_by = row
    owner = f"account {account}" if account else f"group {group}" if group else None
    return NamespaceRow(row_id, name, owner, visibility, created_at, created_by)


async def list_namespaces(db: Database, after: str, limit: int) -> list[NamespaceRow]:
    """At most `limit` namespaces bytewise after `after`, in order."""
    rows = await db.all(f"{_NAMESPACES} WHERE n.name > ? ORDER BY n.name LIMIT ?", (after, limit))
    return [_namespace(row) for row in rows]


async def get_namespace(db: Database, name: str) -> NamespaceRow:
    """A namespace.

    Raises NamespaceUnknown (404).
    """
    row = await db.one(f"{_NAMESPACES} WHERE n.name = ?", (name,))
    if row is None:
        raise NamespaceUnknown(name=name[:64])
    return _namespace(row)


def find_namespace_in(tx: Transaction, name: str) -> NamespaceRow | None:
    """A namespace, inside a transaction."""
    row = tx.one(f"{_NAMESPACES} WHERE n.name = ?", (name,))
    return None if row is None else _namespace(row)


def insert_namespace(
    tx: Transaction,
    name: str,
    created_by: str,
    *,
    visibility: Visibility = "private",
    account_id: int | None = None,
    group_id: int | None = None,
) -> NamespaceRow:
    """Make a namespace.

    Raises AccountNameInvalid (400), NameTaken (409).
    """
    check_name(name)
    if find_namespace_in(tx, name) is not None:
        raise NameTaken(name=name, taken_by="a namespace of this name")
    tx.run(
        "INSERT INTO namespace (name, owner_account, owner_group, visibility, created_at, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (name, account_id, group_id, visibility, now_ms(), created_by),
    )
    made = find_namespace_in(tx, name)
    assert made is not None  # noqa: S101 - inserted one line above
    return made


def set_visibility(tx: Transaction, namespace_id: int, visibility: Visibility) -> None:
    """Make a namespace public or private."""
    tx.run("UPDATE namespace SET visibility = ? WHERE id = ?", (visibility, namespace_id))


def set_owner(tx: Transaction, namespace_id: int, account_id: int | None, group_id: int | None) -> None:
    """Give a namespace to an account, a group, or (with neither) the administrators."""
    tx.run(
        "UPDATE namespace SET owner_account = ?, owner_group = ? WHERE id = ?",
        (account_id, group_id, namespace_id),
    )


def delete_namespace(tx: Transaction, namespace: NamespaceRow) -> None:
    """Forget a namespace's owner, visibility and grants; its repositories stay, the administrators'."""
    tx.run(
        "DELETE FROM access_grant WHERE pattern = ? OR substr(pattern, 1, ?) = ?",
        (namespace.name, len(namespace.name) + 1, f"{namespace.name}/"),
    )
    tx.run("DELETE FROM namespace WHERE id = ?", (namespace.id,))


# repositories that were deleted


async def find_deletion(db: Database, repository: str) -> int | None:
    """When a repository of this name was last deleted."""
    row = await db.one("SELECT at FROM repository_deletion WHERE name = ?", (repository,))
    return None if row is None else int(row[0])


def record_deletion(tx: Transaction, repository: str) -> None:
    """Tokens given until now say nothing of a later repository of this name."""
    tx.run(
        "INSERT INTO repository_deletion (name, at) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET at = excluded.at",
        (repository, now_ms()),
    )
