"""One request and its reply, as the application sees them.

Source: ASGI 3.0 with the `http.response.zerocopysend` extension; RFC 9112.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from moorage.server.worker import Worker

Message = MutableMapping[str, Any]

BODY_HELD_MAX_BYTES = 1024 * 1024
WRITE_HELD_BYTES = 64 * 1024
_SAFE = frozenset({"GET", "HEAD"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class ClientGone(ConnectionError):
    """The client left, or was cut off, before it had the whole reply."""


class Wire(Protocol):
    """What an exchange needs of its connection."""

    worker: Worker
    transport: asyncio.Transport
    is_lost: bool

    def finished(self, exchange: "Exchange") -> None:
        """The reply is out, or never will be."""
        ...

    def resume_reading(self) -> None:
        """Take more of what the client sends."""
        ...

    async def drained(self) -> None:
        """Return when the client has taken all that was written. Raises ClientGone."""
        ...

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send part of an open file. Raises ClientGone."""
        ...


class Exchange:
    """A request on its way in and its reply on its way out."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_connection",
        "_head",
        "_is_body_over",
        "_is_broken",
        "_is_handed_over",
        "_waiter",
        "expects_continue",
        "is_announced",
        "is_kept",
        "is_sent",
        "scope",
    )

    def __init__(self, connection: Wire, scope: Message, *, is_kept: bool) -> None:
        self.scope = scope
        self.is_kept = is_kept
        self.is_sent = False
        self.is_announced = True
        self.expects_continue = False
        self._connection = connection
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._is_body_over = False
        self._is_broken = False
        self._is_handed_over = False
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None

    def start(self) -> None:
        """Run the application, at once as far as it goes without waiting."""
        running = self._run()
        if self.scope["method"] not in _SAFE:
            self._connection.worker.run(running)
            return
        # most pulls never wait for anything: a task for each would be a sixth of their cost
        try:
            waits_for = running.send(None)
        except StopIteration:
            return
        self._connection.worker.run(_go_on(running, waits_for))

    async def _run(self) -> None:
        try:
            await self._connection.worker.application(self.scope, self.receive, self.send)
        except ClientGone:
            self.is_sent = False
        finally:
            self._connection.finished(self)

    # the request's body

    def feed(self, piece: bytes, *, is_first: bool) -> None:
        """A piece came; when enough is held, or other requests come before this, the client has to wait."""
        self._body.append(piece)
        self._body_bytes += len(piece)
        if not is_first or self._body_bytes >= BODY_HELD_MAX_BYTES:
            self._connection.transport.pause_reading()
        self._wake()

    def end_body(self) -> None:
        """All of it came."""
        self._is_body_over = True
        self.is_announced = False
        self._wake()

    def break_body(self) -> None:
        """No more of it will come."""
        self._is_broken = True
        self.is_kept = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """All of the body that has arrived; or that the client left."""
        if self.expects_continue and not self._body and not self._is_body_over:
            self.expects_continue = False
            self._connection.transport.write(_CONTINUE)
        while not self._body and not self._is_broken and (not self._is_body_over or self._is_handed_over):
            self._waiter = self._connection.worker.loop.create_future()
            self._connection.resume_reading()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._body:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
            self._connection.resume_reading()
        elif self._is_body_over and not self._is_handed_over:
            body = b""
        else:
            return {"type": "http.disconnect"}
        self._is_handed_over = self._is_body_over
        return {"type": "http.request", "body": body, "more_body": not self._is_body_over}

    # the reply

    async def send(self, message: Message) -> None:
        """A part of the reply.

        Raises ClientGone.
        """
        connection = self._connection
        if connection.is_lost:
            raise ClientGone
        kind = message["type"]
        if kind == "http.response.start":
            self._head = self._begin_reply(message)
            return
        more = message.get("more_body", False)
        if kind == "http.response.zerocopysend":
            self._write(b"")
            await connection.send_file(message["file"], message["offset"], message["count"])
        else:
            self._write(message.get("body", b""))
        if more:
            await connection.drained()
        else:
            self.is_sent = True

    def _begin_reply(self, message: Message) -> bytes:
        if not self._is_body_over:
            # the client is still writing what no one will read
            self.is_kept = False
        worker = self._connection.worker
        if worker.is_stopping:
            self.is_kept = False
        return head(message["status"], message["headers"], worker.date(), is_kept=self.is_kept)

    def _write(self, body: bytes | bytearray) -> None:
        transport = self._connection.transport
        if self._head is not None:
            begin, self._head = self._head, None
            if len(body) <= WRITE_HELD_BYTES:
                transport.write(begin + body)
                return
            transport.write(begin)
        if body:
            transport.write(body)


@types.coroutine
def _continued(running: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Drive a coroutine that has been started already and waits for `waits_for`."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:  # noqa: BLE001 - the coroutine's to deal with
            resume = partial(running.throw, error)
        else:
            resume = partial(running.send, value)
        try:
            waits_for = resume()
        except StopIteration:
            return


async def _go_on(running: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _continued(running, waits_for)


def head(status: int, headers: list[tuple[bytes, bytes]], date: bytes, *, is_kept: bool) -> bytes:
    """The status line and the header of a reply."""
    lines = [_STATUS_LINES[status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(date)
    lines.append(b"\r\n" if is_kept else b"connection: close\r\n\r\n")
    return b"".join(lines)
