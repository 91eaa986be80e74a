"""One question to a registry: challenges answered, redirects followed, and nothing shown to anyone else.

Source: distribution's "Token Authentication Specification"; RFC 9110, 11 and 15.4.
"""

import asyncio
import importlib
import re
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from moorage.connecting import Addresses
from moorage.mirrors.asking import Failed, NotAllowed, Quota, Unreachable, UpstreamFailure
from moorage.mirrors.upstreams import Address
from moorage.upstream.challenges import Challenge, choose_challenge
from moorage.upstream.failures import Cut
from moorage.upstream.headers import read_quota
from moorage.upstream.places import NoPlace, Place, find_realm, follow, parse_place
from moorage.upstream.tokens import Scopes, TokenRequest, Tokens, basic

if TYPE_CHECKING:
    from moorage.upstream.connections import Body, Connections, Reply

HOPS_MAX: Final = 5
TOKEN_BODY_MAX_BYTES: Final = 1024 * 1024
TOKEN_WITHIN_S: Final = 30.0
_KNOWN_MAX: Final = 1000
_SAID_SCOPES_MAX: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAFE: Final = frozenset({"GET", "HEAD"})
_scope = re.compile(r"[a-z]+(?:\([a-z]+\))?:[!-~]{1,400}", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown to a registry; `token` where it is one."""

    header: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Asker:
    """As one process asks, in one event loop; `close` it in the end."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._connections: Connections | None = None
        self._opening = asyncio.Lock()
        self._tokens = Tokens(self._fetch_token)
        self._challenges: OrderedDict[Address, Challenge] = OrderedDict()
        self._quotas: OrderedDict[str, Quota] = OrderedDict()

    async def close(self) -> None:
        """Close the connections."""
        await self._tokens.close()
        if self._connections is not None:
            await self._connections.close()

    async def ask(
        self,
        at: Address,
        method: str,
        target: str | Place,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: "Body" = None,
        timeout_s: float | None,
        takes_challenge: bool = False,
    ) -> "Reply":
        """The head of a good answer, 2xx. `target`: what follows an address's URL, or a place it led to.

        `takes_challenge`: one who has no credentials takes a challenge for an answer. Raises an
        UpstreamFailure.
        """
        work = self._ask(at, method, target, scopes, headers or {}, body, timeout_s, takes_challenge)
        return await in_task(work)

    def quota_of(self, at: Address) -> Quota | None:
        """What a registry last said of its rate limit."""
        return self._quotas.get(at.url)

    async def _ask(
        self,
        at: Address,
        method: str,
        target: str | Place,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: "Body",
        timeout_s: float | None,
        takes_challenge: bool,  # noqa: FBT001
    ) -> "Reply":
        home = home_of(at)
        place = target if isinstance(target, Place) else parse_place(f"{home.url}{target}")
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._let_in(at, home, method, place, scopes, headers, body, takes_challenge)
                if reply.place.origin == home.origin:
                    self._note_quota(at, reply)
                is_asked = takes_challenge and reply.status == HTTPStatus.UNAUTHORIZED
                if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES or is_asked:
                    return reply
                raise await reply.explain()
        except TimeoutError as error:
            raise Unreachable(f"{home.name} did not answer within {timeout_s:.3g} s") from error

    async def _let_in(
        self,
        at: Address,
        home: Place,
        method: str,
        place: Place,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: "Body",
        takes_challenge: bool,  # noqa: FBT001
    ) -> "Reply":
        """The answer to one who has shown what was asked for."""
        shown = await self._show_at_once(at, home, scopes)
        reply = await self._follow(at, home, method, place, headers, body, shown)
        if reply.status != HTTPStatus.UNAUTHORIZED or reply.place.origin != home.origin:
            return reply
        challenge = choose_challenge(reply.get_all("WWW-Authenticate"))
        if challenge is None or (challenge.scheme == "basic" and (not at.username or _is_basic(shown))):
            if takes_challenge and challenge is not None and not at.username:
                return reply
            raise await reply.explain()
        if takes_challenge and not at.username:
            return reply
        await reply.discard()
        if shown is not None and shown.token is not None:
            self._tokens.forget(at, scopes, shown.token)
        shown = await self._show(at, home, challenge, scopes, _wanted(challenge, scopes))
        self._remember(at, challenge)
        if not isinstance(body, bytes | None):
            # what was sent of it is gone
            raise Cut(f"{home.name} wants other credentials in the middle")
        return await self._follow(at, home, method, place, headers, body, shown)

    async def _show_at_once(self, at: Address, home: Place, scopes: Scopes) -> _Shown | None:
        """What the registry wanted to see last time.

        Raises an UpstreamFailure; next time it is asked what it wants.
        """
        known = self._challenges.get(at)
        if known is None:
            return None
        try:
            return await self._show(at, home, known, scopes)
        except UpstreamFailure:
            self._challenges.pop(at, None)
            raise

    async def _show(
        self, at: Address, home: Place, challenge: Challenge, scopes: Scopes, wanted: Scopes | None = None
    ) -> _Shown | None:
        """What a challenge is answered with.

        Raises NotAllowed where that would be shown to someone else, or another UpstreamFailure.
        """
        if challenge.scheme == "basic":
            return _Shown(basic(at)) if at.username else None
        try:
            realm = find_realm(home, challenge.get("realm"))
        except NoPlace as reason:
            raise NotAllowed(f"{home.name} has tokens given where nothing is shown: {reason}") from reason
        token = await self._tokens.get(at, realm, challenge.get("service"), scopes, wanted)
        return _Shown(f"Bearer {token}", token)

    async def _follow(
        self,
        at: Address,
        home: Place,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        body: "Body",
        shown: _Shown | None,
    ) -> "Reply":
        """The answer where redirects end; what is shown stays at home."""
        is_home = place.origin == home.origin
        for _ in range(HOPS_MAX + 1):
            # once away, never again: whoever leads back home may not have what is shown there
            is_home = is_home and place.origin == home.origin
            sent = {**headers, "Authorization": shown.header} if shown is not None and is_home else headers
            reply = await self._send(at, method, place, sent, body)
            if reply.status not in _REDIRECTS or method not in _SAFE:
                return reply
            location = reply.headers.get("Location", "")
            await reply.discard()
            try:
                place = follow(place, location)
            except NoPlace as reason:
                raise Failed(f"{place.name} leads where nobody follows: {reason}") from reason
        raise Failed(f"{home.name} leads on and on: more than {HOPS_MAX} redirects")

    async def _send(
        self, at: Address, method: str, place: Place, headers: Mapping[str, str], body: "Body"
    ) -> "Reply":
        connections = await self._connect()
        at_home = place.origin == home_of(at).origin
        return await connections.send(method, place, headers, body, at.authority, at_home=at_home)

    async def _fetch_token(self, at: Address, request: TokenRequest) -> bytes:
        home, realm = home_of(at), parse_place(request.url)
        # credentials are for the realm here, and for no one that it leads to
        shown = _Shown(request.headers["Authorization"]) if "Authorization" in request.headers else None
        headers = {"Accept": "application/json"}
        headers |= {name: value for name, value in request.headers.items() if name != "Authorization"}
        try:
            async with asyncio.timeout(TOKEN_WITHIN_S):
                reply = await self._follow(at, realm, request.method, realm, headers, request.form, shown)
                if reply.status == HTTPStatus.OK:
                    return await reply.read(TOKEN_BODY_MAX_BYTES)
                if reply.status == HTTPStatus.BAD_REQUEST:
                    raise NotAllowed(f"the token service {realm.name} of {home.name} gives none: 400")
                raise await reply.explain()
        except TimeoutError as error:
            raise Unreachable(
                f"the token service {realm.name} did not answer within {TOKEN_WITHIN_S:g} s"
            ) from error

    async def _connect(self) -> "Connections":
        if self._connections is None:
            async with self._opening:
                if self._connections is None:
                    # a third of a second and 20 MB, which nobody else has to wait for
                    await asyncio.to_thread(importlib.import_module, "moorage.upstream.connections")
                    from moorage.upstream.connections import Connections  # noqa: PLC0415

                    self._connections = Connections(self._addresses)
        return self._connections

    def _remember(self, at: Address, challenge: Challenge) -> None:
        self._challenges[at] = challenge
        if len(self._challenges) > _KNOWN_MAX:
            self._challenges.popitem(last=False)

    def _note_quota(self, at: Address, reply: "Reply") -> None:
        quota = read_quota(reply.headers)
        if quota is not None:
            self._quotas[at.url] = quota
            if len(self._quotas) > _KNOWN_MAX:
                self._quotas.popitem(last=False)


async def in_task(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, in a task: a request of ours is none before it first waits for something."""
    if asyncio.current_task() is None:
        return await asyncio.create_task(work)
    return await work


def home_of(at: Address) -> Place:
    """Where a registry is.

    Raises Unreachable where that is no place.
    """
    try:
        place = parse_place(at.url.rstrip("/"))
    except NoPlace as reason:
        raise Unreachable(f"the address of the registry is of no use: {reason}") from reason
    if "?" in place.url:
        raise Unreachable("the address of the registry is of no use: it has a query")
    return place


def _is_basic(shown: _Shown | None) -> bool:
    return shown is not None and shown.token is None


def _wanted(challenge: Challenge, scopes: Scopes) -> Scopes:
    """Our scopes, and those by which the registry knows what we ask for, if they are others."""
    said = [each for each in challenge.get("scope").split() if _scope.fullmatch(each)][:_SAID_SCOPES_MAX]
    return (*scopes, *(each for each in said if not any(_covers(ours, each) for ours in scopes)))


def _covers(ours: str, said: str) -> bool:
    name, _, actions = ours.rpartition(":")
    said_name, _, said_actions = said.rpartition(":")
    return name == said_name and set(said_actions.split(",")) <= set(actions.split(","))
