"""Names that nobody answers for keep nobody else waiting."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from moorage.mirrors.asking import Unreachable
from moorage.mirrors.upstreams import Address
from moorage.upstream import resolving
from moorage.upstream.client import HttpRegistry
from moorage.upstream.resolving import Names
from tests.upstream.scripted import Serve, reply

pytestmark = pytest.mark.anyio

real = socket.getaddrinfo


class Deaf:
    """A name server that does not answer for `*.deaf.example`, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def look_up(self, host: str, *args: object, **more: object) -> object:
        if host.endswith(".deaf.example"):
            self.asked.append(host)
            self.answers.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *args, **more)  # type: ignore[arg-type]


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deaf]:
    deaf = Deaf()
    monkeypatch.setattr(socket, "getaddrinfo", deaf.look_up)
    yield deaf
    deaf.answers.set()


async def test_name_that_nobody_answers_for_holds_up_nobody_else(
    client: HttpRegistry, serve: Serve, deaf: Deaf
) -> None:
    server = serve(lambda _: reply(200, b"{}"))

    for _ in range(3):
        lost = [client.ping(Address("https://a.deaf.example"), 0.3) for _ in range(20)]
        failures = await asyncio.gather(*lost, return_exceptions=True)
        assert {type(each) for each in failures} == {Unreachable}
    await client.ping(Address(server.url.replace("127.0.0.1", "localhost")), 10)
    # nor what others do in the threads that all share
    async with asyncio.timeout(10):
        await asyncio.to_thread(int)
    assert deaf.asked == ["a.deaf.example"]


async def test_no_more_names_are_looked_up_at_once_than_a_limit(
    deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "LOOKUPS_MAX", 2)
    names = Names()
    waiting = [asyncio.create_task(names.resolve(f"{each}.deaf.example", 443)) for each in "ab"]
    await asyncio.sleep(0)

    with pytest.raises(OSError, match="too many names"):
        await names.resolve("c.deaf.example", 443)

    deaf.answers.set()
    assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {
        socket.gaierror
    }
    with pytest.raises(socket.gaierror):
        await names.resolve("d.deaf.example", 443)


async def test_name_that_there_is_not_is_told_of(client: HttpRegistry) -> None:
    with pytest.raises(Unreachable, match=r"the name no-such-host\.invalid does not resolve"):
        await client.ping(Address("https://no-such-host.invalid"), 10)
