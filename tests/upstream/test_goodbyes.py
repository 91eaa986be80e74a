"""The end of a client: none of its connections outlives it, or the event loop closes over one and says so."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from moorage.mirrors.asking import UpstreamFailure
from moorage.mirrors.upstreams import Address
from moorage.oci.names import RepositoryName
from moorage.upstream import connections
from moorage.upstream.client import HttpRegistry
from tests.upstream.conftest import LOOPBACK
from tests.upstream.scripted import Asked, Serve, Tls, reply

REPOSITORY = RepositoryName("library/nginx")


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", [200, 403])
def test_no_connection_outlives_its_client(
    serve: Serve,
    tls: Tls,
    monkeypatch: pytest.MonkeyPatch,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    scheme: str,
    status: int,
) -> None:
    """Not even one whose other end neither closes nor says goodbye."""
    monkeypatch.setattr(connections, "_GOODBYE_S", 0.2)
    ended = threading.Event()
    troubles: list[dict[str, Any]] = []

    def answer(_: Asked) -> Iterator[bytes]:
        yield reply(status, b"the beginning", length=100_000)
        ended.wait(20)

    server = serve(answer, tls=tls if scheme == "https" else None)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        client = HttpRegistry(LOOPBACK)
        address = Address(server.url, authority=tls.root if scheme == "https" else "")
        asked = [client.get_manifest(address, REPOSITORY, "v1", 1_000_000, 0.5) for _ in range(3)]
        with suppress(UpstreamFailure):
            await asyncio.gather(*asked)
        await client.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())
    gc.collect()
    ended.set()

    assert server.asked
    assert troubles == []
