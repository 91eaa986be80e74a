"""Tokens: asked for once, kept while they count, asked for anew when they do not."""

import asyncio
import json
import threading
import time
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from moorage.mirrors.asking import Busy, Failed, NotAllowed
from moorage.mirrors.upstreams import Address
from moorage.oci.names import RepositoryName
from moorage.upstream import tokens
from moorage.upstream.client import HttpRegistry
from tests.upstream.scripted import Asked, Scripted, Serve, reply
from tests.upstream.test_hostile import MANIFEST, REPOSITORY, SECRET, TYPED, WITHIN_S

pytestmark = pytest.mark.anyio

OTHER = RepositoryName("team/other")


class Town:
    """A registry and its token service in one: tokens are t1, t2, ... and count until they are revoked."""

    def __init__(self, serve: Serve) -> None:
        self.server: Scripted = serve(self.answer)
        self.at = Address(self.server.url, "robot", SECRET)
        self.given = 0
        self.good: set[str] = set()
        self.token_reply: bytes | None = None
        self.more: dict[str, object] = {"expires_in": 300}
        self.scope = "repository:team/app:pull"
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, asked: Asked) -> bytes:
        if asked.path == "/token":
            return self.give()
        if asked.authorization is not None and asked.authorization.removeprefix("Bearer ") in self.good:
            return reply(200, MANIFEST, TYPED)
        header = f'Bearer realm="{self.server.url}/token?x=1",service="s&s",scope="{self.scope}"'
        return reply(401, b"{}", {"WWW-Authenticate": header})

    def give(self) -> bytes:
        self.gate.wait(WITHIN_S)
        if self.token_reply is not None:
            return self.token_reply
        self.given += 1
        self.good.add(f"t{self.given}")
        return reply(200, json.dumps({"token": f"t{self.given}", **self.more}).encode())

    @property
    def asked(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.server.asked]

    async def wait_for_token_request(self) -> None:
        while not self.token_requests:  # noqa: ASYNC110 - the server is a thread of its own
            await asyncio.sleep(0.01)

    @property
    def token_requests(self) -> list[Asked]:
        return [each for each in self.server.asked if each.path == "/token"]


@pytest.fixture
def town(serve: Serve) -> Town:
    return Town(serve)


async def pull(client: HttpRegistry, at: Address, repository: RepositoryName = REPOSITORY) -> None:
    await client.get_manifest(at, repository, "v1", 10_000, WITHIN_S)


async def test_token_is_asked_for_once_and_by_the_book(client: HttpRegistry, town: Town) -> None:
    for _ in range(3):
        await pull(client, town.at)

    manifest = "GET /v2/team/app/manifests/v1"
    assert town.asked == [manifest, "GET /token", manifest, manifest, manifest]
    (asked,) = town.token_requests
    assert parse_qs(urlsplit(asked.target).query) == {
        "x": ["1"],
        "service": ["s&s"],
        "scope": ["repository:team/app:pull"],
        "account": ["robot"],
        "client_id": ["moorage"],
    }
    assert asked.authorization is not None
    assert asked.authorization.startswith("Basic ")


async def test_another_repository_needs_another_token_but_no_second_challenge(
    client: HttpRegistry, town: Town
) -> None:
    await pull(client, town.at)
    await pull(client, town.at, OTHER)

    assert town.asked[3:] == ["GET /token", "GET /v2/team/other/manifests/v1"]
    assert "scope=repository%3Ateam%2Fother%3Apull" in town.token_requests[1].target


async def test_stranger_gets_a_token_without_a_name(client: HttpRegistry, town: Town) -> None:
    await pull(client, Address(town.server.url))

    (asked,) = town.token_requests
    assert asked.authorization is None
    assert "account" not in asked.target


async def test_others_of_the_same_registry_have_tokens_of_their_own(client: HttpRegistry, town: Town) -> None:
    await pull(client, town.at)
    await pull(client, Address(town.server.url))

    assert len(town.token_requests) == 2


