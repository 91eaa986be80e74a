"""The tables `token` and `signing_key`, and all their SQL."""

import hashlib
import secrets
from typing import Any, Literal

import msgspec

from moorage.clock import now_ms
from moorage.database import Database, Row, Transaction
from moorage.errors import TokenUnknown
from moorage.identity.access.deciding import Action, Scope, check_actions
from moorage.identity.access.patterns import check_pattern

Kind = Literal["access", "refresh", "exchange"]
PREFIX = "moor_"
"""By which people and scanners know a secret of ours where it leaked."""


class Token(msgspec.Struct, frozen=True):
    """A token without its secret. Times are in milliseconds since 1970-01-01 UTC.

    `scopes` None: all that the account may do. An `exchange` token may do what its scopes say, whatever
    its account may; any other only what both may.
    """

    id: int
    account_id: int
    account: str
    kind: Kind
    name: str
    scopes: tuple[Scope, ...] | None
    created_at: int
    created_by: str
    expires_at: int
    last_used_at: int | None
    last_used_from: str | None
    revoked_at: int | None
    parent: int | None

    @property
    def is_good(self) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and self.expires_at > now_ms()

    def allows(self, repository: str, action: Action) -> bool:
        """Whether the token itself has this action on this repository."""
        return self.scopes is None or any(scope.allows(repository, action) for scope in self.scopes)


def make_secret() -> str:
    """256 random bits, as they are shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is kept of a secret: it has too many bits to be guessed, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_scopes(scopes: list[Scope]) -> list[Scope]:
    """Scopes with all that their actions bring.

    Raises PatternInvalid (400), ActionsInvalid (400).
    """
    return [Scope(check_pattern(each.pattern), check_actions(each.actions)) for each in scopes]


_TOKEN = (
    "SELECT t.id, t.account, a.name, t.kind, t.name, t.scopes, t.created_at, t.created_by, t.expires_at,"  # noqa: S105 - SQL
    " t.last_used_at, t.last_used_from, t.revoked_at, t.parent"
    " FROM token t JOIN account a ON a.id = t.account"
)


def _token(row: Row) -> Token:
    scopes = None if row[5] is None else msgspec.json.decode(row[5], type=tuple[Scope, ...])
    values: list[Any] = [*row[:5], scopes, *row[6:]]
    return Token(*values)


async def find_token(db: Database, secret: str) -> Token | None:
    """The token with this secret, good or not."""
    row = await db.one(f"{_TOKEN} WHERE t.secret = ?", (hash_secret(secret),))
    return None if row is None else _token(row)


async def find_token_by_id(db: Database, token_id: int) -> Token | None:
    """A token, good or not."""
    row = await db.one(f"{_TOKEN} WHERE t.id = ?", (token_id,))
    return None if row is None else _token(row)


async def get_token(db: Database, token_id: int) -> Token:
    """A token, good or not.

    Raises TokenUnknown (404).
    """
    token = await find_token_by_id(db, token_id)
    if token is None:
        raise TokenUnknown(id=token_id)
    return token


async def list_tokens(db: Database, account_id: int | None, after: int, limit: int) -> list[Token]:
    """At most `limit` tokens with a greater id than `after`, of one account or of all, in order."""
    if account_id is None:
        rows = await db.all(f"{_TOKEN} WHERE t.id > ? ORDER BY t.id LIMIT ?", (after, limit))
    else:
        sql = f"{_TOKEN} WHERE t.account = ? AND t.id > ? ORDER BY t.id LIMIT ?"
        rows = await db.all(sql, (account_id, after, limit))
    return [_token(row) for row in rows]


def insert_token(
    tx: Transaction,
    account_id: int,
    kind: Kind,
    name: str,
    secret: str,
    scopes: list[Scope] | None,
    expires_at: int,
    created_by: str,
    *,
    made_with: Token | None = None,
) -> Token:
    """Make a token. `made_with`: the token whose end is to be its end.

    Raises PatternInvalid (400), ActionsInvalid (400).
    """
    parent = None if made_with is None else made_with.id
    kept = None if scopes is None else msgspec.json.encode(check_scopes(scopes)).decode()
    tx.run(
        "INSERT INTO token (account, kind, name, secret, scopes, created_at, created_by, expires_at, parent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (account_id, kind, name, hash_secret(secret), kept, now_ms(), created_by, expires_at, parent),
    )
    row = tx.one(f"{_TOKEN} WHERE t.secret = ?", (hash_secret(secret),))
    assert row is not None  # noqa: S101 - inserted one line above
    return _token(row)


def revoke_token(tx: Transaction, token_id: int) -> None:
    """Let a token count no more, at once, nor those made with it; rows stay for those who ask what it was."""
    tx.run(
        """
        WITH RECURSIVE gone (id) AS (
            VALUES (?) UNION SELECT token.id FROM token JOIN gone ON token.parent = gone.id
        )
        UPDATE token SET revoked_at = ? WHERE id IN (SELECT id FROM gone) AND revoked_at IS NULL
        """,
        (token_id, now_ms()),
    )


def is_good_in(tx: Transaction, token_id: int) -> bool:
    """Whether a token is neither revoked nor expired, inside a transaction."""
    sql = "SELECT 1 FROM token WHERE id = ? AND revoked_at IS NULL AND expires_at > ?"
    return tx.one(sql, (token_id, now_ms())) is not None


def keep_newest(tx: Transaction, account_id: int, kind: Kind, count: int) -> None:
    """Forget an account's tokens of a kind, all but the newest."""
    tx.run(
        "DELETE FROM token WHERE account = ? AND kind = ? AND id NOT IN"
        " (SELECT id FROM token WHERE account = ? AND kind = ? ORDER BY id DESC LIMIT ?)",
        (account_id, kind, account_id, kind, count),
    )


