"""Clients that stall, drip or do not read: each is cut within its limit, and none hurts the others.

The limits are two seconds here; the patience is many times that, and no test asserts a speed.
"""

import contextlib
import os
import re
import selectors
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.inputs.conftest import SHORT, server_in
from tests.inputs.registry import MIB, OCI_MANIFEST, Registry, check_refused, digest_of, encode, image
from tests.inputs.wire import Wire, ask, request
from tests.servers import ServerProcess

PATIENCE_S = 15.0
DRIP_EVERY_S = 0.2
SMALL_BUFFER_BYTES = 4096


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all: a test ends the uploads that it began, of which a client may have five."""
    with server_in(tmp_path_factory.mktemp("strict"), SHORT) as server:
        yield server


@contextlib.contextmanager
def dripping(wires: list[Wire], piece: bytes = b"a") -> Iterator[None]:
    """Send one piece on each connection every now and then, until the end of the block."""
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(DRIP_EVERY_S):
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.send(piece)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def is_held(server_port: int, client_port: int) -> bool:
    """Whether the server's end of a connection is still established, as the kernel sees it."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        ports = int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)
        if ports == (server_port, client_port):
            return state == "01"
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it comes true in this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="B10-nothing"),
        pytest.param(b"GET /v2/ HT", id="B10-half-a-line"),
        pytest.param(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n", id="B10-half-a-header"),
        pytest.param(request("GET", "/v2/"), id="B10-between-requests"),
    ],
)
def test_connection_that_stops_before_the_end_of_a_header_is_closed(strict: Registry, start: bytes) -> None:
    with strict.watch(), Wire(strict.port) as wire:
        wire.send(start)
        seconds = wire.seconds_until_closed(PATIENCE_S)

    print(f"closed after {seconds:.1f} s of 2")


