"""TLS as clients meet it on a socket: what is spoken, what is refused, and that nobody can hold on."""

import contextlib
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.content import digest_of
from tests.faults.means import children_of, count_descriptors, wait_until
from tests.inputs.wire import request
from tests.servers import ServerProcess, trusting_nobody

MIB = 1 << 20
SHORT = """
[log]
format = "json"
[limits]
header_timeout = "1s"
idle_timeout = "1s"
reader_idle = "1s"
connections = 40
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("tls")
    config = folder / "moorage.toml"
    config.write_text(SHORT)
    args = ("--workers", "1", "--config", str(config))
    with ServerProcess(folder / "data", *args, is_tls=True) as server:
        yield server


def connect(server: ServerProcess, context: ssl.SSLContext | None = None, buffer: int = 0) -> ssl.SSLSocket:
    plain = socket.socket()
    if buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    plain.settimeout(20)
    plain.connect((server.host, server.port))
    return (context or trusting_nobody()).wrap_socket(plain, server_hostname="localhost")


def read_all(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            received += piece
    return received


def ask(server: ServerProcess, method: str, target: str, body: bytes | None = None, *more: str) -> bytes:
    with connect(server) as client:
        fields = [("Connection", "close"), *(tuple(each.split(": ")) for each in more)]
        client.sendall(request(method, target, fields, body))  # type: ignore[arg-type] # pairs
        return read_all(client)


def push(server: ServerProcess, content: bytes) -> str:
    target = f"/v2/team/app/blobs/uploads/?digest={digest_of(content)}"
    assert b" 201 " in ask(server, "POST", target, content)[:20]
    return f"/v2/team/app/blobs/{digest_of(content)}"


@pytest.mark.parametrize("size", [0, 1, 16_384, 3 * MIB + 7])
def test_blob_comes_back_as_it_was_pushed_whole_and_again_and_in_part(
    server: ServerProcess, size: int
) -> None:
    content = os.urandom(size)
    path = push(server, content)

    for _ in range(2):
        assert ask(server, "GET", path).partition(b"\r\n\r\n")[2] == content
    if size > 1:
        part = ask(server, "GET", path, None, "Range: bytes=1-")
        assert part.partition(b"\r\n\r\n")[2] == content[1:]


def test_locations_and_requests_on_one_connection_go_on(server: ServerProcess) -> None:
    with connect(server) as client:
        for _ in range(3):
            client.sendall(request("GET", "/v2/"))
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.sendall(request("GET", "/v2/") * 5 + request("GET", "/v2/", [("Connection", "close")]))
        assert read_all(client).count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(
    server: ServerProcess, version: ssl.TLSVersion
) -> None:
    context = trusting_nobody()
    context.minimum_version = context.maximum_version = version
    with connect(server, context) as client:
        name = (client.cipher() or ("",))[0]
        assert name.startswith(("ECDHE-", "TLS_"))
        client.sendall(request("GET", "/v2/"))
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(server: ServerProcess) -> None:
    context = trusting_nobody()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(server, context)

    assert server.wait_for_event("tls_handshake_failed")["client"] == "127.0.0.1"


def test_plain_http_is_told_in_words_counted_and_logged_once(server: ServerProcess) -> None:
    for method in ("GET", "PUT"):
        with socket.create_connection((server.host, server.port), 10) as client:
            client.sendall(request(method, "/v2/", body=b"x" * 100))
            reply = read_all(client)
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert b"use https://" in reply
        assert b"connection: close" in reply

    assert len(server.log_events("plain_http_on_tls_port", client="127.0.0.1")) == 1
    metrics = ask(server, "GET", "/metrics")
    assert b'moorage_plain_http_on_tls_port_total{worker="1"} 2.0' in metrics


def test_handshake_that_stops_is_cut_after_the_time_for_a_header(server: ServerProcess) -> None:
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = []
        for sent in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\xff\xff" + b"x" * 99):
            client = stack.enter_context(socket.create_connection((server.host, server.port), 10))
            client.sendall(sent)
            clients.append(client)
        for client in clients:
            read_all(client)

    assert time.monotonic() - started < 6


def test_request_that_stops_and_connection_that_idles_are_cut(server: ServerProcess) -> None:
    with connect(server) as stopped, connect(server) as idle:
        idle.sendall(request("GET", "/v2/"))
        stopped.sendall(b"GET /v2/ HTTP/1.1\r\n")
        started = time.monotonic()
        assert read_all(stopped) == b""
        assert read_all(idle).startswith(b"HTTP/1.1 200")

    assert time.monotonic() - started < 8


def test_reader_that_takes_nothing_is_cut(server: ServerProcess) -> None:
    path = push(server, os.urandom(16 * MIB))
    with connect(server, buffer=4096) as client:
        client.sendall(request("GET", path))
        time.sleep(4)
        client.settimeout(10)
        received = 0
        with contextlib.suppress(OSError):
            while piece := client.recv(1 << 16):
                received += len(piece)

    assert received < 16 * MIB


def test_reader_that_is_slow_but_steady_gets_all_of_it(server: ServerProcess) -> None:
    content = os.urandom(2 * MIB)
    path = push(server, content)
    with connect(server, buffer=4096) as client:
        client.sendall(request("GET", path, [("Connection", "close")]))
        received = b""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            received += client.recv(16_384)
            time.sleep(0.05)
        received += read_all(client)

    assert hashlib.sha256(received.partition(b"\r\n\r\n")[2]).digest() == hashlib.sha256(content).digest()


def test_early_answer_reaches_a_client_that_still_writes(server: ServerProcess) -> None:
    """A refused push: 8 MiB come in that no one reads."""
    with connect(server) as client:
        client.sendall(request("PUT", "/v2/team/app/manifests/v1", [("Content-Length", str(8 * MIB))]))
        with contextlib.suppress(ConnectionError):
            for _ in range(8):
                client.sendall(bytes(MIB))
        reply = read_all(client)

    assert reply.startswith(b"HTTP/1.1 413 "), reply[:100]
    assert b"MANIFEST_INVALID" in reply


def test_more_connections_than_are_served_are_told_so(server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET /v2/ HTTP/1.1\r\n")
        time.sleep(0.2)
        with connect(server) as one_more:
            assert read_all(one_more).startswith(b"HTTP/1.1 503 ")


def test_requests_under_way_end_when_the_server_stops(tmp_path: Path) -> None:
    content = os.urandom(8 * MIB)
    data = tmp_path / "data"
    with ServerProcess(data, "--workers", "1", is_tls=True) as server, ThreadPoolExecutor(1) as thread:
        path = push(server, content)
        with connect(server, buffer=65_536) as client, connect(server) as idle:
            idle.sendall(request("GET", "/v2/"))
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            client.sendall(request("GET", path))
            received = client.recv(16_384)
            stopping = thread.submit(server.terminate)
            assert read_all(idle) == b""
            received += read_all(client)

        assert received.partition(b"\r\n\r\n")[2] == content
        assert stopping.result(30) == 0


def test_what_is_no_tls_after_the_handshake_ends_only_that_connection(server: ServerProcess) -> None:
    for _ in range(5):
        client = connect(server)
        plain = socket.socket(fileno=client.detach())
        plain.settimeout(10)
        plain.sendall(b"\x17\x03\x03\x00\x10" + bytes(16))
        read_all(plain)
        plain.close()

    assert b" 200 " in ask(server, "GET", "/v2/")[:20]
    assert server.log_events("task_failed") == []


def test_clients_that_leave_at_any_moment_leave_nothing_open(server: ServerProcess) -> None:
    path = push(server, os.urandom(8 * MIB))
    (worker,) = children_of(server.pid)
    before = count_descriptors(worker)
    for number in range(30):
        if number % 3 == 0:
            socket.create_connection((server.host, server.port), 10).close()
            continue
        with connect(server, buffer=4096) as client:
            client.sendall(request("GET", path))
            if number % 3 == 1:
                client.recv(1000)

    wait_until(lambda: count_descriptors(worker) <= before)