def revoke_refresh_tokens(tx: Transaction, account_id: int) -> None:
    """The password changed: what was kept in its stead counts no more."""
    tx.run(
        "UPDATE token SET revoked_at = ? WHERE account = ? AND kind = 'refresh' AND revoked_at IS NULL",
        (now_ms(), account_id),
    )


def touch_token(tx: Transaction, token_id: int, at: int, address: str) -> None:
    """Record when and from where a token was last used."""
    tx.run("UPDATE token SET last_used_at = ?, last_used_from = ? WHERE id = ?", (at, address, token_id))


def drop_dead_tokens(tx: Transaction, before: int, limit: int) -> int:
    """Forget at most `limit` tokens that expired before then; how many."""
    return tx.run(
        "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires_at < ? LIMIT ?)", (before, limit)
    )


# keys


class SigningKey(msgspec.Struct, frozen=True):
    """A private key as PEM. `id` is its RFC 7638 thumbprint; it verifies until `retires_at`."""

    id: str
    private: str
    created_at: int
    retires_at: int


_KEY = "SELECT id, private, created_at, retires_at FROM signing_key"


async def list_keys(db: Database) -> list[SigningKey]:
    """Keys that still verify, the newest first."""
    rows = await db.all(f"{_KEY} WHERE retires_at > ? ORDER BY created_at DESC, id", (now_ms(),))
    return [SigningKey(*row) for row in rows]


def newest_key(tx: Transaction) -> SigningKey | None:
    """The key that signs."""
    row = tx.one(f"{_KEY} WHERE retires_at > ? ORDER BY created_at DESC, id LIMIT 1", (now_ms(),))
    return None if row is None else SigningKey(*row)


def insert_key(tx: Transaction, key: SigningKey) -> None:
    """Sign with this key from now on."""
    tx.run(
        "INSERT INTO signing_key (id, private, created_at, retires_at) VALUES (?, ?, ?, ?)",
        (key.id, key.private, key.created_at, key.retires_at),
    )


def drop_retired_keys(tx: Transaction) -> None:
    """Forget keys that verify nothing any more."""
    tx.run("DELETE FROM signing_key WHERE retires_at <= ?", (now_ms(),))
