"""The line to a registry: bytes are counted both ways, can be slowed, and end when a test wants it.

with Line(registry.port) as line:        # clients ask line.port
    line.to_server, line.to_client        # bytes so far
    line.throttle(1_000_000)              # so many bytes a second, both ways together
    line.cut(to_server=500_000)           # every connection is reset once so many bytes went there
"""

import contextlib
import ctypes
import socket
import threading
import time
from types import TracebackType
from typing import Self

_PIECE_BYTES = 16 * 1024
_IDLE_S = 60.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class Line:
    """A TCP relay on loopback, for as long as it is needed."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.to_server = 0
        self.to_client = 0
        self.cuts = 0
        self._cut_to_server: int | None = None
        self._cut_to_client: int | None = None
        self._bytes_per_s: float | None = None
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._reset_all()
        for thread in self._threads:
            thread.join(_IDLE_S)
        for each in (self._listener, *self._sockets):
            each.close()

    def throttle(self, bytes_per_s: float | None) -> None:
        """How fast it is from now on."""
        self._bytes_per_s = bytes_per_s

    def cut(self, *, to_server: int | None = None, to_client: int | None = None) -> None:
        """Reset what is open once so many bytes more went that way; once."""
        with self._lock:
            self._cut_to_server = None if to_server is None else self.to_server + to_server
            self._cut_to_client = None if to_client is None else self.to_client + to_client

    def forget(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self.to_server = self.to_client = 0

    def _run(self, work: "object", *arguments: socket.socket) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target, timeout=_IDLE_S)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                self._run(self._pass_there, client, server)
                self._run(self._pass_back, server, client)

    def _pass_there(self, client: socket.socket, server: socket.socket) -> None:
        self._pass(client, server, is_there=True)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        self._pass(server, client, is_there=False)

    def _pass(self, origin: socket.socket, target: socket.socket, *, is_there: bool) -> None:
        try:
            while piece := origin.recv(_PIECE_BYTES):
                self._pace(len(piece))
                target.sendall(piece)
                if self._count(len(piece), is_there=is_there):
                    self._reset_all()
        except OSError:
            pass
        finally:
            _shut(origin, target)

    def _count(self, passed: int, *, is_there: bool) -> bool:
        """Whether it is to be cut now."""
        with self._lock:
            if is_there:
                self.to_server += passed
            else:
                self.to_client += passed
            is_cut = _is_past(self.to_server, self._cut_to_server) or _is_past(
                self.to_client, self._cut_to_client
            )
            if is_cut:
                self._cut_to_server = self._cut_to_client = None
                self.cuts += 1
            return is_cut

    def _pace(self, count: int) -> None:
        if self._bytes_per_s is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self._bytes_per_s
            left = self._free_at - time.monotonic()
        time.sleep(max(left, 0))

    def _reset_all(self) -> None:
        for each in self._sockets:
            _reset(each)


def _is_past(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit


def _reset(connection: socket.socket) -> None:
    """End it with RST, also while another thread waits on it.

    Connecting to AF_UNSPEC, which Python has no word for, does that. Source: connect(2).
    """
    if connection.fileno() >= 0:
        unspecified = bytes(16)
        _LIBC.connect(connection.fileno(), unspecified, len(unspecified))


def _shut(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
