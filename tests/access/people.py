"""Accounts, what they may do and their tokens, put straight into the rows of a server that may be running.

with ServerProcess(...) as server:
    people = People(server.data_dir, server.port)
    people.add("alice", role="admin")
    people.give("bob", "team/*", "pull")
    people.ask("GET", "/v2/", basic("bob"))
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from joserfc import jwt
from joserfc.jwk import ECKey

from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.health import Health
from moorage.identity.access import rows as access
from moorage.identity.access.deciding import Scope, check_actions
from moorage.identity.accounts import rows as accounts
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.accounts.rows import Account, Kind, Role
from moorage.identity.managing.accounts import make_claim
from moorage.identity.tokens import rows as tokens
from moorage.identity.tokens.rows import SigningKey, Token
from tests.content import Document, digest_of, encode
from tests.inputs.wire import Fields, Reply, ask

T = TypeVar("T")

PASSWORD = "correct horse battery"
YEAR_MS = 365 * 86_400_000


@cache
def hash_of(password: str) -> str:
    """As the registry keeps it."""
    passwords = Passwords()
    try:
        return asyncio.run(passwords.hash(password))
    finally:
        passwords.close()


def basic(name: str, secret: str = PASSWORD) -> list[tuple[str, str]]:
    """A Basic header."""
    return [("Authorization", "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode())]


def bearer(token: str) -> list[tuple[str, str]]:
    """A Bearer header."""
    return [("Authorization", f"Bearer {token}")]


def now_s() -> int:
    """Seconds since 1970."""
    return int(time.time())


class People:
    """Everyone a registry knows."""

    def __init__(self, data: Path, port: int = 0) -> None:
        self.port = port
        self._database = data / "moorage.db"

    # rows

    def change(self, work: Callable[[Transaction], T]) -> T:
        """One transaction."""
        return _with_database(self._database, lambda db: db.write(work))

    def add(
        self, name: str, *, role: Role = "member", kind: Kind = "person", password: str | None = PASSWORD
    ) -> Account:
        """An account, and the namespace of its name."""
        kept = hash_of(password) if password is not None and kind == "person" else None

        def work(tx: Transaction) -> Account:
            account = accounts.insert_account(tx, name, "test", kind=kind, role=role, password=kept)
            access.insert_namespace(tx, name, "test", account_id=account.id)
            return account

        return self.change(work)

    def account(self, name: str) -> Account:
        return self.change(lambda tx: accounts.get_account_in(tx, name))

    def add_namespace(self, name: str, owner: str | None = None, *, is_public: bool = False) -> None:
        account_id = None if owner is None else self.account(owner).id
        self.change(
            lambda tx: access.insert_namespace(
                tx, name, "test", visibility="public" if is_public else "private", account_id=account_id
            )
        )

    def give(self, name: str, pattern: str, *actions: str) -> int:
        """A grant to an account; its number."""
        account_id = self.account(name).id
        return self.change(
            lambda tx: access.insert_grant(tx, pattern, list(actions), "test", account_id=account_id)
        ).id

    def make_token(
        self, name: str, *scopes: tuple[str, str], expires_in_s: float = 3600, kind: tokens.Kind = "access"
    ) -> tuple[Token, str]:
        """A token of an account and its secret; `scopes` are pairs of a pattern and actions with commas."""
        account_id, secret = self.account(name).id, tokens.make_secret()
        wanted = [Scope(pattern, check_actions(actions.split(","))) for pattern, actions in scopes] or None
        expires_at = int((time.time() + expires_in_s) * 1000)
        token = self.change(
            lambda tx: tokens.insert_token(tx, account_id, kind, "test", secret, wanted, expires_at, name)
        )
        return token, secret

    def signing_key(self) -> SigningKey:
        """The key that signs now."""
        return _with_database(self._database, tokens.list_keys)[0]

    def audit(self, **wanted: object) -> list[dict[str, Any]]:
        """Rows of the audit in order."""
        columns = ("actor", "token", "address", "action", "target", "outcome", "detail")
        sql = f"SELECT {', '.join(columns)} FROM audit ORDER BY id"
        rows = [dict(zip(columns, row, strict=True)) for row in self.change(lambda tx: tx.all(sql))]
        return [row for row in rows if wanted.items() <= row.items()]

    def make_claim(self) -> str | None:
        """The code of a claim link."""
        return _with_database(self._database, make_claim)

    # the wire

    def ask(self, method: str, target: str, fields: Fields = (), body: bytes | None = None) -> Reply:
        """One request."""
        return ask(self.port, method, target, fields, body)

    def push(
        self, repository: str, fields: Fields, document: Document, *blobs: bytes, tag: str = "v1"
    ) -> None:
        """Push an image, its blobs first."""
        for blob in blobs:
            self.push_blob(repository, fields, blob)
        typed = [*fields, ("Content-Type", document["mediaType"])]
        reply = self.ask("PUT", f"/v2/{repository}/manifests/{tag}", typed, encode(document))
        assert reply.status == 201, reply

    def push_blob(self, repository: str, fields: Fields, content: bytes) -> str:
        """Push a blob; its digest."""
        digest = digest_of(content)
        reply = self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", fields, content)
        assert reply.status == 201, reply
        return digest

    def begin(self, repository: str, fields: Fields) -> str:
        """The location of a new upload."""
        reply = self.ask("POST", f"/v2/{repository}/blobs/uploads/", fields)
        assert reply.status == 202, reply
        return reply["location"]

    def fetch(self, fields: Fields, *scopes: str, query: str = "") -> dict[str, Any]:
        """What the token endpoint gives for a GET."""
        target = "/token?service=moorage" + "".join(f"&scope={scope}" for scope in scopes) + query
        reply = self.ask("GET", target, fields)
        assert reply.status == 200, reply
        answer: dict[str, Any] = reply.json
        return answer

    def bearer(self, fields: Fields, *scopes: str) -> list[tuple[str, str]]:
        """A Bearer header for these scopes."""
        return bearer(self.fetch(fields, *scopes)["token"])

    def forge(
        self,
        *,
        without: Iterable[str] = (),
        access: Iterable[tuple[str, str]] = (),
        account: str | None = None,
        **claims: Any,
    ) -> str:
        """A bearer token signed by the registry's own key, some of its claims as no token of its own has."""
        key = self.signing_key()
        whole: dict[str, Any] = {
            "iss": "moorage",
            "sub": account or "",
            "aud": "moorage",
            "exp": now_s() + 300,
            "nbf": now_s() - 1,
            # to the millisecond, as ours: one from before a password was set is not taken
            "iat": time.time(),
            "jti": "made-by-hand",
            "access": [
                {"type": "repository", "name": name, "actions": actions.split(",")}
                for name, actions in access
            ],
            "account": None if account is None else self.account(account).id,
            "token": None,
            **claims,
        }
        kept = {name: value for name, value in whole.items() if name not in set(without)}
        signer = ECKey.import_key(key.private)
        return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": key.id}, kept, signer)


def _with_database(path: Path, use: Callable[[SqliteDatabase], Awaitable[T]]) -> T:
    async def run() -> T:
        db = SqliteDatabase(path, Health())
        try:
            return await use(db)
        finally:
            db.close()

    return asyncio.run(run())