def test_header_that_drips_is_closed_all_the_same(strict: Registry) -> None:
    """B10: a byte now and then does not start the time anew."""
    with strict.watch(), Wire(strict.port) as wire:
        wire.send(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\nX: ")
        with dripping([wire]):
            seconds = wire.seconds_until_closed(PATIENCE_S)

    print(f"closed after {seconds:.1f} s of 2")


@pytest.mark.parametrize("drips", [pytest.param(False, id="B11-stops"), pytest.param(True, id="B11-drips")])
@pytest.mark.parametrize("is_chunked", [pytest.param(False, id="length"), pytest.param(True, id="chunked")])
def test_chunk_that_comes_too_slowly_is_refused_and_the_upload_goes_on(
    strict: Registry, *, drips: bool, is_chunked: bool
) -> None:
    location, start = strict.begin(), b"the first bytes"
    framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", "10000")
    sent = b"%x\r\n%b\r\n" % (len(start), start) if is_chunked else start

    with strict.watch(changes=True):
        with Wire(strict.port) as wire:
            wire.send(request("PATCH", location, [framing]) + sent)
            with dripping([wire] if drips else [], b"1\r\na\r\n" if is_chunked else b"a"):
                reply = wire.read()
                _, is_closed = wire.read_rest(PATIENCE_S)
        state = strict.follow("GET", location)

    check_refused(reply, 408, code="BLOB_UPLOAD_INVALID")
    assert is_closed
    assert state.status == 204
    assert int(state["range"].removeprefix("0-")) >= len(start) - 1
    assert strict.follow("PATCH", location, (), b"and more").status == 202
    assert strict.follow("DELETE", location).status == 204


def test_manifest_that_comes_too_slowly_is_refused(strict: Registry) -> None:
    """B11."""
    with strict.watch(), Wire(strict.port) as wire:
        wire.send(request("PUT", strict.path("manifests/x"), [("Content-Length", "1000")]) + b"{")
        with dripping([wire], b" "):
            check_refused(wire.read(), 408)
        _, is_closed = wire.read_rest(PATIENCE_S)

    assert is_closed


def test_upload_of_one_request_that_stops_leaves_nothing(strict: Registry) -> None:
    """B11."""
    target = strict.path(f"blobs/uploads/?digest={digest_of(b'x')}")

    with strict.watch(), Wire(strict.port) as wire:
        wire.send(request("POST", target, [("Content-Length", "1000")]) + b"x")
        check_refused(wire.read(), 408)


def test_client_that_is_told_to_continue_and_does_not_is_refused(strict: Registry) -> None:
    """B11."""
    location = strict.begin()
    head = request("PATCH", location, [("Expect", "100-continue"), ("Content-Length", "1000")])

    with strict.watch(), Wire(strict.port) as wire:
        wire.send(head)
        reply = wire.read()

    assert reply.interim == (100,)
    check_refused(reply, 408)
    assert strict.follow("DELETE", location).status == 204


def test_body_of_a_refused_request_is_not_waited_for(strict: Registry) -> None:
    """The registry drains a little, so that the refusal is read; a drip does not keep the connection."""
    with strict.watch(), Wire(strict.port) as wire:
        wire.send(request("PUT", strict.path("manifests/-x"), [("Content-Length", "1000000")]) + b"{")
        with dripping([wire]):
            check_refused(wire.read(), 400)
            _, is_closed = wire.read_rest(PATIENCE_S)

    assert is_closed


def _push_large(registry: Registry, kind: str) -> str:
    """The path of what one can read much of."""
    if kind == "blob":
        return registry.path(f"blobs/{registry.push_blob(os.urandom(24 * MIB))}")
    registry.push("large", image(annotations={f"a{number}": "x" * 500_000 for number in range(7)}))
    return registry.path("manifests/large")


@pytest.mark.parametrize(
    "kind", [pytest.param("blob", id="B12-blob"), pytest.param("manifest", id="B12-manifest")]
)
def test_reader_that_takes_nothing_is_cut(strict: Registry, kind: str) -> None:
    readers = 8
    path = _push_large(strict, kind)

    with strict.watch(rss_growth_max_bytes=128 * MIB), contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(strict.port, SMALL_BUFFER_BYTES)) for _ in range(readers)]
        for wire in wires:
            wire.send(request("GET", path))
        time.sleep(1)
        ports = [wire.local_port for wire in wires]
        started = time.monotonic()
        are_cut = wait_until(lambda: not any(is_held(strict.port, port) for port in ports), PATIENCE_S)
        seconds = time.monotonic() - started
        left = sum(is_held(strict.port, port) for port in ports)
        rss = strict.rss_bytes() / MIB

    print(f"{left} of {readers} left after {seconds:.1f} s of 2, {rss:.0f} MiB")
    assert are_cut, f"{left} of {readers} stalled readers still hold a connection"


@pytest.mark.parametrize(
    "kind", [pytest.param("blob", id="B12-blob"), pytest.param("manifest", id="B12-manifest")]
)
def test_readers_that_take_nothing_cost_little_memory_each(registry: Registry, kind: str) -> None:
    """The kernel's buffers aside, what waits for a reader is a few pieces, not the whole reply."""
    readers = 30
    path = _push_large(registry, kind)
    ask(registry.port, "GET", path)

    with registry.watch(rss_growth_max_bytes=(32 + readers) * MIB), contextlib.ExitStack() as stack:
        for _ in range(readers):
            wire = stack.enter_context(Wire(registry.port, SMALL_BUFFER_BYTES))
            wire.send(request("GET", path))
        time.sleep(2)


def test_requests_of_one_connection_wait_until_their_replies_are_taken(registry: Registry) -> None:
    """B12: the next reply is not made while the last one still waits for its reader."""
    path = _push_large(registry, "manifest")

    with registry.watch(rss_growth_max_bytes=48 * MIB), Wire(registry.port, SMALL_BUFFER_BYTES) as wire:
        for _ in range(6):
            wire.send(request("GET", path) * 5)
            time.sleep(0.3)


