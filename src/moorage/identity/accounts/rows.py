"""The tables `account`, `account_group`, `membership` and `claim`, and all their SQL."""

from typing import Any, Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import AccountUnknown, GroupUnknown, NameTaken
from moorage.identity.accounts.names import check_name, skeleton_of

Kind = Literal["person", "robot"]
Role = Literal["member", "auditor", "admin"]


class Account(msgspec.Struct, frozen=True):
    """A person or a robot. Times are in milliseconds since 1970-01-01 UTC.

    An `admin` may do everything; an `auditor` may look at everything and change nothing.
    """

    id: int
    name: str
    kind: Kind
    role: Role
    is_disabled: bool
    description: str
    created_at: int
    created_by: str
    has_password: bool
    password_set_at: int | None
    issuer: str | None
    subject: str | None


class Group(msgspec.Struct, frozen=True):
    """A group of accounts."""

    id: int
    name: str
    description: str
    created_at: int
    created_by: str


_ACCOUNT = (
    "SELECT id, name, kind, role, is_disabled, description, created_at, created_by,"
    " password IS NOT NULL, password_set_at, issuer, subject FROM account"
)
_GROUP = "SELECT id, name, description, created_at, created_by FROM account_group"


def _account(row: Row) -> Account:
    values: list[Any] = [*row[:4], bool(row[4]), *row[5:8], bool(row[8]), *row[9:]]
    return Account(*values)


async def find_account(db: Database, name: str) -> Account | None:
    """An account by its exact name."""
    row = await db.one(f"{_ACCOUNT} WHERE name = ?", (name,))
    return None if row is None else _account(row)


async def find_account_by_id(db: Database, account_id: int) -> Account | None:
    """An account by its row."""
    row = await db.one(f"{_ACCOUNT} WHERE id = ?", (account_id,))
    return None if row is None else _account(row)


def find_account_of(tx: Transaction, issuer: str, subject: str) -> Account | None:
    """The account that belongs to a subject of another issuer."""
    row = tx.one(f"{_ACCOUNT} WHERE issuer = ? AND subject = ?", (issuer, subject))
    return None if row is None else _account(row)


async def get_account(db: Database, name: str) -> Account:
    """An account by its exact name.

    Raises AccountUnknown (404).
    """
    account = await find_account(db, name)
    if account is None:
        raise AccountUnknown(name=name[:64])
    return account


def find_account_in(tx: Transaction, name: str) -> Account | None:
    """An account by its exact name, inside a transaction."""
    row = tx.one(f"{_ACCOUNT} WHERE name = ?", (name,))
    return None if row is None else _account(row)


def get_account_in(tx: Transaction, name: str) -> Account:
    """An account by its exact name, inside a transaction.

    Raises AccountUnknown (404).
    """
    account = find_account_in(tx, name)
    if account is None:
        raise AccountUnknown(name=name[:64])
    return account


async def find_password(db: Database, name: str) -> tuple[Account | None, str | None]:
    """An account and the hash of its password, where there are such."""
    row = await db.one("SELECT password FROM account WHERE name = ?", (name,))
    return (await find_account(db, name), row[0]) if row else (None, None)


async def find_bcrypt_hash(db: Database) -> str | None:
    """A hash that another registry has made, while there is one."""
    row = await db.one("SELECT password FROM account WHERE password LIKE '$2%' LIMIT 1")
    return None if row is None else str(row[0])


def replace_hash(tx: Transaction, account_id: int, before: str, after: str) -> bool:
    """Keep the same password by another hash; False when it was changed meanwhile."""
    changed = tx.run(
        "UPDATE account SET password = ? WHERE id = ? AND password = ?", (after, account_id, before)
    )
    return bool(changed)


async def list_accounts(db: Database, after: str, limit: int) -> list[Account]:
    """At most `limit` accounts bytewise after `after`, in order of their names."""
    rows = await db.all(f"{_ACCOUNT} WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [_account(row) for row in rows]


def has_accounts(tx: Transaction) -> bool:
    """Whether there is any account."""
    return tx.one("SELECT 1 FROM account LIMIT 1") is not None


def has_other_admin(tx: Transaction, account_id: int) -> bool:
    """Whether someone else could still administer."""
    row = tx.one(
        "SELECT 1 FROM account WHERE role = 'admin' AND is_disabled = 0 AND id <> ?"
        " AND (password IS NOT NULL OR issuer IS NOT NULL) LIMIT 1",
        (account_id,),
    )
    return row is not None


def insert_account(
    tx: Transaction,
    name: str,
    created_by: str,
    *,
    kind: Kind = "person",
    role: Role = "member",
    password: str | None = None,
    description: str = "",
    identity: tuple[str, str] | None = None,
) -> Account:
    """Make an account. `password` is a hash; `identity` an issuer and its subject.

    Raises AccountNameInvalid (400); NameTaken (409), also for a name that looks like one that is taken.
    """
    _check_free(tx, name)
    issuer, subject = identity or (None, None)
    tx.run(
        "INSERT INTO account (name, skeleton, kind, role, password, password_set_at, description, issuer,"
        " subject, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(name, skeleton_of(name), kind, role, password, now_ms() if password else None, description),
            *(issuer, subject, now_ms(), created_by),
        ),
    )
    return get_account_in(tx, name)


