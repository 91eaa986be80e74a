"""One request and its reply, straight on ASGI: no more than the registry needs of HTTP.

Source: RFC 9110; ASGI 3.0 with its `http.response.zerocopysend` extension.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from moorage.errors import BodyCut, BodyTooSlow, EncodingUnsupported
from moorage.identity.callers.caller import OPEN
from moorage.mirrors.upstreams import Upstream
from moorage.registry.blobs.store import Piece

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]

API_VERSION: Header = (b"docker-distribution-api-version", b"registry/2.0")
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
EMPTY: Header = (b"content-length", b"0")

_QUERY_FIELDS_MAX = 256


class QueryInvalid(ValueError):
    """A query string that cannot be read in one way."""


class QueryTooLong(QueryInvalid):
    """More fields than any request needs."""


class Request:
    """A request as the endpoints see it. `name` and `reference` are what the route cut from the path."""

    __slots__ = (
        "_body_idle_s",
        "_body_rate",
        "_receive",
        "access_version",
        "body_done",
        "bytes_in",
        "caller",
        "headers",
        "method",
        "scope",
        "upstream",
    )

    def __init__(self, scope: Scope, receive: Receive, body_idle_s: float, body_rate: int) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.bytes_in = 0
        self.body_done = False
        self.caller = OPEN
        """Who asks; the gate says so before an endpoint is called."""
        self.access_version = -1
        """Of what decides who may what, when the caller was let in."""
        self.upstream: Upstream | None = None
        """Whose content the repository has that is asked for; None for a local one."""
        self._receive = receive
        self._body_idle_s = body_idle_s
        self._body_rate = body_rate

    def header(self, name: bytes) -> str | None:
        """A header's value; where a client sent several lines, they are one list (RFC 9110, 5.3)."""
        if name not in self.headers:
            return None
        values = [value for key, value in self.scope["headers"] if key == name]
        return b", ".join(values).decode("latin-1")

    @property
    def content_length(self) -> int | None:
        """The declared length of the body in bytes; None for a chunked one. The server checked its form."""
        value = self.headers.get(b"content-length")
        if value is not None:
            return int(value)
        return None if b"transfer-encoding" in self.headers else 0

    @property
    def client(self) -> str:
        """The peer's address, without its port."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    def query(self) -> list[tuple[str, str]]:
        """The query's fields in their order.

        Raises QueryInvalid for bad UTF-8, QueryTooLong for more fields than any request needs.
        """
        raw = self.scope["query_string"]
        if not raw:
            return []
        if raw.count(b"&") >= _QUERY_FIELDS_MAX:
            raise QueryTooLong
        try:
            return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError as error:
            raise QueryInvalid(str(error)) from error

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they come.

        Raises EncodingUnsupported (415), BodyTooSlow (408) when no more than the least rate comes for
        as long as a client may idle, BodyCut (400) when the client leaves or breaks its framing.
        """
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise EncodingUnsupported(content_encoding=encoding.decode("latin-1")[:40])
        watch = _BodyWatch(self, self._body_idle_s, self._body_rate)
        try:
            while not self.body_done:
                message = await watch.wait(self._receive)
                if message["type"] != "http.request":
                    self.body_done = True
                    raise BodyCut(received_bytes=self.bytes_in)
                piece: bytes = message["body"]
                self.bytes_in += len(piece)
                self.body_done = not message.get("more_body", False)
                if piece:
                    yield piece
        finally:
            watch.stop()


class _BodyWatch:
    """Ends the wait for a body of which, for a whole idle time, less came than the least rate asks.

    One timer for a body: a time-out around each piece costs more than taking the piece.
    """

    def __init__(self, request: Request, idle_s: float, rate: int) -> None:
        self._request = request
        self._idle_s = idle_s
        self._least_bytes = max(1, int(rate * idle_s))
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._seen_bytes = request.bytes_in
        self._is_waiting = self._has_fired = False
        self._timer = self._loop.call_later(idle_s, self._look)

    async def wait(self, receive: Receive) -> Message:
        """The next message. Raises BodyTooSlow (408)."""
        self._is_waiting = True
        try:
            return await receive()
        except asyncio.CancelledError:
            if not self._has_fired or self._task is None or self._task.uncancel() > 0:
                raise
            raise BodyTooSlow(idle_s=self._idle_s) from None
        finally:
            self._is_waiting = False

    def stop(self) -> None:
        """The body is over."""
        self._timer.cancel()

    def _look(self) -> None:
        came_bytes = self._request.bytes_in - self._seen_bytes
        self._seen_bytes = self._request.bytes_in
        if self._is_waiting and came_bytes < self._least_bytes and self._task is not None:
            self._has_fired = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(self._idle_s, self._look)


class Reply:
    """What an endpoint returns: a status, headers, and a body in memory or in pieces.

    A body in pieces needs a `content-length` header; if it ends early the connection is cut, so the
    client never takes a part for the whole.
    """

    __slots__ = ("body", "headers", "pieces", "status")

    def __init__(
        self,
        status: int,
        headers: list[Header],
        body: bytes | bytearray = b"",
        pieces: "AsyncGenerator[Piece, None] | AsyncGenerator[bytes, None] | None" = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.pieces = pieces

    @property
    def length(self) -> int:
        """The bytes of a body in memory."""
        return len(self.body)


def decode_segment(segment: bytes) -> str | None:
    """A path segment, percent-decoded once; None when it is no text or hides a separator."""
    if b"%" not in segment:
        return segment.decode("ascii") if segment.isascii() else None
    try:
        text = unquote(segment.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        return None
    return None if "/" in text or "\\" in text or not text.isprintable() else text
