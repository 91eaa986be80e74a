"""Requests that come to the proxy of an upstream, and how their answers are spoiled on the way back."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of a request. Offsets and lengths are of the answer's body, in bytes."""

    delay_s: float = 0.0
    """Before the request goes on."""
    is_unanswered: bool = False
    """It gets nowhere, and the connection stays."""
    is_hung_up: bool = False
    """The connection ends before an answer begins."""
    status: int | None = None
    """It is answered so without asking."""
    retry_after: str | None = None
    cut_at: int | None = None
    """The connection ends here."""
    is_reset: bool = False
    """It ends with RST, not FIN."""
    flip_at: int | None = None
    """This byte comes changed."""
    length: int | None = None
    """So many bytes are promised and sent: fewer, or zeros after the last."""
    body: bytes | None = None
    """This comes instead, with the same headers but for the length."""


@dataclass(slots=True)
class Request:
    """One that came, and how it was answered; 0: not at all."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    """By lower-case names."""
    at: float
    """By `time.monotonic`."""
    status: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class Answer:
    """What goes to the client."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    length: int | None
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))


def ask(upstream: http.client.HTTPConnection, request: Request, body: bytes) -> Answer:
    """What the upstream says; asked once more where it has closed a connection that was kept."""
    is_kept = upstream.sock is not None
    try:
        response = _send(upstream, request, body)
    except (ConnectionError, http.client.HTTPException):
        upstream.close()
        if not is_kept:
            raise
        response = _send(upstream, request, body)
    headers = [
        (name, value)
        for name, value in response.getheaders()
        if name.lower() not in {"content-length", "connection", "transfer-encoding"}
    ]
    length = response.getheader("Content-Length")
    known = None if length is None else int(length)
    if known is None and request.method == "HEAD":
        known = 0
    return Answer(response.status, response.reason, headers, known, _read(response))


def _send(upstream: http.client.HTTPConnection, request: Request, body: bytes) -> http.client.HTTPResponse:
    upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        upstream.putheader(name, value)
    upstream.endheaders(body or None)
    return upstream.getresponse()


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    promised, received = response.length, 0
    while piece := response.read(PIECE_BYTES):
        received += len(piece)
        yield piece
    if promised is not None and received < promised:
        raise http.client.IncompleteRead(b"", promised - received)


def refusal(status: int, retry_after: str | None) -> Answer:
    headers = [] if retry_after is None else [("Retry-After", retry_after)]
    return Answer(status, "Spoiled", headers, 0)


def spoiled(answer: Answer, fault: Fault, method: str) -> Answer:
    if fault.body is not None:
        answer.length, answer.pieces = len(fault.body), _replaced(answer.pieces, fault.body)
    if fault.flip_at is not None:
        answer.pieces = _flipped(answer.pieces, fault.flip_at)
    if fault.length is not None:
        answer.length, answer.pieces = fault.length, _fitted(answer.pieces, fault.length)
    if method == "HEAD":
        answer.pieces = iter(())
    return answer


def _replaced(pieces: Iterator[bytes], body: bytes) -> Iterator[bytes]:
    for _ in pieces:
        pass
    yield body


def _flipped(pieces: Iterator[bytes], at: int) -> Iterator[bytes]:
    passed = 0
    for piece in pieces:
        if passed <= at < passed + len(piece):
            changed = bytearray(piece)
            changed[at - passed] ^= 0xFF
            yield bytes(changed)
        else:
            yield piece
        passed += len(piece)


def _fitted(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    left = length
    for piece in pieces:
        if left:
            yield piece[:left]
            left -= len(piece[:left])
    while left:
        yield bytes(min(left, PIECE_BYTES))
        left -= min(left, PIECE_BYTES)
