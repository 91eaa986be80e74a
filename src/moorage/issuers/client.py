"""The issuers, asked over HTTPS.

Source: OpenID Connect Discovery 1.0, 4; RFC 7517, 5; RFC 6749, 2.3.1 and 4.1.3.
"""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlsplit

import structlog

from moorage.addresses import is_loopback
from moorage.config import OidcSettings
from moorage.connecting import Addresses
from moorage.errors import IssuerUnavailable, SignInRefused
from moorage.issuers.failures import AskedInVain

if TYPE_CHECKING:
    from moorage.issuers.asking import Session

FRESH_S: Final = 3600.0
"""Keys are asked for again after this long."""

STALE_S: Final = 86_400.0
"""Keys count for this long when their issuer cannot be asked."""

AGAIN_S: Final = 60.0
"""An issuer that did not answer, or has no such key, is asked no more often."""

_WELL_KNOWN: Final = "/.well-known/openid-configuration"

log = structlog.get_logger()


@dataclass(slots=True)
class _Known:
    """What is known of an issuer; times by the monotonic clock, None before the first."""

    document: Mapping[str, Any] = field(default_factory=dict)
    keys: Sequence[Mapping[str, Any]] = ()
    fetched_s: float | None = None
    asked_s: float | None = None
    asked_again_s: float | None = None
    """When it was last asked for a key that was not known."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_good(self) -> bool:
        return _is_within(self.fetched_s, STALE_S)

    def is_due(self, *, asks_again: bool) -> bool:
        if asks_again:
            return not _is_within(self.asked_again_s, AGAIN_S)
        return not _is_within(self.fetched_s, FRESH_S) and not _is_within(self.asked_s, AGAIN_S)

    def note_asked(self, *, asks_again: bool) -> None:
        self.asked_s = time.monotonic()
        if asks_again:
            self.asked_again_s = self.asked_s


def _is_within(at_s: float | None, than_s: float) -> bool:
    return at_s is not None and time.monotonic() - at_s < than_s


class HttpIssuers:
    """As one worker process asks them; `close` it in the end."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._addresses = Addresses(settings.private_addresses, "oidc.private_addresses")
        self._known: dict[str, _Known] = {}
        self._session: Session | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def find_keys(self, issuer: str, kid: str) -> Sequence[Mapping[str, Any]]:
        """See `Issuers`."""
        known = await self._get(issuer)
        found = _of_id(known, kid)
        if not found:
            # a new key, or an invented one
            known = await self._get(issuer, asks_again=True)
            found = _of_id(known, kid)
        return found

    async def get_authorization_endpoint(self, issuer: str) -> str:
        """See `Issuers`."""
        known = await self._get(issuer)
        return self._endpoint(issuer, known, "authorization_endpoint")

    async def redeem(self, issuer: str, code: str, verifier: str, redirect_uri: str) -> str:
        """See `Issuers`."""
        known = await self._get(issuer)
        endpoint = self._endpoint(issuer, known, "token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        headers = {}
        secret = await self._read_secret(issuer)
        if secret is None:
            form["client_id"] = self._settings.client_id
        else:
            pair = f"{quote_plus(self._settings.client_id)}:{quote_plus(secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        try:
            status, body = await self._send("POST", endpoint, headers, form)
        except AskedInVain as failure:
            raise self._unavailable(issuer, failure) from failure
        reply = body if isinstance(body, dict) else {}
        token = reply.get("id_token")
        if status != 200 or not isinstance(token, str):  # noqa: PLR2004 - OK
            log.warning("code_refused", issuer=issuer, status=status, reason=str(reply.get("error"))[:80])
            raise SignInRefused(reason="provider: it did not take the code back")
        return token

    async def _read_secret(self, issuer: str) -> str | None:
        path = self._settings.client_secret_file
        if path is None:
            return None
        try:
            return (await asyncio.to_thread(path.read_text, "utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unavailable(issuer, AskedInVain(f"oidc.client_secret_file: {error}")) from error

    async def _get(self, issuer: str, *, asks_again: bool = False) -> _Known:
        """What is known of an issuer, asked for when it is due.

        Raises IssuerUnavailable (503).
        """
        known = self._known.setdefault(issuer, _Known())
        if known.is_due(asks_again=asks_again):
            async with known.lock:
                # whoever held the lock may have asked
                if known.is_due(asks_again=asks_again):
                    known.note_asked(asks_again=asks_again)
                    try:
                        await self._fetch(issuer, known)
                    except AskedInVain as failure:
                        self._unavailable(issuer, failure)
        if not known.is_good:
            raise IssuerUnavailable
        return known

    async def _fetch(self, issuer: str, known: _Known) -> None:
        """Raises AskedInVain."""
        document = await self._get_json(issuer.removesuffix("/") + _WELL_KNOWN)
        if document.get("issuer") != issuer:
            raise AskedInVain("its document names another issuer")
        keys = (await self._get_json(_checked(document, "jwks_uri"))).get("keys")
        if not isinstance(keys, list):
            raise AskedInVain("it publishes no list of keys")
        known.document = document
        known.keys = [each for each in keys if isinstance(each, dict)]
        known.fetched_s = time.monotonic()

    async def _get_json(self, url: str) -> dict[str, Any]:
        status, body = await self._send("GET", url, {})
        if status != 200 or not isinstance(body, dict):  # noqa: PLR2004 - OK
            raise AskedInVain(f"{url} answered {status}, no JSON object; redirects are not followed")
        return body

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """The status and the JSON of a reply, None where that is none.

        Raises AskedInVain.
        """
        if self._session is None:
            # a third of a second and 20 MB that no push or pull needs: loaded for the first question
            from moorage.issuers.asking import Session  # noqa: PLC0415

            self._session = Session(self._addresses)
        # a request is no task until it first waits for something, and aiohttp wants to be in one
        return await asyncio.create_task(self._session.ask(method, url, headers, form))

    def _endpoint(self, issuer: str, known: _Known, name: str) -> str:
        """Raises IssuerUnavailable (503)."""
        try:
            return _checked(known.document, name)
        except AskedInVain as failure:
            raise self._unavailable(issuer, failure) from failure

    @staticmethod
    def _unavailable(issuer: str, failure: AskedInVain) -> IssuerUnavailable:
        log.warning("issuer_unavailable", issuer=issuer, reason=str(failure))
        return IssuerUnavailable()


def _of_id(known: _Known, kid: str) -> list[Mapping[str, Any]]:
    return [each for each in known.keys if each.get("kid") == kid]


def _checked(document: Mapping[str, Any], name: str) -> str:
    """A URL of an issuer's document: https, or this machine itself.

    Raises AskedInVain.
    """
    url = document.get(name)
    if not isinstance(url, str):
        raise AskedInVain(f"its document has no {name}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise AskedInVain(f"its {name} is no URL") from error
    is_plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not (parts.scheme == "https" or is_plain) or not parts.hostname or parts.username:
        raise AskedInVain(f"its {name} is not https")
    return url