def test_bodies_that_wait_for_a_reply_before_them_are_not_taken_in(registry: Registry) -> None:
    """B12: pipelined pushes behind a pull that nobody reads stay in the client's hands."""
    path = _push_large(registry, "blob")
    body = encode(image(annotations={"a": "x" * 1_000_000}))
    push = request("PUT", registry.path("manifests/x"), [("Content-Type", OCI_MANIFEST)], body)

    with registry.watch(changes=True), contextlib.ExitStack() as stack:
        for _ in range(4):
            wire = stack.enter_context(Wire(registry.port, SMALL_BUFFER_BYTES))
            wire.send(request("GET", path))
            pusher = threading.Thread(target=_send_until_closed, args=(wire, push * 30))
            pusher.start()
            stack.callback(pusher.join)
            stack.callback(wire.end)
        time.sleep(3)


def _send_until_closed(wire: Wire, sent: bytes) -> None:
    with contextlib.suppress(OSError):
        wire.send(sent)


def test_pipelined_bodies_are_all_taken_in_the_end(registry: Registry) -> None:
    registry.push_blob(b"{}")
    bodies = [encode(image(annotations={"a": f"{number}" * 300_000})) for number in range(8)]
    pushes = b"".join(
        request("PUT", registry.path(f"manifests/{number}"), [("Content-Type", OCI_MANIFEST)], body)
        for number, body in enumerate(bodies)
    )
    with Wire(registry.port) as wire:
        wire.send(pushes)
        replies = [wire.read() for _ in bodies]

    assert [reply.status for reply in replies] == [201] * len(bodies)


def test_client_that_resets_before_it_is_accepted_is_no_error(registry: Registry) -> None:
    """As a load balancer does that only asks whether the port answers."""
    for _ in range(200):
        _send_and_reset(registry, b"")
    assert ask(registry.port, "GET", "/v2/").status == 200

    assert registry.server.log_events("task_failed") == []


def test_cut_request_is_counted(registry: Registry) -> None:
    head = request("PATCH", registry.begin(), [("Content-Length", "1000000")])
    _send_and_reset(registry, head + b"x" * 1000)

    cut = re.compile(rb'moorage_requests_total\{method="PATCH",route="upload",status="cut",worker="."\}')
    assert wait_until(lambda: cut.search(ask(registry.port, "GET", "/metrics").body) is not None, PATIENCE_S)


