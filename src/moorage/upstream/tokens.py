"""Tokens of registries' token services, each kept for as long as it counts.

Source: distribution's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

import asyncio
import base64
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from moorage.mirrors.asking import Failed
from moorage.mirrors.upstreams import Address
from moorage.upstream.places import Place

TOKENS_MAX: Final = 1000
LIFE_S: Final = 60.0
"""Of a token that does not say."""

LIFE_MAX_S: Final = 24 * 3600.0
IDENTITY_TOKEN_USERNAME: Final = "<token>"  # noqa: S105 - docker's word in place of a name
"""As an address's username: its password is an identity token."""

_CLIENT: Final = "moorage"
# fit for a header, and for one of 16 KiB
_token = re.compile(r"[!-~]{1,15000}", re.ASCII)

Scopes = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How a token is asked for. `url` has its query; `form` is for POST."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    form: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and until when it is shown: seconds of the monotonic clock."""

    value: str = field(repr=False)
    until_s: float


Fetch = Callable[[Address, TokenRequest], Awaitable[bytes]]
"""Sends a request for a token; the body of a good answer. Raises an UpstreamFailure."""


def basic(at: Address) -> str:
    """The value of Authorization for an address's name and password."""
    return f"Basic {base64.b64encode(f'{at.username}:{at.password}'.encode()).decode()}"


def make_request(at: Address, realm: Place, service: str, scopes: Scopes) -> TokenRequest:
    """For an identity token by OAuth2, else by GET, with name and password where there are any."""
    if at.username == IDENTITY_TOKEN_USERNAME:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": at.password,
            "service": service,
            "client_id": _CLIENT,
            "scope": " ".join(scopes),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", realm.url, headers, urlencode(form).encode())
    query = [("service", service)] if service else []
    query += [("scope", each) for each in scopes]
    if at.username:
        query += [("account", at.username), ("client_id", _CLIENT)]
    joint = "&" if "?" in realm.url else "?"
    url = f"{realm.url}{joint}{urlencode(query)}" if query else realm.url
    return TokenRequest("GET", url, {"Authorization": basic(at)} if at.username else {})


def read_token(body: bytes, host: str, asked_s: float) -> Token:
    """The token of an answer, whose life counts from when it was asked for.

    Raises Failed.
    """
    try:
        answer: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise Failed(f"the token service {host} did not answer with JSON") from error
    said = answer if isinstance(answer, dict) else {}
    value = said.get("token") or said.get("access_token")
    if not isinstance(value, str) or _token.fullmatch(value) is None:
        raise Failed(f"the token service {host} gave no token")
    life = said.get("expires_in")
    seconds = min(float(life), LIFE_MAX_S) if isinstance(life, int | float) and life > 0 else LIFE_S
    # not shown in its last moments: a request takes a while to get there
    return Token(value, asked_s + seconds - min(seconds / 5, 10.0))


class Tokens:
    """The tokens of one process. Of those who want the same one at once, one asks."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._tokens: OrderedDict[tuple[Address, Scopes], Token] = OrderedDict()
        self._asking: dict[tuple[Address, Scopes], asyncio.Task[Token]] = {}

    async def get(
        self, at: Address, realm: Place, service: str, scopes: Scopes, wanted: Scopes | None = None
    ) -> str:
        """A token that counts now. `wanted`: by which scopes the registry itself calls `scopes`.

        Raises an UpstreamFailure.
        """
        key = (at, scopes)
        token = self._tokens.get(key)
        if token is not None and time.monotonic() < token.until_s:
            self._tokens.move_to_end(key)
            return token.value
        task = self._asking.get(key)
        if task is None:
            request = make_request(at, realm, service, scopes if wanted is None else wanted)
            task = asyncio.create_task(self._ask(key, realm, request))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._note_done(key, done))
        # whoever gives up waiting leaves it to the others
        return (await asyncio.shield(task)).value

    def forget(self, at: Address, scopes: Scopes, value: str) -> None:
        """A token that was not taken is not shown again."""
        token = self._tokens.get((at, scopes))
        if token is not None and token.value == value:
            del self._tokens[at, scopes]

    async def close(self) -> None:
        """Ask for no more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, key: tuple[Address, Scopes], realm: Place, request: TokenRequest) -> Token:
        asked_s = time.monotonic()
        token = read_token(await self._fetch(key[0], request), realm.name, asked_s)
        self._tokens[key] = token
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)
        return token

    def _note_done(self, key: tuple[Address, Scopes], task: asyncio.Task[Token]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, though no one may be left who waits
