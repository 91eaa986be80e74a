"""From an `Authorization` header to a caller, and from a caller to what it may do."""

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import BearerInvalid, CredentialsInvalid, PasswordRefused, RegistryError, TooManySignIns
from moorage.identity.access import rows as access_rows
from moorage.identity.access.deciding import Action, Decision, Granted, Namespace, Subject, decide
from moorage.identity.access.patterns import namespace_of
from moorage.identity.accounts.attempts import Attempts, Means
from moorage.identity.accounts.passwords import Passwords, is_bcrypt
from moorage.identity.accounts.rows import (
    Account,
    find_account_by_id,
    find_bcrypt_hash,
    find_password,
    replace_hash,
)
from moorage.identity.callers.caller import FOREVER_MS, Caller
from moorage.identity.tokens import rows as token_rows
from moorage.identity.tokens.bearer import Bearer, KeyRing
from moorage.identity.tokens.rows import PREFIX, Token
from moorage.records.audit.apart import record_apart
from moorage.records.audit.rows import Actor

log = structlog.get_logger()

USE_RECORDED_MS: Final = 60_000
"""A token's last use is recorded no more often."""

_BEARERS_REMEMBERED: Final = 10_000
_USERNAME_MAX: Final = 255


class Callers:
    """As one worker process sees them."""

    def __init__(self, db: Database, passwords: Passwords, attempts: Attempts) -> None:
        self._db = db
        self._passwords = passwords
        self._attempts = attempts
        self._ring = KeyRing([])
        self._ring_version = -1
        self._bearers: OrderedDict[bytes, Bearer] = OrderedDict()
        self._used: dict[int, tuple[int, str]] = {}

    async def key_ring(self) -> KeyRing:
        """The keys as they are now."""
        version, _ = await access_rows.read_state(self._db)
        if version != self._ring_version:
            keys = await token_rows.list_keys(self._db)
            self._ring, self._ring_version = KeyRing(keys), version
        return self._ring

    async def identify(
        self,
        authorization: str | None,
        address: str,
        *,
        may_use_password: bool = True,
        at_ms: int | None = None,
    ) -> Caller:
        """Who sends this header from this address.

        `at_ms`: a bearer token that was good then is good enough.
        Raises CredentialsInvalid, BearerInvalid, PasswordRefused (401), TooManySignIns (429).
        """
        if not authorization:
            return Caller("none", address)
        scheme, _, value = authorization.partition(" ")
        value = value.strip()
        match scheme.lower():
            case "basic":
                name, secret = _read_basic(value)
                if not name and not secret:
                    # podman says so that it has no credentials
                    return Caller("none", address)
                return await self.sign_in(name, secret, address, may_use_password=may_use_password)
            case "bearer" if value.startswith(PREFIX):
                return await self._by_token(None, value, address)
            case "bearer":
                return await self._by_bearer(value, address, at_ms or now_ms())
            case _:
                raise CredentialsInvalid(reason="want Basic or Bearer")

    async def sign_in(self, name: str, secret: str, address: str, *, may_use_password: bool = True) -> Caller:
        """The account of this name, by its password or one of its tokens.

        Raises CredentialsInvalid, PasswordRefused (401), TooManySignIns (429).
        """
        if secret.startswith(PREFIX):
            return await self._by_token(name, secret, address)
        if not may_use_password:
            raise PasswordRefused
        account, kept = await find_password(self._db, name)
        is_known = kept is not None and self._passwords.is_known(name, secret, kept)
        if not is_known:
            self._check_wait("password", name, address)
            other = await find_bcrypt_hash(self._db)
            is_right = await self._passwords.is_right(name, secret, kept, other)
            # the account as it is after the check: it may have been changed meanwhile
            account, kept_now = await find_password(self._db, name)
            if not is_right or kept_now != kept or account is None or account.is_disabled:
                raise await self._refused("password", name, address)
            await record_apart(self._db, Actor(name, address), "sign-in", "registry", "allowed")
            if kept is not None and is_bcrypt(kept):
                await self._hash_again(account, secret, kept)
        if account is None or account.is_disabled:
            raise CredentialsInvalid
        self._attempts.succeeded("password", name, address)
        return await self._caller("basic", account, address)

    async def _hash_again(self, account: Account, secret: str, kept: str) -> None:
        """Keep a password as all others are, now that it is known. What fails is done at the next sign-in."""
        after = await self._passwords.hash_again(secret)
        try:
            await self._db.write(lambda tx: replace_hash(tx, account.id, kept, after))
        except RegistryError as refusal:
            log.warning("password_not_hashed_again", account=account.name, reason=str(refusal))

    async def _by_token(self, name: str | None, secret: str, address: str) -> Caller:
        token = await self.read_token(name, secret, address)
        if token.kind == "refresh":
            raise CredentialsInvalid
        return await self._by_account_of(token, address)

    async def _by_account_of(self, token: Token, address: str) -> Caller:
        account = await find_account_by_id(self._db, token.account_id)
        if account is None or account.is_disabled:
            raise CredentialsInvalid
        return await self._caller("basic", account, address, token)

    async def refresh(self, secret: str, address: str) -> Caller:
        """The account of a token that a client keeps instead of a password.

        Raises CredentialsInvalid (401), TooManySignIns (429).
        """
        token = await self.read_token(None, secret, address)
        return await self._by_account_of(token, address)

    async def read_token(self, name: str | None, secret: str, address: str) -> Token:
        """The token with this secret, of this account where one is named.

        Raises CredentialsInvalid (401), TooManySignIns (429).
        """
        token = await token_rows.find_token(self._db, secret)
        if token is None or not token.is_good or name not in {None, token.account}:
            claimed = name if name is not None else "" if token is None else token.account
            self._check_wait("token", claimed, address)
            raise await self._refused("token", claimed, address)
        self._attempts.succeeded("token", token.account, address)
        self._note_use(token, address)
        return token

    def _check_wait(self, means: Means, name: str, address: str) -> None:
        """Raises TooManySignIns (429)."""
        wait_s = self._attempts.wait_s(means, name, address)
        if wait_s:
            raise TooManySignIns(retry_after_s=wait_s)

    async def _refused(self, means: Means, name: str, address: str) -> CredentialsInvalid:
        self._attempts.failed(means, name, address)
        log.warning("sign_in_refused", account=_shown(name), client=address, means=means)
        who = Actor(_shown(name), address)
        await record_apart(self._db, who, "sign-in", "registry", "denied", f"wrong {means}")
        return CredentialsInvalid()

    async def _by_bearer(self, text: str, address: str, at_ms: int) -> Caller:
        bearer = await self._read_bearer(text)
        if bearer.expires_at <= at_ms:
            raise BearerInvalid(reason="the token has expired")
        token = account = None
        if bearer.token_id is not None:
            token = await token_rows.find_token_by_id(self._db, bearer.token_id)
            if token is None or not token.is_good:
                raise BearerInvalid(reason="the token was revoked or has expired")
            self._note_use(token, address)
        if bearer.account_id is not None:
            account = await find_account_by_id(self._db, bearer.account_id)
            if account is None or account.is_disabled:
                raise BearerInvalid(reason="the account is gone or disabled")
            if token is None and bearer.issued_at < (account.password_set_at or 0):
                raise BearerInvalid(reason="the password was changed")
        return await self._caller("bearer", account, address, token, bearer)

    async def _read_bearer(self, text: str) -> Bearer:
        """Reading one costs more than serving a manifest, so it is read once."""
        mark = hashlib.sha256(text.encode()).digest()
        bearer = self._bearers.get(mark)
        if bearer is None:
            bearer = (await self.key_ring()).read(text)
            self._bearers[mark] = bearer
            if len(self._bearers) > _BEARERS_REMEMBERED:
                self._bearers.popitem(last=False)
        return bearer

    async def _caller(
        self,
        means: str,
        account: Account | None,
        address: str,
        token: Token | None = None,
        bearer: Bearer | None = None,
    ) -> Caller:
        until = FOREVER_MS
        if bearer is not None:
            until = bearer.expires_at
        if token is not None:
            until = min(until, token.expires_at, now_ms() + USE_RECORDED_MS)
        subject = await access_rows.read_subject(self._db, account)
        return Caller(
            "bearer" if means == "bearer" else "basic", address, account, subject, token, bearer, until
        )

    def _note_use(self, token: Token, address: str) -> None:
        if token.last_used_at is None or now_ms() - token.last_used_at >= USE_RECORDED_MS:
            self._used[token.id] = now_ms(), address

    async def record_uses(self) -> None:
        """Write down which tokens were used since the last time."""
        used, self._used = self._used, {}

        def work(tx: Transaction) -> None:
            for token_id, (at, address) in used.items():
                token_rows.touch_token(tx, token_id, at, address)

        if used:
            await self._db.write(work)

    # what a caller may do

    async def may(self, caller: Caller, repository: str, action: Action) -> bool:
        """Whether all that limits this caller allows it, now."""
        return (
            await self.carries(caller, repository, action)
            and (await self.decide(caller, repository, action)).is_allowed
        )

    async def carries(self, caller: Caller, repository: str, action: Action) -> bool:
        """Whether the bearer token, if one came, was given for this."""
        if caller.bearer is None:
            return True
        deleted_at = await access_rows.find_deletion(self._db, repository)
        return caller.carries(repository, action, deleted_at)

    async def decide(self, caller: Caller, repository: str, action: Action) -> Decision:
        """Whether the account, and the token that stands for it, may do this; and the rule."""
        if caller.is_unasked:
            return Decision(is_allowed=True, rule="the registry has no accounts yet, or this is its operator")
        grants = [] if caller.account is None else await access_rows.read_grants_for(self._db, caller.account)
        namespace = await access_rows.read_namespace(self._db, namespace_of(repository))
        return _decide(caller, repository, action, namespace, grants)

    async def keep_pullable(self, caller: Caller, repositories: Iterable[str]) -> list[str]:
        """Those that the caller may pull from, whatever repositories its bearer token was given for."""
        if caller.is_auditor:
            return list(repositories)
        grants = [] if caller.account is None else await access_rows.read_grants_for(self._db, caller.account)
        namespaces: dict[str, Namespace | None] = {}
        kept = []
        for repository in repositories:
            space = namespace_of(repository)
            if space not in namespaces:
                namespaces[space] = await access_rows.read_namespace(self._db, space)
            if _decide(caller, repository, "pull", namespaces[space], grants).is_allowed:
                kept.append(repository)
        return kept


