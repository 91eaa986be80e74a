"""A proxy of the operator's environment, and what is asked without it."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from moorage.mirrors.asking import Unreachable
from moorage.mirrors.upstreams import Address
from moorage.upstream.client import HttpRegistry
from tests.acceptance.relay import _shut
from tests.upstream.scripted import NAME, Scripted, Serve, Tls, reply
from tests.upstream.test_hostile import MANIFEST, TYPED, WITHIN_S, get_manifest

pytestmark = pytest.mark.anyio


class Proxy:
    """Takes CONNECT, and goes to one port whatever is asked for."""

    def __init__(self, target_port: int) -> None:
        self.asked: list[str] = []
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads[0].start()

    def close(self) -> None:
        _shut(*self._sockets)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                self.asked.append(head.decode().split(" ")[1])
                server = socket.create_connection(("127.0.0.1", self._target_port))
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    thread = threading.Thread(target=_pass, args=ends, daemon=True)
                    self._threads.append(thread)
                    thread.start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    _shut(source, target)


@pytest.fixture
def server(serve: Serve, tls: Tls) -> Scripted:
    return serve(lambda _: reply(200, MANIFEST, TYPED), tls=tls)


@pytest.fixture
def proxy(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    yield proxy
    proxy.close()


async def test_proxy_of_the_environment_is_asked_for_a_name(
    client: HttpRegistry, proxy: Proxy, server: Scripted, tls: Tls
) -> None:
    assert await get_manifest(client, Address(f"https://{NAME}", authority=tls.root)) == MANIFEST

    assert proxy.asked == [f"{NAME}:443"]
    assert len(server.asked) == 1


async def test_name_that_is_excepted_is_asked_directly(
    client: HttpRegistry, proxy: Proxy, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", f"x.example,{NAME}")

    with pytest.raises(Unreachable, match="does not resolve"):
        await get_manifest(client, Address(f"https://{NAME}", authority=tls.root))

    assert proxy.asked == []


async def test_this_machine_is_asked_directly(
    client: HttpRegistry, proxy: Proxy, server: Scripted, tls: Tls
) -> None:
    for host in ("127.0.0.1", "localhost"):
        assert await get_manifest(client, Address(f"https://{host}:{server.port}", authority=tls.root))

    assert proxy.asked == []


async def test_b107_private_address_is_refused_before_a_proxy_is_asked(proxy: Proxy) -> None:
    client = HttpRegistry([])

    with pytest.raises(Unreachable, match=r"no public address, and not in mirrors\.private_addresses"):
        await client.ping(Address("https://169.254.169.254/"), WITHIN_S)

    assert proxy.asked == []
    await client.close()


def test_nothing_of_aiohttp_is_loaded_before_the_first_question() -> None:
    code = (
        "import sys, moorage.upstream.client, moorage.upstream.pushing, moorage.upstream.docker_config\n"
        "moorage.upstream.client.HttpRegistry([])\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'aiohttp', 'yarl'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
