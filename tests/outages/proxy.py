"""The line to an upstream: a proxy that a test slows, cuts, spoils and closes while it is in use.

    with Proxy(upstream.port) as proxy:          # clients ask proxy.port
        proxy.spoil(Fault(status=429), "/manifests/", times=2)
        proxy.drop_packets(); proxy.refuse(); proxy.mend()
        proxy.count("GET", "/blobs/")             # what got through it, or was answered by it

It relays request by request, so that it can count and answer them. Packets are dropped as a listener whose
backlog is full drops them: who connects hears nothing, and who was connected hears nothing more.
"""

import contextlib
import ctypes
import http.client
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self

from tests.outages.spoiling import PIECE_BYTES, Fault, Request, ask, refusal, spoiled

_IDLE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.02
_BACKLOG: Final = 512
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

State = Literal["passing", "dropping", "refusing"]


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path_part: str
    method: str | None
    left: float


class Proxy:
    """A proxy before a plain HTTP server on loopback. A context manager; `port` is its own for as long."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = _bind(0)
        self._listener.listen(_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        self._state: State = "passing"
        self._rules: list[_Rule] = []
        self._bytes_per_s: float | None = None
        self._free_at = 0.0
        self._fillers: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._cut_all()
        for thread in self._threads:
            thread.join(_IDLE_S)
        for opened in (self._listener, *self._fillers):
            opened.close()

    # what a test does to it

    def spoil(
        self, fault: Fault, path_part: str = "", method: str | None = None, times: float = float("inf")
    ) -> None:
        """From now on, this happens to requests with this in their path; the newest that fits counts."""
        with self._changed:
            self._rules.insert(0, _Rule(fault, path_part, method, times))

    def throttle(self, bytes_per_s: float | None) -> None:
        """How fast the bodies of all answers together come; None: as fast as they can."""
        self._bytes_per_s = bytes_per_s

    def drop_packets(self) -> None:
        """Nothing gets through, and nobody is told."""
        with self._changed:
            self._set("dropping")
            self._listener.listen(0)
            while True:
                filler = socket.socket()
                filler.settimeout(0.1)
                self._fillers.append(filler)
                try:
                    filler.connect(("127.0.0.1", self.port))
                except TimeoutError:
                    return

    def refuse(self) -> None:
        """As when the upstream was killed: what is open is reset, and nobody listens."""
        with self._changed:
            self._set("refusing")
            self._listener.close()
            self._listener = _bind(self.port)
        self._cut_all()

    def mend(self) -> None:
        """All is well again; but it stays as slow as it is."""
        with self._changed:
            self._rules.clear()
            self._set("passing")
            for filler in self._fillers:
                filler.close()
            self._fillers.clear()
            self._listener.listen(_BACKLOG)

    def reset_all(self) -> None:
        """Every connection that is open ends with RST."""
        self._cut_all()

    def redirect(self, target_port: int) -> None:
        """Other connections go to another server from now on."""
        self._target_port = target_port

    # what a test wants to know

    def find(self, method: str | None = None, path_part: str = "") -> list[Request]:
        """The requests with this method and this in their path, in the order in which they came."""
        with self._changed:
            return [
                request
                for request in self.requests
                if method in {None, request.method} and path_part in request.path
            ]

    def count(self, method: str | None = None, path_part: str = "") -> int:
        """How many such requests came."""
        return len(self.find(method, path_part))

    def forget(self) -> None:
        """Count from nothing again."""
        with self._changed:
            self.requests.clear()

    # connections

    def _set(self, state: State) -> None:
        self._state = state
        self._changed.notify_all()

    def _run(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_closed:
            with contextlib.suppress(OSError, ValueError):
                # another socket stands here after `refuse`
                readable, _, _ = select.select([self._listener], [], [], _LOOK_EVERY_S)
                with self._changed:
                    if self._state != "passing":
                        self._changed.wait(_LOOK_EVERY_S)
                    elif readable:
                        client, _ = self._listener.accept()
                        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._open.add(client)
                        self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=_IDLE_S)
        try:
            with client.makefile("rb") as sent:
                while request := _read_request(sent):
                    if not self._answer(client, upstream, request, sent):
                        break
        except (OSError, ValueError, http.client.HTTPException):
            _reset(client)
        finally:
            upstream.close()
            with self._changed:
                self._open.discard(client)
                client.close()

    def _cut_all(self) -> None:
        with self._changed:
            for connection in self._open:
                _reset(connection)

    # requests

    def _answer(
        self, client: socket.socket, upstream: http.client.HTTPConnection, request: Request, sent: BinaryIO
    ) -> bool:
        """Answer one; whether the connection stays for another."""
        body = sent.read(int(request.headers.get("content-length", "0")))
        with self._changed:
            fault = self._choose(request)
            self.requests.append(request)
        self._wait(client, fault.delay_s, is_for_ever=fault.is_unanswered)
        if fault.is_hung_up:
            return False
        if fault.status is not None:
            answer = refusal(fault.status, fault.retry_after)
        else:
            answer = spoiled(ask(upstream, request, body), fault, request.method)
        head = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        head += ["Connection: close"] if answer.length is None else [f"Content-Length: {answer.length}"]
        self._wait(client)
        request.status = answer.status
        client.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        for piece in answer.pieces:
            left = len(piece) if fault.cut_at is None else fault.cut_at - request.sent_bytes
            self._wait(client)
            self._pace(len(piece[:left]))
            request.sent_bytes += len(piece[:left])
            client.sendall(piece[:left])
            if left < len(piece) or request.sent_bytes == fault.cut_at:
                if fault.is_reset:
                    _reset(client)
                return False
        return answer.length is not None

    def _choose(self, request: Request) -> Fault:
        for rule in self._rules:
            fits = rule.method in {None, request.method} and rule.path_part in request.path
            if fits and rule.left > 0:
                rule.left -= 1
                return rule.fault
        return Fault()

    def _wait(self, client: socket.socket, seconds: float = 0.0, *, is_for_ever: bool = False) -> None:
        """Wait so long, and for as long as packets are dropped; a client that has left ends it."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._is_closed and (
                is_for_ever or self._state == "dropping" or time.monotonic() < until
            ):
                self._changed.wait(_LOOK_EVERY_S)
                if _has_left(client):
                    raise ConnectionAbortedError

    def _pace(self, count: int) -> None:
        """Take the time that so many bytes take, together with those of other connections."""
        rate = self._bytes_per_s
        if rate is None:
            return
        with self._changed:
            self._free_at = max(self._free_at, time.monotonic() - 2 * _LOOK_EVERY_S) + count / rate
            ready = self._free_at
        while (left := ready - time.monotonic()) > 0 and not self._is_closed:
            time.sleep(min(left, _LOOK_EVERY_S))


def _bind(port: int) -> socket.socket:
    """A socket that has a port and does not listen."""
    deadline = time.monotonic() + _IDLE_S
    while True:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            # the one that had it is closed, but another thread still looks at it
            bound.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY_S / 4)
        else:
            return bound


def _reset(connection: socket.socket) -> None:
    """End it with RST, also while another thread waits on it.

    Connecting to AF_UNSPEC, which Python has no word for, does that. Source: connect(2).
    """
    if connection.fileno() >= 0:
        unspecified = bytes(16)
        _LIBC.connect(connection.fileno(), unspecified, len(unspecified))


def _has_left(client: socket.socket) -> bool:
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _read_request(sent: BinaryIO) -> Request | None:
    first = sent.readline(PIECE_BYTES).decode("latin-1").split()
    if not first:
        return None
    method, path, _ = first
    headers = {name.lower(): value for name, value in http.client.parse_headers(sent).items()}
    return Request(method, path, headers, time.monotonic())