def _decide(
    caller: Caller, repository: str, action: Action, namespace: Namespace | None, grants: list[Granted]
) -> Decision:
    """The token that stands for the account first: it can only take away, unless it has rights of its own."""
    token = caller.token
    if token is not None and token.scopes is not None:
        if action == "pull" and namespace is not None and namespace.is_public:
            # as anyone may who has no token
            return decide(Subject(), repository, action, namespace, ())
        is_in_scopes = token.allows(repository, action)
        if not is_in_scopes or token.kind == "exchange":
            verb = "has" if is_in_scopes else "does not have"
            return Decision(is_in_scopes, f"token {token.id} ({token.name}) {verb} {action} on {repository}")
    return decide(caller.subject, repository, action, namespace, grants)


def _read_basic(value: str) -> tuple[str, str]:
    """User name and password.

    Raises CredentialsInvalid (401). Source: RFC 7617.
    """
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CredentialsInvalid from error
    if not colon or len(name) > _USERNAME_MAX or not name.isprintable() or "\0" in secret:
        raise CredentialsInvalid
    return name, secret


def _shown(name: str) -> str:
    """A name that no one has checked, fit for a log line and the audit."""
    if name.startswith(PREFIX):
        # typed in the wrong place: neither the log nor the audit shall keep it
        return "(a token)"
    return name[:64].encode("unicode_escape").decode("ascii")
