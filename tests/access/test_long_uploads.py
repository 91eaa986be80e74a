"""An upload that was allowed when it began may outlive its token, and nothing else may.

The registry runs in this process, by a clock that the test moves.
"""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from moorage import app
from moorage.identity.access import rows as access
from moorage.identity.accounts import rows as accounts
from moorage.identity.tokens import rows as tokens
from tests.access.people import People, basic, bearer
from tests.content import digest_of
from tests.inputs.wire import Fields
from tests.registry.conftest import Clock, clock
from tests.registry.in_process import InProcess

__all__ = ["clock"]

CONTENT = b"a layer that takes long"
TEN_MINUTES = timedelta(minutes=10)


@pytest.fixture
def people(tmp_path: Path, registry: InProcess) -> People:
    people = People(tmp_path / "data")
    people.add("alice")
    people.add("bob")
    people.give("bob", "alice/*", "push")
    return people


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[InProcess]:
    registry = InProcess(tmp_path / "data")
    registry.open()
    yield registry
    registry.end()


def fetch(registry: InProcess, fields: Fields, actions: str = "pull,push") -> Fields:
    reply = registry.send("GET", f"/token?scope=repository:alice/app:{actions}", b"", fields)
    return bearer(json.loads(reply.body)["token"])


def begin(registry: InProcess, fields: Fields) -> str:
    reply = registry.send("POST", "/v2/alice/app/blobs/uploads/", b"", fields)
    assert reply.status == 202
    return reply["location"]


def test_an_upload_that_outlives_its_token_is_ended_by_it(
    registry: InProcess, people: People, clock: Clock
) -> None:
    header = fetch(registry, basic("alice"))
    location = begin(registry, header)
    clock.move(TEN_MINUTES)

    assert registry.send("PATCH", location, CONTENT[:5], header).status == 202
    clock.move(TEN_MINUTES)
    assert registry.send("GET", location, b"", header).status == 204
    assert registry.send("PATCH", location, CONTENT[5:], header).status == 202
    reply = registry.send("PUT", f"{location}?digest={digest_of(CONTENT)}", b"", header)
    assert reply.status == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/v1"),
        ("GET", "tags/list"),
        ("HEAD", f"blobs/{digest_of(CONTENT)}"),
        ("PATCH", "blobs/uploads/another"),
    ],
)
def test_an_expired_token_is_good_for_nothing_but_what_it_began(
    registry: InProcess, people: People, clock: Clock, method: str, path: str
) -> None:
    header = fetch(registry, basic("alice"))
    begin(registry, header)
    clock.move(TEN_MINUTES)

    reply = registry.send(method, f"/v2/alice/app/{path}", b"", header)
    assert reply.status == 401
    assert 'error="invalid_token"' in reply["www-authenticate"]


def test_a_token_that_had_expired_when_the_upload_began_is_not_good_for_it(
    registry: InProcess, people: People, clock: Clock
) -> None:
    header = fetch(registry, basic("alice"))
    clock.move(TEN_MINUTES)
    location = begin(registry, basic("alice"))

    assert registry.send("PATCH", location, CONTENT, header).status == 401


def test_anothers_token_is_not_good_for_it_expired_or_not(
    registry: InProcess, people: People, clock: Clock
) -> None:
    others = fetch(registry, basic("bob"))
    location = begin(registry, fetch(registry, basic("alice")))

    assert registry.send("PATCH", location, CONTENT, others).status == 404
    clock.move(TEN_MINUTES)
    assert registry.send("PATCH", location, CONTENT, others).status == 404


def test_a_token_to_pull_is_not_good_for_it(registry: InProcess, people: People) -> None:
    location = begin(registry, fetch(registry, basic("alice")))

    assert registry.send("PATCH", location, CONTENT, fetch(registry, basic("alice"), "pull")).status == 401


@pytest.mark.parametrize("what", ["token", "account", "grant"])
def test_what_is_taken_away_ends_the_upload_too(
    registry: InProcess, people: People, clock: Clock, what: str
) -> None:
    token, secret = people.make_token("bob", ("alice/*", "push"))
    header = fetch(registry, basic("bob", secret))
    location = begin(registry, header)
    clock.move(TEN_MINUTES)
    assert registry.send("PATCH", location, CONTENT, header).status == 202
    account_id = people.account("bob").id
    match what:
        case "token":
            people.change(lambda tx: tokens.revoke_token(tx, token.id))
        case "account":
            people.change(lambda tx: accounts.update_account(tx, account_id, is_disabled=True))
        case _:
            people.change(lambda tx: access.delete_grant(tx, 1))

    assert registry.send("PATCH", location, CONTENT, header).status == 401


def test_a_token_expires_to_the_second(registry: InProcess, people: People, clock: Clock) -> None:
    header = fetch(registry, basic("alice"))
    clock.move(timedelta(seconds=299))
    assert registry.send("GET", "/v2/", b"", header).status == 200
    clock.move(timedelta(seconds=2))

    assert registry.send("GET", "/v2/", b"", header).status == 401


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a new key is due is looked at all the time."""
    monkeypatch.setattr(app, "_KEEP_EVERY_S", 0.01)


def test_a_registry_that_is_never_started_again_replaces_its_keys(
    quick: None, registry: InProcess, people: People, clock: Clock
) -> None:
    first = people.signing_key()
    clock.move(timedelta(days=30) - timedelta(minutes=1))
    header = fetch(registry, basic("alice"))
    clock.move(timedelta(minutes=2))
    registry.loop.run_until_complete(asyncio.sleep(0.5))

    assert people.signing_key() != first
    assert registry.send("GET", "/v2/", b"", header).status == 200
    clock.move(timedelta(days=2))
    assert registry.send("GET", "/v2/", b"", fetch(registry, basic("alice"))).status == 200
