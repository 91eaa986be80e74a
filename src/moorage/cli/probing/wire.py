"""One exchange at a time with whatever answers, read as it comes: also before the request has ended."""

import http.client
import io
import json
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from moorage.cli.manage.remote import Address
from moorage.connecting import in_words

ANSWERS_WITHIN_S: Final = 15.0
_CONTINUES_WITHIN_S: Final = 1.0
_PIECE_BYTES: Final = 65_536
_ANSWER_MAX_BYTES: Final = 65_536
_CONTINUE: Final = b"100"


class NoAnswer(Exception):
    """What came is no HTTP, or nothing came; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address and how to speak with it; `context` None is plain HTTP."""

    address: Address
    context: ssl.SSLContext | None
    is_trusted: bool
    """Whether no one else can read or change what is said: a trusted certificate, or this machine."""

    @property
    def scheme(self) -> str:
        """As in URLs."""
        return "http" if self.context is None else "https"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, or as much of it as is worth reading."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def codes(self) -> list[str]:
        """The codes of a registry's errors; none for what is no registry's answer."""
        try:
            errors = json.loads(self.body)["errors"]
            return [str(each["code"]) for each in errors]
        except (ValueError, TypeError, KeyError):
            return []

    @property
    def server(self) -> str:
        """What calls itself the server, for a sentence."""
        name = self.headers.get("server", "")
        return f" (it calls itself {name[:60]!a})" if name else ""


def connect(address: Address, context: ssl.SSLContext | None) -> socket.socket:
    """A connection.

    Raises OSError, ssl.SSLError.
    """
    plain = socket.create_connection((address.host, address.port), ANSWERS_WITHIN_S)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def ask(
    target: Target, method: str, path: str, headers: Mapping[str, str] | None = None, body_bytes: int = 0
) -> Answer:
    """Send a request, with a body of so many zero bytes unless the answer comes first; read the answer.

    Raises NoAnswer.
    """
    fields = {"Host": str(target.address), "Connection": "close", "Content-Length": str(body_bytes)}
    if body_bytes:
        fields |= {"Content-Type": "application/octet-stream", "Expect": "100-continue"}
    fields |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    try:
        with connect(target.address, target.context) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            return _read(_exchange(connection, body_bytes))
    except OSError as error:
        raise NoAnswer(in_words(error)) from error


def _exchange(connection: socket.socket, body_bytes: int) -> bytes:
    """Send the body and return the raw answer."""
    came = _receive(connection, _CONTINUES_WITHIN_S) if body_bytes else b""
    came = _without_continue(came)
    left, piece = body_bytes, bytes(_PIECE_BYTES)
    while left and not came:
        connection.settimeout(ANSWERS_WITHIN_S)
        try:
            connection.sendall(piece[:left])
        except OSError:
            # it was cut: perhaps after an answer
            break
        left -= min(left, len(piece))
        came = _without_continue(_receive(connection, 0))
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while len(came) < _ANSWER_MAX_BYTES and not _is_whole(came):
        more = _receive(connection, max(deadline - time.monotonic(), 0))
        if not more:
            break
        came = _without_continue(came + more)
    return came


def _receive(connection: socket.socket, wait_s: float) -> bytes:
    """What has come, waiting this long for something; b"" for nothing, or the end."""
    deadline = time.monotonic() + wait_s
    while True:
        connection.settimeout(0)
        try:
            return connection.recv(_PIECE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            # a TLS session ticket makes it readable and is nothing to read
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([connection], [], [], left)[0]:
                return b""
        except OSError:
            return b""


def _without_continue(came: bytes) -> bytes:
    """Without an interim answer, once all of it is there."""
    if came.split(b" ", 2)[1:2] != [_CONTINUE]:
        return came
    return came.partition(b"\r\n\r\n")[2]


def _is_whole(came: bytes) -> bool:
    head, end, body = came.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            with suppress(ValueError):
                return len(body) >= int(line.partition(b":")[2])
    return False


def _read(raw: bytes) -> Answer:
    """Raises NoAnswer."""
    if not raw:
        raise NoAnswer("the connection was closed without an answer")
    head, _, body = raw.partition(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004 - version and status
        raise NoAnswer(f"what answers is no HTTP: {raw[:24]!a}")
    fields = http.client.parse_headers(io.BytesIO(rest + b"\r\n\r\n"))
    return Answer(int(words[1]), {name.lower(): value for name, value in fields.items()}, body)
