"""What the tests of the client share: it, and servers that do as a test says."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from moorage.upstream.client import HttpRegistry
from moorage.upstream.pushing import HttpPusher
from tests.upstream.scripted import Answer, Scripted, Serve, Tls

LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def client(anyio_backend: str) -> AsyncIterator[HttpRegistry]:
    """One that may ask this machine."""
    client = HttpRegistry(LOOPBACK)
    yield client
    await client.close()


@pytest.fixture
async def pusher(anyio_backend: str) -> AsyncIterator[HttpPusher]:
    pusher = HttpPusher(LOOPBACK)
    yield pusher
    await pusher.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that answer as they are told."""
    with ExitStack() as stack:

        def start(answer: Answer, *, host: str = "127.0.0.1", tls: Tls | None = None) -> Scripted:
            return stack.enter_context(Scripted(answer, host=host, tls=tls))

        yield start


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for this machine, and its root."""
    return Tls.make(tmp_path)
