"""HTTP as bytes on a socket: what no client library would send, and all that comes back.

with Wire(port) as wire:
    wire.send(request("GET", "/v2/"))
    reply = wire.read()
replies, is_closed = exchange(port, b"GET /v2/ HTTP/1.1\\r\\n...")
"""

import json
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 20.0
LINGER_S = 0.3
"""How long after the last reply another, smuggled one is waited for."""

Fields = Sequence[tuple[str, str]]

_PLAIN_TARGET = "/v2/"


def request(
    method: str,
    target: str | bytes = _PLAIN_TARGET,
    fields: Fields = (),
    body: bytes | None = None,
    *,
    version: str = "1.1",
) -> bytes:
    """A request as bytes; a Content-Length only where a body is given, b"" counting as one."""
    path = target if isinstance(target, bytes) else target.encode("latin-1")
    head = b"%b %b HTTP/%b\r\nHost: registry.test\r\n" % (method.encode(), path, version.encode())
    for name, value in fields:
        head += f"{name}: {value}\r\n".encode("latin-1")
    if body is not None:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + (body or b"")


def chunked(*pieces: bytes) -> bytes:
    """A chunked body, its end included."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `interim` are the statuses (100) that came before it."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no {name} among {self.fields}"
        return value

    def get(self, name: str) -> str | None:
        """The one value of a header, or None."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of an error reply, which must be in the specification's form."""
        assert self["content-type"] == "application/json", self
        errors = self.json["errors"]
        assert errors, self
        for entry in errors:
            assert set(entry) <= {"code", "message", "detail"}, self
        return [entry["code"] for entry in errors]


class Closed(Exception):
    """The server closed the connection where a reply was due; the message is what had come."""


@dataclass(slots=True)
class Wire:
    """A connection. `receive_buffer_bytes` makes a client that takes little before it stalls."""

    port: int
    receive_buffer_bytes: int | None = None
    _socket: socket.socket = field(init=False)
    _received: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self._socket = socket.socket()
        if self.receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer_bytes)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(("127.0.0.1", self.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        """This end's port, by which the server's end is found in the kernel's table."""
        port: int = self._socket.getsockname()[1]
        return port

    def send(self, sent: bytes) -> None:
        """Send; the server may have closed already, which the next read tells."""
        try:
            self._socket.sendall(sent)
        except ConnectionError:
            return

    def send_until_held(self, size: int, patience_s: float = 0.5) -> int:
        """Send so many zeros, or as many as are taken before nothing was taken for a while; how many.

        Raises ConnectionError when the server closed.
        """
        self._socket.settimeout(patience_s)
        piece, sent = bytes(1 << 16), 0
        while sent < size:
            try:
                sent += self._socket.send(piece)
            except TimeoutError:
                break
        return sent

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def read(self, *, has_body: bool = True) -> Reply:
        """The next reply.

        Raises Closed, and TimeoutError when nothing comes.
        """
        interim: list[int] = []
        while True:
            head = self._read_until(b"\r\n\r\n")
            status, fields = _parse_head(head)
            if status >= 200:
                break
            interim.append(status)
        length = next((int(value) for name, value in fields if name.lower() == "content-length"), 0)
        body = self._read_bytes(length) if has_body and status not in {204, 304} else b""
        return Reply(status, fields, body, tuple(interim))

    def read_rest(self, seconds: float = LINGER_S) -> tuple[bytes, bool]:
        """What else comes for as long as `seconds`, and whether the server closed."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(1 << 16)
            except TimeoutError:
                break
            except ConnectionError:
                return self._received, True
            if not piece:
                return self._received, True
            self._received += piece
        return self._received, False

    def seconds_until_closed(self, patience_s: float) -> float:
        """How long it takes the server to close; it may not take longer than `patience_s`."""
        started = time.monotonic()
        _, is_closed = self.read_rest(patience_s)
        assert is_closed, f"still open after {patience_s} s"
        return time.monotonic() - started

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(mark)
        return head

    def _read_bytes(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        body, self._received = self._received[:count], self._received[count:]
        return body

    def _receive(self) -> None:
        self._socket.settimeout(TIMEOUT_S)
        try:
            piece = self._socket.recv(1 << 20)
        except ConnectionError as error:
            raise Closed(repr(self._received)) from error
        if not piece:
            raise Closed(repr(self._received))
        self._received += piece


def _parse_head(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.[01] ([0-9]{3}) [ -~]*", first)
    assert match, first
    fields = []
    for line in lines:
        # a header of a reply may hold nothing that a client sent but printable ASCII
        assert re.fullmatch(r"[ -~]*", line), line
        name, _, value = line.partition(":")
        fields.append((name.strip(), value.strip()))
    return int(match[1]), tuple(fields)


def exchange(
    port: int, sent: bytes, *, end: bool = False, linger_s: float = LINGER_S
) -> tuple[list[Reply], bool]:
    """All replies to these bytes, and whether the server then closed the connection."""
    replies: list[Reply] = []
    with Wire(port) as wire:
        wire.send(sent)
        if end:
            wire.end()
        try:
            replies.append(wire.read(has_body=not sent.startswith(b"HEAD ")))
            while True:
                rest, is_closed = wire.read_rest(linger_s)
                if not rest:
                    return replies, is_closed
                replies.append(wire.read())
        except Closed:
            return replies, True


def ask(port: int, method: str, target: str | bytes, fields: Fields = (), body: bytes | None = None) -> Reply:
    """One request and its one reply, on a connection of its own."""
    if body is None and method in {"POST", "PUT", "PATCH"}:
        body = b""
    with Wire(port) as wire:
        wire.send(request(method, target, fields, body))
        return wire.read(has_body=method != "HEAD")
