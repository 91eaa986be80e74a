"""CI signs in: a token that its own service signed, for one of the registry's.

Source: RFC 8693.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from moorage.clock import now_ms
from moorage.config import Trust
from moorage.database import Database, Transaction
from moorage.errors import ExchangeRefused, RegistryError, TooManySignIns
from moorage.identity.accounts.attempts import Attempts
from moorage.identity.accounts.rows import Account, find_account_in, has_accounts, insert_account
from moorage.identity.federation import checking
from moorage.identity.federation.checking import Claims, TokenRefused
from moorage.identity.federation.issuers import Issuers
from moorage.identity.federation.trusting import find_trust, scopes_of
from moorage.identity.tokens.rows import insert_token, make_secret
from moorage.records.audit.apart import record_apart
from moorage.records.audit.rows import Actor, record

_SHOWN_MAX: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token of the registry's own: the user name and the password of `docker login`."""

    username: str
    secret: str
    life_s: int


class Exchanges:
    """As one worker process makes them."""

    def __init__(self, db: Database, issuers: Issuers, trusts: tuple[Trust, ...], attempts: Attempts) -> None:
        self._db = db
        self._issuers = issuers
        self._trusts = trusts
        self._attempts = attempts

    async def exchange(self, text: str, address: str) -> Exchanged:
        """A token of the registry's for one of an issuer that the settings trust.

        Raises ExchangeRefused (401), IssuerUnavailable (503), TooManySignIns (429).
        """
        try:
            claims = await self._verify(text)
            trust = find_trust(self._trusts, claims)
            return await self._give(trust, claims, address)
        except TokenRefused as refusal:
            raise await self._refused(str(refusal), address) from refusal

    async def _verify(self, text: str) -> Claims:
        """Raises TokenRefused, IssuerUnavailable (503)."""
        presented = checking.read(text)
        if all(each.issuer != presented.issuer for each in self._trusts):
            raise TokenRefused("issuer: the registry trusts no such issuer")
        keys = await self._issuers.find_keys(presented.issuer, presented.kid)
        claims = checking.verify(presented, keys)
        checking.check_times(claims)
        return claims

    async def _give(self, trust: Trust, claims: Claims, address: str) -> Exchanged:
        secret = make_secret()
        subject = checking.subject_of(claims)
        expires_at = now_ms() + int(trust.life.total_seconds() * 1000)
        detail = f"{trust.issuer} {_shown(subject)}"

        def work(tx: Transaction) -> None:
            account = _ensure_robot(tx, trust, address)
            token = insert_token(
                tx, account.id, "exchange", trust.name, secret, scopes_of(trust), expires_at, trust.name
            )
            actor = Actor(trust.name, address, token.id)
            record(tx, actor, "token.exchange", trust.name, detail=f"token {token.id}: {detail}")

        await self._db.write(work)
        return Exchanged(trust.name, secret, int(trust.life.total_seconds()))

    async def _refused(self, reason: str, address: str) -> RegistryError:
        """What the client is told, after the refusal was counted and written down."""
        # by address alone: the machines of CI are others each time, and shall not wait for one another
        who = f"exchange from {address}"
        wait_s = self._attempts.wait_s("token", who, address)
        if wait_s:
            return TooManySignIns(retry_after_s=wait_s)
        self._attempts.failed("token", who, address)
        log.warning("exchange_refused", client=address, reason=reason)

        await record_apart(self._db, Actor(address=address), "token.exchange", "registry", "denied", reason)
        return ExchangeRefused(reason=reason)


def _ensure_robot(tx: Transaction, trust: Trust, address: str) -> Account:
    """The robot that a trust is for, made when it is not there.

    Raises TokenRefused.
    """
    if not has_accounts(tx):
        raise TokenRefused("account: the registry has no administrator yet")
    account = find_account_in(tx, trust.name)
    if account is not None:
        if account.kind != "robot":
            raise TokenRefused(f"account: {trust.name} is a person's name here; the trust wants another")
        if account.is_disabled:
            raise TokenRefused(f"account: {trust.name} is disabled")
        return account
    try:
        made = insert_account(
            tx, trust.name, "settings", kind="robot", description=f"Tokens of {trust.issuer}"
        )
    except RegistryError as refusal:
        raise TokenRefused(f"account: {trust.name} cannot be made: {refusal}") from refusal
    record(tx, Actor(trust.name, address), "account.create", trust.name, detail="by a trust of the settings")
    return made


def _shown(text: str) -> str:
    """What an issuer wrote, fit for the audit."""
    return text[:_SHOWN_MAX].encode("unicode_escape").decode("ascii")
