"""A TCP relay that lets a test act in the middle of an upload."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

PIECE_BYTES = 1 << 16
IDLE_SECONDS = 60


class Relay:
    """Passes bytes to a loopback port; once `after_bytes` went there in all, it calls `act`, once.

    Nothing more goes there before `act` returns.
    """

    def __init__(self, target_port: int, after_bytes: int, act: Callable[[], None]) -> None:
        self._target = ("127.0.0.1", target_port)
        self._left = after_bytes
        self._act = act
        self._has_acted = False
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _shut(*self._sockets)
        for thread in self._threads:
            thread.join(IDLE_SECONDS)
        for opened in self._sockets:
            opened.close()

    @property
    def has_acted(self) -> bool:
        """Whether `act` was called; if it was, it has returned."""
        with self._lock:
            return self._has_acted

    def _run(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                client.settimeout(IDLE_SECONDS)
                try:
                    server = socket.create_connection(self._target, timeout=IDLE_SECONDS)
                except OSError:
                    _shut(client)
                    continue
                self._sockets.append(server)
                self._run(self._pass_there, client, server)
                self._run(self._pass_back, server, client)

    def _pass_there(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while piece := client.recv(PIECE_BYTES):
                self._count(len(piece))
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            _shut(client, server)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := server.recv(PIECE_BYTES):
                client.sendall(piece)
        except OSError:
            pass
        finally:
            _shut(client, server)

    def _count(self, passed: int) -> None:
        with self._lock:
            self._left -= passed
            if self._left <= 0 and not self._has_acted:
                self._has_acted = True
                self._act()


def _shut(*sockets: socket.socket) -> None:
    for end in sockets:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
