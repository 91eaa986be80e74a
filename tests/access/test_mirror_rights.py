"""A mirror that is not everyone's: no route and no spelling of a name shows it, or has its upstream asked."""

import socket
from collections.abc import Iterator

import pytest

from tests.access.people import People, basic
from tests.access.town import settle
from tests.cli.commands import moorage as typed
from tests.content import ABSENT
from tests.inputs.wire import Fields
from tests.servers import ServerProcess

CONFIG = """
[mirrors]
private_addresses = ["127.0.0.0/8"]
[[mirrors.upstreams]]
name = "hub.test"
root = true
url = "http://127.0.0.1:{port}"
exclude = ["secret/*"]
"""
SPELLINGS = {
    "whole": ("hub.test/library/nginx", ""),
    "bare": ("library/nginx", ""),
    "beside": ("library/nginx", "ns=hub.test"),
    "twice": ("hub.test/library/nginx", "ns=hub.test"),
}
ROUTES = [
    ("GET", "manifests/1"),
    ("HEAD", "manifests/1"),
    ("GET", f"manifests/{ABSENT}"),
    ("GET", f"blobs/{ABSENT}"),
    ("HEAD", f"blobs/{ABSENT}"),
    ("GET", "tags/list"),
    ("GET", f"referrers/{ABSENT}"),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[socket.socket]:
    """An address at which nobody may ever knock."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


@pytest.fixture(scope="module")
def town(upstream: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "moorage.toml").write_text(CONFIG.format(port=upstream.getsockname()[1]))
    command = ("--workers", "1", "--config", str(folder / "moorage.toml"))
    with ServerProcess(folder / "data", *command) as server:
        people = People(server.data_dir, server.port)
        settle(people)
        private = ("namespace", "set", "hub.test", "--visibility", "private", "--data", server.data_dir)
        typed(*private).check()
        yield people


@pytest.mark.parametrize(("name", "query"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize(("method", "rest"), ROUTES)
@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("stranger", 403)])
def test_mirror_is_shown_to_nobody_else(
    town: People,
    upstream: socket.socket,
    name: str,
    query: str,
    method: str,
    rest: str,
    who: str,
    status: int,
) -> None:
    fields: Fields = [] if who == "nobody" else basic(who)

    reply = town.ask(method, f"/v2/{name}/{rest}?{query}", fields)

    assert reply.status == status
    with pytest.raises(BlockingIOError):
        upstream.accept()


@pytest.mark.parametrize(("who", "status"), [("nobody", 401), ("stranger", 403)])
def test_what_is_mirrored_from_where_is_told_to_nobody_else(town: People, who: str, status: int) -> None:
    fields: Fields = [] if who == "nobody" else basic(who)
    asked = ("hub.test/library/app/manifests/1?ns=other.test", "hub.test/secret/app/manifests/1")

    replies = [town.ask("GET", f"/v2/{each}", fields) for each in asked]

    # pushes of what is mirrored are refused to all, but why is told only to those who may pull it
    pushes = ("hub.test/secret/app/blobs/uploads/", "library/app/blobs/uploads/?ns=hub.test")
    refused = [town.ask("POST", f"/v2/{each}", fields) for each in pushes]

    assert [reply.status for reply in replies] == [status] * 2
    assert not any(b"mirrors hub.test" in reply.body for reply in refused)
    assert 405 not in {reply.status for reply in refused}
    assert not any(b"upstream called" in reply.body or b"is not among" in reply.body for reply in replies)
