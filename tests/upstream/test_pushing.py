"""Pushing on a bad line, and to registries that mean harm."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from moorage.mirrors.asking import Failed, NotAllowed
from moorage.mirrors.upstreams import Address
from moorage.oci.digest import digest_of
from moorage.oci.names import RepositoryName
from moorage.upstream import pushing
from moorage.upstream.client import HttpRegistry
from moorage.upstream.pushing import HttpPusher, OpenAt
from tests.acceptance.relay import Relay, _shut
from tests.upstream.scripted import Asked, Serve, reply
from tests.upstream.test_hostile import REPOSITORY, SECRET, WITHIN_S, basic_challenge
from tests.upstream.test_registries import Upstream, open_upstream, source

pytestmark = pytest.mark.anyio

BLOB = os.urandom(6_000_000)
DIGEST = digest_of(BLOB)


@dataclass
class Line:
    """A line to a registry that is cut once."""

    upstream: Upstream
    relay: Relay

    @property
    def at(self) -> Address:
        scheme = self.upstream.at.url.partition(":")[0]
        return replace_url(self.upstream.at, f"{scheme}://127.0.0.1:{self.relay.port}")


def replace_url(at: Address, url: str) -> Address:
    return Address(url, at.username, at.password, at.authority)


@pytest.fixture(params=["docker-registry", "moorage"], scope="module")
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    yield from open_upstream(request.param, tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def line(upstream: Upstream) -> Iterator[Line]:
    """Cut after three megabytes went there."""
    port = int(upstream.at.url.rpartition(":")[2])
    with Relay(port, 3_000_000, lambda: _shut(*relay._sockets[1:])) as relay:
        yield Line(upstream, relay)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "_WAIT_S", 0.05)


def noted(opened: list[int], content: bytes = BLOB) -> OpenAt:
    def open_at(offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        opened.append(offset)
        return source(content)(offset)

    return open_at


async def test_blob_goes_on_after_a_cut(
    client: HttpRegistry, pusher: HttpPusher, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the registry is to have seen the cut, and kept what came before it
    monkeypatch.setattr(pushing, "_WAIT_S", 1.0)
    opened, told = list[int](), list[int]()
    repository = RepositoryName("team/cut")

    await pusher.push_blob(line.at, repository, DIGEST, len(BLOB), noted(opened), on_progress=told.append)

    assert line.relay.has_acted
    assert told[-1] == len(BLOB)
    async with client.open_blob(line.upstream.at, repository, DIGEST, 0, WITHIN_S) as stream:
        assert b"".join([each async for each in stream.pieces]) == BLOB
    first, second = opened
    assert first == 0
    # docker-registry 2.8 gives up an upload that was cut in the middle of a request
    assert (second > 1_000_000) == (line.upstream.kind == "moorage")


class Stubborn:
    """A registry that takes uploads in its own way."""

    def __init__(self, serve: Serve) -> None:
        self.server = serve(self.answer)
        self.other = serve(self.answer, host="127.0.0.2")
        self.location = "/upload/1"
        self.received = 0
        self.is_there = False
        self.cuts_finish = False
        self.patch: bytes | None = None
        self.at = Address(self.server.url, "robot", SECRET)

    def answer(self, asked: Asked) -> bytes:
        if asked.authorization is None and not asked.path.startswith("/upload"):
            return basic_challenge()
        match asked.method:
            case "POST":
                return reply(202, b"", {"Location": self.location})
            case "PATCH":
                self.received += len(asked.body)
                said = {"Location": self.location, "Range": f"0-{self.received - 1}"}
                return self.patch if self.patch is not None else reply(202, b"", said)
            case "PUT":
                self.is_there = True
                return b"" if self.cuts_finish else reply(201)
            case "GET":
                return reply(404 if self.is_there else 204, b"", {"Range": f"0-{self.received - 1}"})
            case _:
                return reply(200 if self.is_there else 404)

    def methods(self) -> list[str]:
        return [each.method for each in self.server.asked]


@pytest.fixture
def stubborn(serve: Serve) -> Stubborn:
    return Stubborn(serve)


async def push(pusher: HttpPusher, at: Address, opened: list[int] | None = None) -> None:
    small = BLOB[:1000]
    await pusher.push_blob(
        at, REPOSITORY, digest_of(small), 1000, noted([] if opened is None else opened, small)
    )


async def test_upload_is_one_request_with_a_length(pusher: HttpPusher, stubborn: Stubborn) -> None:
    await push(pusher, stubborn.at)

    assert stubborn.methods() == ["POST", "POST", "PATCH", "PUT"]
    patch, put = stubborn.server.asked[2:]
    assert patch.headers["content-length"] == "1000"
    assert "content-range" not in patch.headers
    assert "transfer-encoding" not in patch.headers
    assert put.target == f"/upload/1?digest=sha256%3A{digest_of(BLOB[:1000])[7:]}"
    assert put.headers["content-length"] == "0"


async def test_blob_whose_last_answer_was_lost_is_not_sent_again(
    pusher: HttpPusher, stubborn: Stubborn
) -> None:
    stubborn.cuts_finish = True
    opened = list[int]()
    await push(pusher, stubborn.at, opened)

    assert opened == [0]
    assert stubborn.methods()[-1] == "HEAD"


async def test_registry_that_took_less_gets_the_rest(pusher: HttpPusher, stubborn: Stubborn) -> None:
    stubborn.received = -400
    opened = list[int]()
    await push(pusher, stubborn.at, opened)

    assert opened == [0, 600]
    assert [
        each.headers.get("content-range") for each in stubborn.server.asked if each.method == "PATCH"
    ] == [
        None,
        "600-999",
    ]


async def test_b112_upload_that_goes_on_elsewhere_carries_no_credentials(
    pusher: HttpPusher, stubborn: Stubborn
) -> None:
    stubborn.location = f"{stubborn.other.url}/upload/1"
    await push(pusher, stubborn.at)

    assert [each.method for each in stubborn.other.asked] == ["PATCH", "PUT"]
    assert {each.authorization for each in stubborn.other.asked} == {None}


@pytest.mark.parametrize("location", ["", "file:///etc", "http://u@127.0.0.1/", "http://127.0.0.1:25/"])
async def test_b110_upload_that_goes_on_nowhere_fails(
    pusher: HttpPusher, stubborn: Stubborn, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "RESUMES_MAX", 1)
    stubborn.location = location

    with pytest.raises(Failed, match=r"nobody follows|does not say where"):
        await push(pusher, stubborn.at)

    assert "PATCH" not in stubborn.methods()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Failed), (405, Failed), (413, Failed), (401, NotAllowed), (403, NotAllowed)]
)
async def test_refusal_is_not_argued_with(
    pusher: HttpPusher, stubborn: Stubborn, status: int, kind: type[Exception]
) -> None:
    stubborn.patch = reply(status)

    with pytest.raises(kind):
        await push(pusher, stubborn.at)

    assert stubborn.methods().count("PATCH") == 1


async def test_registry_that_keeps_failing_is_left(
    pusher: HttpPusher, stubborn: Stubborn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "RESUMES_MAX", 2)
    stubborn.received = -10_000
    stubborn.patch = reply(500)

    with pytest.raises(Failed, match="answered 500"):
        await push(pusher, stubborn.at)

    assert stubborn.methods().count("PATCH") == 3


async def test_registry_that_takes_nothing_any_more_is_left(
    pusher: HttpPusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "PUSH_STALL_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(Failed, match="took nothing"):
            await pusher.append(Address(url), REPOSITORY, pushing.Upload(f"{url}/upload"), endless(), 10**12)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield BLOB


async def test_slow_source_may_take_its_time(
    pusher: HttpPusher, stubborn: Stubborn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "PUSH_STALL_S", 1.0)

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 10
            await asyncio.sleep(0.2)

    upload = await pusher.start_upload(stubborn.at, REPOSITORY, WITHIN_S)
    upload = await pusher.append(stubborn.at, REPOSITORY, upload, slow(), 80)

    assert upload.received_bytes == 80
