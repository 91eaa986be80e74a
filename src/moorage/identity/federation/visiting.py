"""A person signs in at a provider: sent there with a state, a nonce and a challenge, and back with a code.

Source: OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE, S256); RFC 9207 (`iss` in the reply); RFC 9700.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import structlog

from moorage.clock import now_ms
from moorage.config import OidcSettings
from moorage.database import Database, Transaction
from moorage.errors import RegistryError, RouteUnknown, SignInRefused, TooManySignIns
from moorage.identity.access.rows import insert_namespace
from moorage.identity.accounts.rows import (
    Account,
    find_account_of,
    has_accounts,
    insert_account,
)
from moorage.identity.federation import checking
from moorage.identity.federation.checking import Claims, TokenRefused
from moorage.identity.federation.issuers import Issuers
from moorage.identity.federation.rows import Visit, count_visits, insert_visit, take_visit
from moorage.identity.tokens.rows import hash_secret, insert_token, make_secret
from moorage.records.audit.apart import record_apart
from moorage.records.audit.rows import Actor, record

VISIT_MS: Final = 10 * 60_000
"""Who is sent to the provider may come back for this long."""

_VISITS_MAX: Final = 20
_TOKEN_MS: Final = 30 * 86_400_000
_CODE_MAX: Final = 4096

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a browser goes, and the secret by which it is known when it comes back."""

    url: str
    browser: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """Who signed in, and a token for docker that is shown this once. `expires_at` in milliseconds."""

    name: str
    secret: str
    expires_at: int


class Visits:
    """As one worker process sees them."""

    def __init__(
        self,
        db: Database,
        issuers: Issuers,
        settings: OidcSettings,
        has_repositories: Callable[[Transaction, str], bool],
    ) -> None:
        self._db = db
        self._issuers = issuers
        self._settings = settings
        self._has_repositories = has_repositories
        """Whether there are repositories in a namespace: they must not come with a new name."""

    @property
    def _issuer(self) -> str:
        """Raises RouteUnknown (404)."""
        if self._settings.issuer is None:
            raise RouteUnknown(hint="oidc.issuer is not set: sign in with a password or a token")
        return self._settings.issuer

    async def begin(self, redirect_uri: str, address: str) -> Sent:
        """Send someone to the provider.

        Raises RouteUnknown (404), TooManySignIns (429), IssuerUnavailable (503).
        """
        endpoint = await self._issuers.get_authorization_endpoint(self._issuer)
        state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
        visit = Visit(hash_secret(browser), nonce, verifier)

        def work(tx: Transaction) -> None:
            if count_visits(tx, address) >= _VISITS_MAX:
                raise TooManySignIns
            insert_visit(tx, state, visit, address, now_ms() + VISIT_MS)

        await self._db.write(work)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": "openid profile",
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        return Sent(f"{endpoint}{'&' if '?' in endpoint else '?'}{query}", browser)

    async def finish(
        self, fields: Mapping[str, str], browser: str, redirect_uri: str, address: str
    ) -> Arrived:
        """Let in who comes back, with the fields that the provider sent along.

        Raises SignInRefused (403), RouteUnknown (404), IssuerUnavailable (503).
        """
        issuer = self._issuer
        try:
            visit = await self._take(fields.get("state", ""), browser)
            code = _code(fields, issuer)
            text = await self._issuers.redeem(issuer, code, visit.verifier, redirect_uri)
            presented = checking.read(text)
            claims = checking.verify(presented, await self._issuers.find_keys(issuer, presented.kid))
            subject = checking.check_id_token(claims, issuer, self._settings.client_id, visit.nonce)
            return await self._let_in(issuer, subject, claims, address)
        except TokenRefused as refusal:
            raise await self._refused(str(refusal), address) from refusal

    async def _take(self, state: str, browser: str) -> Visit:
        """Raises TokenRefused."""
        visit = await self._db.write(lambda tx: take_visit(tx, state))
        if visit is None:
            raise TokenRefused(
                "state: this sign-in was used, took longer than ten minutes, or never began here"
            )
        if not hmac.compare_digest(visit.browser, hash_secret(browser)):
            raise TokenRefused("state: this sign-in was begun in another browser")
        return visit

    async def _let_in(self, issuer: str, subject: str, claims: Claims, address: str) -> Arrived:
        secret, expires_at = make_secret(), now_ms() + _TOKEN_MS
        wanted = claims.get(self._settings.name_claim)

        def work(tx: Transaction) -> str:
            account = find_account_of(tx, issuer, subject)
            if account is None:
                account = self._make(tx, issuer, subject, wanted, address)
            if account.is_disabled:
                raise TokenRefused(f"account: {account.name} is disabled")
            token = insert_token(tx, account.id, "access", "sign-in", secret, None, expires_at, account.name)
            actor = Actor(account.name, address)
            record(tx, actor, "sign-in", "registry", detail=f"at {issuer}")
            record(tx, actor, "token.create", account.name, detail=f"access token {token.id} (sign-in)")
            return account.name

        return Arrived(await self._db.write(work), secret, expires_at)

    def _make(self, tx: Transaction, issuer: str, subject: str, wanted: object, address: str) -> Account:
        """An account of its own for someone who comes for the first time.

        Raises TokenRefused.
        """
        if not self._settings.create_accounts:
            raise TokenRefused("account: you have none here; ask an administrator for one")
        if not has_accounts(tx):
            raise TokenRefused("account: the registry has no administrator yet")
        if not isinstance(wanted, str):
            raise TokenRefused(f"account: the provider does not say {self._settings.name_claim}")
        if self._has_repositories(tx, wanted):
            raise TokenRefused("account: there are repositories under your name; ask an administrator")
        try:
            account = insert_account(tx, wanted, "sign-in", identity=(issuer, subject))
            insert_namespace(tx, wanted, "sign-in", account_id=account.id)
        except RegistryError as refusal:
            raise TokenRefused(f"account: {refusal.message}; ask an administrator") from refusal
        record(tx, Actor(wanted, address), "account.create", wanted, detail=f"first sign-in at {issuer}")
        return account

    async def _refused(self, reason: str, address: str) -> SignInRefused:
        log.warning("visit_refused", client=address, reason=reason)
        if reason.startswith("state:"):
            # anyone can ask for that without end, and the rows of the audit stay for good
            return SignInRefused(reason=reason)

        await record_apart(self._db, Actor(address=address), "sign-in", "registry", "denied", reason)
        return SignInRefused(reason=reason)


def _code(fields: Mapping[str, str], issuer: str) -> str:
    """Raises TokenRefused."""
    if fields.get("iss", issuer) != issuer:
        raise TokenRefused("issuer: another one replied")
    if "error" in fields:
        raise TokenRefused("provider: it did not sign you in")
    code = fields.get("code", "")
    if not 1 <= len(code) <= _CODE_MAX:
        raise TokenRefused("provider: it sent no code")
    return code
