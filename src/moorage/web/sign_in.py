"""Signing in at a provider: away to it, and back to a token for docker that is shown once.

What ties the two together is a secret in a cookie of this browser: a link that someone else began is of no
use in it, and a code that someone else caught is of no use elsewhere.
"""

from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from moorage.api.exchange import NOSNIFF, Header, QueryInvalid, Reply, Request
from moorage.api.v2.services import Services
from moorage.errors import PasswordRefused, RegistryError, SignInRefused
from moorage.identity.federation.visiting import VISIT_MS
from moorage.oci.names import RepositoryName
from moorage.web.pages import render

_COOKIE: Final = "moorage-sign-in"
_CALLBACK: Final = "/sign-in/callback"


async def begin(services: Services, request: Request, _name: RepositoryName, _reference: str) -> Reply:
    """Send the browser to the provider."""
    try:
        base = _base(services, request)
        sent = await services.visits.begin(base + _CALLBACK, services.gate.address(request))
    except RegistryError as refusal:
        return _refused(refusal)
    headers = [
        (b"location", sent.url.encode()),
        _cookie(base, sent.browser, VISIT_MS // 1000),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
        NOSNIFF,
    ]
    return Reply(303, headers)


async def finish(services: Services, request: Request, _name: RepositoryName, _reference: str) -> Reply:
    """Let in who comes back, and show a token once."""
    try:
        base = _base(services, request)
        arrived = await services.visits.finish(
            _fields(request), _read_cookie(request, base), base + _CALLBACK, services.gate.address(request)
        )
    except RegistryError as refusal:
        return _refused(refusal)
    expires = datetime.fromtimestamp(arrived.expires_at // 1000, UTC)
    return render(
        "sign_in_token.html",
        headers=(_cookie(base, "", 0),),
        name=arrived.name,
        secret=arrived.secret,
        expires=f"{expires:%Y-%m-%d}",
        host=urlsplit(base).netloc,
    )


def _base(services: Services, request: Request) -> str:
    """By which address the browser reaches the registry.

    Raises PasswordRefused (401): the token that is shown in the end is as good as a password.
    """
    if not services.gate.may_use_password(request):
        raise PasswordRefused
    return services.gate.base(request)


def _fields(request: Request) -> dict[str, str]:
    """The query's fields, each once.

    Raises SignInRefused (403).
    """
    try:
        fields = request.query()
    except QueryInvalid as error:
        raise SignInRefused(reason="provider: it sent you back with a malformed address") from error
    if len(dict(fields)) != len(fields):
        raise SignInRefused(reason="provider: it sent you back with a field twice")
    return dict(fields)


def _name(base: str) -> str:
    """The cookie's name: under https one that no other host of the domain can set."""
    return f"__Host-{_COOKIE}" if base.startswith("https:") else _COOKIE


def _cookie(base: str, secret: str, life_s: int) -> Header:
    secure = "; Secure" if base.startswith("https:") else ""
    line = f"{_name(base)}={secret}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"
    return b"set-cookie", line.encode()


def _read_cookie(request: Request, base: str) -> str:
    try:
        found = SimpleCookie(request.header(b"cookie") or "").get(_name(base))
    except CookieError:
        return ""
    return "" if found is None else found.value


def _refused(refusal: RegistryError) -> Reply:
    """A refusal as a person reads it."""
    reason = refusal.detail.get("reason") or refusal.detail.get("hint") or ""
    return render("sign_in_refused.html", refusal.status, message=refusal.message, reason=reason)
