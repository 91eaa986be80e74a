"""A server that says whatever a test has it say, byte for byte, and remembers what it was asked."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from moorage.certificates import authority
from moorage.certificates.names import Names

IDLE_SECONDS = 30
NAME = "registry.test"
"""One that resolves to nothing, and stands in the certificates."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate for this machine and its key in one file, and the root that it comes from as PEM."""

    path: Path
    root: str

    @classmethod
    def make(cls, folder: Path) -> Self:
        """New ones."""
        names, now = Names.of(["localhost", "127.0.0.1", NAME]), datetime.now(UTC)
        own = authority.read(authority.make(names, "test", now))
        path = folder / "server.pem"
        path.write_bytes(own.issue(names, now))
        return cls(path, ssl.DER_cert_to_PEM_cert(own.der))


Answer = Callable[[Asked], bytes | Iterable[bytes]]


class Serve(Protocol):
    """Starts a server."""

    def __call__(self, answer: Answer, *, host: str = ..., tls: Tls | None = ...) -> "Scripted":
        """Start one."""


def reply(
    status: int = 200,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    length: int | None = None,
) -> bytes:
    """An answer; `length` is what it says of its body, when that is not the truth."""
    said = {"Content-Length": str(len(body) if length is None else length), "Connection": "close"}
    said |= headers or {}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in said.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Scripted:
    """Answers each request with what `answer` says, and ends the connection."""

    def __init__(self, answer: Answer, *, host: str = "127.0.0.1", tls: Tls | None = None) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls.path)
        self._listener = socket.create_server((host, 0))
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}"
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(IDLE_SECONDS)
        for each in self._open:
            each.close()

    def _run(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                self._open.append(end)
                end.settimeout(IDLE_SECONDS)
                self._run(self._serve, end)

    def _serve(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._context is not None:
                end = self._context.wrap_socket(end, server_side=True)
            try:
                asked = _read(end)
                self.asked.append(asked)
                said = self._answer(asked)
                if isinstance(said, bytes) and asked.method == "HEAD":
                    said = said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                for piece in [said] if isinstance(said, bytes) else said:
                    end.sendall(piece)
                end.shutdown(socket.SHUT_WR)
                while end.recv(1 << 16):
                    pass
            finally:
                end.close()


def _read(end: socket.socket) -> Asked:
    """The next request of a connection; one without a length has no body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = end.recv(1 << 16)
        if not piece:
            raise ValueError("no request")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        piece = end.recv(1 << 16)
        if not piece:
            break
        body += piece
    return Asked(method, target, headers, body)
