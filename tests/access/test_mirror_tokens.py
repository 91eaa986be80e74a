"""What dockerd shows a mirror of Docker Hub: the credentials that it has for Docker Hub."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from moorage.identity.tokens.bearer import KeyRing
from tests.access.people import People, basic
from tests.access.town import settle
from tests.cli.commands import moorage as typed
from tests.inputs.wire import Fields, Reply
from tests.servers import ServerProcess

CONFIG = """
[[mirrors.upstreams]]
name = "docker.io"
root = true
exclude = ["secret/*"]
"""
OF_THE_HUB = basic("someone", "at the hub")
BARE = "repository:library/nginx:pull"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "moorage.toml").write_text(CONFIG)
    command = ("--workers", "1", "--config", str(folder / "moorage.toml"))
    with ServerProcess(folder / "data", *command) as server:
        yield server


@pytest.fixture(scope="module")
def town(server: ServerProcess) -> People:
    people = People(server.data_dir, server.port)
    settle(people)
    return people


def ask(town: People, fields: Fields, *scopes: str) -> Reply:
    query = "".join(f"&scope={scope}" for scope in scopes)
    return town.ask("GET", f"/token?service=moorage&account=someone{query}", fields)


def post(town: People, **form: Any) -> Reply:
    fields = [("Content-Type", "application/x-www-form-urlencoded")]
    return town.ask("POST", "/token", fields, urlencode({"service": "moorage", **form}).encode())


def check_is_anyones(town: People, reply: Reply) -> None:
    assert reply.status == 200
    bearer = KeyRing([town.signing_key()]).read(reply.json["token"])
    assert bearer.account_id is None
    assert {name: set(actions) for name, actions in bearer.access.items()} == {
        "library/nginx": set(),
        "docker.io/library/nginx": {"pull"},
    }


def test_credentials_for_the_hub_are_not_looked_at_for_a_pull_that_anyone_may(town: People) -> None:
    check_is_anyones(town, ask(town, OF_THE_HUB, BARE))
    check_is_anyones(town, post(town, grant_type="refresh_token", refresh_token="the hub's", scope=BARE))
    check_is_anyones(
        town, post(town, grant_type="password", username="someone", password="at the hub", scope=BARE)
    )

    # nor are they counted as somebody's attempts to get in
    assert town.audit(action="sign-in", outcome="denied") == []


@pytest.mark.parametrize(
    "scopes",
    [
        (),
        ("registry:catalog:*",),
        ("repository:library/nginx:pull,push",),
        (BARE, "repository:team/app:pull"),
        ("repository:team/app:pull",),
        ("repository:open/app:pull",),
        ("repository:docker.io/library/nginx:pull",),
        ("repository:secret/app:pull",),
    ],
)
def test_wrong_credentials_for_anything_else_are_refused(town: People, scopes: tuple[str, ...]) -> None:
    assert ask(town, OF_THE_HUB, *scopes).status in {401, 429}


def test_mirror_that_is_not_everyones_wants_to_know_who_it_is(server: ServerProcess, town: People) -> None:
    typed("namespace", "set", "docker.io", "--visibility", "private", "--data", server.data_dir).check()
    town.give("reader", "docker.io/*", "pull")

    assert ask(town, OF_THE_HUB, BARE).status in {401, 429}
    reply = ask(town, basic("reader"), BARE)
    assert reply.status == 200
    bearer = KeyRing([town.signing_key()]).read(reply.json["token"])
    assert set(bearer.access["docker.io/library/nginx"]) == {"pull"}