def _check_free(tx: Transaction, name: str) -> None:
    """Raises AccountNameInvalid (400), NameTaken (409)."""
    skeleton = skeleton_of(check_name(name))
    for kind, table in (("an account", "account"), ("a group", "account_group")):
        row = tx.one(f"SELECT name FROM {table} WHERE skeleton = ?", (skeleton,))
        if row is not None:
            raise NameTaken(name=name, taken_by=f"{kind} named {row[0]}")


def update_account(
    tx: Transaction,
    account_id: int,
    *,
    role: Role | None = None,
    is_disabled: bool | None = None,
    description: str | None = None,
) -> None:
    """Change what is given."""
    tx.run(
        "UPDATE account SET role = coalesce(?, role), is_disabled = coalesce(?, is_disabled),"
        " description = coalesce(?, description) WHERE id = ?",
        (role, None if is_disabled is None else int(is_disabled), description, account_id),
    )


def set_password(tx: Transaction, account_id: int, password: str) -> None:
    """Keep the hash of a new password."""
    tx.run(
        "UPDATE account SET password = ?, password_set_at = ? WHERE id = ?", (password, now_ms(), account_id)
    )


def delete_account(tx: Transaction, account_id: int) -> None:
    """Remove an account, its tokens, grants and memberships. What it owned is the administrators'."""
    tx.run("DELETE FROM account WHERE id = ?", (account_id,))


# groups


async def get_group(db: Database, name: str) -> Group:
    """A group by its exact name.

    Raises GroupUnknown (404).
    """
    row = await db.one(f"{_GROUP} WHERE name = ?", (name,))
    if row is None:
        raise GroupUnknown(name=name[:64])
    return Group(*row)


def get_group_in(tx: Transaction, name: str) -> Group:
    """The same inside a transaction."""
    row = tx.one(f"{_GROUP} WHERE name = ?", (name,))
    if row is None:
        raise GroupUnknown(name=name[:64])
    return Group(*row)


async def list_groups(db: Database, after: str, limit: int) -> list[Group]:
    """At most `limit` groups bytewise after `after`, in order of their names."""
    rows = await db.all(f"{_GROUP} WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [Group(*row) for row in rows]


def insert_group(tx: Transaction, name: str, description: str, created_by: str) -> Group:
    """Make a group.

    Raises AccountNameInvalid (400), NameTaken (409).
    """
    _check_free(tx, name)
    tx.run(
        "INSERT INTO account_group (name, skeleton, description, created_at, created_by)"
        " VALUES (?, ?, ?, ?, ?)",
        (name, skeleton_of(name), description, now_ms(), created_by),
    )
    return get_group_in(tx, name)


def delete_group(tx: Transaction, group_id: int) -> None:
    """Remove a group, its grants and memberships. What it owned is the administrators'."""
    tx.run("DELETE FROM account_group WHERE id = ?", (group_id,))


async def list_members(db: Database, group_id: int) -> list[str]:
    """The names of the accounts in a group, in order."""
    rows = await db.all(
        "SELECT a.name FROM membership m JOIN account a ON a.id = m.account"
        " WHERE m.account_group = ? ORDER BY a.name",
        (group_id,),
    )
    return [row[0] for row in rows]


async def list_groups_of(db: Database, account_id: int) -> list[tuple[int, str]]:
    """The rows and names of the groups that an account is in."""
    rows = await db.all(
        "SELECT g.id, g.name FROM membership m JOIN account_group g ON g.id = m.account_group"
        " WHERE m.account = ? ORDER BY g.name",
        (account_id,),
    )
    return [(row[0], row[1]) for row in rows]


def add_member(tx: Transaction, group_id: int, account_id: int) -> bool:
    """Put an account into a group; False when it is there already."""
    return bool(
        tx.run(
            "INSERT INTO membership (account_group, account) VALUES (?, ?)"
            " ON CONFLICT (account_group, account) DO NOTHING",
            (group_id, account_id),
        )
    )


def remove_member(tx: Transaction, group_id: int, account_id: int) -> bool:
    """Take an account out of a group; False when it was not in it."""
    return bool(
        tx.run("DELETE FROM membership WHERE account_group = ? AND account = ?", (group_id, account_id))
    )


# the claim of the first administrator


def put_claim(tx: Transaction, secret: str, expires_at: int) -> None:
    """Keep the hash of a claim's secret; an earlier claim is void."""
    tx.run(
        "INSERT INTO claim (id, secret, expires_at) VALUES (1, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, expires_at = excluded.expires_at",
        (secret, expires_at),
    )


async def is_claim(db: Database, secret: str) -> bool:
    """Whether this is the hash of a claim that can still be used: in time, and before any account."""
    row = await db.one(
        "SELECT 1 FROM claim WHERE secret = ? AND expires_at > ? AND NOT EXISTS (SELECT 1 FROM account)",
        (secret, now_ms()),
    )
    return row is not None


def take_claim(tx: Transaction, secret: str) -> bool:
    """Use a claim up; False when it is none, is used, or has expired."""
    return bool(tx.run("DELETE FROM claim WHERE secret = ? AND expires_at > ?", (secret, now_ms())))