async def test_identity_token_is_shown_by_oauth2(client: HttpRegistry, town: Town) -> None:
    await pull(client, Address(town.server.url, tokens.IDENTITY_TOKEN_USERNAME, "identity&token"))

    (asked,) = town.token_requests
    assert asked.method == "POST"
    assert asked.authorization is None
    assert dict(parse_qsl(asked.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "identity&token",
        "service": "s&s",
        "client_id": "moorage",
        "scope": "repository:team/app:pull",
    }


async def test_many_who_want_one_token_ask_once(client: HttpRegistry, town: Town) -> None:
    town.gate.clear()
    pulls = [asyncio.create_task(pull(client, town.at)) for _ in range(20)]
    await town.wait_for_token_request()
    while town.asked.count("GET /v2/team/app/manifests/v1") < len(pulls):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
    town.gate.set()
    await asyncio.gather(*pulls)

    assert len(town.token_requests) == 1


async def test_one_who_gives_up_does_not_take_it_from_the_others(client: HttpRegistry, town: Town) -> None:
    town.gate.clear()
    first = asyncio.create_task(pull(client, town.at))
    await town.wait_for_token_request()
    second = asyncio.create_task(pull(client, town.at))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.sleep(0)
    town.gate.set()

    await second
    assert first.cancelled()
    assert len(town.token_requests) == 1


async def test_token_that_is_not_taken_any_more_is_asked_for_anew_once(
    client: HttpRegistry, town: Town
) -> None:
    await pull(client, town.at)
    town.good.clear()
    await pull(client, town.at)
    assert len(town.token_requests) == 2

    town.good.clear()
    town.more = {"expires_in": 300, "token": "never-good"}
    with pytest.raises(NotAllowed):
        await pull(client, town.at)
    assert len(town.token_requests) == 3


@pytest.mark.parametrize(
    ("said", "after_s", "asks_again"),
    [
        ({}, 49.0, False),
        ({}, 51.0, True),
        ({"expires_in": 300}, 289.0, False),
        ({"expires_in": 300}, 291.0, True),
        ({"expires_in": 5}, 3.9, False),
        ({"expires_in": 5}, 4.1, True),
        ({"expires_in": -1}, 49.0, False),
        ({"expires_in": "soon"}, 51.0, True),
        ({"expires_in": 10**12}, 86_000.0, False),
        ({"expires_in": 10**12}, 86_401.0, True),
    ],
)
async def test_token_counts_until_shortly_before_it_ends(
    client: HttpRegistry,
    town: Town,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, object],
    after_s: float,
    *,
    asks_again: bool,
) -> None:
    town.more = said
    await pull(client, town.at)
    later = time.monotonic() + after_s
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await pull(client, town.at)
    monkeypatch.undo()

    assert len(town.token_requests) == (2 if asks_again else 1)


async def test_registry_may_know_the_repository_by_another_name(client: HttpRegistry, town: Town) -> None:
    town.scope = "repository:inner/team/app:pull"
    await pull(client, town.at)
    town.good.clear()
    await pull(client, town.at)

    scopes = ["repository:team/app:pull", "repository:inner/team/app:pull"]
    assert [parse_qs(urlsplit(each.target).query)["scope"] for each in town.token_requests] == [
        scopes,
        scopes,
    ]


@pytest.mark.parametrize("scope", ["", "repository:team/app:pull", "x", "repository:team/app:pull " * 3])
async def test_scope_that_adds_nothing_is_not_asked_for(client: HttpRegistry, town: Town, scope: str) -> None:
    town.scope = scope
    await pull(client, town.at)

    (asked,) = town.token_requests
    assert parse_qs(urlsplit(asked.target).query)["scope"] == ["repository:team/app:pull"]


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (reply(401), NotAllowed, "does not allow"),
        (reply(403), NotAllowed, "does not allow"),
        (reply(400), NotAllowed, "gives none"),
        (reply(429, b"", {"Retry-After": "5"}), Busy, "too often"),
        (reply(500), Failed, "answered 500"),
        (reply(200, b"<html>"), Failed, "did not answer with JSON"),
        (reply(200, b"[]"), Failed, "gave no token"),
        (reply(200, b'{"token": 7}'), Failed, "gave no token"),
        (reply(200, b'{"token": "a b"}'), Failed, "gave no token"),
        (reply(200, b'{"token": "a\\r\\nX: y"}'), Failed, "gave no token"),
        (reply(200, json.dumps({"token": "x" * 20_000}).encode()), Failed, "gave no token"),
        (reply(200, b" " * 1_100_000), Failed, "more than 1048576 bytes"),
    ],
)
async def test_token_service_that_gives_none_is_told_of(
    client: HttpRegistry, town: Town, answer: bytes, kind: type[Exception], says: str
) -> None:
    town.token_reply = answer

    with pytest.raises(kind, match=says) as failure:
        await pull(client, town.at)
    assert SECRET not in str(failure.value)

    town.token_reply = None
    await pull(client, town.at)


async def test_no_more_tokens_are_kept_than_fit(
    client: HttpRegistry, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "TOKENS_MAX", 2)
    for name in ("a/a", "b/b", "c/c", "c/c", "b/b", "a/a"):
        await pull(client, town.at, RepositoryName(name))

    assert len(town.token_requests) == 4