def _send_and_reset(registry: Registry, sent: bytes) -> None:
    """Leave without a word."""
    with socket.create_connection(("127.0.0.1", registry.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(sent)
        if sent:
            time.sleep(0.5)


def test_connection_that_was_half_closed_ends_with_its_reply(registry: Registry) -> None:
    """No other request can come, so nothing is waited for."""
    with registry.watch(), Wire(registry.port) as wire:
        wire.send(request("GET", "/v2/"))
        wire.end()
        assert wire.read().status == 200
        wire.seconds_until_closed(5)


def test_reader_of_a_blob_that_is_slow_but_steady_gets_all_of_it(strict: Registry) -> None:
    """The limit is on taking nothing, not on taking long."""
    content = os.urandom(MIB)
    path = strict.path(f"blobs/{strict.push_blob(content)}")

    with Wire(strict.port, SMALL_BUFFER_BYTES) as wire:
        wire.send(request("GET", path))
        received = b""
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and len(received) < len(content) // 2:
            piece, _ = wire.read_rest(0.01)
            received = piece
            time.sleep(0.1)
        reply = wire.read()

    assert reply.body == content


def test_idle_and_slow_clients_do_not_keep_a_good_one_from_being_served(registry: Registry) -> None:
    """L8 in small: 300 idle, 50 dripping headers, 50 dripping bodies, 50 not reading; figures are printed."""
    path = registry.path(f"blobs/{registry.push_blob(os.urandom(8 * MIB))}")
    registry.push("good", image())
    location = registry.begin()
    calm = _good_client(registry)

    with registry.watch(changes=True, rss_growth_max_bytes=192 * MIB), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Wire(registry.port)) for _ in range(300)]
        headers = [stack.enter_context(Wire(registry.port)) for _ in range(50)]
        bodies = [stack.enter_context(Wire(registry.port)) for _ in range(50)]
        readers = [stack.enter_context(Wire(registry.port, SMALL_BUFFER_BYTES)) for _ in range(50)]
        for wire in headers:
            wire.send(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\nX: ")
        for wire in bodies:
            target = registry.path("manifests/slow")
            wire.send(request("PUT", target, [("Content-Length", "1000000")]) + b"{")
        for wire in readers:
            wire.send(request("GET", path))
        with dripping([*headers, *bodies]):
            busy = _good_client(registry)
        memory = registry.rss_bytes() / MIB
        assert len(idle) == 300
        assert registry.follow("GET", location).status == 204

    print(f"calm {_figures(calm)}; beside 450 others {_figures(busy)}; {memory:.0f} MiB")


def _good_client(registry: Registry) -> list[float]:
    """The seconds that each of 300 good requests took; all of them answered right."""
    took = []
    for number in range(300):
        started = time.monotonic()
        if number % 10 == 0:
            content = os.urandom(1000)
            assert (
                ask(registry.port, "GET", registry.path(f"blobs/{registry.push_blob(content)}")).body
                == content
            )
        else:
            assert ask(registry.port, "GET", registry.path("manifests/good")).status == 200
        took.append(time.monotonic() - started)
    return took


def _figures(took: list[float]) -> str:
    cuts = statistics.quantiles(took, n=100)
    return f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"


def test_thousand_requests_at_once_are_all_answered(registry: Registry) -> None:
    """More connections than one worker takes at a glance; each gets its own reply."""
    count, selector = 1000, selectors.DefaultSelector()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", registry.port), 20))
            connection.sendall(request("GET", f"/v2/none-{number}/tags/list", [("Connection", "close")]))
            connection.settimeout(0)
            selector.register(connection, selectors.EVENT_READ, (number, bytearray()))
        deadline = time.monotonic() + 60
        answered = 0
        while answered < count and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                number, received = key.data
                assert isinstance(key.fileobj, socket.socket)
                piece = key.fileobj.recv(1 << 16)
                received += piece
                if not piece:
                    assert b" 404 " in received[:20]
                    assert b"none-%d" % number in received
                    selector.unregister(key.fileobj)
                    answered += 1

    assert answered == count


def test_uploads_that_stop_do_not_use_up_the_threads_that_others_need(registry: Registry) -> None:
    """More stalled uploads than there are disk threads; another upload goes through meanwhile."""
    with registry.watch(changes=True), contextlib.ExitStack() as stack:
        for _ in range(40):
            wire = stack.enter_context(Wire(registry.port))
            wire.send(request("PATCH", registry.begin(), [("Content-Length", "1000000")]) + b"x" * 1000)
        for _ in range(5):
            registry.push_blob(os.urandom(100_000))


def test_clients_that_leave_in_the_middle_leave_nothing_running(registry: Registry) -> None:
    path = registry.path(f"blobs/{registry.push_blob(os.urandom(8 * MIB))}")
    before = _open_files(registry)

    with registry.watch():
        for number in range(50):
            with Wire(registry.port, SMALL_BUFFER_BYTES) as wire:
                wire.send(request("GET", path))
                if number % 2:
                    wire.read_rest(0.01)
        assert wait_until(lambda: _open_files(registry) <= before + 4, PATIENCE_S), _open_files(registry)


def _open_files(registry: Registry) -> int:
    count = 0
    for pid in registry.workers():
        with contextlib.suppress(OSError):
            count += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return count
